//! `PerceiverForMaskedLM`: token ids in, logits over 262 bytes and special tokens out.

use crate::error::{Error, Result};
use crate::graph::Stage;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::{Array, Batch, named};
use crate::perceiver::blueprint::{
    Blueprint, Content, Decoder, Head, OutputLinear, Queries, RowArray,
};
use crate::perceiver::layer::AttentionLayer;
use crate::perceiver::stack::{Sizes, Stack};
use crate::tensor::{NamedTensors, Tensor};

/// The embedding table.
const EMBEDDINGS: &str = "perceiver.input_preprocessor.embeddings.weight";
/// Query and key channels of the decoder, fixed in Hugging Face's class.
const DECODER_QK: usize = 256;
/// Heads of the decoder, fixed in Hugging Face's class.
const DECODER_HEADS: usize = 8;

/// Inputs `input_ids` and `attention_mask`, both `[batch, 1, length]`; output `logits`
/// `[batch, max_position_embeddings, vocab_size]`.
#[must_use]
pub fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let (channels, outputs) = (config.d_model, config.max_position_embeddings);
    let stack = Stack { config, channels };
    let layer = AttentionLayer {
        prefix: "perceiver.decoder.decoding_cross_attention".to_owned(),
        stage: Stage::Decode,
        label: "decode".to_owned(),
        heads: DECODER_HEADS,
        qk: DECODER_QK,
        v: channels,
        q_width: channels,
        kv_width: config.d_latents,
        widening: 1,
        residual: false,
        activation: stack.activation(),
    };
    let positions = "perceiver.decoder.output_position_encodings.position_embeddings";
    let queries = RowArray::new("positions", outputs).with_content(Content::Learned {
        tensor: positions.to_owned(),
        channels,
    });
    let logits = OutputLinear {
        label: "logits".to_owned(),
        stage: Stage::Postprocess,
        // The embedding table, used the other way round.
        weight: EMBEDDINGS.to_owned(),
        bias: "embedding_decoder.bias".to_owned(),
        input: channels,
        out: config.vocab_size,
        divisor: 1,
    };
    Blueprint {
        latents: stack.latents(),
        channels,
        inputs: vec![text(config, sizes.length)],
        steps: stack.steps(),
        decoders: vec![Decoder {
            layer,
            heads: vec![Head {
                output: "logits".to_owned(),
                queries: Queries::Array(Box::new(queries)),
                layers: vec![logits],
                shape: vec![outputs, config.vocab_size],
                upsample: None,
            }],
            shape: vec![outputs, channels],
        }],
    }
}

/// Embedded tokens and their mask, from the inputs `input_ids` and `attention_mask`.
pub(super) fn text(config: &PerceiverConfig, length: usize) -> RowArray {
    let positions = "perceiver.input_preprocessor.position_embeddings.weight";
    let mut rows = RowArray::new("text", length).with_content(Content::Tokens {
        input: "input_ids".to_owned(),
        table: EMBEDDINGS.to_owned(),
        vocabulary: config.vocab_size,
        positions: positions.to_owned(),
        most: config.max_position_embeddings,
        channels: config.d_model,
    });
    rows.mask = Some("attention_mask".to_owned());
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
