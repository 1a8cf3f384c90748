//! The attention pool of Qwen-VL: learned positions, resized to the picture's grid on the keys.

use super::super::blueprint::{Blueprint, Make};
use super::{Draft, Family, Part, pool};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "qwen_vl",
    models: "Qwen-VL, Qwen-VL-Chat",
    task: "features of a picture to tokens of a language model",
    licence: "Tongyi Qianwen License",
    weights: "Qwen/Qwen-VL, part transformer.visual.",
    reference: "visual.py of Qwen-VL",
    signature: &["attn_pool.query", "attn_pool.pos_embed", "attn_pool.attn.in_proj_weight"],
    model_types: &["qwen"],
    blueprint,
};

/// The pool by itself, without what follows it.
pub(super) const ALONE: Family = Family {
    signature: &["query", "pos_embed", "attn.in_proj_weight", "ln_kv.weight"],
    model_types: &[],
    ..FAMILY
};

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let prefix = if part.has("attn_pool.query") { "attn_pool." } else { "" };
    let leaf = |leaf: &str| format!("{prefix}{leaf}");
    let [stored, width] = [0, 1].map(|axis| part.dim(&leaf("query"), axis));
    let projection = leaf("kv_proj.weight");
    let channels = if part.has(&projection) { part.dim(&projection, 1) } else { width };
    let mut draft = Draft::new();
    draft.input("x", channels);
    draft.make(
        "positions",
        Make::Resized {
            tensor: part.name(&leaf("pos_embed")),
            shape: [stored, width],
            of: "x".to_owned(),
        },
    );
    let width = pool::attend(&mut draft, part, prefix, ("positions", true), None)?;
    if part.has("proj") {
        pool::project(&mut draft, part, width);
    } else {
        draft.output("output", "layer.0");
    }
    Ok(draft.finish())
}
