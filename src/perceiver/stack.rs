//! The parts that every official model shares: latents, encoder layer, tower, decoder layer, and the
//! arrays that a caller may want to look at on the way.

use super::config::PerceiverConfig;
use super::encoder::{MakeWindow, Window, encode};
use super::layer::AttentionLayer;
use super::processor::process;
use crate::error::Result;
use crate::graph::{Graph, Recipe, Stage, ValueId};
use crate::kernels::gemm::Activation;

/// What a graph is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// Items per run.
    pub batch: usize,
    /// Input elements per item, for models where the caller decides (tokens of a text).
    pub length: usize,
    /// Most bytes of one array in a window of inputs or queries.
    pub window_bytes: usize,
    /// Whether intermediate arrays are returned too.
    pub intermediates: bool,
}

impl Request {
    /// Rows per window, if the widest row has `columns` columns.
    #[must_use]
    pub fn window_rows(&self, columns: usize) -> usize {
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

    /// Encode and process. Returns the last latents; adds the intermediate outputs if asked for.
    ///
    /// # Errors
    /// [`crate::Error::Graph`] when widths do not fit, or what `window` returns.
    pub fn encode_and_process(
        &self,
        g: &mut Graph,
        request: &Request,
        all: &[Window],
        window: &mut MakeWindow<'_>,
    ) -> Result<ValueId> {
        let c = self.config;
        let shape = vec![c.num_latents, c.d_latents];
        let latents = g.parameter(Recipe::Stored {
            name: "perceiver.embeddings.latents".to_owned(),
            shape: shape.clone(),
        });
        let view = g.view(latents);
        let layer = self.cross_layer();
        let mut inputs = Vec::new();
        let crossed = encode(g, &layer, view, all, &mut |g, w| {
            let (rows, mask) = window(g, w)?;
            inputs.push(rows.value);
            Ok((rows, mask))
        })?;
        let processed = process(g, &self.self_layers(), c.num_blocks, crossed)?;
        if request.intermediates {
            let shape = vec![request.batch, c.num_latents, c.d_latents];
            let rows = all.iter().map(|w| w.rows).sum();
            g.output(
                "encoder_input",
                inputs,
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
        Ok(processed.last)
    }
}
