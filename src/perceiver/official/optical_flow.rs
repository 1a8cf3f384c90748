//! `PerceiverForOpticalFlow`: 3×3 neighbourhoods of two frames in, one flow vector per
//! pixel out.

use super::image_classification::LONGEST_SIDE;
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
/// Name of the one modality.
pub(crate) const FRAME: &str = "frame";
/// The class divides its output by this.
const RESCALE: u32 = 100;

/// Input `patches` `[batch, pixels, 54]` (frame 1's 27 channels, then frame 2's); output `logits`
/// `[batch, height, width, 2]`, flow in pixels divided by 20. The queries are the input's rows. Frames
/// are of the training's size, or with [`Sizes::resize_positions`] of [`Sizes::image`]: positions then
/// lie closer or wider apart in the same [-1, 1], with the training's frequencies.
#[must_use]
pub fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let [height, width] = frame_size(config, sizes);
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
    let rows = RowArray::new(FRAME, height * width)
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
                upsample: None,
            }],
            shape,
        }],
    }
}

/// Height and width of the frames that these sizes mean.
#[must_use]
pub fn frame_size(config: &PerceiverConfig, sizes: &Sizes) -> [usize; 2] {
    if sizes.resize_positions {
        sizes.image
    } else {
        config.train_size
    }
}

/// Sizes of frames of this height and width.
#[must_use]
pub fn sizes_of(config: &PerceiverConfig, size: [usize; 2]) -> Sizes {
    Sizes {
        image: size,
        resize_positions: size != config.train_size,
        ..Sizes::default()
    }
}

/// Checks `patches` and makes rows of them.
pub(crate) fn inputs(
    config: &PerceiverConfig,
    inputs: &NamedTensors,
    resize_positions: bool,
) -> Result<Batch> {
    let [patches] = named(inputs, ["patches"], &[])?;
    let shape = patches.shape();
    let expected = || match (config.train_size, resize_positions) {
        (_, true) => format!("f32 [batch, 2, 27, height, width], sides to {LONGEST_SIDE}"),
        ([height, width], false) => format!("f32 [batch, 2, 27, {height}, {width}]"),
    };
    let fits = |size: [usize; 2]| {
        let sides = 1..=LONGEST_SIDE;
        size == config.train_size || (resize_positions && size.iter().all(|n| sides.contains(n)))
    };
    let (items, size) = match *shape {
        [items, 2, 27, height, width] if items > 0 && fits([height, width]) => {
            (items, [height, width])
        }
        _ => {
            let what = format!("has shape {shape:?}");
            return Err(Error::input("patches", what, expected()));
        }
    };
    let data = finite("patches", patches, &expected)?;
    let pixels = size[0] * size[1];
    let rows = patch_rows(data, pixels);
    Ok(Batch {
        items,
        sizes: sizes_of(config, size),
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
