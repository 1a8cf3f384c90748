//! Divides what is larger than a device can bind: arrays become several, ops become several.
//!
//! An array beyond the limit is held as *pieces*, arrays of some of its rows each; ops that go row by
//! row run once per piece, attention runs over pieces of keys with its state carried from one to the
//! next, and weights are divided by columns, whose products are joined side by side. What comes out is
//! the same but for the rounding of the carried states.
//!
//! Invariants of the result: no array is larger than the limit; every view lies in one array and starts
//! at a multiple of 64 elements, which keeps binding offsets aligned. An array `[1, 1, n]` counts as
//! rows of four elements. What cannot be divided (tables of positions, tables of a folded decoder,
//! pictures under a convolution, rows wider than a 32nd of the limit) is [`Error::Limit`].

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::graph::builder::{attention_outputs, factored_outputs};
use crate::graph::{ELEMENT_BYTES, Graph, Node, Op, Recipe, Source, Value, ValueId, View};
use crate::kernels::assemble::Assemble;
use crate::kernels::attention::{Attention, QueryFactors};
use crate::kernels::embed::Embed;
use crate::kernels::factored_attention::FactoredAttention;
use crate::kernels::gemm::Gemm;
use crate::kernels::join::Join;
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::row_scale::RowScale;
use crate::tensor::{Element, Extent};

/// Fewest rows of a piece: this many vectors of four are 256 bytes, in halves too.
const FEWEST_ROWS: usize = 32;

/// Divides a graph so that no array has more than `bytes` bytes. A graph that is within the limit comes
/// back as it is.
///
/// # Errors
/// [`Error::Limit`] for what cannot be divided.
pub fn limit_arrays(graph: Graph, bytes: u64) -> Result<Graph> {
    let most = usize::try_from(bytes / ELEMENT_BYTES).unwrap_or(usize::MAX);
    let used = used(&graph);
    let fits = |(value, used): (&Value, &bool)| !used || value.extent.padded_len() <= most;
    if graph.values.iter().zip(&used).all(fits) {
        return Ok(graph);
    }
    let mut pass = Pass {
        graph,
        most,
        pieces: HashMap::new(),
    };
    pass.divide_inputs()?;
    let nodes = std::mem::take(&mut pass.graph.nodes);
    for node in nodes {
        pass.node(node)?;
    }
    let mut outputs = std::mem::take(&mut pass.graph.outputs);
    for output in &mut outputs {
        let mut pieces = Vec::with_capacity(output.pieces.len());
        for &id in &output.pieces {
            let view = pass.graph.view(id);
            pieces.extend(pass.segments(view)?.into_iter().map(|s| s.view.value));
        }
        output.pieces = pieces;
    }
    pass.graph.outputs = outputs;
    Ok(pass.graph)
}

/// Which values anything reads or writes.
fn used(graph: &Graph) -> Vec<bool> {
    let mut used = vec![false; graph.values.len()];
    for node in &graph.nodes {
        let read = node.inputs.iter().map(|view| view.value);
        for id in read.chain(node.outputs.iter().copied()) {
            used[id.index()] = true;
        }
    }
    for id in graph.outputs.iter().flat_map(|o| &o.pieces) {
        used[id.index()] = true;
    }
    for (_, id, _) in graph.inputs() {
        used[id.index()] = true;
    }
    used
}

/// Some elements of an array, held by one of their own.
#[derive(Clone, Copy)]
struct Piece {
    id: ValueId,
    from: usize,
    len: usize,
}

/// Some rows of a view, all in one array.
#[derive(Clone, Copy)]
struct Segment {
    /// First row, counted from the view's.
    first: usize,
    rows: usize,
    view: View,
}

struct Pass {
    graph: Graph,
    /// Most elements of an array.
    most: usize,
    pieces: HashMap<ValueId, Vec<Piece>>,
}

/// Rows of an extent with one item; an array of one row counts as rows of four elements.
fn rows_of(extent: Extent) -> Extent {
    match (extent.batch, extent.rows) {
        (1, 1) => Extent::new(1, extent.cols.div_ceil(4), 4),
        _ => extent,
    }
}

impl Pass {
    fn limit(&self, what: &str, needed: String) -> Error {
        Error::Limit {
            what: what.to_owned(),
            needed,
            limit: format!("{} bytes", self.most as u64 * ELEMENT_BYTES),
            hint:
                "use another device, the plain route (--no-fold) or the CPU executor (--device cpu)"
                    .to_owned(),
        }
    }

    fn too_large(&self, what: &str, extent: Extent) -> Error {
        let bytes = ELEMENT_BYTES * extent.padded_len() as u64;
        self.limit(what, format!("{extent} in one array of {bytes} bytes"))
    }

    fn value(&mut self, label: &str, extent: Extent, source: Source) -> ValueId {
        let id = ValueId(self.graph.values.len() as u32);
        self.graph.values.push(Value {
            label: label.to_owned(),
            extent,
            element: Element::F32,
            source,
        });
        id
    }

    /// Most rows of a piece of an array of this many rows and this row length; all of them if they fit.
    fn rows_within(&self, label: &str, rows: usize, stride: usize) -> Result<usize> {
        if rows * stride <= self.most {
            return Ok(usize::MAX);
        }
        let most = self.most / stride.max(1);
        if most < FEWEST_ROWS {
            return Err(self.too_large(label, Extent::new(1, FEWEST_ROWS, stride)));
        }
        // Powers of two, so that the pieces of one array begin where those of another do.
        Ok(1 << most.ilog2())
    }

    // -- where arrays are ----------------------------------------------------

    fn divide_inputs(&mut self) -> Result<()> {
        let inputs: Vec<(String, ValueId, Extent)> = self
            .graph
            .inputs()
            .map(|(name, id, extent)| (name.to_owned(), id, extent))
            .collect();
        for (name, id, extent) in inputs {
            if extent.padded_len() > self.most {
                let of = rows_of(extent);
                let most = self.rows_within(&name, of.rows, of.stride())?;
                let cuts: BTreeSet<usize> = (0..of.rows).step_by(most).collect();
                self.divide_input(id, &cuts)?;
            }
        }
        Ok(())
    }

    /// Makes an input several, cut before these rows.
    fn divide_input(&mut self, id: ValueId, cuts: &BTreeSet<usize>) -> Result<()> {
        let (extent, label) = (self.graph.extent(id), self.graph.value(id).label.clone());
        let Source::Input(input) = self.graph.value(id).source.clone() else {
            return Err(Error::graph(&label, "is no whole input"));
        };
        if extent.batch != 1 {
            return Err(self.too_large(&label, extent));
        }
        let of = rows_of(extent);
        let flat = extent.rows == 1;
        let mut starts: Vec<usize> = cuts.iter().copied().filter(|&c| c < of.rows).collect();
        if starts.first() != Some(&0) {
            starts.insert(0, 0);
        }
        let mut pieces = Vec::with_capacity(starts.len());
        for (i, &first) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(of.rows);
            let (part, dense) = match flat {
                true => {
                    let columns = (4 * end).min(extent.cols) - 4 * first;
                    (Extent::new(1, 1, columns), 4 * first)
                }
                false => (
                    Extent::new(1, end - first, extent.cols),
                    first * extent.cols,
                ),
            };
            let source = Source::Part {
                input: input.clone(),
                first: dense,
                whole: extent.len(),
            };
            let label = format!("{label} {i}");
            let piece = self.value(&label, part, source);
            pieces.push(Piece {
                id: piece,
                from: first * of.stride(),
                len: part.padded_len(),
            });
        }
        self.graph.values[id.index()].source = Source::Node;
        if self.graph.kept.contains(&id) {
            self.graph.kept.retain(|&k| k != id);
            self.graph.kept.extend(pieces.iter().map(|p| p.id));
        }
        self.pieces.insert(id, pieces);
        Ok(())
    }

    /// Makes a parameter that is too large several, by rows.
    fn divide_parameter(&mut self, id: ValueId) -> Result<()> {
        let (extent, label) = (self.graph.extent(id), self.graph.value(id).label.clone());
        let most = self.rows_within(&label, extent.rows, extent.stride())?;
        let mut pieces = Vec::new();
        for first in (0..extent.rows).step_by(most) {
            let rows = most.min(extent.rows - first);
            let part = self.window(id, first..first + rows, 0..extent.cols)?;
            pieces.push(Piece {
                id: part,
                from: first * extent.stride(),
                len: rows * extent.stride(),
            });
        }
        self.pieces.insert(id, pieces);
        Ok(())
    }

    /// Some rows and columns of a parameter, as a parameter.
    fn window(
        &mut self,
        id: ValueId,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> Result<ValueId> {
        let Source::Parameter(recipe) = self.graph.value(id).source.clone() else {
            let label = self.graph.value(id).label.clone();
            return Err(self.too_large(&label, self.graph.extent(id)));
        };
        Ok(self.graph.parameter(Recipe::Window {
            of: Box::new(recipe),
            rows,
            columns,
        }))
    }

    /// The parts of a view by the arrays that hold them; rows as [`rows_of`] counts them.
    fn segments(&mut self, view: View) -> Result<Vec<Segment>> {
        let value = self.graph.value(view.value);
        let large = value.extent.padded_len() > self.most;
        let is_parameter = matches!(value.source, Source::Parameter(_));
        if large && is_parameter && !self.pieces.contains_key(&view.value) {
            self.divide_parameter(view.value)?;
        }
        let of = rows_of(view.extent);
        let Some(pieces) = self.pieces.get(&view.value) else {
            return Ok(vec![Segment {
                first: 0,
                rows: of.all_rows(),
                view,
            }]);
        };
        let stride = of.stride().max(1);
        let start = view.first_row * view.extent.stride();
        let end = start + of.padded_len();
        let mut segments = Vec::new();
        for piece in pieces {
            let (from, to) = (start.max(piece.from), end.min(piece.from + piece.len));
            if from >= to {
                continue;
            }
            let parts = [from - start, to - start, from - piece.from];
            if parts.iter().any(|n| !n.is_multiple_of(stride)) {
                // Rows of several heads, cut between them.
                let label = self.graph.value(view.value).label.clone();
                return Err(self.too_large(&label, view.extent));
            }
            let rows = (to - from) / stride;
            let whole = self.graph.extent(piece.id);
            let extent = match rows_of(whole) == Extent::new(1, rows, of.cols) {
                true => whole,
                false => Extent::new(1, rows, of.cols),
            };
            segments.push(Segment {
                first: parts[0] / stride,
                rows,
                view: View {
                    value: piece.id,
                    first_row: parts[2] / extent.stride().max(1),
                    extent,
                },
            });
        }
        Ok(segments)
    }

    /// Rows `range` of a view, which must lie in one array.
    fn part(&mut self, view: View, range: &Range<usize>) -> Result<View> {
        let of = rows_of(view.extent);
        if *range == (0..of.all_rows()) && !self.pieces.contains_key(&view.value) {
            let extent = self.graph.extent(view.value);
            if extent.padded_len() <= self.most {
                return Ok(view);
            }
        }
        let segments = self.segments(view)?;
        let found = segments
            .iter()
            .find(|s| s.first <= range.start && range.end <= s.first + s.rows);
        let label = self.graph.value(view.value).label.clone();
        let Some(segment) = found else {
            return Err(self.too_large(&label, view.extent));
        };
        if *range == (segment.first..segment.first + segment.rows) {
            return Ok(segment.view);
        }
        let extent = Extent::new(1, range.len(), of.cols);
        let of_segment = segment.view.first_row * segment.view.extent.stride();
        let first = of_segment + (range.start - segment.first) * of.stride();
        if !first.is_multiple_of(64) || !first.is_multiple_of(extent.stride().max(1)) {
            return Err(self.too_large(&label, view.extent));
        }
        Ok(View {
            value: segment.view.value,
            first_row: first / extent.stride().max(1),
            extent,
        })
    }

    /// A view that cannot be divided.
    fn whole(&mut self, view: View) -> Result<View> {
        let rows = rows_of(view.extent).all_rows();
        if view.extent.batch != 1 {
            if self.graph.extent(view.value).padded_len() > self.most {
                let label = self.graph.value(view.value).label.clone();
                return Err(self.too_large(&label, view.extent));
            }
            return Ok(view);
        }
        self.part(view, &(0..rows))
    }

    // -- where ops are cut ---------------------------------------------------

    /// Ranges of rows that lie in one array of each view, and are within the limit for rows of each of
    /// these lengths.
    fn ranges(
        &mut self,
        label: &str,
        rows: usize,
        views: &[View],
        strides: &[usize],
    ) -> Result<Vec<Range<usize>>> {
        self.key_ranges(label, rows, views, strides, &[])
    }

    /// As [`Pass::ranges`], for rows that also have arrays `[1, 1, rows]`, four rows to a vector.
    fn key_ranges(
        &mut self,
        label: &str,
        rows: usize,
        views: &[View],
        strides: &[usize],
        flat: &[View],
    ) -> Result<Vec<Range<usize>>> {
        if rows <= 1 {
            return Ok(std::iter::once(0..rows).collect());
        }
        let mut cuts = BTreeSet::from([0, rows]);
        let mut most = usize::MAX;
        for &view in views {
            cuts.extend(self.segments(view)?.iter().map(|s| s.first));
            most = most.min(self.rows_within(label, rows, view.extent.stride())?);
        }
        for &stride in strides {
            most = most.min(self.rows_within(label, rows, stride)?);
        }
        for &view in flat {
            cuts.extend(self.segments(view)?.iter().map(|s| 4 * s.first));
            most = most.min(
                self.rows_within(label, rows.div_ceil(4), 4)?
                    .saturating_mul(4),
            );
        }
        if most < rows {
            cuts.extend((0..rows).step_by(most));
        }
        let cuts: Vec<usize> = cuts.into_iter().collect();
        let ranges: Vec<Range<usize>> = cuts.windows(2).map(|w| w[0]..w[1]).collect();
        for &view in flat {
            self.align(view, &ranges)?;
        }
        Ok(ranges)
    }

    /// Cuts an input `[1, 1, rows]` that is read at these ranges, unless they begin at aligned places.
    fn align(&mut self, view: View, ranges: &[Range<usize>]) -> Result<()> {
        let aligned = ranges.iter().all(|r| r.start.is_multiple_of(64));
        let whole = view.first_row == 0 && self.graph.extent(view.value) == view.extent;
        let is_input = matches!(self.graph.value(view.value).source, Source::Input(_));
        if !aligned && whole && is_input {
            self.divide_input(view.value, &ranges.iter().map(|r| r.start / 4).collect())?;
        }
        Ok(())
    }

    /// An operand's rows `range` of `rows`.
    fn operand(&mut self, view: View, range: &Range<usize>, rows: usize) -> Result<View> {
        match *range == (0..rows) {
            true => self.whole(view),
            false => self.part(view, range),
        }
    }

    /// The same of an array `[1, 1, rows]`.
    fn flat(&mut self, view: View, range: &Range<usize>, rows: usize) -> Result<View> {
        self.operand(view, &fours(range), rows.div_ceil(4))
    }

    /// An array for rows `range` of the `rows` of a result: the result itself if they are all.
    fn result(&mut self, result: ValueId, range: &Range<usize>, rows: usize) -> ValueId {
        if *range == (0..rows) {
            return result;
        }
        let extent = self.graph.extent(result);
        let part = match extent.rows {
            1 => Extent::new(1, 1, range.len()),
            _ => Extent::new(1, range.len(), extent.cols),
        };
        let label = self.graph.value(result).label.clone();
        self.value(&label, part, Source::Node)
    }

    /// Notes which arrays hold a result.
    fn hold(&mut self, result: ValueId, parts: Vec<(Range<usize>, ValueId)>) {
        if parts.len() <= 1 {
            return;
        }
        let extent = self.graph.extent(result);
        let pieces = parts.into_iter().map(|(range, id)| Piece {
            id,
            from: match extent.rows {
                1 => range.start,
                _ => range.start * extent.stride(),
            },
            len: self.graph.extent(id).padded_len(),
        });
        let pieces = pieces.collect();
        self.pieces.insert(result, pieces);
    }

    fn push(&mut self, like: &Node, op: Op, inputs: Vec<View>, outputs: Vec<ValueId>) {
        self.graph.nodes.push(Node {
            label: like.label.clone(),
            stage: like.stage,
            op,
            inputs,
            outputs,
        });
    }

    /// Columns of a weight of this shape that one array holds.
    fn columns_within(&self, label: &str, extent: Extent) -> Result<usize> {
        if extent.padded_len() <= self.most {
            return Ok(extent.cols);
        }
        match self.most / extent.rows.max(1) / 4 * 4 {
            0 => Err(self.too_large(label, extent)),
            columns => Ok(columns),
        }
    }

    // -- ops -----------------------------------------------------------------

    fn node(&mut self, node: Node) -> Result<()> {
        let over = |id: ValueId| {
            self.graph.extent(id).padded_len() > self.most || self.pieces.contains_key(&id)
        };
        let read = node.inputs.iter().map(|view| view.value);
        if !read.chain(node.outputs.iter().copied()).any(over) {
            self.graph.nodes.push(node);
            return Ok(());
        }
        let extents = node.inputs.iter().map(|view| view.extent);
        let results = node.outputs.iter().map(|&id| self.graph.extent(id));
        if let Some(extent) = extents.chain(results).find(|e| e.batch != 1) {
            return Err(self.too_large(&node.label, extent));
        }
        match node.op {
            Op::Gemm(args) => self.gemm(&node, args),
            Op::LayerNorm(args) => self.layer_norm(&node, args),
            Op::Embed(args) => self.embed(&node, args),
            Op::Assemble(args) => self.assemble(&node, args),
            Op::RowScale(args) => self.row_scale(&node, args),
            Op::Attention(args) if args.factors.is_some() => self.factored_queries(&node, args),
            Op::Attention(args) => self.attention(&node, args),
            Op::FactoredAttention(args) => self.factored_attention(&node, args),
            _ => self.undivided(node),
        }
    }

    fn undivided(&mut self, node: Node) -> Result<()> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &view in &node.inputs {
            inputs.push(self.whole(view)?);
        }
        for &output in &node.outputs {
            let extent = self.graph.extent(output);
            if extent.padded_len() > self.most {
                return Err(self.too_large(&node.label, extent));
            }
        }
        self.push(&node, node.op, inputs, node.outputs.clone());
        Ok(())
    }

    fn gemm(&mut self, node: &Node, args: Gemm) -> Result<()> {
        let (x, weight) = (node.inputs[0], node.inputs[1]);
        let bias = args.bias.then(|| node.inputs[2]);
        let residual = (args.residual_rows > 0).then(|| node.inputs[2 + usize::from(args.bias)]);
        let (out, rows) = (node.outputs[0], args.rows);
        if residual.is_some() && args.residual_rows != rows {
            // Rows that repeat belong to several items, which have not come here.
            return self.undivided(node.clone());
        }
        let stride = self.graph.extent(out).stride();
        let mut views = vec![x];
        views.extend(residual);
        let ranges = self.ranges(&node.label, rows, &views, &[stride])?;
        let columns = self.columns_within(&node.label, weight.extent)?;
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let x = self.operand(x, &range, rows)?;
            let residual = residual
                .map(|r| self.operand(r, &range, rows))
                .transpose()?;
            let result = self.result(out, &range, rows);
            let part = Gemm {
                rows: range.len(),
                residual_rows: residual.map_or(0, |_| range.len()),
                ..args
            };
            if columns >= args.cols {
                let mut inputs = vec![x, weight];
                inputs.extend(bias);
                inputs.extend(residual);
                self.push(node, Op::Gemm(part), inputs, vec![result]);
            } else {
                self.side_by_side(
                    node,
                    part,
                    [Some(x), Some(weight), bias, residual],
                    columns,
                    result,
                )?;
            }
            parts.push((range, result));
        }
        self.hold(out, parts);
        Ok(())
    }

    /// A product with a weight of which `columns` columns fit one array.
    fn side_by_side(
        &mut self,
        node: &Node,
        args: Gemm,
        [x, weight, bias, residual]: [Option<View>; 4],
        columns: usize,
        result: ValueId,
    ) -> Result<()> {
        let (Some(x), Some(weight)) = (x, weight) else {
            return Err(Error::graph(&node.label, "lacks an operand"));
        };
        let mut products = Vec::new();
        for first in (0..args.cols).step_by(columns) {
            let cols = columns.min(args.cols - first);
            let of = first..first + cols;
            let part = self.window(weight.value, 0..weight.extent.rows, of.clone())?;
            let mut inputs = vec![x, self.graph.view(part)];
            if let Some(bias) = bias {
                let part = self.window(bias.value, 0..1, of)?;
                inputs.push(self.graph.view(part));
            }
            let part = Gemm {
                cols,
                residual_rows: 0,
                ..args
            };
            let extent = Extent::new(1, args.rows, cols);
            let product = self.value(&node.label, extent, Source::Node);
            self.push(node, Op::Gemm(part), inputs, vec![product]);
            products.push(product);
        }
        self.join(node, products, residual, result);
        Ok(())
    }

    /// Puts arrays of the same rows side by side, two by two, and adds a residual to the whole.
    fn join(
        &mut self,
        node: &Node,
        mut arrays: Vec<ValueId>,
        residual: Option<View>,
        out: ValueId,
    ) {
        while arrays.len() > 1 {
            let last = arrays.len() == 2;
            let mut next = Vec::with_capacity(arrays.len().div_ceil(2));
            for pair in arrays.chunks(2) {
                let &[left, right] = pair else {
                    next.extend(pair);
                    continue;
                };
                let (a, b) = (self.graph.extent(left), self.graph.extent(right));
                let joined = match last {
                    true => out,
                    false => {
                        let extent = Extent::new(1, a.rows, a.cols + b.cols);
                        self.value(&node.label, extent, Source::Node)
                    }
                };
                let residual = residual.filter(|_| last);
                let args = Join {
                    rows: a.rows,
                    left: a.cols,
                    right: b.cols,
                    residual: residual.is_some(),
                };
                let mut inputs = vec![self.graph.view(left), self.graph.view(right)];
                inputs.extend(residual);
                self.push(node, Op::Join(args), inputs, vec![joined]);
                next.push(joined);
            }
            arrays = next;
        }
    }

    fn layer_norm(&mut self, node: &Node, args: LayerNorm) -> Result<()> {
        let (x, out, rows) = (node.inputs[0], node.outputs[0], args.rows);
        let ranges = self.ranges(&node.label, rows, &[x], &[])?;
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let x = self.operand(x, &range, rows)?;
            let inputs = vec![x, node.inputs[1], node.inputs[2]];
            let result = self.result(out, &range, rows);
            let part = LayerNorm {
                rows: range.len(),
                ..args
            };
            self.push(node, Op::LayerNorm(part), inputs, vec![result]);
            parts.push((range, result));
        }
        self.hold(out, parts);
        Ok(())
    }

    fn embed(&mut self, node: &Node, args: Embed) -> Result<()> {
        let [ids, table, positions] = [0, 1, 2].map(|i| node.inputs[i]);
        let (out, rows) = (node.outputs[0], args.length);
        let stride = self.graph.extent(out).stride();
        let ranges = self.key_ranges(&node.label, rows, &[], &[stride], &[ids])?;
        let columns = self.columns_within(&node.label, table.extent)?;
        let large = |view: View| view.extent.padded_len() > self.most;
        let cut_positions = ranges.len() > 1 || columns < args.cols || large(positions);
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let ids = self.flat(ids, &range, rows)?;
            let result = self.result(out, &range, rows);
            let mut arrays = Vec::new();
            for first in (0..args.cols).step_by(columns) {
                let cols = columns.min(args.cols - first);
                let of = first..first + cols;
                let (mut table, mut positions) = (table, positions);
                if cols < args.cols {
                    let part = self.window(table.value, 0..table.extent.rows, of.clone())?;
                    table = self.graph.view(part);
                }
                if cut_positions {
                    let part = self.window(positions.value, range.clone(), of)?;
                    positions = self.graph.view(part);
                }
                let array = match cols < args.cols {
                    true => {
                        let extent = Extent::new(1, range.len(), cols);
                        self.value(&node.label, extent, Source::Node)
                    }
                    false => result,
                };
                let part = Embed {
                    length: range.len(),
                    cols,
                    ..args
                };
                self.push(
                    node,
                    Op::Embed(part),
                    vec![ids, table, positions],
                    vec![array],
                );
                arrays.push(array);
            }
            self.join(node, arrays, None, result);
            parts.push((range, result));
        }
        self.hold(out, parts);
        Ok(())
    }

    fn assemble(&mut self, node: &Node, args: Assemble) -> Result<()> {
        let mut rest = node.inputs.iter().copied();
        let content = (args.content > 0).then(|| rest.next()).flatten();
        let tables = (args.dimensions > 0).then(|| rest.next()).flatten();
        let tail = (args.tail > 0).then(|| rest.next()).flatten();
        let points = args.indexed.then(|| rest.next()).flatten();
        let own_tail = tail.filter(|_| args.tail_rows == args.rows);
        let (out, rows) = (node.outputs[0], args.rows);
        let tables = tables.map(|t| self.whole(t)).transpose()?;
        let views: Vec<View> = [content, own_tail, points].into_iter().flatten().collect();
        let stride = self.graph.extent(out).stride();
        let ranges = self.ranges(&node.label, rows, &views, &[stride])?;
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut inputs = Vec::new();
            for view in [content, tables, tail, points].into_iter().flatten() {
                inputs.push(match views.contains(&view) {
                    true => self.operand(view, &range, rows)?,
                    false => view,
                });
            }
            let part = Assemble {
                rows: range.len(),
                first_row: args.first_row + if args.indexed { 0 } else { range.start },
                tail_rows: own_tail.map_or(args.tail_rows, |_| range.len()),
                ..args
            };
            let result = self.result(out, &range, rows);
            self.push(node, Op::Assemble(part), inputs, vec![result]);
            parts.push((range, result));
        }
        self.hold(out, parts);
        Ok(())
    }

    fn row_scale(&mut self, node: &Node, args: RowScale) -> Result<()> {
        let mut rest = node.inputs.iter().copied();
        let content = (args.factors.content > 0).then(|| rest.next()).flatten();
        let moments = rest.next().map(|m| self.whole(m)).transpose()?;
        let points = args.indexed.then(|| rest.next()).flatten();
        let (out, rows) = (node.outputs[0], args.rows);
        let views: Vec<View> = [content, points].into_iter().flatten().collect();
        let whole = self.graph.view(out);
        let ranges = self.key_ranges(&node.label, rows, &views, &[], &[whole])?;
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut inputs = Vec::new();
            for view in [content, moments, points].into_iter().flatten() {
                inputs.push(match views.contains(&view) {
                    true => self.operand(view, &range, rows)?,
                    false => view,
                });
            }
            let part = RowScale {
                rows: range.len(),
                first_row: args.first_row + if args.indexed { 0 } else { range.start },
                ..args
            };
            let result = self.result(out, &range, rows);
            self.push(node, Op::RowScale(part), inputs, vec![result]);
            parts.push((range, result));
        }
        self.hold(out, parts);
        Ok(())
    }

    /// A decoder's attention whose keys and tables are within the limit: query by query.
    fn factored_queries(&mut self, node: &Node, args: Attention) -> Result<()> {
        let Some(factors) = args.factors else {
            return Err(Error::graph(&node.label, "has no factors"));
        };
        let mut rest = node.inputs.iter().copied();
        let content = (args.d_qk > 0).then(|| rest.next()).flatten();
        // Keys, if there is content, and values.
        let mut fixed = Vec::new();
        for view in rest.by_ref().take(1 + usize::from(args.d_qk > 0)) {
            fixed.push(self.whole(view)?);
        }
        let scale = rest.next();
        let tables = rest.next().map(|t| self.whole(t)).transpose()?;
        let points = factors.indexed.then(|| rest.next()).flatten();
        let (out, rows) = (node.outputs[0], args.queries);
        let views: Vec<View> = [content, points].into_iter().flatten().collect();
        let flat: Vec<View> = scale.into_iter().collect();
        let stride = self.graph.extent(out).stride();
        let ranges = self.key_ranges(&node.label, rows, &views, &[stride], &flat)?;
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut inputs = Vec::new();
            if let Some(content) = content {
                inputs.push(self.operand(content, &range, rows)?);
            }
            inputs.extend(&fixed);
            if let Some(scale) = scale {
                inputs.push(self.flat(scale, &range, rows)?);
            }
            inputs.extend(tables);
            if let Some(points) = points {
                inputs.push(self.operand(points, &range, rows)?);
            }
            let first = if factors.indexed { 0 } else { range.start };
            let part = Attention {
                queries: range.len(),
                factors: Some(QueryFactors {
                    first_query: factors.first_query + first,
                    ..factors
                }),
                ..args
            };
            let result = self.result(out, &range, rows);
            self.push(node, Op::Attention(part), inputs, vec![result]);
            parts.push((range, result));
        }
        self.hold(out, parts);
        Ok(())
    }

    fn attention(&mut self, node: &Node, args: Attention) -> Result<()> {
        let operands = Operands {
            queries: node.inputs[0],
            before: &[],
            after: &node.inputs[1..3],
            flat: &node.inputs[3..3 + usize::from(args.masked)],
            carry: &node.inputs[3 + usize::from(args.masked)..],
        };
        let make = |queries: usize, keys: &Range<usize>, carry, finish| {
            let op = Attention {
                queries,
                keys: keys.len(),
                carry,
                finish,
                ..args
            };
            (Op::Attention(op), attention_outputs(&op))
        };
        self.over_keys(
            node,
            &operands,
            [args.queries, args.keys],
            args.finish,
            &make,
        )
    }

    fn factored_attention(&mut self, node: &Node, args: FactoredAttention) -> Result<()> {
        let content = usize::from(args.factors.content > 0);
        let flat = content + 2 + usize::from(args.masked);
        let operands = Operands {
            queries: node.inputs[content],
            before: &node.inputs[..content],
            after: &[],
            flat: &node.inputs[content + 1..flat],
            carry: &node.inputs[flat..],
        };
        let make = |queries: usize, keys: &Range<usize>, carry, finish| {
            let op = FactoredAttention {
                queries,
                keys: keys.len(),
                first_key: args.first_key + keys.start,
                carry,
                finish,
                ..args
            };
            (Op::FactoredAttention(op), factored_outputs(&op))
        };
        self.over_keys(
            node,
            &operands,
            [args.queries, args.keys],
            args.finish,
            &make,
        )
    }

    /// Attention of some queries at a time over some keys at a time, the state carried along.
    fn over_keys(
        &mut self,
        node: &Node,
        operands: &Operands<'_>,
        [queries, keys]: [usize; 2],
        finish: bool,
        make: &MakeAttention<'_>,
    ) -> Result<()> {
        let by_key = [operands.before, operands.after].concat();
        let key_ranges = self.key_ranges(&node.label, keys, &by_key, &[], operands.flat)?;
        let mut by_query = vec![operands.queries];
        by_query.extend(operands.carry);
        // Rows of the result and of the state on the way.
        let (_, state) = make(queries, &(0..keys), false, false);
        let strides: Vec<usize> = state.iter().map(Extent::stride).collect();
        let query_ranges = self.ranges(&node.label, queries, &by_query, &strides)?;
        let mut parts: Vec<Vec<(Range<usize>, ValueId)>> = vec![Vec::new(); node.outputs.len()];
        for range in query_ranges {
            let q = self.operand(operands.queries, &range, queries)?;
            let mut carry = Vec::new();
            for &view in operands.carry {
                carry.push(self.operand(view, &range, queries)?);
            }
            for (i, of) in key_ranges.iter().enumerate() {
                let last = i + 1 == key_ranges.len();
                let mut inputs = Vec::new();
                for &view in operands.before {
                    inputs.push(self.operand(view, of, keys)?);
                }
                inputs.push(q);
                for &view in operands.after {
                    inputs.push(self.operand(view, of, keys)?);
                }
                for &view in operands.flat {
                    inputs.push(self.flat(view, of, keys)?);
                }
                let (op, extents) = make(range.len(), of, !carry.is_empty(), last && finish);
                inputs.append(&mut carry);
                let outputs: Vec<ValueId> = match last {
                    true => node
                        .outputs
                        .iter()
                        .map(|&out| self.result(out, &range, queries))
                        .collect(),
                    false => extents
                        .into_iter()
                        .map(|extent| self.value(&node.label, extent, Source::Node))
                        .collect(),
                };
                carry = outputs.iter().map(|&id| self.graph.view(id)).collect();
                self.push(node, op, inputs, outputs);
            }
            for (parts, view) in parts.iter_mut().zip(carry) {
                parts.push((range.clone(), view.value));
            }
        }
        for (&out, parts) in node.outputs.iter().zip(parts) {
            self.hold(out, parts);
        }
        Ok(())
    }
}

/// An attention of so many queries over these keys, with a carried state or not, finished or not, and
/// the shapes of its results.
type MakeAttention<'a> = dyn Fn(usize, &Range<usize>, bool, bool) -> (Op, Vec<Extent>) + 'a;

/// The operands of an attention in their order.
struct Operands<'a> {
    queries: View,
    /// Arrays with a row per key that come before the queries, and after them.
    before: &'a [View],
    after: &'a [View],
    /// Arrays `[1, 1, keys]`.
    flat: &'a [View],
    /// The state so far, if there is one.
    carry: &'a [View],
}

/// Vectors of four that hold these elements.
fn fours(range: &Range<usize>) -> Range<usize> {
    range.start / 4..range.end.div_ceil(4)
}
