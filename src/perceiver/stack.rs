//! The parts that every official model shares: latents, encoder layer, tower, decoder layer, and the
//! arrays that a caller may want to look at on the way.

use super::config::{Architecture, PerceiverConfig};
use super::encoder::{Route, encode};
use super::layer::AttentionLayer;
use super::processor::process;
use super::rows::Rows;
use crate::error::Result;
use crate::graph::{Graph, Recipe, Stage, ValueId, View};
use crate::kernels::gemm::Activation;

/// Sizes of one run that the caller decides; a model reads those that concern it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sizes {
    /// Tokens of a text.
    pub length: usize,
    /// Height and width of a picture.
    pub image: [usize; 2],
    /// Whether learned positions are resized to the picture.
    pub resize_positions: bool,
    /// Audio patches and video pixels to decode.
    pub points: [usize; 2],
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
        let pixels: usize = config.output_shape.iter().product();
        Sizes {
            length: config.max_position_embeddings,
            image: [side; 2],
            resize_positions: false,
            points: [
                config.audio_patches().div_ceil(CHUNKS),
                pixels.div_ceil(CHUNKS),
            ],
        }
    }

    /// Input elements M and output elements O of one item.
    #[must_use]
    pub fn elements(&self, config: &PerceiverConfig) -> [usize; 2] {
        let [height, width] = self.image;
        let flow: usize = config.train_size.iter().product();
        match config.architecture {
            Architecture::MaskedLm => [self.length, config.max_position_embeddings],
            Architecture::SequenceClassification => [self.length, 1],
            Architecture::OpticalFlow => [flow, flow],
            Architecture::Multimodal => {
                let blocks = config.num_frames * config.image_size * config.image_size;
                let outputs = self.points[0] + self.points[1] + 1;
                [config.audio_patches() + blocks + 1, outputs]
            }
            Architecture::ImageConvolution => {
                let rows = crate::tasks::image_classification::input_rows(config, [height, width]);
                [rows, 1]
            }
            Architecture::ImageLearned | Architecture::ImageFourier => [height * width, 1],
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

    /// Rows of inputs that a window has.
    #[must_use]
    pub fn encode_window_rows(&self, request: &Request) -> usize {
        let (qk, v) = self.config.cross_attention_widths(self.channels);
        // Keys and values side by side are the widest array.
        request.window_rows(qk + v + 8)
    }

    /// Encode and process. Returns the last latents and the windows of input rows; adds the
    /// intermediate outputs if asked for.
    ///
    /// # Errors
    /// [`crate::Error::Graph`] when widths do not fit, or what making the rows gives.
    pub fn encode_and_process(
        &self,
        g: &mut Graph,
        request: &Request,
        inputs: &[Rows<'_>],
    ) -> Result<(ValueId, Vec<View>)> {
        let c = self.config;
        let shape = vec![c.num_latents, c.d_latents];
        let latents = g.parameter(Recipe::Stored {
            name: "perceiver.embeddings.latents".to_owned(),
            shape: shape.clone(),
        });
        let view = g.view(latents);
        let layer = self.cross_layer();
        let window_rows = self.encode_window_rows(request);
        let route = request.route();
        let (crossed, assembled) = encode(g, &layer, view, inputs, window_rows, route)?;
        let processed = process(g, &self.self_layers(), c.num_blocks, crossed)?;
        if request.intermediates {
            let shape = vec![request.batch, c.num_latents, c.d_latents];
            let rows = inputs.iter().map(|m| m.count).sum();
            g.output(
                "encoder_input",
                assembled.iter().map(|v| v.value).collect(),
                vec![request.batch, rows, self.channels],
            );
            for (name, id) in [
                ("latents_after_cross", crossed),
                ("latents_after_layer1", processed.after_layer1),
                ("latents_after_block1", processed.after_block1),
                ("last_latents", processed.last),
            ] {
                g.output(name, vec![id], shape.clone());
            }
        }
        Ok((processed.last, assembled))
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

    /// Rows of queries that a window of a decoder has.
    #[must_use]
    pub fn decode_window_rows(&self, request: &Request) -> usize {
        let queries = self.config.query_channels();
        let (qk, v) = self.config.decoder_widths(queries);
        request.window_rows(qk.max(v).max(queries))
    }

    /// The largest number of windows that one item's inputs or queries of these counts need.
    #[must_use]
    pub fn window_count(&self, window_bytes: usize, inputs: usize, queries: usize) -> usize {
        let request = Request {
            batch: 1,
            sizes: Sizes::default(),
            window_bytes,
            intermediates: false,
            folded: false,
        };
        let encode = super::encoder::windows(inputs, self.encode_window_rows(&request));
        let decode = super::encoder::windows(queries, self.decode_window_rows(&request));
        encode.len().max(decode.len())
    }
}
