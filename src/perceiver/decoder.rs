//! Decode: cross-attention from output queries to the latents, window by window.
//!
//! Queries do not see each other, so any rows can be decoded alone; the latents' keys and values are
//! made once.

use super::encoder::Route;
use super::folded;
use super::layer::AttentionLayer;
use super::rows::Rows;
use crate::error::Result;
use crate::graph::{Graph, Stage, ValueId, View};

/// One window of decoded rows.
#[derive(Debug, Clone, Copy)]
pub struct Decoded {
    /// Which of the modalities.
    pub modality: usize,
    /// The queries, where they exist.
    pub queries: Option<View>,
    /// The rows after the cross-attention layer.
    pub hidden: ValueId,
}

/// Adds the decoder's cross-attention for all modalities, at most `window_rows` rows at a time. `known`
/// are queries that are at hand already, if there is just one modality. `rest` continues with the
/// decoded rows of one window.
#[allow(clippy::too_many_arguments, reason = "one call per model")]
pub fn decode(
    g: &mut Graph,
    layer: &AttentionLayer,
    latents: ValueId,
    queries: &[Rows],
    window_rows: usize,
    known: Option<View>,
    route: Route,
    rest: &mut dyn FnMut(&mut Graph, Decoded) -> Result<()>,
) -> Result<()> {
    if route.folded {
        let modalities: Vec<_> = queries.iter().map(|q| &q.modality).collect();
        let parts = folded::decoder_parts(layer, g.extent(latents).rows, &modalities);
        if parts.queries || parts.values {
            let keep = route.keep_rows;
            return folded::decode(g, layer, latents, queries, window_rows, parts, keep, rest);
        }
    }
    let view = g.view(latents);
    let kv = layer.keys_values(g, view)?;
    for (modality, rows) in queries.iter().enumerate() {
        let all = rows.modality.windows(window_rows);
        for &w in &all {
            let x = match known.filter(|v| all.len() == 1 && v.extent.rows == rows.modality.count) {
                Some(x) => x,
                None => rows.assemble(g, w, Stage::Decode)?,
            };
            let q = layer.queries(g, x)?;
            let context = layer.attend(g, q, kv, None, None, true)?[0];
            let hidden = layer.finish(g, context, x)?;
            rest(g, Decoded { modality, queries: Some(x), hidden })?;
        }
    }
    Ok(())
}
