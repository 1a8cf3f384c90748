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

mod ops;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::graph::{ELEMENT_BYTES, Graph, Node, Recipe, Source, Value, ValueId, View};
use crate::kernels::Op;
use crate::tensor::Extent;

/// Fewest rows of a piece: this many vectors of four are 256 bytes, of f16 too.
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
    let mut pass = Pass { graph, most, pieces: HashMap::new() };
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
    fn too_large(&self, what: &str, extent: Extent) -> Error {
        let bytes = ELEMENT_BYTES * extent.padded_len() as u64;
        Error::Limit {
            what: what.to_owned(),
            needed: format!("{extent} in one array of {bytes} bytes"),
            limit: format!("{} bytes", self.most as u64 * ELEMENT_BYTES),
            hint: "use another device, the plain route or the CPU executor".to_owned(),
        }
    }

    fn view_too_large(&self, view: View) -> Error {
        self.too_large(&self.graph.value(view.value).label, view.extent)
    }

    fn value(&mut self, label: &str, extent: Extent, source: Source) -> ValueId {
        self.graph.push_value(label.to_owned(), extent, source)
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
        let inputs: Vec<(String, ValueId, Extent)> =
            self.graph.inputs().map(|(name, id, extent)| (name.to_owned(), id, extent)).collect();
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
            let (part, dense) = if flat {
                (Extent::new(1, 1, (4 * end).min(extent.cols) - 4 * first), 4 * first)
            } else {
                (Extent::new(1, end - first, extent.cols), first * extent.cols)
            };
            let source = Source::Part { input: input.clone(), first: dense, whole: extent.len() };
            let id = self.value(&format!("{label} {i}"), part, source);
            pieces.push(Piece { id, from: first * of.stride(), len: part.padded_len() });
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
            let id = self.window(id, first..first + rows, 0..extent.cols)?;
            let [from, len] = [first, rows].map(|n| n * extent.stride());
            pieces.push(Piece { id, from, len });
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
            return Err(self.view_too_large(self.graph.view(id)));
        };
        Ok(self.graph.parameter(Recipe::Window { of: Box::new(recipe), rows, columns }))
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
            return Ok(vec![Segment { first: 0, rows: of.all_rows(), view }]);
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
                return Err(self.view_too_large(view));
            }
            let rows = (to - from) / stride;
            let whole = self.graph.extent(piece.id);
            let some = Extent::new(1, rows, of.cols);
            let extent = if rows_of(whole) == some { whole } else { some };
            let first_row = parts[2] / extent.stride().max(1);
            let view = View { value: piece.id, first_row, extent };
            segments.push(Segment { first: parts[0] / stride, rows, view });
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
        let holds = |s: &Segment| s.first <= range.start && range.end <= s.first + s.rows;
        let Some(segment) = self.segments(view)?.into_iter().find(holds) else {
            return Err(self.view_too_large(view));
        };
        if *range == (segment.first..segment.first + segment.rows) {
            return Ok(segment.view);
        }
        let extent = Extent::new(1, range.len(), of.cols);
        let of_segment = segment.view.first_row * segment.view.extent.stride();
        let first = of_segment + (range.start - segment.first) * of.stride();
        if !first.is_multiple_of(64) || !first.is_multiple_of(extent.stride().max(1)) {
            return Err(self.view_too_large(view));
        }
        Ok(View { value: segment.view.value, first_row: first / extent.stride().max(1), extent })
    }

    /// A view that cannot be divided.
    fn whole(&mut self, view: View) -> Result<View> {
        let rows = rows_of(view.extent).all_rows();
        if view.extent.batch != 1 {
            if self.graph.extent(view.value).padded_len() > self.most {
                return Err(self.view_too_large(view));
            }
            return Ok(view);
        }
        self.part(view, &(0..rows))
    }

    // -- where ops are cut ---------------------------------------------------

    /// Ranges of rows that lie in one array of each view, and are within the limit for rows of each of
    /// these lengths; of `flat`, arrays `[1, 1, rows]`, four rows are a vector.
    fn ranges(
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
            most = most.min(self.rows_within(label, rows.div_ceil(4), 4)?.saturating_mul(4));
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
        let stride = if extent.rows == 1 { 1 } else { extent.stride() };
        let pieces = parts.into_iter().map(|(range, id)| {
            let len = self.graph.extent(id).padded_len();
            Piece { id, from: range.start * stride, len }
        });
        let pieces = pieces.collect();
        self.pieces.insert(result, pieces);
    }

    fn push(&mut self, like: &Node, op: Op, inputs: Vec<View>, outputs: Vec<ValueId>) {
        let (label, stage) = (like.label.clone(), like.stage);
        self.graph.nodes.push(Node { label, stage, op, inputs, outputs });
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
}

/// Vectors of four that hold these elements.
fn fours(range: &Range<usize>) -> Range<usize> {
    range.start / 4..range.end.div_ceil(4)
}
