//! The Perceiver of Chatterbox: one attention block, from queries to the prompt and then from the result to itself.

use super::super::blueprint::{AttentionStep, Blueprint, KeySet};
use super::{Draft, Family, Part};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "chatterbox",
    models: "Chatterbox, Chatterbox Multilingual",
    task: "speech tokens of a prompt to tokens of a speech model",
    licence: "MIT",
    weights: "ResembleAI/chatterbox, t3_cfg.safetensors, part cond_enc.perceiver.",
    reference: "chatterbox-tts 0.1.7",
    signature: &[
        "pre_attention_query",
        "attn.norm.weight",
        "attn.to_q.weight",
        "attn.proj_out.weight",
    ],
    model_types: &[],
    blueprint,
};

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [1, 2].map(|axis| part.dim("pre_attention_query", axis));
    let [heads, head] = part.heads("num_attn_heads", 4, width)?;
    let mut draft = Draft::new();
    draft.input("h", width);
    draft.learned("query", part.name("pre_attention_query"), vec![1, rows, width]);
    let norm = || Some(part.norm("attn.norm", 1e-5));
    for (name, queries, keys) in [("layer.0", "query", "h"), ("layer.1", "layer.0", "layer.0")] {
        let projections = ["attn.to_q", "attn.to_k", "attn.to_v"].map(|leaf| part.biased(leaf));
        draft.attention(
            name,
            AttentionStep {
                query_norm: norm(),
                keys: vec![KeySet::new(keys, norm())],
                residual: Some(queries.to_owned()),
                output: Some((part.biased("attn.proj_out"), width)),
                ..AttentionStep::new(queries, heads, [head; 2], projections)
            },
        );
        draft.intermediate(name, name);
    }
    draft.output("output", "layer.1");
    Ok(draft.finish())
}
