//! `PerceiverForSequenceClassification`: token ids in, one score per class out.

use super::{Class, Item, classification, text};

pub(super) const CLASS: Class = Class {
    name: "PerceiverForSequenceClassification",
    item: Item::Text,
    input_channels: text::input_channels,
    query_channels: classification::query_channels,
    check: |c| {
        let positions = c.max_position_embeddings * c.d_model;
        Ok(vec![text::check(c)?, ("max_position_embeddings", positions), classification::labels(c)])
    },
    usual_sizes: text::usual_sizes,
    blueprint: |c, sizes| classification::blueprint(c, text::modality(c, sizes.length)),
    inputs: text::inputs,
    points: &[],
    unused_tensors: &[],
    query_module: None,
    file_inputs: &["input_ids", "attention_mask", "raw.text.N"],
};
