//! Configurations of the published models, which the library's tests share.

use perceiver::{Architecture, PerceiverConfig};

/// The configuration that a class was published with, without the names of its classes.
pub(crate) fn published(architecture: Architecture) -> PerceiverConfig {
    let defaults = PerceiverConfig::new(architecture);
    match defaults.architecture {
        Architecture::OpticalFlow => PerceiverConfig {
            num_latents: 2048,
            d_latents: 512,
            num_self_attends_per_block: 24,
            num_self_attention_heads: 16,
            num_cross_attention_heads: 1,
            ..defaults
        },
        Architecture::Multimodal => PerceiverConfig {
            num_latents: 784,
            d_latents: 512,
            num_self_attends_per_block: 8,
            num_cross_attention_heads: 1,
            labels: vec![String::new(); 700],
            ..defaults
        },
        class if class.is_image() => PerceiverConfig {
            num_latents: 512,
            d_latents: 1024,
            num_blocks: 8,
            num_self_attends_per_block: 6,
            num_cross_attention_heads: 1,
            image_size: 224,
            labels: vec![String::new(); 1000],
            ..defaults
        },
        _ => PerceiverConfig { qk_channels: Some(256), v_channels: Some(1280), ..defaults },
    }
}
