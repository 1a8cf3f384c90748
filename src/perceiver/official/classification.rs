//! What every classifier shares: one learned query, decoded into one score per class.

use super::stack;
use crate::graph::Stage;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::blueprint::{
    Blueprint, Content, DecoderBlueprint, Head, Modality, OutputLinear,
};

pub(super) fn query_channels(config: &PerceiverConfig) -> usize {
    config.d_latents
}

/// Elements of the last layer's weight.
pub(super) fn labels(config: &PerceiverConfig) -> (&'static str, usize) {
    ("id2label", config.labels.len() * config.d_latents)
}

/// From one modality to `logits` `[batch, classes]`.
pub(super) fn blueprint(config: &PerceiverConfig, rows: Modality) -> Blueprint {
    let channels = config.query_channels();
    let classes = config.labels.len();
    let name = "perceiver.decoder.decoder.output_position_encodings.position_embeddings";
    let query = Modality::bare("class", 1)
        .with_content(Content::Learned { tensor: name.to_owned(), channels });
    let last = "perceiver.decoder.decoder.final_layer";
    let layers = vec![OutputLinear::plain("classes", Stage::Decode, last, channels, classes)];
    let decoder = DecoderBlueprint {
        layer: stack::decoder_layer(config, true),
        heads: vec![Head::new("logits", query.into(), layers, vec![classes])],
        shape: vec![classes],
    };
    stack::blueprint(config, vec![rows], decoder)
}
