//! Process: the latent self-attention tower, the same layers once per block.

use super::layer::AttentionLayer;
use crate::error::Result;
use crate::graph::{Graph, ValueId};

/// The latents after each layer and each block that a caller may want to look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Processed {
    /// After the first layer of the first block.
    pub(super) after_layer1: ValueId,
    /// After the first block.
    pub(super) after_block1: ValueId,
    /// After the last block.
    pub(super) last: ValueId,
}

/// Runs `latents` through `layers`, `blocks` times with shared weights.
pub(super) fn process(
    g: &mut Graph,
    layers: &[AttentionLayer],
    blocks: usize,
    latents: ValueId,
) -> Result<Processed> {
    let mut result = Processed { after_layer1: latents, after_block1: latents, last: latents };
    for block in 0..blocks {
        for (i, layer) in layers.iter().enumerate() {
            let x = g.view(result.last);
            result.last = layer.self_attention(g, x)?;
            if block == 0 && i == 0 {
                result.after_layer1 = result.last;
            }
        }
        if block == 0 {
            result.after_block1 = result.last;
        }
    }
    Ok(result)
}
