//! `PerceiverForOpticalFlow` as a graph: 3×3 neighbourhoods of two frames in, one flow vector per
//! pixel out.

use crate::error::{Error, Result};
use crate::graph::{
    FourierPositions, Graph, HeadLayout, Linear, LinearPart, Spacing, Stage, ValueId,
};
use crate::kernels::gemm::Activation;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::{Array, Batch, finite, named, planes_to_rows};
use crate::perceiver::config::FLOW_CHANNELS;
use crate::perceiver::decoder::decode;
use crate::perceiver::encoder::Window;
use crate::perceiver::rows::Rows;
use crate::perceiver::stack::{Request, Sizes, Stack};
use crate::tensor::{Extent, NamedTensors};

/// Channels of a pixel's neighbourhood in both frames.
pub const PATCH_CHANNELS: usize = 54;
/// Channels after the linear layer, fixed in Hugging Face's class.
const CONTENT: usize = 64;
/// Fourier bands, fixed in Hugging Face's class.
const BANDS: usize = 64;
/// Content, two positions, and sines and cosines of both axes.
const CHANNELS: usize = FLOW_CHANNELS;
const _: () = assert!(CHANNELS == CONTENT + 2 * (1 + 2 * BANDS));
/// The class divides its output by this.
const RESCALE: u32 = 100;

/// Input `patches` `[batch, pixels, 54]` (frame 1's 27 channels, then frame 2's); output `logits`
/// `[batch, height, width, 2]`, flow in pixels divided by 20.
///
/// # Errors
/// [`crate::Error::Graph`] when widths do not fit.
pub fn graph(config: &PerceiverConfig, request: &Request) -> Result<Graph> {
    let mut g = Graph::default();
    let [height, width] = config.train_size;
    let pixels = height * width;
    let batch = request.batch;
    let patches = g.input("patches", Extent::new(batch, pixels, PATCH_CHANNELS));
    let linear = |name: &str, input: usize, out: usize, divisor: u32| Linear {
        parts: vec![LinearPart::plain(&format!("perceiver.{name}"), out)],
        input: HeadLayout::plain(input),
        divisor,
        activation: Activation::None,
        residual: None,
    };
    let rows = || {
        let content = move |g: &mut Graph, w: Window, stage: Stage| {
            let window = g.rows(patches, w.first, w.rows)?;
            let name = "input_preprocessor.conv_after_patches";
            let layer = linear(name, PATCH_CHANNELS, CONTENT, 1);
            let content = g.linear(stage, "patch content", window, layer)?;
            Ok(g.view(content))
        };
        Rows::of_content("frame", pixels, CONTENT, content).with_positions(FourierPositions {
            axes: vec![height, width],
            max_resolution: config.train_size.to_vec(),
            bands: BANDS,
            spacing: Spacing::Ends,
        })
    };

    let stack = Stack {
        config,
        channels: CHANNELS,
    };
    let (latents, assembled) = stack.encode_and_process(&mut g, request, &[rows()])?;
    // One window: the queries are the encoder's input, still at hand. Several: made again, which
    // costs less than keeping them.
    let known = assembled.first().copied().filter(|_| assembled.len() == 1);
    let (mut queries, mut hiddens, mut flows): (Vec<ValueId>, Vec<ValueId>, Vec<ValueId>) =
        Default::default();
    decode(
        &mut g,
        &stack.decoder_layer(false),
        latents,
        &[rows()],
        stack.decode_window_rows(request),
        known,
        request.route(),
        &mut |g, decoded| {
            let view = g.view(decoded.hidden);
            let final_layer = linear("decoder.decoder.final_layer", CHANNELS, 2, RESCALE);
            let flow = g.linear(Stage::Decode, "flow", view, final_layer)?;
            queries.extend(decoded.queries.map(|q| q.value));
            hiddens.push(decoded.hidden);
            flows.push(flow);
            Ok(())
        },
    )?;
    let shape = vec![batch, height, width, 2];
    g.output("logits", flows.clone(), shape.clone());
    if request.intermediates {
        let rows = vec![batch, pixels, CHANNELS];
        g.output("decoder_query", queries, rows.clone());
        g.output("decoder_hidden", hiddens, rows);
        g.output("decoder_output", flows, shape);
    }
    Ok(g)
}

/// Checks `patches` and makes rows of them.
pub(crate) fn inputs(config: &PerceiverConfig, inputs: &NamedTensors) -> Result<Batch> {
    let [patches] = named(inputs, ["patches"], &[])?;
    let [height, width] = config.train_size;
    let shape = patches.shape();
    let expected = || format!("f32 [batch, 2, 27, {height}, {width}]");
    if shape.len() != 5 || shape[0] == 0 || shape[1..] != [2, 27, height, width] {
        return Err(Error::input(
            "patches",
            format!("has shape {shape:?}"),
            expected(),
        ));
    }
    let data = finite("patches", patches, &expected)?;
    let pixels = height * width;
    let rows = patch_rows(data, pixels);
    Ok(Batch {
        items: shape[0],
        sizes: Sizes::default(),
        arrays: vec![Array::per_item("patches", pixels * PATCH_CHANNELS, rows)],
    })
}

/// Reorders patches `[batch, 2, 27, height, width]` to rows `[batch, pixels, 54]`.
///
/// `patches.len()` must be a multiple of 54 times `pixels`.
#[must_use]
pub fn patch_rows(patches: &[f32], pixels: usize) -> Vec<f32> {
    planes_to_rows(patches, PATCH_CHANNELS, pixels)
}
