//! The image projections of IP-Adapter Plus and FaceID Plus, under diffusers' names and under those of the original files.
//!
//! As Flamingo's resampler, with a linear layer before, and one and a LayerNorm after. The latents are learned, or, in FaceID
//! Plus, made of the embedding of a face: an MLP whose result are their channels one after the other, and a LayerNorm.

use super::super::blueprint::{AttentionStep, Blueprint, KeySet, LinearStep, Make, MlpStep};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "ip_adapter",
    models: "IP-Adapter Plus, Plus Face, InstantID",
    task: "features of a picture to tokens of a diffusion model",
    licence: "Apache-2.0",
    weights: "h94/IP-Adapter, ip-adapter-plus*.safetensors, part image_proj.",
    reference: "diffusers 0.42.1",
    signature: &["proj_in.weight", "proj_out.weight", "norm_out.weight", "latents"],
    model_types: &[],
    blueprint: plus,
};

/// FaceID Plus under the original names.
pub(super) const FACE_ID: Family = Family {
    name: "ip_adapter_faceid",
    models: "IP-Adapter FaceID Plus, Plus v2",
    task: "a face's embedding and features of its picture to tokens of a diffusion model",
    licence: "not stated (research use; the embeddings are InsightFace's)",
    weights: "h94/IP-Adapter-FaceID, ip-adapter-faceid-plus*.bin, part image_proj.",
    signature: &[
        "proj.0.weight",
        "proj.2.weight",
        "norm.weight",
        "perceiver_resampler.proj_in.weight",
        "perceiver_resampler.norm_out.weight",
    ],
    blueprint: face_id,
    ..FAMILY
};

/// FaceID Plus under diffusers' names.
pub(super) const FACE_ID_DIFFUSERS: Family = Family {
    signature: &[
        "proj.net.0.proj.weight",
        "proj.net.2.weight",
        "norm.weight",
        "proj_in.weight",
        "norm_out.weight",
    ],
    ..FACE_ID
};

const EPS: f32 = 1e-5;

fn plus(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [1, 2].map(|axis| part.dim("latents", axis));
    let mut draft = Draft::new();
    draft.learned("latents", part.name("latents"), vec![1, rows, width]);
    resampler(&mut draft, part, "", "x")?;
    draft.output("output", "normed");
    Ok(draft.finish())
}

fn face_id(part: &Part<'_>) -> Result<Blueprint> {
    let original = part.has("perceiver_resampler.proj_in.weight");
    let (prefix, [widen, narrow]) = match original {
        true => ("perceiver_resampler.", ["proj.0", "proj.2"]),
        false => ("", ["proj.net.0.proj", "proj.net.2"]),
    };
    let width = part.dim("norm.weight", 0);
    let [hidden, embedding] = [0, 1].map(|axis| part.dim(&format!("{widen}.weight"), axis));
    let all = part.dim(&format!("{narrow}.weight"), 0);
    let mut draft = Draft::new();
    let face = draft.input("id_embeds", embedding);
    (face.count, face.varies) = (1, false);
    let widen = LinearStep::new("id_embeds", part.biased(widen), hidden);
    draft.layer("widened", LinearStep { activation: Activation::GeluErf, ..widen });
    // Channels of each token become a row, as heads would.
    let narrow = LinearStep::new("widened", part.biased(narrow), all);
    draft.layer("tokens", LinearStep { heads: (all / width.max(1)).max(1), ..narrow });
    draft.norm("latents", "tokens", part.norm("norm", EPS));
    draft.intermediate("latents", "latents");
    resampler(&mut draft, part, prefix, "clip_embeds")?;
    let mut last = "normed";
    if part.switch("shortcut", false)? {
        let value = part.number("shortcut_scale", 1.0)?;
        if value != 1.0 {
            draft.make("scale", Make::Filled { value, channels: width });
            draft.product("scaled", ["normed", "scale"], Activation::None);
            last = "scaled";
        }
        draft.sum("shortcut", ["latents", last]);
        last = "shortcut";
    }
    draft.output("output", last);
    Ok(draft.finish())
}

/// The resampler whose names begin with `prefix` within the part, from the array `latents` to the array `normed`.
fn resampler(draft: &mut Draft, part: &Part<'_>, prefix: &str, input: &str) -> Result<()> {
    let leaf = |name: &str| format!("{prefix}{name}");
    let diffusers = part.has(&leaf("layers.0.ln0.weight"));
    // Names of attention norms, of the projections, of the MLP's norm and its two layers.
    let names: [&str; 7] = match diffusers {
        true => {
            ["ln0", "ln1", "attn.to_q", "attn.to_out.0", "ff.0", "ff.1.net.0.proj", "ff.1.net.2"]
        }
        false => ["0.norm1", "0.norm2", "0.to_q", "0.to_out", "1.0", "1.1", "1.3"],
    };
    let inner = part.dim(&leaf(&format!("layers.0.{}.weight", names[2])), 0);
    // Published ones have heads of 64 channels.
    let [heads, head] = part.heads("heads", inner / 64, inner)?;
    let [width, channels] = [0, 1].map(|axis| part.dim(&leaf("proj_in.weight"), axis));
    draft.input(input, channels);
    draft.linear("context", input, part.biased(&leaf("proj_in")), width);
    let mut last = "latents".to_owned();
    for i in 0..part.count(|i| leaf(&format!("layers.{i}.{}.weight", names[2]))) {
        let [ln0, ln1, to_q, to_out, ln, widen, narrow] =
            names.map(|name| leaf(&format!("layers.{i}.{name}")));
        let plain = |name: &str| part.plain(&leaf(&format!("layers.{i}.{name}")));
        let [k, v] = match diffusers {
            true => [plain("attn.to_k"), plain("attn.to_v")],
            false => plain("0.to_kv").split(inner, head),
        };
        let attended = format!("attention.{i}");
        draft.attention(
            &attended,
            AttentionStep {
                query_norm: Some(part.norm(&ln1, EPS)),
                keys: vec![
                    KeySet::new("context", Some(part.norm(&ln0, EPS))),
                    KeySet::new(&last, Some(part.norm(&ln1, EPS))),
                ],
                residual: Some(last.clone()),
                output: Some((part.layer(&to_out), width)),
                ..AttentionStep::new(&last, heads, [head; 2], [part.layer(&to_q), k, v])
            },
        );
        last = format!("layer.{i}");
        let hidden = part.dim(&format!("{widen}.weight"), 0);
        let layers = [part.layer(&widen), part.layer(&narrow)];
        draft.mlp(
            &last,
            MlpStep {
                norm: Some(part.norm(&ln, EPS)),
                residual: true,
                ..MlpStep::new(&attended, hidden, layers, Activation::GeluErf)
            },
        );
        draft.intermediate(&last, &last);
    }
    let out = part.dim(&leaf("proj_out.weight"), 0);
    draft.linear("projected", &last, part.biased(&leaf("proj_out")), out);
    draft.norm("normed", "projected", part.norm(&leaf("norm_out"), EPS));
    Ok(())
}
