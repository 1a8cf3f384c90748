//! The conditioning Perceiver of XTTS: latents attend to themselves and to the prompt's frames; GEGLU, RMSNorm at the end.

use super::super::blueprint::{AttentionStep, Blueprint, KeySet, Modality, Norm, NormKind};
use super::pre_norm::geglu;
use super::{Draft, Family, Part};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "xtts",
    models: "XTTS-v2",
    task: "frames of a voice to tokens of a speech model",
    licence: "Coqui Public Model License",
    weights: "coqui/XTTS-v2, model.pth, part gpt.conditioning_perceiver.",
    reference: "coqui-tts 0.28.0",
    signature: &["norm.gamma", "layers.0.0.to_kv.weight", "layers.0.1.0.weight", "latents"],
    model_types: &[],
    blueprint,
};

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [0, 1].map(|axis| part.dim("latents", axis));
    let inner = part.dim("layers.0.0.to_q.weight", 0);
    let [heads, head] = part.heads("heads", 8, inner)?;
    let mut draft = Draft::new();
    let projected = part.has("proj_context.weight");
    let channels = if projected { part.dim("proj_context.weight", 1) } else { width };
    draft.input("x", channels).mask = Some("mask".to_owned());
    // Latents too can be masked, as keys.
    let mut own = Modality::bare("latents_mask", rows);
    own.mask = Some("latents_mask".to_owned());
    draft.push_input(own);
    if projected {
        draft.linear("context", "x", part.biased("proj_context"), width);
    }
    let context = if projected { "context" } else { "x" };
    draft.learned("latents", part.name("latents"), vec![rows, width]);
    let mut last = "latents".to_owned();
    for i in 0..part.count(|i| format!("layers.{i}.0.to_q.weight")) {
        let leaf = |leaf: &str| format!("layers.{i}.{leaf}");
        let [k, v] = part.plain(&leaf("0.to_kv")).split(inner, head);
        let attended = format!("attention.{i}");
        let masked = |rows: &str, mask: &str| KeySet {
            mask: Some(mask.to_owned()),
            ..KeySet::new(rows, None)
        };
        draft.attention(
            &attended,
            AttentionStep {
                keys: vec![masked(context, "x"), masked(&last, "latents_mask")],
                residual: Some(last.clone()),
                output: Some((part.layer(&leaf("0.to_out")), width)),
                ..AttentionStep::new(&last, heads, [head; 2], [part.layer(&leaf("0.to_q")), k, v])
            },
        );
        last = format!("layer.{i}");
        draft.mlp(&last, geglu(part, None, &leaf("1"), ["0", "2"], &attended));
        draft.intermediate(&last, &last);
    }
    let gamma = Some(part.name("norm.gamma"));
    // Rows of zeros stay zeros.
    let norm = Norm { kind: NormKind::Rms, weight: gamma, bias: None, eps: 1e-24 };
    draft.norm("normed", &last, norm);
    draft.output("output", "normed");
    Ok(draft.finish())
}
