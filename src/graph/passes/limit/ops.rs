//! Ops over arrays that are held as pieces: each op as several, and how their results go together.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Pass;
use crate::error::Result;
use crate::graph::{Node, Source, ValueId, View};
use crate::kernels::assemble::Assemble;
use crate::kernels::attention::{Attention, QueryFactors};
use crate::kernels::combine::{Columns, Combine};
use crate::kernels::embed::Embed;
use crate::kernels::factored_attention::FactoredAttention;
use crate::kernels::gemm::Gemm;
use crate::kernels::join::Join;
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::row_scale::RowScale;
use crate::kernels::waves::Waves;
use crate::kernels::{Kernel, Op};
use crate::tensor::Extent;

impl Pass {
    /// Takes a node over, as it is or as several.
    pub(super) fn node(&mut self, node: Node) -> Result<()> {
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
            Op::Combine(args) => self.combine(node, args),
            Op::Waves(args) => {
                let fit = |name: &str| if name == "x" { Fit::Rows } else { Fit::Whole };
                let make = |of: &Range<usize>| Waves { rows: of.len(), ..args }.into();
                self.by_rows(&node, args.rows, fit, make)
            }
            Op::Embed(args) => self.embed(&node, args),
            Op::Assemble(args) => self.assemble(&node, args),
            Op::RowScale(args) => self.row_scale(&node, args),
            Op::Attention(args) => match args.factors {
                Some(factors) => self.factored_queries(&node, args, factors),
                None => self.attention(&node, args),
            },
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
        let ranges = self.ranges(&node.label, rows, &views, &[stride], &[])?;
        let columns = self.columns_within(&node.label, weight.extent)?;
        self.each_range(out, rows, ranges, |pass, range, result| {
            let x = pass.operand(x, range, rows)?;
            let residual = residual.map(|r| pass.operand(r, range, rows)).transpose()?;
            let residual_rows = residual.map_or(0, |_| range.len());
            let part = Gemm { rows: range.len(), residual_rows, ..args };
            if columns >= args.cols {
                let mut inputs = vec![x, weight];
                inputs.extend(bias);
                inputs.extend(residual);
                pass.push(node, Op::Gemm(part), inputs, vec![result]);
                return Ok(());
            }
            pass.side_by_side(node, part, [x, weight], [bias, residual], columns, result)
        })
    }

    /// A product with a weight of which `columns` columns fit one array.
    fn side_by_side(
        &mut self,
        node: &Node,
        args: Gemm,
        [x, weight]: [View; 2],
        [bias, residual]: [Option<View>; 2],
        columns: usize,
        result: ValueId,
    ) -> Result<()> {
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
            let part = Gemm { cols, residual_rows: 0, ..args };
            let extent = Extent::new(1, args.rows, cols);
            let product = self.value(&node.label, extent, Source::Node);
            self.push(node, Op::Gemm(part), inputs, vec![product]);
            products.push(product);
        }
        self.join(node, products, residual, result);
        Ok(())
    }

    /// Makes a result range by range, and notes which arrays hold it.
    fn each_range(
        &mut self,
        out: ValueId,
        rows: usize,
        ranges: Vec<Range<usize>>,
        mut make: impl FnMut(&mut Self, &Range<usize>, ValueId) -> Result<()>,
    ) -> Result<()> {
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let result = self.result(out, &range, rows);
            make(self, &range, result)?;
            parts.push((range, result));
        }
        self.hold(out, parts);
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
                let [a, b] = [left, right].map(|id| self.graph.extent(id));
                let mut inputs = vec![self.graph.view(left), self.graph.view(right)];
                let both = Extent::new(1, a.rows, a.cols + b.cols);
                let joined = if last { out } else { self.value(&node.label, both, Source::Node) };
                let residual = residual.filter(|_| last);
                let (left, right) = (a.cols, b.cols);
                let args = Join { rows: a.rows, left, right, residual: residual.is_some() };
                inputs.extend(residual);
                self.push(node, Op::Join(args), inputs, vec![joined]);
                next.push(joined);
            }
            arrays = next;
        }
    }

    /// An op that goes row by row: once for each range of rows that lies in one array of each operand.
    fn by_rows(
        &mut self,
        node: &Node,
        rows: usize,
        fit: impl Fn(&str) -> Fit,
        make: impl Fn(&Range<usize>) -> Op,
    ) -> Result<()> {
        let signature = node.op.signature();
        let fits: Vec<Fit> = signature.present_operands().map(|o| fit(o.name)).collect();
        let operands: Vec<(Fit, View)> = fits.into_iter().zip(node.inputs.clone()).collect();
        let those = |fit| operands.iter().filter(|o| o.0 == fit).map(|o| o.1).collect::<Vec<_>>();
        let out = node.outputs[0];
        let (views, mut flat, mut strides) = (those(Fit::Rows), those(Fit::Flat), Vec::new());
        match self.graph.extent(out) {
            extent if extent.rows == 1 => flat.push(self.graph.view(out)),
            extent => strides.push(extent.stride()),
        }
        let ranges = self.ranges(&node.label, rows, &views, &strides, &flat)?;
        self.each_range(out, rows, ranges, |pass, range, result| {
            let mut inputs = Vec::with_capacity(operands.len());
            for &(fit, view) in &operands {
                inputs.push(match fit {
                    Fit::Rows => pass.operand(view, range, rows)?,
                    Fit::Flat => pass.flat(view, range, rows)?,
                    Fit::Whole => pass.whole(view)?,
                });
            }
            pass.push(node, make(range), inputs, vec![result]);
            Ok(())
        })
    }

    fn layer_norm(&mut self, node: &Node, args: LayerNorm) -> Result<()> {
        let fit = |name: &str| if name == "x" { Fit::Rows } else { Fit::Whole };
        let make = |of: &Range<usize>| LayerNorm { rows: of.len(), ..args }.into();
        self.by_rows(node, args.rows, fit, make)
    }

    fn combine(&mut self, node: Node, args: Combine) -> Result<()> {
        // Rows that repeat cannot be cut, but for one that all have.
        let own = |of: Columns| of.rows == args.rows && of.first == 0;
        let cuts = [Some(args.a), args.b].into_iter().flatten().all(|of| own(of) || of.rows == 1);
        if !cuts {
            return self.undivided(node);
        }
        let fit = |name: &str| {
            let of = if name == "a" { Some(args.a) } else { args.b };
            if of.is_some_and(own) { Fit::Rows } else { Fit::Whole }
        };
        let make = |range: &Range<usize>| {
            let of = |of: Columns| Columns { rows: of.rows.min(range.len()), ..of };
            Combine { rows: range.len(), a: of(args.a), b: args.b.map(of), ..args }.into()
        };
        self.by_rows(&node, args.rows, fit, make)
    }

    fn embed(&mut self, node: &Node, args: Embed) -> Result<()> {
        let [ids, table, positions] = [0, 1, 2].map(|i| node.inputs[i]);
        let (out, rows) = (node.outputs[0], args.length);
        let stride = self.graph.extent(out).stride();
        let ranges = self.ranges(&node.label, rows, &[], &[stride], &[ids])?;
        let columns = self.columns_within(&node.label, table.extent)?;
        let large = |view: View| view.extent.padded_len() > self.most;
        let cut_positions = ranges.len() > 1 || columns < args.cols || large(positions);
        self.each_range(out, rows, ranges, |pass, range, result| {
            let ids = pass.flat(ids, range, rows)?;
            let mut arrays = Vec::new();
            for first in (0..args.cols).step_by(columns) {
                let cols = columns.min(args.cols - first);
                let of = first..first + cols;
                let (mut table, mut positions) = (table, positions);
                if cols < args.cols {
                    let part = pass.window(table.value, 0..table.extent.rows, of.clone())?;
                    table = pass.graph.view(part);
                }
                if cut_positions {
                    let part = pass.window(positions.value, range.clone(), of)?;
                    positions = pass.graph.view(part);
                }
                let array = if cols < args.cols {
                    pass.value(&node.label, Extent::new(1, range.len(), cols), Source::Node)
                } else {
                    result
                };
                let part = Embed { length: range.len(), cols, ..args };
                pass.push(node, Op::Embed(part), vec![ids, table, positions], vec![array]);
                arrays.push(array);
            }
            pass.join(node, arrays, None, result);
            Ok(())
        })
    }

    fn assemble(&mut self, node: &Node, args: Assemble) -> Result<()> {
        let own_tail = args.tail_rows == args.rows;
        let fit = |name: &str| match name {
            "content" | "points" => Fit::Rows,
            "tail" if own_tail => Fit::Rows,
            _ => Fit::Whole,
        };
        let make = |of: &Range<usize>| {
            let first_row = args.first_row + if args.indexed { 0 } else { of.start };
            let tail_rows = if own_tail && args.tail > 0 { of.len() } else { args.tail_rows };
            Assemble { rows: of.len(), first_row, tail_rows, ..args }.into()
        };
        self.by_rows(node, args.rows, fit, make)
    }

    fn row_scale(&mut self, node: &Node, args: RowScale) -> Result<()> {
        let fit = |name: &str| if name == "sums" { Fit::Whole } else { Fit::Rows };
        let make = |of: &Range<usize>| {
            let first_row = args.first_row + if args.indexed { 0 } else { of.start };
            RowScale { rows: of.len(), first_row, ..args }.into()
        };
        self.by_rows(node, args.rows, fit, make)
    }

    /// A decoder's attention whose keys and tables are within the limit: query by query.
    fn factored_queries(
        &mut self,
        node: &Node,
        args: Attention,
        factors: QueryFactors,
    ) -> Result<()> {
        let fit = |name: &str| match name {
            "q" | "points" => Fit::Rows,
            "scales" => Fit::Flat,
            _ => Fit::Whole,
        };
        let make = |of: &Range<usize>| {
            let first = if factors.indexed { 0 } else { of.start };
            let factors = QueryFactors { first_query: factors.first_query + first, ..factors };
            Attention { queries: of.len(), factors: Some(factors), ..args }.into()
        };
        self.by_rows(node, args.queries, fit, make)
    }

    fn attention(&mut self, node: &Node, args: Attention) -> Result<()> {
        let operands = Operands {
            queries: node.inputs[0],
            before: &[],
            after: &node.inputs[1..3],
            flat: &node.inputs[3..3 + usize::from(args.masked)],
            carry: &node.inputs[3 + usize::from(args.masked)..],
        };
        let make = |queries: &Range<usize>, keys: &Range<usize>, carry, finish| {
            // Earlier keys are seen by all these queries.
            let causal = args.causal && queries.start == keys.start;
            let (queries, keys) = (queries.len(), keys.len());
            let op = Attention { queries, keys, causal, carry, finish, ..args };
            (Op::Attention(op), op.signature().result_extents())
        };
        let sizes = [args.queries, args.keys];
        self.over_keys(node, &operands, sizes, args.causal, args.finish, &make)
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
        let make = |queries: &Range<usize>, keys: &Range<usize>, carry, finish| {
            let op = FactoredAttention {
                queries: queries.len(),
                keys: keys.len(),
                first_key: args.first_key + keys.start,
                carry,
                finish,
                ..args
            };
            (Op::FactoredAttention(op), op.signature().result_extents())
        };
        self.over_keys(node, &operands, [args.queries, args.keys], false, args.finish, &make)
    }

    /// Attention of some queries at a time over some keys at a time, the state carried along. A causal one is cut at the same
    /// places on both sides, so that queries and keys that begin together are numbered alike; later keys are left out.
    fn over_keys(
        &mut self,
        node: &Node,
        operands: &Operands<'_>,
        [queries, keys]: [usize; 2],
        causal: bool,
        finish: bool,
        make: &MakeAttention<'_>,
    ) -> Result<()> {
        let by_key = [operands.before, operands.after].concat();
        let mut key_ranges = self.ranges(&node.label, keys, &by_key, &[], operands.flat)?;
        let mut by_query = vec![operands.queries];
        by_query.extend(operands.carry);
        // Rows of the result and of the state on the way.
        let (_, state) = make(&(0..queries), &(0..keys), false, false);
        let strides: Vec<usize> = state.iter().map(Extent::stride).collect();
        let mut query_ranges = self.ranges(&node.label, queries, &by_query, &strides, &[])?;
        if causal && query_ranges.len().max(key_ranges.len()) > 1 {
            // A query none of whose keys is left is the mean of all, those that are left out among them.
            if let [mask, ..] = operands.flat {
                return Err(self.too_large(&node.label, mask.extent));
            }
            let starts = query_ranges.iter().chain(&key_ranges).map(|r| r.start);
            let starts: BTreeSet<usize> = starts.collect();
            query_ranges = cut(queries, &starts);
            key_ranges = cut(keys, &starts);
        }
        let mut parts: Vec<Vec<(Range<usize>, ValueId)>> = vec![Vec::new(); node.outputs.len()];
        for range in query_ranges {
            let q = self.operand(operands.queries, &range, queries)?;
            let mut carry = Vec::new();
            for &view in operands.carry {
                carry.push(self.operand(view, &range, queries)?);
            }
            let seen = key_ranges.iter().filter(|of| !causal || of.start < range.end).count();
            for (i, of) in key_ranges[..seen].iter().enumerate() {
                let last = i + 1 == seen;
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
                let (op, extents) = make(&range, of, !carry.is_empty(), last && finish);
                inputs.append(&mut carry);
                let mut on_the_way = |extent| self.value(&node.label, extent, Source::Node);
                let outputs: Vec<ValueId> = if last {
                    node.outputs.iter().map(|&out| self.result(out, &range, queries)).collect()
                } else {
                    extents.into_iter().map(&mut on_the_way).collect()
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

/// How an operand goes with the rows that an op is divided by.
#[derive(Clone, Copy, PartialEq)]
enum Fit {
    /// It has a row for each.
    Rows,
    /// It is `[1, 1, rows]`.
    Flat,
    /// All of it serves every row.
    Whole,
}

/// An attention of these queries over these keys, with a carried state or not, finished or not, and the
/// shapes of its results.
type MakeAttention<'a> = dyn Fn(&Range<usize>, &Range<usize>, bool, bool) -> (Op, Vec<Extent>) + 'a;

/// Ranges of so many rows that begin at those of `starts` that are among them.
fn cut(rows: usize, starts: &BTreeSet<usize>) -> Vec<Range<usize>> {
    let inside: Vec<usize> = starts.iter().copied().filter(|&s| s < rows).collect();
    let ends = inside.iter().skip(1).copied().chain([rows]);
    inside.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

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
