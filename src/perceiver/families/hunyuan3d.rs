//! The shape decoder of Hunyuan3D-2: latents through a transformer, then read by points in space.

use super::super::blueprint::{
    AttentionStep, Blueprint, HeadNorm, KeySet, Make, MlpStep, Stage, WaveOrder,
};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "hunyuan3d",
    models: "Hunyuan3D-2, 2mini, 2mv, 2.1",
    task: "latents of a shape to signed distances or occupancy at points",
    licence: "Tencent Hunyuan Community License",
    weights: "tencent/Hunyuan3D-2, hunyuan3d-vae-v2-0/model.fp16.safetensors",
    reference: "hy3dgen 2.0.2",
    signature: &[
        "post_kl.weight",
        "geo_decoder.query_proj.weight",
        "geo_decoder.cross_attn_decoder.attn.c_kv.weight",
    ],
    model_types: &[],
    blueprint,
};

const EPS: f32 = 1e-6;

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [width, embedded] = [0, 1].map(|axis| part.dim("post_kl.weight", axis));
    let [heads, head] = part.heads("heads", width / 64, width)?;
    let mut draft = Draft::new();
    draft.push_given("latents", 3072, embedded);
    draft.input("queries", 3);
    draft.stage(Stage::Process);
    draft.linear("hidden", "latents", part.biased("post_kl"), width);
    let mut last = "hidden".to_owned();
    let count = part.count(|i| format!("transformer.resblocks.{i}.attn.c_qkv.weight"));
    for i in 0..count {
        let leaf = |leaf: &str| format!("transformer.resblocks.{i}.{leaf}");
        let head_norm = |name: &str| {
            let norm = part.norm_if(&leaf(name), EPS)?;
            Some(HeadNorm { norm, per_head: true })
        };
        // Queries, keys and values take turns, head by head.
        let turn = |index| part.layer(&leaf("attn.c_qkv")).turn(index, 3, heads, head);
        let norm = || Some(part.norm(&leaf("ln_1"), EPS));
        let attended = format!("attention.{i}");
        draft.attention(
            &attended,
            AttentionStep {
                query_norm: norm(),
                keys: vec![KeySet::new(&last, norm())],
                q_norm: head_norm("attn.attention.q_norm"),
                k_norm: head_norm("attn.attention.k_norm"),
                residual: Some(last.clone()),
                output: Some((part.biased(&leaf("attn.c_proj")), width)),
                ..AttentionStep::new(&last, heads, [head; 2], [turn(0), turn(1), turn(2)])
            },
        );
        last = if i + 1 == count { "last_latents".to_owned() } else { format!("layer.{i}") };
        let hidden = part.dim(&leaf("mlp.c_fc.weight"), 0);
        let layers = [part.biased(&leaf("mlp.c_fc")), part.biased(&leaf("mlp.c_proj"))];
        draft.mlp(
            &last,
            MlpStep {
                norm: Some(part.norm(&leaf("ln_2"), EPS)),
                residual: true,
                ..MlpStep::new(&attended, hidden, layers, Activation::GeluErf)
            },
        );
        draft.intermediate(&format!("layer.{i}"), &last);
    }
    decoder(&mut draft, part, &last, head)?;
    Ok(draft.finish())
}

/// Points ask the latents `of`, with heads as wide as the transformer's.
fn decoder(draft: &mut Draft, part: &Part<'_>, of: &str, head: usize) -> Result<()> {
    let [width, features] = [0, 1].map(|axis| part.dim("geo_decoder.query_proj.weight", axis));
    let cross = |leaf: &str| format!("geo_decoder.cross_attn_decoder.{leaf}");
    draft.stage(Stage::Decode);
    let bands = part.size("num_freqs", (features / 3).saturating_sub(1) / 2)?;
    let unit = if part.switch("include_pi", false)? { std::f32::consts::PI } else { 1.0 };
    let frequencies = (0..bands.min(64)).map(|i| unit * 2f32.powi(i as i32)).collect();
    let (points, order) = ("queries".to_owned(), WaveOrder::CoordinatesFirst);
    draft.make(
        "features",
        Make::Waves { of: points, frequencies, half_turns: false, order, tensor: None },
    );
    draft.linear("asking", "features", part.biased("geo_decoder.query_proj"), width);
    let mut latents = of;
    if part.has("geo_decoder.latents_proj.weight") {
        draft.linear("narrow", of, part.biased("geo_decoder.latents_proj"), width);
        latents = "narrow";
    }
    let heads = (width / head).max(1);
    let head_norm = |name: &str| {
        let norm = part.norm_if(&cross(name), EPS)?;
        Some(HeadNorm { norm, per_head: true })
    };
    let turn = |index| part.layer(&cross("attn.c_kv")).turn(index, 2, heads, head);
    draft.attention(
        "read",
        AttentionStep {
            query_norm: Some(part.norm(&cross("ln_1"), EPS)),
            keys: vec![KeySet::new(latents, Some(part.norm(&cross("ln_2"), EPS)))],
            q_norm: head_norm("attn.attention.q_norm"),
            k_norm: head_norm("attn.attention.k_norm"),
            residual: Some("asking".to_owned()),
            output: Some((part.biased(&cross("attn.c_proj")), width)),
            ..AttentionStep::new(
                "asking",
                heads,
                [head; 2],
                [part.layer(&cross("attn.c_q")), turn(0), turn(1)],
            )
        },
    );
    let layers = [part.biased(&cross("mlp.c_fc")), part.biased(&cross("mlp.c_proj"))];
    draft.mlp(
        "decoder",
        MlpStep {
            norm: Some(part.norm(&cross("ln_3"), EPS)),
            residual: true,
            ..MlpStep::new(
                "read",
                part.dim(&cross("mlp.c_fc.weight"), 0),
                layers,
                Activation::GeluErf,
            )
        },
    );
    draft.intermediate("decoder", "decoder");
    let mut last = "decoder";
    if let Some(norm) = part.norm_if("geo_decoder.ln_post", 1e-5) {
        draft.norm("post", last, norm);
        last = "post";
    }
    let out = part.dim("geo_decoder.output_proj.weight", 0);
    draft.linear("logits", last, part.biased("geo_decoder.output_proj"), out);
    draft.output("output", "logits");
    Ok(())
}
