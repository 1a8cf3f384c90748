//! Decode: cross-attention from output queries to the latents, window by window.
//!
//! Queries do not see each other, so any rows can be decoded alone; the latents' keys and values are
//! made once.

use super::encoder::Window;
use super::layer::AttentionLayer;
use crate::error::Result;
use crate::graph::{Graph, ValueId, View};

/// Adds the decoder's cross-attention. `query` makes the queries of one window, `rest` continues
/// with the decoded rows of one window. Both are called once for each.
///
/// # Errors
/// [`crate::Error::Graph`] when widths do not fit, or what the callbacks return.
pub fn decode(
    g: &mut Graph,
    layer: &AttentionLayer,
    latents: ValueId,
    all: &[Window],
    query: &mut dyn FnMut(&mut Graph, Window) -> Result<View>,
    rest: &mut dyn FnMut(&mut Graph, View, ValueId) -> Result<()>,
) -> Result<()> {
    let view = g.view(latents);
    let kv = layer.keys_values(g, view)?;
    for &w in all {
        let x = query(g, w)?;
        let q = layer.queries(g, x)?;
        let context = layer.attend(g, q, kv, None, None, true)?[0];
        let hidden = layer.finish(g, context, x)?;
        rest(g, x, hidden)?;
    }
    Ok(())
}
