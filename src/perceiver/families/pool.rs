//! Attention pools of picture features, as MiniCPM-V and Qwen-VL have them: learned queries, one `nn.MultiheadAttention`,
//! positions that are added to queries and keys but not to values.

use super::super::blueprint::{AttentionStep, KeySet};
use super::{Draft, Part};
use crate::error::Result;

const EPS: f32 = 1e-6;

/// Adds the pool whose names begin with `prefix` within the part; `positions` are those of the keys, and whether they are
/// learned ones of the queries too. Returns the channels; the result is the array `layer.0`.
pub(super) fn attend(
    draft: &mut Draft,
    part: &Part<'_>,
    prefix: &str,
    (positions, of_queries): (&str, bool),
    mask: Option<&str>,
) -> Result<usize> {
    let leaf = |leaf: &str| format!("{prefix}{leaf}");
    let [rows, width] = [0, 1].map(|axis| part.dim(&leaf("query"), axis));
    let [heads, head] = part.heads("num_heads", (width / 128).max(1), width)?;
    let mut context = "x";
    if part.has(&leaf("kv_proj.weight")) {
        draft.linear("projected", "x", part.layer(&leaf("kv_proj")), width);
        context = "projected";
    }
    draft.norm("values", context, part.norm(&leaf("ln_kv"), EPS));
    draft.sum("keys", ["values", positions]);
    draft.learned("query", part.name(&leaf("query")), vec![rows, width]);
    draft.norm("queries", "query", part.norm(&leaf("ln_q"), EPS));
    let mut queries = "queries";
    if of_queries {
        draft.learned("query positions", part.name(&leaf("pos_embed")), vec![rows, width]);
        draft.sum("placed queries", ["queries", "query positions"]);
        queries = "placed queries";
    }
    let projections = part.packed(&leaf("attn"), width, head);
    let set = KeySet::new("keys", None);
    draft.attention(
        "layer.0",
        AttentionStep {
            keys: vec![KeySet {
                values: Some("values".to_owned()),
                mask: mask.map(str::to_owned),
                ..set
            }],
            output: Some((part.biased(&leaf("attn.out_proj")), width)),
            ..AttentionStep::new(queries, heads, [head; 2], projections)
        },
    );
    draft.intermediate("layer.0", "layer.0");
    Ok(width)
}

/// LayerNorm and a product with a matrix that is not transposed.
pub(super) fn project(draft: &mut Draft, part: &Part<'_>, width: usize) {
    draft.norm("post", "layer.0", part.norm("ln_post", EPS));
    let mut layer = part.plain("");
    layer.weight = part.name("proj");
    layer.transposed = true;
    draft.linear("pooled", "post", layer, width);
    draft.output("output", "pooled");
}
