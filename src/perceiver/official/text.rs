//! What both classes of text models share: embedded tokens, and their checks.

use super::Misfit;
use crate::error::Result;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::{Array, Batch, named, whole_numbers, wrong_shape};
use crate::perceiver::blueprint::{Content, Modality};
use crate::perceiver::request::Sizes;
use crate::tensor::NamedTensors;

/// The embedding table.
pub(super) const EMBEDDINGS: &str = "perceiver.input_preprocessor.embeddings.weight";

pub(super) fn input_channels(config: &PerceiverConfig) -> usize {
    config.d_model
}

pub(super) fn usual_sizes(config: &PerceiverConfig) -> Sizes {
    of_length(config.max_position_embeddings)
}

fn of_length(length: usize) -> Sizes {
    Sizes { length, ..Sizes::default() }
}

/// Checks the vocabulary; returns the elements of the embeddings.
pub(super) fn check(config: &PerceiverConfig) -> Result<(&'static str, usize), Misfit> {
    if config.vocab_size < 7 {
        let what = format!("is {}", config.vocab_size);
        let hint = "six special tokens and bytes need more".to_owned();
        return Err(("vocab_size", what, hint));
    }
    Ok(("vocab_size", config.vocab_size * config.d_model))
}

/// Embedded tokens and their mask, from the inputs `input_ids` and `attention_mask`.
pub(super) fn modality(config: &PerceiverConfig, length: usize) -> Modality {
    let positions = "perceiver.input_preprocessor.position_embeddings.weight";
    let mut rows = Modality::bare("text", length).with_content(Content::Tokens {
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
pub(super) fn inputs(config: &PerceiverConfig, inputs: &NamedTensors, _: bool) -> Result<Batch> {
    let [ids] = named(inputs, ["input_ids"], &["attention_mask"])?;
    let most = config.max_position_embeddings;
    let (items, length) = match *ids.shape() {
        [items, length] if items > 0 && (1..=most).contains(&length) => (items, length),
        _ => {
            let expected = format!("i64 [batch, length], length 1 to {most}");
            return Err(wrong_shape("input_ids", ids, expected));
        }
    };
    let vocabulary = config.vocab_size;
    let place = |at: usize| format!("[{}, {}]", at / length, at % length);
    let range = || format!("0 to {}", vocabulary - 1);
    let whole = whole_numbers("input_ids", ids, vocabulary, &place, &range)?;
    let mask = match inputs.get("attention_mask") {
        None => vec![1.0; items * length],
        Some(mask) if mask.shape() == ids.shape() => {
            let range = || "0 (padding) or 1".to_owned();
            whole_numbers("attention_mask", mask, 2, &place, &range)?
        }
        Some(mask) => {
            let expected = format!("the shape of input_ids, {:?}", ids.shape());
            return Err(wrong_shape("attention_mask", mask, expected));
        }
    };
    let ids = Array::per_item("input_ids", length, whole);
    let mask = Array::per_item("attention_mask", length, mask);
    Ok(Batch { items, sizes: of_length(length), arrays: vec![ids, mask] })
}
