//! `PerceiverForOpticalFlow`: 3×3 neighbourhoods of two frames in, one flow vector per
//! pixel out.

use crate::error::{Error, Result};
use crate::graph::{FourierPositions, Spacing, Stage};
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::{Array, Batch, finite, named, planes_to_rows};
use crate::perceiver::blueprint::{
    Blueprint, Content, Decoder, Head, OutputLinear, Queries, RowArray,
};
use crate::perceiver::config::FLOW_CHANNELS;
use crate::perceiver::stack::{Sizes, Stack};
use crate::tensor::NamedTensors;

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
/// `[batch, height, width, 2]`, flow in pixels divided by 20. The queries are the input's rows.
#[must_use]
pub fn blueprint(config: &PerceiverConfig) -> Blueprint {
    let [height, width] = config.train_size;
    let stack = Stack {
        config,
        channels: CHANNELS,
    };
    let content = Content::Linear {
        input: "patches".to_owned(),
        channels: PATCH_CHANNELS,
        layer: "perceiver.input_preprocessor.conv_after_patches".to_owned(),
        out: CONTENT,
        unit_window: false,
    };
    let rows = RowArray::new("frame", height * width)
        .with_content(content)
        .with_fourier(FourierPositions {
            axes: vec![height, width],
            max_resolution: config.train_size.to_vec(),
            bands: BANDS,
            spacing: Spacing::Ends,
        });
    let last = "perceiver.decoder.decoder.final_layer";
    let shape = vec![height, width, 2];
    Blueprint {
        latents: stack.latents(),
        channels: CHANNELS,
        inputs: vec![rows],
        steps: stack.steps(),
        decoders: vec![Decoder {
            layer: stack.decoder_layer(false),
            heads: vec![Head {
                output: "logits".to_owned(),
                queries: Queries::Input(0),
                layers: vec![OutputLinear {
                    divisor: RESCALE,
                    ..OutputLinear::plain("flow", Stage::Decode, last, CHANNELS, 2)
                }],
                shape: shape.clone(),
            }],
            shape,
        }],
    }
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
