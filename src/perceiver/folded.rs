//! The folded route: cross-attention over rows that are given as factors.
//!
//! Encoder: no key, no value and no row is ever made. The projected queries (constants of the model)
//! are multiplied with the key projection, the LayerNorm's gain and the position tables; the
//! attention sums weights over content, over each axis and over all; those sums are multiplied with
//! tables, value and output projection in one product.
//!
//! Decoder: the query projection moves into the keys, of which there are few, and the output
//! projection into the values.
//!
//! Both are exact. Whether they pay is a question of widths, which [`encoder_pays`] and
//! [`decoder_parts`] answer.

use super::blueprint::Modality;
use super::decoder::Decoded;
use super::layer::AttentionLayer;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::graph::{Fold, Folded, Graph, HeadLayout, Named, Recipe, Stage, ValueId, View, Window};
use crate::kernels::attention::{Attention, QueryFactors};
use crate::kernels::factored_attention::FactoredAttention;
use crate::tensor::{Element, Extent};

/// Multiply-adds that a pair of query and row costs beside its content: tables and exponential.
const PAIR: u64 = 6;

fn named(layer: &AttentionLayer, leaf: &str, input: usize, output: usize) -> Named {
    Named { name: format!("{}.attention.{leaf}", layer.prefix), input, output }
}

fn padded_content(modality: &Modality) -> u64 {
    modality.factored().content.next_multiple_of(4) as u64
}

/// Columns that stand for the rows of all modalities.
fn factor_columns(modalities: &[&Modality]) -> u64 {
    let columns = modalities.iter().map(|m| m.factored().factors().columns());
    columns.sum::<usize>() as u64
}

/// Whether the folded encoder takes fewer operations than the plain one, over modalities of so many
/// rows.
pub(super) fn encoder_pays(
    layer: &AttentionLayer,
    latents: usize,
    modalities: &[&Modality],
) -> bool {
    let (n, h) = (latents as u64, layer.heads as u64);
    let widths = (layer.qk + layer.v) as u64;
    let rows: u64 = modalities.iter().map(|m| m.count as u64).sum();
    let plain = rows * widths * (layer.kv_width as u64 + n);
    let folded: u64 =
        modalities.iter().map(|m| n * h * m.count as u64 * (2 * padded_content(m) + PAIR)).sum();
    let columns = factor_columns(modalities);
    // The exponentials of the plain route, and the product with the folded values.
    let plain = plain + n * h * rows * PAIR;
    let folded = folded + n * h * columns * layer.q_width as u64;
    folded < plain
}

/// The fold of an encoder over these modalities.
pub(super) fn encoder_fold<'a>(
    layer: &AttentionLayer,
    modalities: impl Iterator<Item = &'a Modality>,
) -> Fold {
    Fold {
        norm: format!("{}.attention.self.layernorm2", layer.prefix),
        channels: layer.kv_width,
        modalities: modalities.map(Modality::factored).collect(),
    }
}

/// The three parts of a folded encoder.
pub(super) struct FoldedEncoder<'a> {
    pub(super) layer: &'a AttentionLayer,
    pub(super) fold: &'a Fold,
    /// `[1, N, D]`.
    pub(super) latents: View,
}

impl FoldedEncoder<'_> {
    fn label(&self, leaf: &str) -> String {
        format!("{} {leaf}", self.layer.label)
    }

    /// Columns of the sums, all modalities together.
    pub(super) fn columns(&self) -> usize {
        self.fold.columns().1
    }

    /// Rows of the sums: heads are rows of their own.
    pub(super) fn rows(&self) -> usize {
        self.latents.extent.rows * self.layer.heads
    }

    /// The folded queries, `[1, N·heads, columns]`.
    pub(super) fn queries(&self, g: &mut Graph) -> Result<View> {
        let layer = self.layer;
        let q = layer.queries(g, self.latents)?.view;
        let weight = Folded::Keys {
            fold: self.fold.clone(),
            key: named(layer, "self.key", layer.kv_width, layer.qk),
            heads: HeadLayout::heads(layer.heads, layer.qk / layer.heads),
        };
        let label = self.label("folded queries");
        let folded = g.product(layer.stage, &label, q, weight, false, None)?;
        // [N, heads·columns] is [N·heads, columns].
        let extent = Extent::new(1, self.rows(), self.columns());
        Ok(View { value: folded, first_row: 0, extent })
    }

    /// Attention over one window of a modality: the result if `finish`, else the state.
    pub(super) fn attend(
        &self,
        g: &mut Graph,
        (source, modality): (&Rows, usize),
        w: Window,
        folded: View,
        carry: Option<(ValueId, ValueId)>,
        finish: bool,
    ) -> Result<Vec<ValueId>> {
        let (layer, factored) = (self.layer, &self.fold.modalities[modality]);
        let stage = layer.stage;
        let content = source.factor(g, w, Stage::Preprocess)?;
        let points = source.points(g, w)?;
        let label = self.label("scale");
        let scale = g.row_scale(stage, &label, factored, content, w, points)?;
        let args = FactoredAttention {
            batch: content.map_or(1, |c| c.extent.batch),
            queries: self.rows(),
            keys: w.rows,
            first_key: w.first,
            factors: factored.factors(),
            columns: self.columns(),
            first_column: self.fold.columns().0[modality],
            masked: source.mask.is_some(),
            carry: carry.is_some(),
            finish,
            splits: 1,
            content: Element::F32,
        };
        let inputs = [content, Some(folded), Some(g.view(scale)), source.mask];
        g.factored_attention(stage, &self.label("attention"), args, inputs, carry)
    }

    /// From normalised sums to the layer's result.
    pub(super) fn finish(&self, g: &mut Graph, sums: ValueId) -> Result<ValueId> {
        let layer = self.layer;
        let value = named(layer, "self.value", layer.kv_width, layer.v);
        let output = named(layer, "output.dense", layer.v, layer.q_width);
        let columns = layer.heads * self.columns();
        let extent = Extent::new(g.extent(sums).batch, self.latents.extent.rows, columns);
        let sums = View { value: sums, first_row: 0, extent };
        let weight = Folded::Values { fold: self.fold.clone(), value, output, heads: layer.heads };
        let residual = layer.residual.then_some(self.latents);
        let a = g.product(layer.stage, &self.label("output"), sums, weight, true, residual)?;
        layer.feed_forward(g, a)
    }
}

/// Which parts of a decoder are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DecoderParts {
    /// The query projection into the keys.
    pub(super) queries: bool,
    /// The output projection into the values.
    pub(super) values: bool,
}

/// What pays in a decoder of one head.
pub(super) fn decoder_parts(
    layer: &AttentionLayer,
    latents: usize,
    queries: &[&Modality],
) -> DecoderParts {
    // The raw queries would be needed after all.
    if layer.heads != 1 || layer.residual {
        return DecoderParts { queries: false, values: false };
    }
    let n = latents as u64;
    let (e, qk, v) = (layer.q_width as u64, layer.qk as u64, layer.v as u64);
    let d = layer.kv_width as u64;
    let rows: u64 = queries.iter().map(|r| r.count as u64).sum();
    let columns = factor_columns(queries);
    let plain = rows * qk * (e + n) + n * d * qk;
    let folded: u64 = queries.iter().map(|m| n * m.count as u64 * (padded_content(m) + PAIR)).sum();
    let folded = folded + n * d * columns;
    DecoderParts {
        queries: folded < plain,
        values: rows * n * e + n * d * e < rows * v * (n + e) + n * d * v,
    }
}

/// Adds the decoder's cross-attention on the folded route; arguments as [`super::decoder::decode`].
#[allow(clippy::too_many_arguments, reason = "those of the plain route, and the parts")]
pub(super) fn decode(
    g: &mut Graph,
    layer: &AttentionLayer,
    latents: ValueId,
    queries: &[Rows],
    window_rows: usize,
    parts: DecoderParts,
    keep_queries: bool,
    rest: &mut dyn FnMut(&mut Graph, Decoded) -> Result<()>,
) -> Result<()> {
    let stage = layer.stage;
    let label = |leaf: &str| format!("{} {leaf}", layer.label);
    let view = g.view(latents);
    let z = layer.input_norm(g, view);
    let fold = Fold {
        norm: format!("{}.attention.self.layernorm1", layer.prefix),
        channels: layer.q_width,
        modalities: queries.iter().map(|q| q.modality.factored()).collect(),
    };
    let (starts, columns) = fold.columns();
    let key = named(layer, "self.key", layer.kv_width, layer.qk);
    let value = named(layer, "self.value", layer.kv_width, layer.v);
    let output = named(layer, "output.dense", layer.v, layer.q_width);
    let query = named(layer, "self.query", layer.q_width, layer.qk);
    let keys = if parts.queries {
        let weight = Folded::Queries { fold: fold.clone(), query, key };
        let keys = g.product(stage, &label("folded keys"), z, weight, true, None)?;
        g.view(keys)
    } else {
        layer.key_or_value(g, z, "key")?
    };
    let tables = parts.queries.then(|| {
        let tables = g.transpose(stage, &label("tables"), keys);
        g.view(tables)
    });
    let values = if parts.values {
        let weight = Folded::Composed { first: value, second: output };
        let values = g.product(stage, &label("folded values"), z, weight, true, None)?;
        g.view(values)
    } else {
        layer.key_or_value(g, z, "value")?
    };
    let d_v = if parts.values { layer.q_width } else { layer.v };

    for (modality, rows) in queries.iter().enumerate() {
        for w in rows.modality.windows(window_rows) {
            let whole = !parts.queries || keep_queries;
            let x = whole.then(|| rows.assemble(g, w, stage)).transpose()?;
            let (q, scale, points, factors) = match (tables, x) {
                (Some(_), _) => {
                    let factored = &fold.modalities[modality];
                    let content = rows.factor(g, w, stage)?;
                    let points = rows.points(g, w)?;
                    let scale =
                        g.row_scale(stage, &label("scale"), factored, content, w, points)?;
                    let factors = QueryFactors {
                        factors: factored.factors(),
                        first_column: starts[modality],
                        columns,
                        first_query: w.first,
                        indexed: points.is_some(),
                    };
                    (content, Some(g.view(scale)), points, Some(factors))
                }
                (None, Some(x)) => (Some(layer.queries(g, x)?.view), None, None, None),
                (None, None) => return Err(Error::graph(&layer.label, "has no query rows")),
            };
            let d_qk = factors.map_or(layer.qk, |f| f.factors.content);
            let plain = Attention::new(w.rows, keys.extent.rows, 1, d_qk, d_v);
            let args = Attention {
                batch: keys.extent.batch,
                scale: if factors.is_some() { 1.0 } else { plain.scale },
                shared_queries: q.is_none_or(|q| q.extent.batch == 1) && keys.extent.batch > 1,
                q_row: q.map_or(0, |q| q.extent.stride()),
                k_row: q.map_or(0, |_| keys.extent.stride()),
                k_column: q.and(factors).map_or(0, |f| f.first_column),
                v_row: values.extent.stride(),
                factors,
                ..plain
            };
            let inputs = [q, q.map(|_| keys), Some(values), scale, tables, points];
            let context = g.factored_queries(stage, &label("attention"), args, inputs)?;
            let a = if parts.values { context } else { layer.output(g, context, None)? };
            let hidden = layer.feed_forward(g, a)?;
            rest(g, Decoded { modality, queries: x, hidden })?;
        }
    }
    Ok(())
}

impl From<Folded> for Recipe {
    fn from(folded: Folded) -> Self {
        Recipe::Folded(folded)
    }
}
