//! The latent attention of NV-Embed: hidden states ask, learned latents are the keys; then the mean over a text.

use super::super::blueprint::{AttentionStep, Blueprint, Make, Norm, NormKind, Stage};
use super::{Draft, Family, Part, pre_norm};
use crate::error::Result;

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

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [0, 1].map(|axis| part.dim("latents", axis));
    let setting = |key: &str| {
        let nested = format!("latent_attention_config.{key}");
        if part.value(&nested).is_some() { nested } else { key.to_owned() }
    };
    let block = "cross_attend_blocks.0";
    let inner = part.dim(&format!("{block}.fn.to_q.weight"), 0);
    let [heads, _] = part.heads(&setting("num_cross_heads"), 8, inner)?;
    let mut draft = Draft::new();
    draft.stage(Stage::Decode);
    draft.input("hiddens", width).mask = Some("attention_mask".to_owned());
    draft.learned("latents", part.name("latents"), vec![rows, width]);
    let step = pre_norm::attention(part, block, ["hiddens", "latents"], heads);
    let output = Some((part.layer(&format!("{block}.fn.to_out")), width));
    draft.attention("attention", AttentionStep { output, ..step });
    draft.mlp("layer.0", pre_norm::mlp(part, "cross_attend_blocks.1", "attention"));
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
