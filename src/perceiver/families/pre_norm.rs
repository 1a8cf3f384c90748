//! Blocks with a LayerNorm before, as `perceiver-pytorch` has them and what was made of it: no biases but those of outputs,
//! keys and values in one tensor, gated MLPs with the exact GELU.

use super::super::blueprint::{AttentionStep, KeySet, MlpStep, Projection};
use super::{Draft, Part};
use crate::kernels::gemm::Activation;

/// Of all norms.
pub(super) const EPS: f32 = 1e-5;

/// Attention with heads that share the channels, queries added if `residual`; `mask` names the input that has one.
pub(super) fn attend(
    draft: &mut Draft,
    part: &Part<'_>,
    block: &str,
    name: &str,
    [queries, keys]: [&str; 2],
    (heads, residual): (usize, bool),
    mask: Option<&str>,
) {
    let inner = part.dim(&format!("{block}.fn.to_q.weight"), 0);
    let head = (inner / heads).max(1);
    let leaf = |leaf: &str| format!("{block}.fn.{leaf}");
    let norm = part.norm(&format!("{block}.norm"), EPS);
    let of_keys = part.norm_if(&format!("{block}.norm_context"), EPS);
    let set = KeySet::new(keys, Some(of_keys.unwrap_or_else(|| norm.clone())));
    let kv = |index| Projection::plain(&part.name(&leaf("to_kv"))).part(index, 2, inner, head);
    let out = part.dim(&leaf("to_out.weight"), 0);
    draft.attention(
        name,
        AttentionStep {
            query_norm: Some(norm),
            keys: vec![KeySet { mask: mask.map(str::to_owned), ..set }],
            residual: residual.then(|| queries.to_owned()),
            output: Some((part.biased(&leaf("to_out")), out)),
            ..AttentionStep::new(
                queries,
                heads,
                [head; 2],
                [part.layer(&leaf("to_q")), kv(0), kv(1)],
            )
        },
    );
}

/// The gated MLP, rows added.
pub(super) fn mlp(draft: &mut Draft, part: &Part<'_>, block: &str, name: &str, of: &str) {
    let leaf = |leaf: &str| format!("{block}.fn.net.{leaf}");
    let hidden = part.dim(&leaf("2.weight"), 1);
    let half = |index| part.biased(&leaf("0")).part(index, 2, hidden, hidden);
    draft.mlp(
        name,
        MlpStep {
            norm: Some(part.norm(&format!("{block}.norm"), EPS)),
            gate: Some(half(1)),
            residual: true,
            ..MlpStep::new(of, hidden, [half(0), part.biased(&leaf("2"))], Activation::GeluErf)
        },
    );
}
