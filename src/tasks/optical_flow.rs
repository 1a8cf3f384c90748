//! `PerceiverForOpticalFlow` as a graph: 3×3 neighbourhoods of two frames in, one flow vector per
//! pixel out.

use crate::error::Result;
use crate::graph::{Graph, HeadLayout, Linear, LinearPart, Stage, ValueId, View};
use crate::kernels::gemm::Activation;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::decoder::decode;
use crate::perceiver::encoder::{Window, windows};
use crate::perceiver::layer::AttentionLayer;
use crate::perceiver::stack::{Request, Stack};
use crate::tensor::Extent;

/// Channels of a pixel's neighbourhood in both frames.
pub const PATCH_CHANNELS: usize = 54;
/// Channels after the linear layer, fixed in Hugging Face's class.
const CONTENT: usize = 64;
/// Fourier bands, fixed in Hugging Face's class.
const BANDS: usize = 64;
/// Content, two positions, and sines and cosines of both axes.
const CHANNELS: usize = CONTENT + 2 * (1 + 2 * BANDS);
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
        windows(pixels, request.window_rows(qk + v + 8))
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
