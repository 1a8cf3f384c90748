//! `PerceiverForMaskedLM` as a graph: token ids in, logits over 262 bytes and special tokens out.

use crate::error::{Error, Result};
use crate::graph::{Graph, HeadLayout, Linear, LinearPart, Recipe, Stage, ValueId};
use crate::kernels::gemm::Activation;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::{Array, Batch, named};
use crate::perceiver::decoder::decode;
use crate::perceiver::layer::AttentionLayer;
use crate::perceiver::rows::Rows;
use crate::perceiver::stack::{Request, Sizes, Stack};
use crate::tensor::{Extent, NamedTensors, Tensor};

/// The embedding table.
const EMBEDDINGS: &str = "perceiver.input_preprocessor.embeddings.weight";
/// Query and key channels of the decoder, fixed in Hugging Face's class.
const DECODER_QK: usize = 256;
/// Heads of the decoder, fixed in Hugging Face's class.
const DECODER_HEADS: usize = 8;

/// Inputs `input_ids` and `attention_mask`, both `[batch, 1, length]`; output `logits`
/// `[batch, max_position_embeddings, vocab_size]`.
///
/// # Errors
/// [`crate::Error::Graph`] when widths do not fit.
pub fn graph(config: &PerceiverConfig, request: &Request) -> Result<Graph> {
    let mut g = Graph::default();
    let (batch, length) = (request.batch, request.sizes.length);
    let (d_model, outputs) = (config.d_model, config.max_position_embeddings);
    let stack = Stack {
        config,
        channels: d_model,
    };
    let rows = text_rows(&mut g, config, batch, length);
    let (latents, _) = stack.encode_and_process(&mut g, request, &[rows])?;

    let layer = AttentionLayer {
        prefix: "perceiver.decoder.decoding_cross_attention".to_owned(),
        stage: Stage::Decode,
        label: "decode".to_owned(),
        heads: DECODER_HEADS,
        qk: DECODER_QK,
        v: d_model,
        q_width: d_model,
        kv_width: config.d_latents,
        widening: 1,
        residual: false,
        activation: stack.activation(),
    };
    let queries = learned(
        &mut g,
        "perceiver.decoder.output_position_encodings.position_embeddings",
        outputs,
        d_model,
    );
    let queries = [Rows::of_array("positions", outputs, d_model, queries)];
    let intermediates = request.intermediates;
    decode(
        &mut g,
        &layer,
        latents,
        &queries,
        usize::MAX / 2,
        None,
        request.route(),
        &mut |g, decoded| {
            let hidden = decoded.hidden;
            let view = g.view(hidden);
            let logits = g.linear(
                Stage::Postprocess,
                "logits",
                view,
                Linear {
                    // The embedding table, used the other way round.
                    parts: vec![LinearPart {
                        weight: EMBEDDINGS.to_owned(),
                        bias: Some("embedding_decoder.bias".to_owned()),
                        out: HeadLayout::plain(config.vocab_size),
                        unit_window: false,
                    }],
                    input: HeadLayout::plain(d_model),
                    divisor: 1,
                    activation: Activation::None,
                    residual: None,
                },
            )?;
            g.output(
                "logits",
                vec![logits],
                vec![batch, outputs, config.vocab_size],
            );
            if intermediates {
                let shape = vec![batch, outputs, d_model];
                g.output(
                    "decoder_query",
                    decoded.queries.iter().map(|q| q.value).collect(),
                    shape.clone(),
                );
                g.output("decoder_hidden", vec![hidden], shape.clone());
                g.output("decoder_output", vec![hidden], shape);
            }
            Ok(())
        },
    )?;
    Ok(g)
}

/// A learned table of the checkpoint.
pub(super) fn learned(g: &mut Graph, name: &str, rows: usize, cols: usize) -> ValueId {
    g.parameter(Recipe::Stored {
        name: name.to_owned(),
        shape: vec![rows, cols],
    })
}

/// Embedded tokens and their mask, from the inputs `input_ids` and `attention_mask`.
pub(super) fn text_rows<'a>(
    g: &mut Graph,
    config: &PerceiverConfig,
    batch: usize,
    length: usize,
) -> Rows<'a> {
    let table = learned(g, EMBEDDINGS, config.vocab_size, config.d_model);
    let positions = learned(
        g,
        "perceiver.input_preprocessor.position_embeddings.weight",
        config.max_position_embeddings,
        config.d_model,
    );
    let ids = g.input("input_ids", Extent::new(batch, 1, length));
    let mask = g.input("attention_mask", Extent::new(batch, 1, length));
    let (ids, table, positions) = (g.view(ids), g.view(table), g.view(positions));
    let content = move |g: &mut Graph, _, stage| {
        let rows = g.embed(stage, "embed", ids, table, positions);
        Ok(g.view(rows))
    };
    let mut rows = Rows::of_content("text", length, config.d_model, content);
    rows.mask = Some(g.view(mask));
    rows
}

/// Checks `input_ids` and `attention_mask`.
pub(crate) fn inputs(config: &PerceiverConfig, inputs: &NamedTensors) -> Result<Batch> {
    let [ids] = named(inputs, ["input_ids"], &["attention_mask"])?;
    let most = config.max_position_embeddings;
    let expected = || format!("i64 [batch, length], length 1 to {most}");
    let &[items, length] = ids.shape() else {
        return Err(Error::input(
            "input_ids",
            format!("has shape {:?}", ids.shape()),
            expected(),
        ));
    };
    if items == 0 || length == 0 || length > most {
        return Err(Error::input(
            "input_ids",
            format!("has shape {:?}", ids.shape()),
            expected(),
        ));
    }
    let vocabulary = config.vocab_size;
    let whole = whole_numbers(
        "input_ids",
        ids,
        length,
        &format!("0 to {}", vocabulary - 1),
        |id| usize::try_from(id).is_ok_and(|id| id < vocabulary),
    )?;
    let mask = match inputs.get("attention_mask") {
        None => vec![1.0; items * length],
        Some(mask) if mask.shape() == ids.shape() => {
            whole_numbers("attention_mask", mask, length, "0 (padding) or 1", |m| {
                m == 0 || m == 1
            })?
        }
        Some(mask) => {
            return Err(Error::input(
                "attention_mask",
                format!("has shape {:?}", mask.shape()),
                format!("the shape of input_ids, {:?}", ids.shape()),
            ));
        }
    };
    Ok(Batch {
        items,
        sizes: Sizes {
            length,
            ..Sizes::default()
        },
        arrays: vec![
            Array::per_item("input_ids", length, whole),
            Array::per_item("attention_mask", length, mask),
        ],
    })
}

/// Integers within a range, as the floats that kernels read. All that fit are far below 2²⁴.
fn whole_numbers(
    name: &str,
    tensor: &Tensor,
    length: usize,
    range: &str,
    good: impl Fn(i64) -> bool,
) -> Result<Vec<f32>> {
    let numbers = tensor
        .as_i64()
        .ok_or_else(|| Error::input(name, "holds no 64-bit integers", "i64"))?;
    if let Some(at) = numbers.iter().position(|&n| !good(n)) {
        return Err(Error::input(
            name,
            format!("has {} at [{}, {}]", numbers[at], at / length, at % length),
            range,
        ));
    }
    Ok(numbers.iter().map(|&n| n as f32).collect())
}
