//! `PerceiverForOpticalFlow` as a graph: 3×3 neighbourhoods of two frames in, one flow vector per
//! pixel out.

use crate::error::{Error, Result};
use crate::graph::{Graph, HeadLayout, Linear, LinearPart, Stage, ValueId, View};
use crate::kernels::gemm::Activation;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::{Batch, named};
use crate::perceiver::config::FLOW_CHANNELS;
use crate::perceiver::decoder::decode;
use crate::perceiver::encoder::{Window, windows};
use crate::perceiver::layer::AttentionLayer;
use crate::perceiver::stack::{Request, Stack};
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
    let linear = |weight: &str, input: usize, out: usize, divisor: u32| Linear {
        parts: vec![LinearPart {
            weight: format!("perceiver.{weight}.weight"),
            bias: Some(format!("perceiver.{weight}.bias")),
            out: HeadLayout::plain(out),
        }],
        input: HeadLayout::plain(input),
        divisor,
        activation: Activation::None,
        residual: None,
    };
    let rows = |g: &mut Graph, w: Window, stage: Stage| -> Result<View> {
        let window = g.rows(patches, w.first, w.rows)?;
        let layer = linear(
            "input_preprocessor.conv_after_patches",
            PATCH_CHANNELS,
            CONTENT,
            1,
        );
        let content = g.linear(stage, "patch content", window, layer)?;
        let content = g.view(content);
        let rows = g.fourier(
            stage,
            "input rows",
            content,
            &[height, width],
            &config.train_size,
            BANDS,
            w.first,
        )?;
        Ok(g.view(rows))
    };

    let stack = Stack {
        config,
        channels: CHANNELS,
    };
    let (qk, v) = config.cross_attention_widths(CHANNELS);
    // Several items have no common windows: the caller then runs them one by one.
    let all = if batch == 1 {
        windows(pixels, request.window_rows(encode_columns(qk, v)))
    } else {
        windows(pixels, usize::MAX / 2)
    };
    let mut whole: Option<View> = None;
    let latents = stack.encode_and_process(&mut g, request, &all, &mut |g, w| {
        let view = rows(g, w, Stage::Preprocess)?;
        whole = Some(view);
        Ok((view, None))
    })?;

    let (qk, v) = config.decoder_widths(CHANNELS);
    let layer = AttentionLayer {
        prefix: "perceiver.decoder.decoder.decoding_cross_attention".to_owned(),
        stage: Stage::Decode,
        label: "decode".to_owned(),
        heads: 1,
        qk,
        v,
        q_width: CHANNELS,
        kv_width: config.d_latents,
        widening: 1,
        residual: false,
        activation: stack.activation(),
    };
    let all = if batch == 1 {
        windows(pixels, request.window_rows(qk.max(v).max(CHANNELS)))
    } else {
        windows(pixels, usize::MAX / 2)
    };
    // One window: the queries are the encoder's input, still at hand. Several: made again, which
    // costs less than keeping them.
    let kept = whole.filter(|v| all.len() == 1 && v.extent.rows == pixels);
    let (mut queries, mut hiddens, mut flows): (Vec<ValueId>, Vec<ValueId>, Vec<ValueId>) =
        Default::default();
    decode(
        &mut g,
        &layer,
        latents,
        &all,
        &mut |g, w| match kept {
            Some(view) => Ok(view),
            None => rows(g, w, Stage::Decode),
        },
        &mut |g, query, hidden| {
            let view = g.view(hidden);
            let final_layer = linear("decoder.decoder.final_layer", CHANNELS, 2, RESCALE);
            let flow = g.linear(Stage::Decode, "flow", view, final_layer)?;
            queries.push(query.value);
            hiddens.push(hidden);
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

/// Columns of the widest array of the encoder: keys and values side by side.
const fn encode_columns(qk: usize, v: usize) -> usize {
    qk + v + 8
}

/// Windows that the encoder or the decoder of one item needs, whichever are more.
pub(crate) fn window_count(config: &PerceiverConfig, window_bytes: usize) -> usize {
    let request = Request {
        batch: 1,
        length: 0,
        window_bytes,
        intermediates: false,
    };
    let pixels = config.train_size[0] * config.train_size[1];
    let (qk, v) = config.cross_attention_widths(CHANNELS);
    let (dqk, dv) = config.decoder_widths(CHANNELS);
    [encode_columns(qk, v), dqk.max(dv).max(CHANNELS)]
        .map(|columns| windows(pixels, request.window_rows(columns)).len())
        .into_iter()
        .max()
        .unwrap_or(1)
}

/// Checks `patches` and makes rows of them.
pub(crate) fn inputs(config: &PerceiverConfig, inputs: &NamedTensors) -> Result<Batch> {
    let patches = named(inputs, "patches", &[])?;
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
    let data = patches
        .as_f32()
        .ok_or_else(|| Error::input("patches", "holds no 32-bit floats", expected()))?;
    if let Some(at) = data.iter().position(|x| !x.is_finite()) {
        return Err(Error::input(
            "patches",
            format!("has {} at element {at}", data[at]),
            "finite numbers",
        ));
    }
    let pixels = height * width;
    let rows = patch_rows(data, pixels);
    Ok(Batch {
        items: shape[0],
        length: 0,
        arrays: vec![("patches", pixels * PATCH_CHANNELS, rows)],
    })
}

/// Reorders patches `[batch, 2, 27, height, width]` to rows `[batch, pixels, 54]`.
///
/// `patches.len()` must be a multiple of 54.
#[must_use]
pub fn patch_rows(patches: &[f32], pixels: usize) -> Vec<f32> {
    use rayon::prelude::*;
    let mut rows = vec![0.0; patches.len()];
    if pixels == 0 {
        return rows;
    }
    const BLOCK: usize = 1024;
    for (item, rows) in rows.chunks_exact_mut(pixels * PATCH_CHANNELS).enumerate() {
        let planes = &patches[item * pixels * PATCH_CHANNELS..][..pixels * PATCH_CHANNELS];
        rows.par_chunks_mut(BLOCK * PATCH_CHANNELS)
            .enumerate()
            .for_each(|(block, rows)| {
                for (i, row) in rows.chunks_exact_mut(PATCH_CHANNELS).enumerate() {
                    let pixel = block * BLOCK + i;
                    for (c, value) in row.iter_mut().enumerate() {
                        *value = planes[c * pixels + pixel];
                    }
                }
            });
    }
    rows
}
