//! The resampler of Idefics, with or without LayerNorms of the heads of queries and keys.

use super::super::blueprint::{AttentionStep, Blueprint, HeadNorm, KeySet, MlpStep};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "idefics",
    models: "Idefics 9B, 80B",
    task: "features of pictures to tokens of a language model",
    licence: "other (LLaMA's for the language model)",
    weights: "HuggingFaceM4/idefics-9b, part model.perceiver_resampler.",
    reference: "transformers 5.24.0",
    signature: &["blocks.0.0.context_layer_norm.weight", "blocks.0.0.q_proj.weight", "latents"],
    model_types: &["idefics"],
    blueprint,
};

const EPS: f32 = 1e-5;

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [0, 1].map(|axis| part.dim("latents", axis));
    let inner = part.dim("blocks.0.0.q_proj.weight", 0);
    let whole = "perceiver_config.resampler_n_heads";
    let key = if part.value(whole).is_some() { whole } else { "resampler_n_heads" };
    let [heads, head] = part.heads(key, 16, inner)?;
    let mut draft = Draft::new();
    draft.input("context", width);
    draft.learned("latents", part.name("latents"), vec![rows, width]);
    let mut last = "latents".to_owned();
    for i in 0..part.count(|i| format!("blocks.{i}.0.q_proj.weight")) {
        let leaf = |leaf: &str| format!("blocks.{i}.{leaf}");
        let norm = |name: &str| Some(part.norm(&leaf(name), EPS));
        let head_norm = |name: &str| {
            let norm = part.norm_if(&leaf(name), EPS)?;
            Some(HeadNorm { norm, per_head: true })
        };
        let layer = |name: &str| part.layer(&leaf(name));
        let attended = format!("attention.{i}");
        let projections = ["0.q_proj", "0.k_proj", "0.v_proj"].map(layer);
        draft.attention(
            &attended,
            AttentionStep {
                query_norm: norm("0.latents_layer_norm"),
                keys: vec![
                    KeySet::new("context", norm("0.context_layer_norm")),
                    KeySet::new(&last, norm("0.latents_layer_norm")),
                ],
                q_norm: head_norm("0.q_layer_norm"),
                k_norm: head_norm("0.k_layer_norm"),
                residual: Some(last.clone()),
                output: Some((layer("0.output_proj"), width)),
                ..AttentionStep::new(&last, heads, [head; 2], projections)
            },
        );
        last = format!("layer.{i}");
        let hidden = part.dim(&leaf("1.fc.weight"), 0);
        let layers = [layer("1.fc"), layer("1.c_proj")];
        draft.mlp(
            &last,
            MlpStep {
                norm: norm("1.ln"),
                residual: true,
                ..MlpStep::new(&attended, hidden, layers, Activation::Relu)
            },
        );
        draft.intermediate(&last, &last);
    }
    draft.norm("normed", &last, part.norm("layer_norm", EPS));
    draft.output("output", "normed");
    Ok(draft.finish())
}
