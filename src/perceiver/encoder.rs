//! Encode: cross-attention from the inputs to the latents, window by window.
//!
//! The inputs are never needed all at once. Each window of rows is made, normalised, projected and
//! attended to; what is carried on is the attention's state, one accumulator per latent. Modalities
//! follow each other the same way, so they are never put into one array.

use super::layer::AttentionLayer;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::graph::{Graph, Stage, ValueId, View, Window};

/// How cross-attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Fold projections and positions where that takes fewer operations.
    pub folded: bool,
    /// Whether whole rows are asked for, though nothing may need them.
    pub keep_rows: bool,
}

/// Divides `total` rows into windows of at most `rows` (a multiple of 64, so that windows start at
/// aligned addresses), at least one.
pub fn windows(total: usize, rows: usize) -> Vec<Window> {
    let rows = (rows / 64 * 64).max(64);
    if total <= rows {
        return vec![Window { first: 0, rows: total }];
    }
    (0..total).step_by(rows).map(|first| Window { first, rows: rows.min(total - first) }).collect()
}

/// Adds the encoder's cross-attention from `inputs`, one modality after the other, at most
/// `window_rows` rows at a time. `latents` is the learned array `[1, N, D]`. Returns the latents and
/// the windows of assembled rows, if
/// there are any.
pub fn encode(
    g: &mut Graph,
    layer: &AttentionLayer,
    latents: View,
    inputs: &[Rows],
    window_rows: usize,
    route: Route,
) -> Result<(ValueId, Vec<View>)> {
    // Items with latents of their own have queries of their own, which the fold would repeat.
    let shared = latents.extent.batch == 1;
    // Factored keys follow each other on their grid.
    let in_order = inputs.iter().all(Rows::in_order);
    let modalities: Vec<_> = inputs.iter().map(Rows::modality).collect();
    let pays = super::folded::encoder_pays(layer, latents.extent.rows, &modalities);
    if route.folded && shared && in_order && pays {
        let crossed = super::folded::encode(g, layer, latents, inputs, window_rows)?;
        let mut assembled = Vec::new();
        if route.keep_rows {
            for rows in inputs {
                for w in rows.windows(window_rows) {
                    assembled.push(rows.assemble(g, w, Stage::Preprocess)?);
                }
            }
        }
        return Ok((crossed, assembled));
    }
    let q = layer.queries(g, latents)?;
    let all: Vec<(&Rows, Window)> = inputs
        .iter()
        .flat_map(|rows| rows.windows(window_rows).into_iter().map(move |w| (rows, w)))
        .collect();
    let mut carry: Option<(ValueId, ValueId)> = None;
    let mut assembled = Vec::with_capacity(all.len());
    for (i, &(modality, w)) in all.iter().enumerate() {
        let last = i + 1 == all.len();
        let rows = modality.assemble(g, w, Stage::Preprocess)?;
        assembled.push(rows);
        let kv = layer.keys_values(g, rows)?;
        let result = layer.attend(g, q, kv, modality.mask, carry, last)?;
        if last {
            return Ok((layer.finish(g, result[0], latents)?, assembled));
        }
        carry = Some((result[0], result[1]));
    }
    Err(Error::graph(&layer.label, "has no input window"))
}
