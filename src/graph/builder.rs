//! Adding ops to a graph, with shape inference and checks: what does not fit is [`Error::Graph`].

use super::fold::{Factored, Folded};
use super::parameter::{FourierPositions, HeadLayout, LinearPart, Recipe, part_columns};
use super::{Graph, Node, Output, Source, Stage, Value, ValueId, View, Window};
use crate::error::{Error, Result};
use crate::kernels::Op;
use crate::kernels::assemble::Assemble;
use crate::kernels::attention::Attention;
use crate::kernels::combine::{Columns, Combine};
use crate::kernels::convolution::Convolution;
use crate::kernels::embed::Embed;
use crate::kernels::factored_attention::FactoredAttention;
use crate::kernels::gemm::{Activation, Gemm};
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::max_pool::MaxPool;
use crate::kernels::rotary::Rotary;
use crate::kernels::row_scale::RowScale;
use crate::kernels::transpose::Transpose;
use crate::kernels::waves::Waves;
use crate::tensor::{Element, Extent};

/// A linear layer, or several that read the same rows, with an epilogue.
#[derive(Debug, Clone)]
pub struct Linear {
    /// The layers, side by side in the output.
    pub parts: Vec<LinearPart>,
    /// Layout of the input channels.
    pub input: HeadLayout,
    /// Weights and biases are divided by this (1 for none).
    pub divisor: u32,
    /// Applied before the residual.
    pub activation: Activation,
    /// Added last.
    pub residual: Option<View>,
}

impl Linear {
    /// Layers of the same rows, with nothing after them.
    pub fn new(parts: Vec<LinearPart>, input: HeadLayout) -> Self {
        Linear { parts, input, divisor: 1, activation: Activation::None, residual: None }
    }

    /// First column of each part in the output.
    pub fn columns(&self) -> Vec<usize> {
        part_columns(&self.parts).0
    }
}

/// One operand of an attention: an array and the first of its columns that counts.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSource {
    /// The rows.
    pub view: View,
    /// First column.
    pub column: usize,
}

/// Heads of an attention.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// How many.
    pub count: usize,
    /// Query and key channels of one.
    pub d_qk: usize,
    /// Value channels of one.
    pub d_v: usize,
    /// Factor of the scores.
    pub scale: f32,
}

impl Heads {
    /// With 1/√d as the factor of the scores.
    pub fn new(count: usize, d_qk: usize, d_v: usize) -> Self {
        Heads { count, d_qk, d_v, scale: (1.0 / (d_qk as f64).sqrt()) as f32 }
    }
}

impl Graph {
    pub(super) fn push_value(&mut self, label: String, extent: Extent, source: Source) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values"));
        self.values.push(Value { label, extent, element: Element::F32, source });
        id
    }

    /// Adds an op; its results have the extents of its signature.
    pub(super) fn push_node(
        &mut self,
        stage: Stage,
        label: &str,
        op: impl Into<Op>,
        inputs: Vec<View>,
    ) -> Vec<ValueId> {
        let op = op.into();
        let extents = op.signature().result_extents().into_iter();
        let outputs: Vec<ValueId> =
            extents.map(|e| self.push_value(label.to_owned(), e, Source::Node)).collect();
        let node = Node { label: label.to_owned(), stage, op, inputs, outputs: outputs.clone() };
        self.nodes.push(node);
        outputs
    }

    /// As `push_node`, for an op of one result whose rows are those of `x`, item by item.
    fn push_rows(
        &mut self,
        stage: Stage,
        label: &str,
        op: impl Into<Op>,
        inputs: Vec<View>,
    ) -> ValueId {
        let x = inputs[0].extent;
        let id = self.push_node(stage, label, op, inputs)[0];
        let extent = &mut self.values[id.index()].extent;
        *extent = Extent::new(x.batch, x.rows, extent.cols);
        id
    }

    /// An array that the host writes before each run.
    pub fn input(&mut self, name: &str, extent: Extent) -> ValueId {
        self.push_value(name.to_owned(), extent, Source::Input(name.to_owned()))
    }

    /// An array made from the checkpoint. The same recipe gives the same value.
    pub fn parameter(&mut self, recipe: Recipe) -> ValueId {
        if let Some(&known) = self.known.get(&recipe) {
            return known;
        }
        let first = recipe.tensors().into_iter().next();
        let label = first.map_or_else(|| "fourier tables".to_owned(), |(name, _)| name);
        let id = self.push_value(label, recipe.extent(), Source::Parameter(recipe.clone()));
        self.known.insert(recipe, id);
        id
    }

    /// Returns `pieces`, one after the other, under `name` and as an array of this shape.
    pub fn output(&mut self, name: &str, pieces: Vec<ValueId>, shape: Vec<usize>) {
        self.outputs.push(Output { name: name.to_owned(), pieces, shape });
    }

    /// Rows `first_row..first_row + rows` of an array with one batch item, or the whole of any.
    pub fn rows(&self, id: ValueId, first_row: usize, rows: usize) -> Result<View> {
        let e = self.extent(id);
        if first_row == 0 && rows == e.rows {
            return Ok(self.view(id));
        }
        if e.batch != 1 || first_row + rows > e.rows {
            let what = format!("has no window of rows {first_row}..{} in {e}", first_row + rows);
            return Err(Error::graph(&self.value(id).label, what));
        }
        Ok(View { value: id, first_row, extent: Extent::new(1, rows, e.cols) })
    }

    /// A linear layer: `[.., in]` to `[.., out]`.
    pub fn linear(
        &mut self,
        stage: Stage,
        label: &str,
        x: View,
        linear: Linear,
    ) -> Result<ValueId> {
        let Linear { parts, input, divisor, activation, residual } = linear;
        let beyond = |p: &&LinearPart| match (p.fused, p.out.channels()) {
            (Some(f), n @ 1..) => {
                // Heads lie one after the other or take turns; the last row is that of the last channel.
                let width = if f.repeated { 1 } else { p.out.width };
                let reach =
                    f.stride.checked_mul(p.out.heads - 1).and_then(|n| n.checked_add(f.first));
                f.stride < width
                    || reach.is_none_or(|at| at + width > f.rows)
                    || p.stored_row(n - 1) >= f.rows
            }
            _ => false,
        };
        if let Some(part) = parts.iter().find(beyond) {
            let what = format!("`{}` has not the rows that it is to take", part.weight);
            return Err(Error::graph(label, what));
        }
        if let Some(part) =
            parts.iter().find(|p| p.vector && (input.channels() != 1 || p.transposed))
        {
            let what = format!("`{}` is a vector for {} channels", part.weight, input.channels());
            return Err(Error::graph(label, what));
        }
        let shape = [input.columns(), part_columns(&parts).1];
        let has_bias = parts.iter().any(|p| p.bias.is_some());
        let bias = has_bias.then(|| Recipe::LinearBias { parts: parts.clone(), divisor });
        let weight = Recipe::LinearWeight { parts, input, divisor };
        self.multiply(stage, label, x, shape, [Some(weight), bias], activation, residual)
    }

    /// Rows times a weight of this shape, and what follows; recipes of weight and bias.
    #[allow(clippy::too_many_arguments, reason = "what linear and folded layers have in common")]
    fn multiply(
        &mut self,
        stage: Stage,
        label: &str,
        x: View,
        [inner, cols]: [usize; 2],
        recipes: [Option<Recipe>; 2],
        activation: Activation,
        residual: Option<View>,
    ) -> Result<ValueId> {
        if x.extent.cols != inner {
            let what = format!("the input has {} columns, the weight {inner}", x.extent.cols);
            return Err(Error::graph(label, what));
        }
        let rows = x.extent.all_rows();
        let residual_rows = residual.map_or(0, |r| r.extent.all_rows());
        if let Some(r) = residual
            && (r.extent.cols != cols || residual_rows == 0 || !rows.is_multiple_of(residual_rows))
        {
            let what = format!("the residual is {}, the output {rows}×{cols}", r.extent);
            return Err(Error::graph(label, what));
        }
        let bias = recipes[1].is_some();
        let mut inputs = vec![x];
        for recipe in recipes.into_iter().flatten() {
            let parameter = self.parameter(recipe);
            inputs.push(self.view(parameter));
        }
        inputs.extend(residual);
        let op = Gemm { bias, activation, residual_rows, ..Gemm::new(rows, inner, cols) };
        Ok(self.push_rows(stage, label, op, inputs))
    }

    /// LayerNorm with gain `NAME.weight` and bias `NAME.bias` of the checkpoint.
    pub fn layer_norm(&mut self, stage: Stage, label: &str, x: View, name: &str) -> ValueId {
        let cols = x.extent.cols;
        let stored =
            |leaf: &str| Recipe::Stored { name: format!("{name}.{leaf}"), shape: vec![cols] };
        let op = LayerNorm::new(x.extent.all_rows(), cols);
        self.normalise(stage, label, x, op, [stored("weight"), stored("bias")])
    }

    /// Any LayerNorm or RMSNorm of rows, with recipes of gain and bias.
    pub fn normalise(
        &mut self,
        stage: Stage,
        label: &str,
        x: View,
        op: LayerNorm,
        weights: [Recipe; 2],
    ) -> ValueId {
        let mut inputs = vec![x];
        for recipe in weights {
            let parameter = self.parameter(recipe);
            inputs.push(self.view(parameter));
        }
        self.push_rows(stage, label, op, inputs)
    }

    /// Two arrays of as many columns, or columns of arrays, element by element; see [`Combine`]. The result has the batch of
    /// the longer one; of the other, which may be of one item, as many rows as divide its rows serve again and again.
    pub fn combine(
        &mut self,
        stage: Stage,
        label: &str,
        [a, b]: [(View, usize); 2],
        cols: usize,
        activation: Activation,
        product: bool,
    ) -> Result<ValueId> {
        let rows = [a, b].map(|(view, _)| view.extent.all_rows());
        let most = if rows[0] >= rows[1] { a.0.extent } else { b.0.extent };
        let total = most.all_rows();
        let fits = |(view, column): (View, usize)| {
            let e = view.extent;
            let repeats = e.all_rows() > 0 && total.is_multiple_of(e.all_rows());
            let divide = e.batch == 1 && e.rows > 0 && most.rows.is_multiple_of(e.rows);
            repeats && (e.rows == most.rows || divide) && column + cols <= e.cols
        };
        if total > 0 && !(fits(a) && fits(b)) {
            let what = format!("{} and {} do not fit", a.0.extent, b.0.extent);
            return Err(Error::graph(label, what));
        }
        let of = |(view, column): (View, usize)| Columns {
            rows: view.extent.all_rows(),
            first: 0,
            row: view.extent.stride(),
            column,
        };
        let (x, y) = (Element::F32, Element::F32);
        let op = Combine { rows: total, cols, a: of(a), b: Some(of(b)), activation, product, x, y };
        let id = self.push_node(stage, label, op, vec![a.0, b.0])[0];
        self.values[id.index()].extent = Extent::new(most.batch, most.rows, cols);
        Ok(id)
    }

    /// Pairs of channels of every head turned by angles, see [`Rotary`]; rows of angles repeat.
    pub fn rotate(
        &mut self,
        stage: Stage,
        label: &str,
        [x, angles]: [View; 2],
        (heads, width): (usize, usize),
        neighbours: bool,
        back: bool,
    ) -> Result<ValueId> {
        let (e, a) = (x.extent, angles.extent);
        let (rows, angle_rows) = (e.all_rows(), a.all_rows());
        if a.rows != e.rows || !(a.batch == 1 || a.batch == e.batch) || !a.cols.is_multiple_of(2) {
            return Err(Error::graph(label, format!("{a} angles for rows of {e}")));
        }
        let (pairs, y) = (a.cols / 2, Element::F32);
        let op = Rotary { rows, heads, width, pairs, neighbours, back, angle_rows, x: y, y };
        Ok(self.push_rows(stage, label, op, vec![x, angles]))
    }

    /// Heads that are padded, or in another order than the checkpoint's, as plain channels.
    pub fn side_by_side(
        &mut self,
        stage: Stage,
        label: &str,
        x: View,
        layout: HeadLayout,
    ) -> Result<ValueId> {
        let shape = [layout.columns(), layout.channels()];
        let recipes = [Some(Recipe::Heads(layout)), None];
        self.multiply(stage, label, x, shape, recipes, Activation::None, None)
    }

    /// Sines and cosines of coordinates `[.., axes]`, by a table of [`Waves`].
    pub fn waves(&mut self, stage: Stage, label: &str, x: View, table: Recipe) -> ValueId {
        let table = self.parameter(table);
        let table = self.view(table);
        let e = x.extent;
        let op = Waves { rows: e.all_rows(), axes: e.cols, cols: table.extent.cols };
        self.push_rows(stage, label, op, vec![x, table])
    }

    /// The items of an array so many times, one after the other.
    pub fn repeat(&mut self, stage: Stage, label: &str, of: View, times: usize) -> View {
        let e = of.extent;
        let id = self.copied(stage, label, of, [0, times * e.all_rows()]);
        self.values[id.index()].extent = Extent::new(times * e.batch, e.rows, e.cols);
        self.view(id)
    }

    /// Some rows of an array of one item, as an array of its own: operands begin at aligned addresses, which rows do not.
    pub fn slice(&mut self, stage: Stage, label: &str, of: View, rows: [usize; 2]) -> Result<View> {
        let (e, [first, rows]) = (of.extent, rows);
        if e.batch != 1 || rows == 0 || first.saturating_add(rows) > e.rows {
            return Err(Error::graph(label, format!("{e} has no {rows} rows from {first} on")));
        }
        let id = self.copied(stage, label, of, [first, rows]);
        Ok(self.view(id))
    }

    /// So many rows from the first of these on, which begin again after the last.
    fn copied(&mut self, stage: Stage, label: &str, of: View, rows: [usize; 2]) -> ValueId {
        let (e, [first, rows]) = (of.extent, rows);
        let a = Columns { rows: e.all_rows() - first, first, row: e.stride(), column: 0 };
        let (x, y) = (Element::F32, Element::F32);
        let (activation, product) = (Activation::None, false);
        let op = Combine { rows, cols: e.cols, a, b: None, activation, product, x, y };
        self.push_node(stage, label, op, vec![of])[0]
    }

    /// The same elements as an array of another shape, padding included.
    ///
    /// # Errors
    /// [`Error::Graph`] where it has more or fewer.
    pub fn reshaped(&self, view: View, extent: Extent) -> Result<View> {
        let first = view.first_row * view.extent.stride();
        let stride = extent.stride().max(1);
        if view.extent.padded_len() != extent.padded_len() || !first.is_multiple_of(stride) {
            let what = format!("{} cannot be seen as {extent}", view.extent);
            return Err(Error::graph(&self.value(view.value).label, what));
        }
        Ok(View { value: view.value, first_row: first / stride, extent })
    }

    /// Attention of queries over keys. `carry` is the state of the keys so far; the result is
    /// normalised if `finish`, else it is the state (accumulators and statistics).
    #[allow(clippy::too_many_arguments, reason = "a struct would only repeat Attention")]
    pub fn attention(
        &mut self,
        stage: Stage,
        label: &str,
        heads: Heads,
        [q, k, v]: [AttentionSource; 3],
        (mask, causal): (Option<View>, bool),
        carry: Option<(ValueId, ValueId)>,
        finish: bool,
    ) -> Result<Vec<ValueId>> {
        let Heads { count: heads, d_qk, d_v, scale } = heads;
        let (qe, ke, ve) = (q.view.extent, k.view.extent, v.view.extent);
        let shared_queries = qe.batch == 1 && ke.batch > 1;
        let fits = |s: &AttentionSource, width: usize| {
            s.column.is_multiple_of(4)
                && s.column + (heads - 1) * width.next_multiple_of(4) + width <= s.view.extent.cols
        };
        let good = (qe.batch == ke.batch || shared_queries)
            && (ke.batch, ke.rows) == (ve.batch, ve.rows)
            && fits(&q, d_qk)
            && fits(&k, d_qk)
            && fits(&v, d_v)
            && mask.is_none_or(|m| m.extent == Extent::new(ke.batch, 1, ke.rows));
        if !good {
            let rows = format!("queries {qe}, keys {ke}, values {ve}");
            return Err(Error::graph(
                label,
                format!("{heads} heads of {d_qk} and {d_v} over {rows}"),
            ));
        }
        let mut inputs = vec![q.view, k.view, v.view];
        inputs.extend(mask);
        inputs.extend(self.state(carry));
        let args = Attention {
            batch: ke.batch,
            shared_queries,
            q_row: qe.stride(),
            k_row: ke.stride(),
            v_row: ve.stride(),
            q_column: q.column,
            k_column: k.column,
            v_column: v.column,
            masked: mask.is_some(),
            causal,
            carry: carry.is_some(),
            finish,
            splits: 1,
            scale,
            ..Attention::new(qe.rows, ke.rows, heads, d_qk, d_v)
        };
        Ok(self.push_node(stage, label, args, inputs))
    }

    /// The arrays of a carried state.
    fn state(&self, carry: Option<(ValueId, ValueId)>) -> impl Iterator<Item = View> + use<'_> {
        let arrays = carry.into_iter().flat_map(|(sums, statistics)| [sums, statistics]);
        arrays.map(|id| self.view(id))
    }

    /// Token embedding plus positions.
    pub fn embed(
        &mut self,
        stage: Stage,
        label: &str,
        ids: View,
        table: View,
        positions: View,
    ) -> ValueId {
        let args = Embed {
            batch: ids.extent.batch,
            length: ids.extent.cols,
            vocabulary: table.extent.rows,
            cols: table.extent.cols,
        };
        self.push_node(stage, label, args, vec![ids, table, positions])[0]
    }

    /// Rows times a folded weight, plus the bias that goes with it and a residual.
    pub fn product(
        &mut self,
        stage: Stage,
        label: &str,
        x: View,
        weight: Folded,
        has_bias: bool,
        residual: Option<View>,
    ) -> Result<ValueId> {
        let shape = weight.shape();
        let bias = has_bias.then(|| Recipe::Folded(Folded::Bias(Box::new(weight.clone()))));
        let recipes = [Some(Recipe::Folded(weight)), bias];
        self.multiply(stage, label, x, shape, recipes, Activation::None, residual)
    }

    /// Columns become rows, item by item.
    pub fn transpose(&mut self, stage: Stage, label: &str, x: View) -> ValueId {
        let e = x.extent;
        let op = Transpose { batch: e.batch, rows: e.rows, cols: e.cols };
        self.push_node(stage, label, op, vec![x])[0]
    }

    /// LayerNorm scales `[batch, 1, rows]` of the rows of a window that are given as factors.
    pub fn row_scale(
        &mut self,
        stage: Stage,
        label: &str,
        rows: &Factored,
        content: Option<View>,
        window: Window,
        points: Option<View>,
    ) -> Result<ValueId> {
        let batch = content.map_or(1, |c| c.extent.batch);
        let wanted = Extent::new(batch, window.rows, rows.content);
        let points_fit = points.is_none_or(|p| p.extent == Extent::new(1, window.rows, 1));
        if content.is_some_and(|c| c.extent != wanted)
            || content.is_some() != (rows.content > 0)
            || !points_fit
        {
            return Err(Error::graph(label, format!("the content is not {wanted}")));
        }
        let moments = self.parameter(Recipe::Folded(Folded::Moments { rows: rows.clone() }));
        let mut inputs: Vec<View> = content.into_iter().collect();
        inputs.push(self.view(moments));
        inputs.extend(points);
        let op = RowScale {
            batch,
            rows: window.rows,
            first_row: if points.is_some() { 0 } else { window.first },
            factors: rows.factors(),
            features: rows.positions.as_ref().map_or(0, |p| 1 + 2 * p.bands),
            constant: rows.constant_channels(),
            indexed: points.is_some(),
            content: Element::F32,
        };
        Ok(self.push_node(stage, label, op, inputs)[0])
    }

    /// Attention over rows given as factors; `inputs` are content, folded queries, scales and mask.
    pub fn factored_attention(
        &mut self,
        stage: Stage,
        label: &str,
        args: FactoredAttention,
        inputs: [Option<View>; 4],
        carry: Option<(ValueId, ValueId)>,
    ) -> Result<Vec<ValueId>> {
        let per_key = Extent::new(args.batch, 1, args.keys);
        let wanted = [
            (args.factors.content > 0)
                .then(|| Extent::new(args.batch, args.keys, args.factors.content)),
            Some(Extent::new(1, args.queries, args.columns)),
            Some(per_key),
            args.masked.then_some(per_key),
        ];
        let found = inputs.map(|v| v.map(|v| v.extent));
        if found != wanted || carry.is_some() != args.carry {
            return Err(Error::graph(label, format!("{found:?} for {wanted:?}")));
        }
        let mut inputs: Vec<View> = inputs.into_iter().flatten().collect();
        inputs.extend(self.state(carry));
        Ok(self.push_node(stage, label, args, inputs))
    }

    /// Attention whose arguments are made already: queries, keys, values, and for factored queries
    /// scales, tables and points.
    pub fn factored_queries(
        &mut self,
        stage: Stage,
        label: &str,
        args: Attention,
        inputs: [Option<View>; 6],
    ) -> Result<ValueId> {
        let rows = |v: Option<View>, rows| v.is_none_or(|v| v.extent.rows == rows);
        if !args.stores_result() || !rows(inputs[0], args.queries) || !rows(inputs[2], args.keys) {
            return Err(Error::graph(label, "the operands do not fit"));
        }
        let inputs: Vec<View> = inputs.into_iter().flatten().collect();
        Ok(self.push_node(stage, label, args, inputs)[0])
    }

    /// Rows of content, Fourier features and tail, each optional.
    pub fn assemble(&mut self, stage: Stage, label: &str, parts: Parts<'_>) -> Result<ValueId> {
        let bad = |what: String| Err(Error::graph(label, what));
        let (batch, rows) = match parts.content {
            Some(content) => (content.extent.batch, content.extent.rows),
            None => (1, parts.rows),
        };
        if rows != parts.rows {
            return bad(format!("{rows} rows of content for {}", parts.rows));
        }
        let mut args = Assemble {
            batch,
            rows,
            first_row: 0,
            content: parts.content.map_or(0, |c| c.extent.cols),
            dimensions: 0,
            axes: [1; 3],
            bands: 0,
            tail: 0,
            tail_rows: 0,
            indexed: false,
            content_rows: Element::F32,
            y: Element::F32,
        };
        let mut inputs: Vec<View> = parts.content.into_iter().collect();
        if let Some(p) = parts.positions {
            if p.axes.is_empty() || p.axes.len() > 3 || p.axes.len() != p.max_resolution.len() {
                return bad(format!("{} axes, 1 to 3 are possible", p.axes.len()));
            }
            let tables = self.parameter(Recipe::FourierTables(p.clone()));
            inputs.push(self.view(tables));
            args.dimensions = p.axes.len();
            args.axes[..p.axes.len()].copy_from_slice(&p.axes);
            args.bands = p.bands;
            args.first_row = parts.first_row;
        }
        if let Some(tail) = parts.tail {
            if tail.extent.batch != 1 || ![1, rows].contains(&tail.extent.rows) {
                return bad(format!("a tail of {} for {rows} rows", tail.extent));
            }
            args.tail = tail.extent.cols;
            args.tail_rows = tail.extent.rows;
            inputs.push(tail);
        }
        if let Some(points) = parts.points {
            if points.extent != Extent::new(1, rows, 1) || parts.positions.is_none() {
                return bad(format!("points {} for {rows} rows", points.extent));
            }
            args.indexed = true;
            args.first_row = 0;
            inputs.push(points);
        }
        Ok(self.push_node(stage, label, args, inputs)[0])
    }

    /// Convolution of pictures `[batch, height·width, inner]`, batch norm `norm` and ReLU.
    pub fn convolution(
        &mut self,
        stage: Stage,
        label: &str,
        x: View,
        args: Convolution,
        (weight, norm): (&str, &str),
    ) -> Result<ValueId> {
        let wanted = Extent::new(args.batch, args.height * args.width, args.inner);
        pictures(label, x, wanted, args.output_pixels())?;
        let (weight, norm) = (weight.to_owned(), norm.to_owned());
        let shift = Recipe::BatchNormShift { norm: norm.clone(), channels: args.cols };
        let (output, input, side) = (args.cols, args.inner, args.side);
        let w = self.parameter(Recipe::ConvolutionWeight { weight, norm, output, input, side });
        let b = self.parameter(shift);
        let inputs = vec![x, self.view(w), self.view(b)];
        Ok(self.push_node(stage, label, args, inputs)[0])
    }

    /// Largest values in windows of pictures `[batch, height·width, cols]`.
    pub fn max_pool(
        &mut self,
        stage: Stage,
        label: &str,
        x: View,
        args: MaxPool,
    ) -> Result<ValueId> {
        let wanted = Extent::new(args.batch, args.height * args.width, args.cols);
        pictures(label, x, wanted, args.output_pixels())?;
        Ok(self.push_node(stage, label, args, vec![x])[0])
    }
}

/// Refuses pictures of another extent, and those that make no pixel.
fn pictures(label: &str, x: View, wanted: Extent, output_pixels: usize) -> Result<()> {
    if x.extent != wanted || output_pixels == 0 {
        return Err(Error::graph(label, format!("the input is {}, expected {wanted}", x.extent)));
    }
    Ok(())
}

/// What [`Graph::assemble`] puts together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts<'a> {
    /// Rows of one item.
    pub rows: usize,
    /// First columns, `[batch, rows, ..]`.
    pub content: Option<View>,
    /// Grid of the features that follow.
    pub positions: Option<&'a FourierPositions>,
    /// Grid position of row 0.
    pub first_row: usize,
    /// Grid position of each row in place of `first_row..`, `[1, rows, 1]`.
    pub points: Option<View>,
    /// Last columns, `[1, 1 or rows, ..]`.
    pub tail: Option<View>,
}
