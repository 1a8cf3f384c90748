//! The three image classifiers: pixels in, one score per class out.
//!
//! `PerceiverForImageClassificationLearned` sees colours mapped to 256 channels and a learned position
//! per pixel, `…Fourier` bare colours and Fourier features, `…ConvProcessing` the features of a 7×7
//! convolution at a quarter of the size.

use super::classification;
use crate::error::{Error, Result};
use crate::graph::{FourierPositions, Spacing};
use crate::perceiver::batch::{Array, Batch, finite, named, planes_to_rows};
use crate::perceiver::blueprint::{Blueprint, Content, Positions, RowArray};
use crate::perceiver::build::convolution;
use crate::perceiver::stack::{Sizes, Stack};
use crate::perceiver::{Architecture, PerceiverConfig};
use crate::tensor::NamedTensors;

/// Tensor names of the preprocessor begin with this.
const PREFIX: &str = "perceiver.input_preprocessor";
/// Colours of a pixel.
const COLOURS: usize = 3;
/// Fourier bands, fixed in Hugging Face's classes.
const BANDS: usize = 64;
/// Side of the pictures that the Fourier model's frequencies are made for.
const FOURIER_RESOLUTION: usize = 224;
/// Side of the feature maps that the convolution model's frequencies are made for.
const CONVOLUTION_RESOLUTION: usize = 56;
/// Channels of the convolution.
const FEATURES: usize = 64;
/// Channels of the learned model's colours and of its positions.
const HALF: usize = 256;
/// Sides beyond this have no use and would overflow sizes.
pub(crate) const LONGEST_SIDE: usize = 1 << 14;

/// Input `pixel_values` `[batch, height·width, 3]`; output `logits` `[batch, classes]`.
#[must_use]
pub fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let stack = Stack {
        config,
        channels: config.input_channels(),
    };
    let size = sizes.image;
    let count = input_rows(config, size);
    let rows = match config.architecture {
        Architecture::ImageLearned => learned_rows(config, sizes),
        Architecture::ImageConvolution => {
            let content = Content::Convolution {
                input: "pixel_values".to_owned(),
                image: size,
                channels: COLOURS,
                layer: format!("{PREFIX}.convnet"),
                out: FEATURES,
            };
            let grid = convolution(1, size, COLOURS, FEATURES).1.output();
            RowArray::new("feature", count)
                .with_content(content)
                .with_fourier(fourier(grid, CONVOLUTION_RESOLUTION))
        }
        _ => RowArray::new("pixel", count)
            .with_input("pixel_values", COLOURS)
            .with_fourier(fourier(size, FOURIER_RESOLUTION)),
    };
    Blueprint {
        latents: stack.latents(),
        channels: stack.channels,
        inputs: vec![rows],
        steps: stack.steps(),
        decoders: vec![classification::decoder(&stack)],
    }
}

fn fourier(size: [usize; 2], resolution: usize) -> FourierPositions {
    FourierPositions {
        axes: size.to_vec(),
        max_resolution: vec![resolution; 2],
        bands: BANDS,
        spacing: Spacing::Ends,
    }
}

/// Colours through a linear layer, and learned positions through another.
fn learned_rows(config: &PerceiverConfig, sizes: &Sizes) -> RowArray {
    let size = sizes.image;
    let content = Content::Linear {
        input: "pixel_values".to_owned(),
        channels: COLOURS,
        layer: format!("{PREFIX}.convnet_1x1"),
        out: HALF,
        unit_window: true,
    };
    let resize = sizes.resize_positions && size != [config.image_size; 2];
    RowArray {
        positions: Positions::Learned {
            tensor: format!("{PREFIX}.position_embeddings.position_embeddings"),
            stored: config.image_size * config.image_size,
            channels: HALF,
            resized: resize.then_some(size),
            layer: format!("{PREFIX}.positions_projection"),
            out: HALF,
        },
        ..RowArray::new("pixel", size[0] * size[1]).with_content(content)
    }
}

/// Input rows M of a picture of this size.
pub(crate) fn input_rows(config: &PerceiverConfig, [height, width]: [usize; 2]) -> usize {
    match config.architecture {
        Architecture::ImageConvolution => {
            let (_, pool) = convolution(1, [height, width], COLOURS, FEATURES);
            pool.output_pixels()
        }
        _ => height * width,
    }
}

/// Checks `pixel_values` and makes rows of them.
pub(crate) fn inputs(
    config: &PerceiverConfig,
    inputs: &NamedTensors,
    resize_positions: bool,
) -> Result<Batch> {
    let [values] = named(inputs, ["pixel_values"], &[])?;
    let learned = config.architecture == Architecture::ImageLearned;
    let side = config.image_size;
    let expected = || match config.architecture {
        Architecture::ImageLearned if !resize_positions => {
            format!("f32 [batch, 3, {side}, {side}]")
        }
        Architecture::ImageConvolution => {
            format!("f32 [batch, 3, height, width], sides from 5 to {LONGEST_SIDE}")
        }
        _ => format!("f32 [batch, 3, height, width], sides to {LONGEST_SIDE}"),
    };
    let shape = values.shape();
    let wrong = || {
        Err(Error::input(
            "pixel_values",
            format!("has shape {shape:?}"),
            expected(),
        ))
    };
    let &[items, COLOURS, height, width] = shape else {
        return wrong();
    };
    let (least, most) = (height.min(width), height.max(width));
    if items == 0 || least == 0 || most > LONGEST_SIDE {
        return wrong();
    }
    // As in Hugging Face's class only the product must fit.
    if learned && !resize_positions && height * width != side * side {
        return wrong();
    }
    if input_rows(config, [height, width]) == 0 {
        return wrong();
    }
    let data = finite("pixel_values", values, &expected)?;
    let rows = planes_to_rows(data, COLOURS, height * width);
    Ok(Batch {
        items,
        sizes: Sizes {
            image: [height, width],
            resize_positions: learned && resize_positions && [height, width] != [side, side],
            ..Sizes::default()
        },
        arrays: vec![Array::per_item(
            "pixel_values",
            height * width * COLOURS,
            rows,
        )],
    })
}
