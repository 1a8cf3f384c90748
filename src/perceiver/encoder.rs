//! Encode: cross-attention from the inputs to the latents, window by window.
//!
//! The inputs are never needed all at once. Each window of rows is made, normalised, projected and
//! attended to; what is carried on is the attention's state, one accumulator per latent. Modalities
//! follow each other the same way, so they are never put into one array.

use super::folded::{FoldedEncoder, encoder_fold, encoder_pays};
use super::layer::AttentionLayer;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::graph::{AttentionSource, Fold, Graph, Stage, ValueId, View, Window};

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

/// The cross-attention from rows to the latents, by the plain or the folded route.
pub(super) struct Crossing<'a> {
    pub(super) layer: &'a AttentionLayer,
    /// `[1, N, D]`, or one for each item.
    pub(super) latents: View,
    /// The rows as factors; `None` on the plain route.
    pub(super) fold: Option<Fold>,
}

impl Crossing<'_> {
    fn folded(&self) -> Option<FoldedEncoder<'_>> {
        let Crossing { layer, latents, fold } = self;
        fold.as_ref().map(|fold| FoldedEncoder { layer, fold, latents: *latents })
    }

    /// What the latents ask with.
    pub(super) fn queries(&self, g: &mut Graph) -> Result<AttentionSource> {
        match self.folded() {
            Some(folded) => Ok(AttentionSource { view: folded.queries(g)?, column: 0 }),
            None => self.layer.queries(g, self.latents),
        }
    }

    /// Attention over one window of a modality: the result if `finish`, else the state; and the window's
    /// rows, if they were put together.
    pub(super) fn attend(
        &self,
        g: &mut Graph,
        q: AttentionSource,
        (source, modality): (&Rows, usize),
        w: Window,
        carry: Option<(ValueId, ValueId)>,
        finish: bool,
    ) -> Result<(Vec<ValueId>, Option<View>)> {
        if let Some(folded) = self.folded() {
            let state = folded.attend(g, (source, modality), w, q.view, carry, finish)?;
            return Ok((state, None));
        }
        let rows = source.assemble(g, w, Stage::Preprocess)?;
        let kv = self.layer.keys_values(g, rows)?;
        Ok((self.layer.attend(g, q, kv, source.mask, carry, finish)?, Some(rows)))
    }

    /// From the attention's result to the layer's.
    pub(super) fn finish(&self, g: &mut Graph, context: ValueId) -> Result<ValueId> {
        match self.folded() {
            Some(folded) => folded.finish(g, context),
            None => self.layer.finish(g, context, self.latents),
        }
    }
}

/// Adds the encoder's cross-attention from `inputs`, one modality after the other, at most
/// `window_rows` rows at a time. `latents` is the learned array `[1, N, D]`. Returns the latents and
/// the windows of assembled rows, if there are any.
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
    let in_order = inputs.iter().all(|rows| rows.points.is_none());
    let modalities: Vec<_> = inputs.iter().map(|rows| &rows.modality).collect();
    let pays = encoder_pays(layer, latents.extent.rows, &modalities);
    let folds = route.folded && shared && in_order && pays;
    let fold = folds.then(|| encoder_fold(layer, modalities.into_iter()));
    let crossing = Crossing { layer, latents, fold };
    let q = crossing.queries(g)?;
    let all = inputs.iter().enumerate().flat_map(|(i, rows)| {
        rows.modality.windows(window_rows).into_iter().map(move |w| (rows, i, w))
    });
    let all: Vec<(&Rows, usize, Window)> = all.collect();
    let mut carry = None;
    let mut assembled = Vec::new();
    for (i, &(rows, modality, w)) in all.iter().enumerate() {
        let last = i + 1 == all.len();
        let (state, view) = crossing.attend(g, q, (rows, modality), w, carry, last)?;
        assembled.extend(view);
        if last {
            let crossed = crossing.finish(g, state[0])?;
            for &(rows, _, w) in all.iter().filter(|_| folds && route.keep_rows) {
                assembled.push(rows.assemble(g, w, Stage::Preprocess)?);
            }
            return Ok((crossed, assembled));
        }
        carry = Some((state[0], state[1]));
    }
    Err(Error::graph(&layer.label, "has no input window"))
}
