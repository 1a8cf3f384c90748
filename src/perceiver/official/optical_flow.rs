//! `PerceiverForOpticalFlow`: 3×3 neighbourhoods of two frames in, one flow vector per
//! pixel out.

use super::{Class, Item, LONGEST_SIDE, stack};
use crate::error::{Error, Result};
use crate::graph::passes::{map_of, texels_of};
use crate::graph::{Spacing, Stage};
use crate::kernels::from_texels::FromTexels;
use crate::memory::collected;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::{Array, Batch, finite, named, planes_to_rows, wrong_shape};
use crate::perceiver::blueprint::{
    Blueprint, Content, DecoderBlueprint, Head, Modality, OutputLinear, QuerySource,
};
use crate::perceiver::request::Sizes;
use crate::tensor::{Element, NamedTensors};

/// Channels of a pixel's neighbourhood in both frames.
pub const PATCH_CHANNELS: usize = 54;
/// Colours of a pixel.
const COLOURS: usize = 3;
/// Name of the input of neighbourhoods.
pub(crate) const PATCHES: &str = "patches";
/// Name of the input of bytes.
pub(crate) const FRAMES: &str = "frames";
/// Pixels per unit of the network's output.
pub const FLOW_SCALE: f64 = 20.0;
/// Channels after the linear layer, fixed in Hugging Face's class.
const CONTENT: usize = 64;
/// Fourier bands, fixed in Hugging Face's class.
const BANDS: usize = 64;
/// Content, two positions, and sines and cosines of both axes.
const CHANNELS: usize = CONTENT + 2 * (1 + 2 * BANDS);
/// Name of the one modality.
pub(crate) const FRAME: &str = "frame";
/// The class divides its output by this.
const RESCALE: u32 = 100;

pub(super) const CLASS: Class = Class {
    name: "PerceiverForOpticalFlow",
    item: Item::Frames,
    input_channels: |_| CHANNELS,
    query_channels: |_| CHANNELS,
    check: |c| {
        let pixels = c.train_size[0] * c.train_size[1];
        Ok(vec![("train_size", pixels.saturating_mul(CHANNELS))])
    },
    usual_sizes: |c| sizes_of(c, c.train_size),
    blueprint,
    inputs,
    points: &[],
    unused_tensors: &[],
    query_module: None,
    file_inputs: &[PATCHES, "raw.frames", "raw.tiled_frames"],
};

/// Input `patches` `[batch, pixels, 54]` (frame 1's 27 channels, then frame 2's), which the plan makes of bytes with
/// [`Sizes::bytes`]; output `logits`
/// `[batch, height, width, 2]`, flow in pixels divided by 20. The queries are the input's rows. Frames
/// are of the training's size, or with [`Sizes::resize_positions`] of [`Sizes::image`]: positions then
/// lie closer or wider apart in the same [-1, 1], with the training's frequencies.
fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let [height, width] = frame_size(config, sizes);
    let content = Content::Linear {
        input: PATCHES.to_owned(),
        channels: PATCH_CHANNELS,
        layer: "perceiver.input_preprocessor.conv_after_patches".to_owned(),
        out: CONTENT,
        unit_window: false,
    };
    let rows = Modality::bare(FRAME, height * width).with_content(content);
    let rows = rows.fourier_of(&[height, width], &config.train_size, BANDS, Spacing::Ends);
    let last = "perceiver.decoder.decoder.final_layer";
    let shape = vec![height, width, 2];
    let flow = OutputLinear {
        divisor: RESCALE,
        ..OutputLinear::plain("flow", Stage::Decode, last, CHANNELS, 2)
    };
    let decoder = DecoderBlueprint {
        layer: stack::decoder_layer(config, false),
        heads: vec![Head::new("logits", QuerySource::Input(0), vec![flow], shape.clone())],
        shape,
    };
    stack::blueprint(config, vec![rows], decoder)
}

/// Height and width of the frames that these sizes mean.
fn frame_size(config: &PerceiverConfig, sizes: &Sizes) -> [usize; 2] {
    if sizes.resize_positions { sizes.image } else { config.train_size }
}

/// Sizes of frames of this height and width.
pub fn sizes_of(config: &PerceiverConfig, size: [usize; 2]) -> Sizes {
    Sizes { image: size, resize_positions: size != config.train_size, ..Sizes::default() }
}

/// Checks `patches` and makes rows of them, or `frames`, which the plan makes rows of.
fn inputs(
    config: &PerceiverConfig,
    inputs: &NamedTensors,
    resize_positions: bool,
) -> Result<Batch> {
    let bytes = inputs.contains_key(FRAMES);
    let name = if bytes { FRAMES } else { PATCHES };
    let [given] = named(inputs, [name], &[])?;
    let expected = || {
        let [height, width, sides] = match (config.train_size, resize_positions) {
            (_, true) => {
                ["height", "width", &format!(", sides to {LONGEST_SIDE}")].map(str::to_owned)
            }
            (size, false) => [size[0].to_string(), size[1].to_string(), String::new()],
        };
        match bytes {
            true => format!("u8 [batch, 2, {height}, {width}, {COLOURS}]{sides}"),
            false => format!("f32 [batch, 2, 27, {height}, {width}]{sides}"),
        }
    };
    let (items, size) = match (given.shape(), bytes) {
        (&[items, 2, height, width, COLOURS], true) | (&[items, 2, 27, height, width], false) => {
            (items, [height, width])
        }
        _ => return Err(wrong_shape(name, given, expected())),
    };
    let sides = 1..=LONGEST_SIDE;
    let fits = size == config.train_size
        || (resize_positions && size.iter().all(|side| sides.contains(side)));
    if items == 0 || !fits {
        return Err(wrong_shape(name, given, expected()));
    }
    let pixels = size[0] * size[1];
    let arrays = if bytes {
        let no_bytes = || Error::input(name, "holds no bytes", expected());
        let texels = given.as_u8().ok_or_else(no_bytes)?;
        let texels = collected(name, texels.iter().map(|&byte| f32::from(byte)))?;
        vec![
            Array::per_item(texels_of(PATCHES), 2 * COLOURS * pixels, texels),
            Array::shared(map_of(PATCHES), scaled().repeat(COLOURS)),
        ]
    } else {
        let rows = patch_rows(finite(name, given, &expected)?, pixels)?;
        vec![Array::per_item(PATCHES, pixels * PATCH_CHANNELS, rows)]
    };
    Ok(Batch { items, sizes: Sizes { bytes, ..sizes_of(config, size) }, arrays })
}

/// How the plan makes neighbourhoods of two frames of bytes, of this height and width.
pub(crate) fn neighbourhoods([height, width]: [usize; 2]) -> FromTexels {
    FromTexels {
        planes: 2,
        height,
        width,
        pixel: COLOURS,
        line: COLOURS * width,
        channels: COLOURS,
        swapped: false,
        side: 3,
        first: 0,
        rows: height * width,
        mapped: true,
        texels: Element::U8,
    }
}

/// Colours as the network reads them: in f64 and rounded once, as the published preprocessing does.
pub fn scaled() -> [f32; 256] {
    std::array::from_fn(|value| (value as f64 / 255.0 * 2.0 - 1.0) as f32)
}

/// Reorders patches `[batch, 2, 27, height, width]` to rows `[batch, pixels, 54]`.
///
/// `patches.len()` must be a multiple of 54 times `pixels`.
pub fn patch_rows(patches: &[f32], pixels: usize) -> Result<Vec<f32>> {
    planes_to_rows(patches, PATCH_CHANNELS, pixels)
}
