//! The latent attention of NV-Embed: hidden states ask, learned latents are the keys; then the mean over a text.

use super::super::blueprint::{
    AttentionStep, Blueprint, KeySet, Make, MlpStep, Norm, NormKind, Projection, Stage,
};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "nv_embed",
    models: "NV-Embed-v1, NV-Embed-v2",
    task: "hidden states of a text to its embedding",
    licence: "CC-BY-NC-4.0",
    weights: "nvidia/NV-Embed-v2, part latent_attention_model.",
    reference: "modeling_nvembed.py of NV-Embed-v2",
    signature: &[
        "cross_attend_blocks.0.norm_context.weight",
        "cross_attend_blocks.1.fn.net.2.weight",
        "latents",
    ],
    model_types: &["nvembed", "latent_attention"],
    blueprint,
};

const EPS: f32 = 1e-5;

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [0, 1].map(|axis| part.dim("latents", axis));
    let setting = |key: &str| {
        let nested = format!("latent_attention_config.{key}");
        if part.value(&nested).is_some() { nested } else { key.to_owned() }
    };
    let block = "cross_attend_blocks.0.fn.";
    let inner = part.dim(&format!("{block}to_q.weight"), 0);
    let [heads, head] = part.heads(&setting("num_cross_heads"), 8, inner)?;
    let mut draft = Draft::new();
    draft.stage(Stage::Decode);
    draft.input("hiddens", width).mask = Some("attention_mask".to_owned());
    draft.learned("latents", part.name("latents"), vec![rows, width]);
    let kv =
        |index| Projection::plain(&part.name(&format!("{block}to_kv"))).part(index, 2, inner, head);
    let q = part.layer(&format!("{block}to_q"));
    let norm = |leaf: &str| Some(part.norm(&format!("cross_attend_blocks.{leaf}"), EPS));
    draft.attention(
        "attention",
        AttentionStep {
            query_norm: norm("0.norm"),
            keys: vec![KeySet::new("latents", norm("0.norm_context"))],
            residual: Some("hiddens".to_owned()),
            output: Some((part.layer(&format!("{block}to_out")), width)),
            ..AttentionStep::new("hiddens", heads, [head; 2], [q, kv(0), kv(1)])
        },
    );
    let net = "cross_attend_blocks.1.fn.net.";
    let hidden = part.dim(&format!("{net}2.weight"), 1);
    let half = |index| part.biased(&format!("{net}0")).part(index, 2, hidden, hidden);
    draft.mlp(
        "layer.0",
        MlpStep {
            norm: norm("1.norm"),
            gate: Some(half(1)),
            residual: true,
            ..MlpStep::new(
                "attention",
                hidden,
                [half(0), part.biased(&format!("{net}2"))],
                Activation::GeluErf,
            )
        },
    );
    draft.output("layer.0", "layer.0");
    draft.stage(Stage::Postprocess);
    let of = "layer.0".to_owned();
    draft.make("mean", Make::Mean { of, mask: Some("hiddens".to_owned()) });
    if part.switch(&setting("output_normalize"), true)? {
        let norm = Norm { kind: NormKind::Unit, weight: None, bias: None, eps: 1e-24 };
        draft.norm("embedding", "mean", norm);
        draft.output("output", "embedding");
    } else {
        draft.output("output", "mean");
    }
    Ok(draft.finish())
}
