//! The parts that every official model shares: latents, encoder layer, tower and decoder layer; and
//! what a run of a model asks for.

use super::blueprint::{Latents, Step};
use super::blueprint_sizes::RowSizes;
use super::config::{Architecture, PerceiverConfig};
use super::encoder::Route;
use super::layer::AttentionLayer;
use crate::graph::Stage;
use crate::kernels::gemm::Activation;

/// Sizes of one run that the caller decides; a model reads those that concern it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sizes {
    /// Tokens of a text.
    pub length: usize,
    /// Height and width of a picture; of frames, if `resize_positions`.
    pub image: [usize; 2],
    /// Whether positions are resized to the picture: learned ones, and those of frames.
    pub resize_positions: bool,
    /// Audio patches and video pixels to decode.
    pub points: [usize; 2],
    /// Rows of a blueprint's arrays that vary.
    pub rows: RowSizes,
}

impl Sizes {
    /// What the published recipes run a model with: the longest text, pictures of the training's
    /// size, one of 128 chunks of a clip.
    #[must_use]
    pub fn usual(config: &PerceiverConfig) -> Self {
        const CHUNKS: usize = 128;
        let side = match config.architecture {
            Architecture::ImageLearned => config.image_size,
            _ => 224,
        };
        let image = match config.architecture {
            Architecture::OpticalFlow => config.train_size,
            _ => [side; 2],
        };
        let pixels: usize = config.output_shape.iter().product();
        Sizes {
            length: config.max_position_embeddings,
            image,
            resize_positions: false,
            points: [
                config.audio_patches().div_ceil(CHUNKS),
                pixels.div_ceil(CHUNKS),
            ],
            rows: RowSizes::default(),
        }
    }
}

/// What a graph is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// Items per run.
    pub batch: usize,
    /// Sizes of inputs and outputs.
    pub sizes: Sizes,
    /// Most bytes of one array in a window of inputs or queries.
    pub window_bytes: usize,
    /// Whether intermediate arrays are returned too.
    pub intermediates: bool,
    /// Whether projections are folded where that takes fewer operations.
    pub folded: bool,
}

impl Request {
    /// How cross-attention is computed.
    #[must_use]
    pub fn route(&self) -> Route {
        Route {
            folded: self.folded,
            keep_rows: self.intermediates,
        }
    }

    /// Rows per window, if the widest row has `columns` columns. Several items have no common
    /// windows: the caller then runs them one by one.
    #[must_use]
    pub fn window_rows(&self, columns: usize) -> usize {
        if self.batch > 1 {
            return usize::MAX / 2;
        }
        self.window_bytes / (4 * columns.next_multiple_of(4)).max(1)
    }
}

/// Configured sizes of the stack around given input channels.
#[derive(Debug, Clone, Copy)]
pub struct Stack<'a> {
    /// The configuration.
    pub config: &'a PerceiverConfig,
    /// Channels C of the encoder's input rows.
    pub channels: usize,
}

impl Stack<'_> {
    /// Activation of all MLPs.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.config.activation()
    }

    /// The encoder's cross-attention.
    #[must_use]
    pub fn cross_layer(&self) -> AttentionLayer {
        let c = self.config;
        let (qk, v) = c.cross_attention_widths(self.channels);
        AttentionLayer {
            prefix: "perceiver.encoder.cross_attention".to_owned(),
            stage: Stage::Encode,
            label: "encode".to_owned(),
            heads: c.num_cross_attention_heads,
            qk,
            v,
            q_width: c.d_latents,
            kv_width: self.channels,
            widening: c.cross_attention_widening_factor,
            residual: c.use_query_residual,
            activation: self.activation(),
        }
    }

    /// The learned latents.
    #[must_use]
    pub fn latents(&self) -> Latents {
        Latents {
            tensor: "perceiver.embeddings.latents".to_owned(),
            rows: self.config.num_latents,
            channels: self.config.d_latents,
        }
    }

    /// Encode, then process.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        vec![
            Step::Cross(self.cross_layer()),
            Step::Tower {
                layers: self.self_layers(),
                times: self.config.num_blocks,
            },
        ]
    }

    /// The layers of one block of the tower.
    #[must_use]
    pub fn self_layers(&self) -> Vec<AttentionLayer> {
        let c = self.config;
        let (qk, v) = c.self_attention_widths();
        (0..c.num_self_attends_per_block)
            .map(|i| AttentionLayer {
                prefix: format!("perceiver.encoder.self_attends.{i}"),
                stage: Stage::Process,
                label: format!("process {i}"),
                heads: c.num_self_attention_heads,
                qk,
                v,
                q_width: c.d_latents,
                kv_width: c.d_latents,
                widening: c.self_attention_widening_factor,
                residual: true,
                activation: self.activation(),
            })
            .collect()
    }

    /// A decoder layer over the latents whose widths the configuration gives: one head.
    #[must_use]
    pub fn decoder_layer(&self, residual: bool) -> AttentionLayer {
        let c = self.config;
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
            activation: self.activation(),
        }
    }
}
