//! The image projection of IP-Adapter Plus, under diffusers' names and under those of the original files.
//!
//! As Flamingo's resampler, with a linear layer before, and one and a LayerNorm after.

use super::super::blueprint::{AttentionStep, Blueprint, KeySet, MlpStep};
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
    blueprint,
};

const EPS: f32 = 1e-5;

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [1, 2].map(|axis| part.dim("latents", axis));
    let diffusers = part.has("layers.0.ln0.weight");
    // Names of attention norms, of the projections, of the MLP's norm and its two layers.
    let names: [&str; 7] = match diffusers {
        true => {
            ["ln0", "ln1", "attn.to_q", "attn.to_out.0", "ff.0", "ff.1.net.0.proj", "ff.1.net.2"]
        }
        false => ["0.norm1", "0.norm2", "0.to_q", "0.to_out", "1.0", "1.1", "1.3"],
    };
    let inner = part.dim(&format!("layers.0.{}.weight", names[2]), 0);
    // Published ones have heads of 64 channels.
    let [heads, head] = part.heads("heads", inner / 64, inner)?;
    let mut draft = Draft::new();
    draft.input("x", part.dim("proj_in.weight", 1));
    draft.linear("context", "x", part.biased("proj_in"), width);
    draft.learned("latents", part.name("latents"), vec![1, rows, width]);
    let mut last = "latents".to_owned();
    for i in 0..part.count(|i| format!("layers.{i}.{}.weight", names[2])) {
        let [ln0, ln1, to_q, to_out, ln, widen, narrow] =
            names.map(|leaf| format!("layers.{i}.{leaf}"));
        let plain = |leaf: &str| part.plain(&format!("layers.{i}.{leaf}"));
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
    let out = part.dim("proj_out.weight", 0);
    draft.linear("projected", &last, part.biased("proj_out"), out);
    draft.norm("normed", "projected", part.norm("norm_out", EPS));
    draft.output("output", "normed");
    Ok(draft.finish())
}
