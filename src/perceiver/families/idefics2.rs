//! The connector of Idefics2: a gated MLP of the picture's features, and a resampler with grouped queries and RMSNorm.

use super::super::blueprint::{AttentionStep, Blueprint, KeySet, MlpStep, Norm};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "idefics2",
    models: "Idefics2 8B",
    task: "features of pictures to tokens of a language model",
    licence: "Apache-2.0",
    weights: "HuggingFaceM4/idefics2-8b, part model.connector.",
    reference: "transformers 5.24.0",
    signature: &[
        "layers.0.input_latents_norm.weight",
        "layers.0.self_attn.q_proj.weight",
        "latents",
    ],
    model_types: &["idefics2"],
    blueprint,
};

/// A setting of a whole model's configuration, or of a part's own.
fn nested(part: &Part<'_>, key: &str) -> String {
    let path = format!("perceiver_config.{key}");
    if part.value(&path).is_some() { path } else { key.to_owned() }
}

/// The eps of all norms. Where the text model is of another width than the resampler is said to be, transformers takes the
/// text model's.
fn eps(part: &Part<'_>) -> Result<f32> {
    if part.value("text_config").is_none() && part.value("perceiver_config").is_none() {
        return part.number("rms_norm_eps", 1e-6);
    }
    let text = part.size("text_config.hidden_size", 4096)?;
    if text == part.size("perceiver_config.hidden_size", 4096)? {
        return part.number("perceiver_config.rms_norm_eps", 1e-6);
    }
    let usual = if part.value("text_config").is_none() { 1e-5 } else { 1e-6 };
    part.number("text_config.rms_norm_eps", usual)
}

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [0, 1].map(|axis| part.dim("latents", axis));
    let eps = eps(part)?;
    let norm = |leaf: &str| Some(Norm::rms(&part.name(&format!("{leaf}.weight")), eps));
    let mut draft = Draft::new();
    // The connector's MLP lies beside the resampler.
    let above = part.prefix.strip_suffix("perceiver_resampler.").unwrap_or("\0");
    let projection = format!("{above}modality_projection");
    let context = match part.found(&format!("{projection}.gate_proj.weight")) {
        None => draft.input("context", width),
        Some(shape) => {
            let [hidden, channels] = [0, 1].map(|axis| shape.get(axis).copied().unwrap_or(1));
            draft.input("image_hidden_states", channels);
            let layer = |leaf: &str| {
                super::super::blueprint::Projection::plain(&format!("{projection}.{leaf}"))
            };
            let activation = part.activation("text_config.hidden_act", Activation::Silu)?;
            draft.mlp(
                "context",
                MlpStep {
                    gate: Some(layer("gate_proj")),
                    out: width,
                    ..MlpStep::new(
                        "image_hidden_states",
                        hidden,
                        [layer("up_proj"), layer("down_proj")],
                        activation,
                    )
                },
            );
            draft.intermediate("modality_projection", "context");
            draft.first_input()
        }
    };
    context.mask = Some("attention_mask".to_owned());
    let mask = Some(context.name.clone());
    draft.learned("latents", part.name("latents"), vec![rows, width]);
    let inner = part.dim("layers.0.self_attn.q_proj.weight", 0);
    let [heads, head] = part.heads(&nested(part, "resampler_n_heads"), 16, inner)?;
    let key_heads = part.dim("layers.0.self_attn.k_proj.weight", 0) / head;
    let activation = part.activation(&nested(part, "hidden_act"), Activation::Silu)?;
    let mut last = "latents".to_owned();
    for i in 0..part.count(|i| format!("layers.{i}.self_attn.q_proj.weight")) {
        let leaf = |leaf: &str| format!("layers.{i}.{leaf}");
        let layer = |name: &str| part.layer(&leaf(name));
        let attended = format!("attention.{i}");
        let projections = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map(layer);
        let context = KeySet::new("context", norm(&leaf("input_context_norm")));
        draft.attention(
            &attended,
            AttentionStep {
                query_norm: norm(&leaf("input_latents_norm")),
                keys: vec![
                    KeySet { mask: mask.clone(), ..context },
                    KeySet::new(&last, norm(&leaf("input_latents_norm"))),
                ],
                key_heads,
                residual: Some(last.clone()),
                output: Some((layer("self_attn.o_proj"), width)),
                ..AttentionStep::new(&last, heads, [head; 2], projections)
            },
        );
        last = format!("layer.{i}");
        draft.mlp(
            &last,
            MlpStep {
                norm: norm(&leaf("post_attention_layernorm")),
                gate: Some(layer("mlp.gate_proj")),
                residual: true,
                ..MlpStep::new(
                    &attended,
                    part.dim(&leaf("mlp.up_proj.weight"), 0),
                    [layer("mlp.up_proj"), layer("mlp.down_proj")],
                    activation,
                )
            },
        );
        draft.intermediate(&last, &last);
    }
    draft.norm("normed", &last, Norm::rms(&part.name("norm.weight"), eps));
    draft.output("output", "normed");
    Ok(draft.finish())
}
