//! The parts that every published class shares: latents, encoder layer, tower and decoder layer.

use crate::graph::Stage;
use crate::perceiver::blueprint::{Blueprint, DecoderBlueprint, LatentArray, Modality, Step};
use crate::perceiver::config::PerceiverConfig;
use crate::perceiver::layer::AttentionLayer;

/// A model that reads these rows once, with the latents and the tower that the configuration gives.
pub(super) fn blueprint(
    c: &PerceiverConfig,
    inputs: Vec<Modality>,
    decoder: DecoderBlueprint,
) -> Blueprint {
    let tensor = "perceiver.embeddings.latents".to_owned();
    Blueprint {
        arrays: Vec::new(),
        outputs: Vec::new(),
        latents: LatentArray { tensor, rows: c.num_latents, channels: c.d_latents },
        channels: c.input_channels(),
        inputs,
        steps: vec![
            Step::Cross(cross_layer(c)),
            Step::Tower { layers: self_layers(c), times: c.num_blocks },
        ],
        decoders: vec![decoder],
    }
}

fn cross_layer(c: &PerceiverConfig) -> AttentionLayer {
    let channels = c.input_channels();
    let (qk, v) = c.cross_attention_widths(channels);
    AttentionLayer {
        prefix: "perceiver.encoder.cross_attention".to_owned(),
        stage: Stage::Encode,
        label: "encode".to_owned(),
        heads: c.num_cross_attention_heads,
        qk,
        v,
        q_width: c.d_latents,
        kv_width: channels,
        widening: c.cross_attention_widening_factor,
        residual: c.use_query_residual,
        activation: c.hidden_act,
    }
}

/// The layers of one block of the tower.
fn self_layers(c: &PerceiverConfig) -> Vec<AttentionLayer> {
    let (qk, v) = c.self_attention_widths();
    (0..c.num_self_attends_per_block)
        .map(|i| AttentionLayer {
            prefix: format!("perceiver.encoder.self_attends.{i}"),
            stage: Stage::Process,
            label: format!("process {i}"),
            heads: c.num_self_attention_heads,
            qk,
            v,
            kv_width: c.d_latents,
            widening: c.self_attention_widening_factor,
            residual: true,
            ..cross_layer(c)
        })
        .collect()
}

/// A decoder layer over the latents whose widths the configuration gives: one head.
pub(super) fn decoder_layer(c: &PerceiverConfig, residual: bool) -> AttentionLayer {
    let queries = c.query_channels();
    let (qk, v) = c.decoder_widths(queries);
    AttentionLayer {
        prefix: "perceiver.decoder.decoder.decoding_cross_attention".to_owned(),
        stage: Stage::Decode,
        label: "decode".to_owned(),
        heads: 1,
        qk,
        v,
        q_width: queries,
        kv_width: c.d_latents,
        widening: 1,
        residual,
        activation: c.hidden_act,
    }
}
