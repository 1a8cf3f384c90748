//! Aurora's Perceiver over pressure levels: an attention of a few latents over a few levels for every patch of the globe.
//!
//! Patches are items of a batch. The norm comes after the branch and before it is added.

use super::super::blueprint::{AttentionStep, Blueprint, HeadNorm, KeySet, MlpStep, Norm};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "aurora",
    models: "Aurora (weather, air pollution, waves)",
    task: "pressure levels of each patch to latent levels, and back",
    licence: "MIT",
    weights: "microsoft/aurora, *.ckpt, parts encoder.level_agg. and decoder.level_decoder.",
    reference: "microsoft-aurora 2.0.1",
    signature: &[
        "layers.0.0.to_kv.weight",
        "layers.0.1.net.0.weight",
        "layers.0.2.weight",
        "layers.0.3.weight",
    ],
    model_types: &[],
    blueprint,
};

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [inner, width] = [0, 1].map(|axis| part.dim("layers.0.0.to_q.weight", axis));
    // 16 in the large models, whose heads are of 32 and of 64 channels, 8 in the small ones.
    let usual = if width < 512 || inner == 512 && part.prefix.contains("decoder") { 8 } else { 16 };
    let [heads, head] = part.heads("num_heads", usual, inner)?;
    let eps = part.number("ln_eps", 1e-5)?;
    let residual = part.switch("residual_latent", true)?;
    let mut draft = Draft::new();
    draft.input("x", part.dim("layers.0.0.to_kv.weight", 1)).count = 13;
    // The encoder's latents lie beside the part.
    let own = part.prefix.strip_suffix("level_agg.").map(|above| format!("{above}atmos_latents"));
    match own.as_ref().and_then(|name| part.found(name)) {
        Some(shape) => draft.learned("latents", own.unwrap_or_default(), shape),
        None => draft.push_given("latents", 3, width),
    }
    let mut last = "latents".to_owned();
    for i in 0..part.count(|i| format!("layers.{i}.0.to_q.weight")) {
        let leaf = |leaf: &str| format!("layers.{i}.{leaf}");
        let [k, v] = part.plain(&leaf("0.to_kv")).split(inner, head);
        let head_norm = |name: &str| {
            let norm = part.norm_if(&leaf(name), 1e-5)?;
            Some(HeadNorm { norm, per_head: false })
        };
        let norm = |name: &str| Some(Norm::layer(&part.name(&leaf(name)), eps));
        let attended = format!("attention.{i}");
        draft.attention(
            &attended,
            AttentionStep {
                keys: vec![KeySet::new("x", None)],
                q_norm: head_norm("0.ln_q"),
                k_norm: head_norm("0.ln_k"),
                post_norm: norm("2"),
                residual: residual.then(|| last.clone()),
                output: Some((part.layer(&leaf("0.to_out")), width)),
                ..AttentionStep::new(&last, heads, [head; 2], [part.layer(&leaf("0.to_q")), k, v])
            },
        );
        last = format!("layer.{i}");
        let hidden = part.dim(&leaf("1.net.0.weight"), 0);
        let layers = [part.biased(&leaf("1.net.0")), part.biased(&leaf("1.net.2"))];
        draft.mlp(
            &last,
            MlpStep {
                post_norm: norm("3"),
                residual: true,
                ..MlpStep::new(&attended, hidden, layers, Activation::GeluErf)
            },
        );
        draft.intermediate(&last, &last);
    }
    draft.output("output", &last);
    Ok(draft.finish())
}
