//! Encode: cross-attention from the inputs to the latents, window by window.
//!
//! The inputs are never needed all at once. Each window of rows is made, normalised, projected and
//! attended to; what is carried on is the attention's state, one accumulator per latent. With one
//! window this is the plain layer.

use super::layer::AttentionLayer;
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId, View};

/// Rows of the input array that are there at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
}

/// Makes the rows of a window of inputs, and their mask if there is one.
pub type MakeWindow<'a> = dyn FnMut(&mut Graph, Window) -> Result<(View, Option<View>)> + 'a;

/// Divides `total` rows into windows of at most `rows` (a multiple of 64, so that windows start at
/// aligned addresses), at least one.
#[must_use]
pub fn windows(total: usize, rows: usize) -> Vec<Window> {
    let rows = (rows / 64 * 64).max(64);
    if total <= rows {
        return vec![Window {
            first: 0,
            rows: total,
        }];
    }
    (0..total)
        .step_by(rows)
        .map(|first| Window {
            first,
            rows: rows.min(total - first),
        })
        .collect()
}

/// Adds the encoder's cross-attention. `latents` is the learned array `[1, N, D]`; `window` makes
/// the rows of one window and their mask, and is called once for each.
///
/// # Errors
/// [`Error::Graph`] when widths do not fit, or what `window` returns.
pub fn encode(
    g: &mut Graph,
    layer: &AttentionLayer,
    latents: View,
    all: &[Window],
    window: &mut MakeWindow<'_>,
) -> Result<ValueId> {
    let q = layer.queries(g, latents)?;
    let mut carry: Option<(ValueId, ValueId)> = None;
    for (i, &w) in all.iter().enumerate() {
        let last = i + 1 == all.len();
        let (rows, mask) = window(g, w)?;
        let kv = layer.keys_values(g, rows)?;
        let result = layer.attend(g, q, kv, mask, carry, last)?;
        if last {
            return layer.finish(g, result[0], latents);
        }
        carry = Some((result[0], result[1]));
    }
    Err(Error::graph(&layer.label, "has no input window"))
}
