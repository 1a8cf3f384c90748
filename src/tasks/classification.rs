//! The decoder of every classifier: one learned query, one score per class.

use crate::error::Result;
use crate::graph::{Graph, HeadLayout, Linear, LinearPart, Stage, ValueId};
use crate::kernels::gemm::Activation;
use crate::perceiver::decoder::decode;
use crate::perceiver::rows::Rows;
use crate::perceiver::stack::{Request, Stack};

/// Decodes `latents` with one learned query into `logits` `[batch, classes]`.
///
/// # Errors
/// [`crate::Error::Graph`] when widths do not fit.
pub(super) fn classify(
    g: &mut Graph,
    stack: &Stack<'_>,
    request: &Request,
    latents: ValueId,
) -> Result<()> {
    let config = stack.config;
    let (batch, channels) = (request.batch, config.query_channels());
    let query = super::masked_lm::learned(
        g,
        "perceiver.decoder.decoder.output_position_encodings.position_embeddings",
        1,
        channels,
    );
    let queries = [Rows::of_array("class", 1, channels, query)];
    let layer = stack.decoder_layer(true);
    let classes = config.labels.len();
    decode(
        g,
        &layer,
        latents,
        &queries,
        usize::MAX / 2,
        None,
        request.route(),
        &mut |g, decoded| {
            let view = g.view(decoded.hidden);
            let last = Linear {
                parts: vec![LinearPart::plain(
                    "perceiver.decoder.decoder.final_layer",
                    classes,
                )],
                input: HeadLayout::plain(channels),
                divisor: 1,
                activation: Activation::None,
                residual: None,
            };
            let logits = g.linear(Stage::Decode, "classes", view, last)?;
            g.output("logits", vec![logits], vec![batch, classes]);
            if request.intermediates {
                let shape = vec![batch, 1, channels];
                g.output(
                    "decoder_query",
                    decoded.queries.iter().map(|q| q.value).collect(),
                    shape.clone(),
                );
                g.output("decoder_hidden", vec![decoded.hidden], shape);
                g.output("decoder_output", vec![logits], vec![batch, classes]);
            }
            Ok(())
        },
    )
}
