//! Blocks with a LayerNorm before, as `perceiver-pytorch` has them and what was made of it: no biases but those of outputs,
//! keys and values in one tensor, gated MLPs with the exact GELU.

use super::super::blueprint::{AttentionStep, KeySet, MlpStep, Norm};
use super::Part;
use crate::kernels::gemm::Activation;

/// Of all norms.
pub(super) const EPS: f32 = 1e-5;

/// Attention with heads that share the channels, queries added.
pub(super) fn attention(
    part: &Part<'_>,
    block: &str,
    [queries, keys]: [&str; 2],
    heads: usize,
) -> AttentionStep {
    let inner = part.dim(&format!("{block}.fn.to_q.weight"), 0);
    let head = (inner / heads).max(1);
    let leaf = |leaf: &str| format!("{block}.fn.{leaf}");
    let norm = part.norm(&format!("{block}.norm"), EPS);
    let of_keys = part.norm_if(&format!("{block}.norm_context"), EPS);
    let set = KeySet::new(keys, Some(of_keys.unwrap_or_else(|| norm.clone())));
    let [k, v] = part.plain(&leaf("to_kv")).split(inner, head);
    let out = part.dim(&leaf("to_out.weight"), 0);
    AttentionStep {
        query_norm: Some(norm),
        keys: vec![set],
        residual: Some(queries.to_owned()),
        output: Some((part.biased(&leaf("to_out")), out)),
        ..AttentionStep::new(queries, heads, [head; 2], [part.layer(&leaf("to_q")), k, v])
    }
}

/// The gated MLP, rows added.
pub(super) fn mlp(part: &Part<'_>, block: &str, of: &str) -> MlpStep {
    let norm = part.norm(&format!("{block}.norm"), EPS);
    geglu(part, Some(norm), &format!("{block}.fn.net"), ["0", "2"], of)
}

/// A gated MLP whose first layer makes values and gates, rows added.
pub(super) fn geglu(
    part: &Part<'_>,
    norm: Option<Norm>,
    net: &str,
    layers: [&str; 2],
    of: &str,
) -> MlpStep {
    let [widen, narrow] = layers.map(|leaf| format!("{net}.{leaf}"));
    let hidden = part.dim(&format!("{narrow}.weight"), 1);
    let [values, gate] = part.biased(&widen).split(hidden, hidden);
    MlpStep {
        norm,
        gate: Some(gate),
        residual: true,
        ..MlpStep::new(of, hidden, [values, part.biased(&narrow)], Activation::GeluErf)
    }
}
