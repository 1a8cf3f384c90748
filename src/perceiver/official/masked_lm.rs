//! `PerceiverForMaskedLM`: token ids in, logits over 262 bytes and special tokens out.

use super::{Arrays, Class, Item, Misfit, stack, text};
use crate::graph::Stage;
use crate::perceiver::PerceiverConfig;
use crate::perceiver::blueprint::{
    Blueprint, Content, DecoderBlueprint, Head, Modality, OutputLinear,
};
use crate::perceiver::layer::AttentionLayer;
use crate::perceiver::request::Sizes;

/// Query and key channels of the decoder, fixed in Hugging Face's class.
const DECODER_QK: usize = 256;
/// Heads of the decoder, fixed in Hugging Face's class.
const DECODER_HEADS: usize = 8;

pub(super) const CLASS: Class = Class {
    name: "PerceiverForMaskedLM",
    item: Item::Text,
    input_channels: text::input_channels,
    query_channels: |config| config.d_model,
    check,
    usual_sizes: text::usual_sizes,
    blueprint,
    inputs: text::inputs,
    points: &[],
    unused_tensors: &[],
    query_module: None,
    file_inputs: &["input_ids", "attention_mask", "unpadded.input_ids", "raw.text.N"],
};

fn check(c: &PerceiverConfig) -> Result<Arrays, Misfit> {
    let embeddings = text::check(c)?;
    if !c.d_model.is_multiple_of(DECODER_HEADS) {
        let what = format!("is {}", c.d_model);
        let hint = "it must be a multiple of the 8 heads of the decoder".to_owned();
        return Err(("d_model", what, hint));
    }
    let widest = c.max_position_embeddings * c.d_model.max(c.vocab_size);
    Ok(vec![embeddings, ("max_position_embeddings", widest)])
}

/// Inputs `input_ids` and `attention_mask`, both `[batch, 1, length]`; output `logits`
/// `[batch, max_position_embeddings, vocab_size]`.
fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let (channels, outputs) = (config.d_model, config.max_position_embeddings);
    let layer = AttentionLayer {
        prefix: "perceiver.decoder.decoding_cross_attention".to_owned(),
        heads: DECODER_HEADS,
        qk: DECODER_QK,
        v: channels,
        ..stack::decoder_layer(config, false)
    };
    let positions = "perceiver.decoder.output_position_encodings.position_embeddings";
    let queries = Modality::bare("positions", outputs)
        .with_content(Content::Learned { tensor: positions.to_owned(), channels });
    let logits = OutputLinear {
        // The embedding table, used the other way round.
        weight: text::EMBEDDINGS.to_owned(),
        bias: "embedding_decoder.bias".to_owned(),
        ..OutputLinear::plain("logits", Stage::Postprocess, "", channels, config.vocab_size)
    };
    let shape = vec![outputs, config.vocab_size];
    let decoder = DecoderBlueprint {
        layer,
        heads: vec![Head::new("logits", queries.into(), vec![logits], shape)],
        shape: vec![outputs, channels],
    };
    stack::blueprint(config, vec![text::modality(config, sizes.length)], decoder)
}
