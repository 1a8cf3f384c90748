//! The three image classifiers as graphs: pixels in, one score per class out.
//!
//! `PerceiverForImageClassificationLearned` sees colours mapped to 256 channels and a learned position
//! per pixel, `…Fourier` bare colours and Fourier features, `…ConvProcessing` the features of a 7×7
//! convolution at a quarter of the size.

use super::classification::classify;
use super::masked_lm::learned;
use crate::error::{Error, Result};
use crate::graph::{
    FourierPositions, Graph, HeadLayout, Linear, LinearPart, Recipe, Spacing, Stage, ValueId,
};
use crate::kernels::convolution::Convolution;
use crate::kernels::gemm::Activation;
use crate::kernels::max_pool::MaxPool;
use crate::perceiver::batch::{Array, Batch, finite, named, planes_to_rows};
use crate::perceiver::encoder::Window;
use crate::perceiver::rows::Rows;
use crate::perceiver::stack::{Request, Sizes, Stack};
use crate::perceiver::{Architecture, PerceiverConfig};
use crate::tensor::{Extent, NamedTensors};

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
const LONGEST_SIDE: usize = 1 << 14;

/// Input `pixel_values` `[batch, height·width, 3]`; output `logits` `[batch, classes]`.
///
/// # Errors
/// [`crate::Error::Graph`] when widths do not fit.
pub fn graph(config: &PerceiverConfig, request: &Request) -> Result<Graph> {
    let mut g = Graph::default();
    let [height, width] = request.sizes.image;
    let pixels = height * width;
    let input = g.input("pixel_values", Extent::new(request.batch, pixels, COLOURS));
    let rows = match config.architecture {
        Architecture::ImageLearned => learned_rows(&mut g, config, request, input)?,
        Architecture::ImageConvolution => convolution_rows(&mut g, request, input)?,
        _ => Rows::of_array("pixel", pixels, COLOURS, input)
            .with_positions(fourier([height, width], FOURIER_RESOLUTION)),
    };
    let stack = Stack {
        config,
        channels: config.input_channels(),
    };
    let (latents, _) = stack.encode_and_process(&mut g, request, &[rows])?;
    classify(&mut g, &stack, request, latents)?;
    Ok(g)
}

fn fourier(size: [usize; 2], resolution: usize) -> FourierPositions {
    FourierPositions {
        axes: size.to_vec(),
        max_resolution: vec![resolution; 2],
        bands: BANDS,
        spacing: Spacing::Ends,
    }
}

/// Colours through a linear layer, and learned positions through another, which depends on
/// parameters alone.
fn learned_rows<'a>(
    g: &mut Graph,
    config: &PerceiverConfig,
    request: &Request,
    input: ValueId,
) -> Result<Rows<'a>> {
    const PREFIX: &str = "perceiver.input_preprocessor";
    let size = request.sizes.image;
    let pixels = size[0] * size[1];
    let name = format!("{PREFIX}.position_embeddings.position_embeddings");
    let stored = config.image_size * config.image_size;
    let table = if request.sizes.resize_positions && size != [config.image_size; 2] {
        g.parameter(Recipe::ResizedPositions {
            name,
            positions: stored,
            channels: HALF,
            size,
        })
    } else {
        learned(g, &name, stored, HALF)
    };
    let linear = |part: LinearPart, input: usize| Linear {
        parts: vec![part],
        input: HeadLayout::plain(input),
        divisor: 1,
        activation: Activation::None,
        residual: None,
    };
    let projection = LinearPart::plain(&format!("{PREFIX}.positions_projection"), HALF);
    let view = g.view(table);
    let positions = g.linear(
        Stage::Preprocess,
        "positions",
        view,
        linear(projection, HALF),
    )?;
    let content = move |g: &mut Graph, w: Window, stage: Stage| {
        let window = g.rows(input, w.first, w.rows)?;
        let mut part = LinearPart::plain(&format!("{PREFIX}.convnet_1x1"), HALF);
        part.unit_window = true;
        let content = g.linear(stage, "pixel content", window, linear(part, COLOURS))?;
        Ok(g.view(content))
    };
    Ok(Rows {
        per_row: Some((positions, HALF)),
        ..Rows::of_content("pixel", pixels, HALF, content)
    })
}

/// Convolution, batch norm, ReLU and max pooling: a quarter of the size.
fn convolution_rows<'a>(g: &mut Graph, request: &Request, input: ValueId) -> Result<Rows<'a>> {
    const PREFIX: &str = "perceiver.input_preprocessor.convnet";
    let (args, pool) = convolution(request.batch, request.sizes.image);
    let view = g.view(input);
    let features = g.convolution(
        Stage::Preprocess,
        "convolution",
        view,
        args,
        (
            &format!("{PREFIX}.conv.weight"),
            &format!("{PREFIX}.batchnorm"),
        ),
    )?;
    let view = g.view(features);
    let pooled = g.max_pool(Stage::Preprocess, "max pool", view, pool)?;
    let rows = Rows::of_array("feature", pool.output_pixels(), FEATURES, pooled);
    Ok(rows.with_positions(fourier(pool.output(), CONVOLUTION_RESOLUTION)))
}

fn convolution(batch: usize, [height, width]: [usize; 2]) -> (Convolution, MaxPool) {
    let args = Convolution {
        batch,
        height,
        width,
        inner: COLOURS,
        cols: FEATURES,
        side: 7,
        stride: 2,
        padding: 3,
        relu: true,
    };
    let [height, width] = args.output();
    let pool = MaxPool {
        batch,
        height,
        width,
        cols: FEATURES,
        side: 3,
        stride: 2,
    };
    (args, pool)
}

/// Input rows M of a picture of this size.
pub(crate) fn input_rows(config: &PerceiverConfig, [height, width]: [usize; 2]) -> usize {
    match config.architecture {
        Architecture::ImageConvolution => convolution(1, [height, width]).1.output_pixels(),
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
