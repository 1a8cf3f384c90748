//! The decoder of every classifier: one learned query, one score per class.

use crate::graph::Stage;
use crate::perceiver::blueprint::{Content, Decoder, Head, OutputLinear, Queries, RowArray};
use crate::perceiver::stack::Stack;

/// One learned query, decoded into `logits` `[batch, classes]`.
pub(super) fn decoder(stack: &Stack<'_>) -> Decoder {
    let config = stack.config;
    let channels = config.query_channels();
    let classes = config.labels.len();
    let name = "perceiver.decoder.decoder.output_position_encodings.position_embeddings";
    let query = RowArray::new("class", 1).with_content(Content::Learned {
        tensor: name.to_owned(),
        channels,
    });
    let last = "perceiver.decoder.decoder.final_layer";
    Decoder {
        layer: stack.decoder_layer(true),
        heads: vec![Head {
            output: "logits".to_owned(),
            queries: Queries::Array(Box::new(query)),
            layers: vec![OutputLinear::plain(
                "classes",
                Stage::Decode,
                last,
                channels,
                classes,
            )],
            shape: vec![classes],
            upsample: None,
        }],
        shape: vec![classes],
    }
}
