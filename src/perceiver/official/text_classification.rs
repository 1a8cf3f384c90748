//! `PerceiverForSequenceClassification`: token ids in, one score per class out.

use super::classification;
use super::masked_lm::text;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::blueprint::Blueprint;
use crate::perceiver::stack::{Sizes, Stack};

/// Inputs `input_ids` and `attention_mask`, both `[batch, 1, length]`; output `logits`
/// `[batch, classes]`.
#[must_use]
pub fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let stack = Stack {
        config,
        channels: config.d_model,
    };
    Blueprint {
        latents: stack.latents(),
        channels: stack.channels,
        inputs: vec![text(config, sizes.length)],
        steps: stack.steps(),
        decoders: vec![classification::decoder(&stack)],
    }
}
