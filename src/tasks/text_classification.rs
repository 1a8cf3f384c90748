//! `PerceiverForSequenceClassification` as a graph: token ids in, one score per class out.

use super::classification::classify;
use super::masked_lm::text_rows;
use crate::error::Result;
use crate::graph::Graph;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::stack::{Request, Stack};

/// Inputs `input_ids` and `attention_mask`, both `[batch, 1, length]`; output `logits`
/// `[batch, classes]`.
///
/// # Errors
/// [`crate::Error::Graph`] when widths do not fit.
pub fn graph(config: &PerceiverConfig, request: &Request) -> Result<Graph> {
    let mut g = Graph::default();
    let stack = Stack {
        config,
        channels: config.d_model,
    };
    let rows = text_rows(&mut g, config, request.batch, request.sizes.length);
    let (latents, _) = stack.encode_and_process(&mut g, request, &[rows])?;
    classify(&mut g, &stack, request, latents)?;
    Ok(g)
}
