//! CPU twin of `factored_attention`.
//!
//! `fast` gives each task a block of queries. Tiles of keys pass by: content scores by one product,
//! then run by run of neighbouring grid positions (all but the fastest axis fixed) the tables are
//! added, exponentials taken and marginals summed, then the content sums by a second product.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::math::{exp, vectorised};
use super::real::Real;
use crate::kernels::attention::{LOWEST_SCORE, MASKED_SCORE};
use crate::kernels::factored_attention::FactoredAttention;

/// Operands in the order of [`FactoredAttention`], empty where there is none.
struct Operands<'a, T> {
    content: &'a [T],
    queries: &'a [T],
    scale: &'a [T],
    mask: &'a [T],
    carry: Option<(&'a [T], &'a [T])>,
}

fn operands<'a, T>(a: &FactoredAttention, inputs: &[&'a [T]]) -> Operands<'a, T> {
    let mut rest = inputs.iter().copied();
    let mut next = |there: bool| {
        if there {
            rest.next().unwrap_or(&[])
        } else {
            &[]
        }
    };
    Operands {
        content: next(a.factors.content > 0),
        queries: next(true),
        scale: next(true),
        mask: next(a.masked),
        carry: if a.carry {
            Some((next(true), next(true)))
        } else {
            None
        },
    }
}

/// Elements of a row of the statistics.
const STATS_ROW: usize = 4;

/// Plain loops: all scores of a query, their maximum, their exponentials, the sums.
pub fn reference<T: Real>(a: &FactoredAttention, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let o = operands(a, inputs);
    let f = &a.factors;
    let stride = f.content.next_multiple_of(4);
    let mask_row = a.keys.next_multiple_of(4);
    for out in outputs.iter_mut() {
        out.fill(T::default());
    }
    for split in 0..a.splits {
        let first = (split * a.split_keys()).min(a.keys);
        let last = (first + a.split_keys()).min(a.keys);
        for item in 0..a.batch {
            for n in 0..a.queries {
                let g = &o.queries[n * a.columns + a.first_column..][..f.columns()];
                let content = |m: usize| &o.content[(item * a.keys + m) * stride..][..f.content];
                let score = |m: usize| {
                    if a.masked && o.mask[item * mask_row + m] == T::default() {
                        return T::from_f32(MASKED_SCORE);
                    }
                    let mut s = g[f.constant_column()];
                    for (&g, &c) in g.iter().zip(content(m)) {
                        s += g * c;
                    }
                    for (axis, i) in f.indices(a.first_key + m).into_iter().enumerate() {
                        if axis < f.dimensions {
                            s += g[f.axis_column(axis) + i];
                        }
                    }
                    s * o.scale[item * mask_row + m]
                };
                let row = (split * a.batch + item) * a.queries + n;
                let mut sums = vec![T::default(); a.columns];
                let (mut maximum, mut total) = (T::from_f32(LOWEST_SCORE), T::default());
                let mut before = None;
                if let Some((acc, stats)) = o.carry.filter(|_| split == 0) {
                    let from = item * a.queries + n;
                    maximum = stats[from * STATS_ROW];
                    before = Some((
                        maximum,
                        stats[from * STATS_ROW + 1],
                        &acc[from * a.columns..],
                    ));
                }
                for m in first..last {
                    let s = score(m);
                    if s > maximum {
                        maximum = s;
                    }
                }
                if let Some((m, l, acc)) = before {
                    let factor = (m - maximum).exp();
                    total += l * factor;
                    for (to, &x) in sums.iter_mut().zip(acc) {
                        *to += x * factor;
                    }
                }
                let own = &mut sums[a.first_column..];
                for m in first..last {
                    let p = (score(m) - maximum).exp();
                    total += p;
                    let w = p * o.scale[item * mask_row + m];
                    for (to, &c) in own.iter_mut().zip(content(m)) {
                        *to += w * c;
                    }
                    for (axis, i) in f.indices(a.first_key + m).into_iter().enumerate() {
                        if axis < f.dimensions {
                            own[f.axis_column(axis) + i] += w;
                        }
                    }
                    own[f.constant_column()] += w;
                }
                let out = &mut outputs[0][row * a.columns..][..a.columns];
                if a.stores_result() {
                    if total > T::default() {
                        for (out, &x) in out.iter_mut().zip(&sums) {
                            *out = x / total;
                        }
                    }
                } else {
                    out.copy_from_slice(&sums);
                    outputs[1][row * STATS_ROW] = maximum;
                    outputs[1][row * STATS_ROW + 1] = total;
                }
            }
        }
    }
}

/// Keys per tile.
const TILE: usize = 512;
/// Scores may pass the reference of a row's exponentials by this before it is moved, which costs a
/// pass over all sums of the row. e⁸ is far from any limit of f32.
const SLACK: f32 = 8.0;

/// Query rows per task.
fn query_block(a: &FactoredAttention) -> usize {
    let tasks = rayon::current_num_threads().max(1) * 2;
    (a.batch * a.splits * a.queries)
        .div_ceil(tasks)
        .clamp(8, 128)
        .next_multiple_of(8)
}

/// Blocks of queries on all threads.
pub fn fast(a: &FactoredAttention, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let o = operands(a, inputs);
    if a.queries == 0 || a.batch == 0 {
        return;
    }
    let block = query_block(a);
    let parts = a.splits * a.batch;
    let (acc, stats) = match outputs {
        [acc, stats] => (&mut **acc, Some(&mut **stats)),
        [acc] => (&mut **acc, None),
        _ => return,
    };
    let blocks: Vec<&mut [f32]> = acc[..parts * a.queries * a.columns]
        .chunks_mut(a.queries * a.columns)
        .flat_map(|part| part.chunks_mut(block * a.columns))
        .collect();
    let mut stats: Vec<Option<&mut [f32]>> = match stats {
        Some(stats) => stats[..parts * a.queries * STATS_ROW]
            .chunks_mut(a.queries * STATS_ROW)
            .flat_map(|part| part.chunks_mut(block * STATS_ROW))
            .map(Some)
            .collect(),
        None => (0..blocks.len()).map(|_| None).collect(),
    };
    let each = a.queries.div_ceil(block);
    blocks
        .into_par_iter()
        .zip(stats.par_iter_mut())
        .enumerate()
        .for_each_init(Scratch::default, |scratch, (i, (acc, stats))| {
            let part = i / each;
            let first_query = i % each * block;
            let block = Block {
                item: part % a.batch,
                split: part / a.batch,
                first_query,
                rows: block.min(a.queries - first_query),
            };
            run_block(a, &o, block, scratch, acc, stats.as_deref_mut());
        });
}

/// Query rows that one task owns.
#[derive(Clone, Copy)]
struct Block {
    item: usize,
    split: usize,
    first_query: usize,
    rows: usize,
}

/// Arrays that a thread keeps from task to task.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    /// Of each row: what exponentials are relative to, the true maximum, the sum.
    references: Vec<f32>,
    maxima: Vec<f32>,
    sums: Vec<f32>,
    runs: Vec<Run>,
    /// Few channels of content: one row per channel, keys as columns.
    planes: Vec<f32>,
}

/// Content of at most this many channels joins the elementwise passes; more is worth a product.
const FEW_CHANNELS: usize = 8;

/// Neighbouring keys of a tile whose grid positions differ on the fastest axis alone.
#[derive(Clone, Copy)]
struct Run {
    /// First key within the tile, and their number.
    first: usize,
    count: usize,
    /// Columns of the first key's entries on the slow axes.
    slow: [usize; 2],
    /// Column of the first key's entry on the fastest axis.
    fast: usize,
}

/// Divides keys `first .. first + count` into runs.
fn runs(a: &FactoredAttention, first: usize, count: usize, runs: &mut Vec<Run>) {
    let f = &a.factors;
    runs.clear();
    let mut at = 0;
    while at < count {
        let i = f.indices(a.first_key + first + at);
        let column = |axis: usize| a.first_column + f.axis_column(axis) + i[axis];
        let (length, slow, fast) = match f.dimensions {
            0 => (count, [0; 2], 0),
            d => {
                let rest = f.axes[d - 1] - i[d - 1];
                let slow = match d {
                    1 => [0; 2],
                    2 => [column(0), 0],
                    _ => [column(0), column(1)],
                };
                (rest, slow, column(d - 1))
            }
        };
        let length = length.min(count - at);
        runs.push(Run {
            first: at,
            count: length,
            slow,
            fast,
        });
        at += length;
    }
}

fn run_block(
    a: &FactoredAttention,
    o: &Operands<'_, f32>,
    block: Block,
    scratch: &mut Scratch,
    acc: &mut [f32],
    mut stats: Option<&mut [f32]>,
) {
    let rows = block.rows;
    acc.fill(0.0);
    scratch.maxima.clear();
    scratch.maxima.resize(rows, LOWEST_SCORE);
    scratch.sums.clear();
    scratch.sums.resize(rows, 0.0);
    if let Some((carry, carry_stats)) = o.carry.filter(|_| block.split == 0) {
        let from = block.item * a.queries + block.first_query;
        acc.copy_from_slice(&carry[from * a.columns..][..rows * a.columns]);
        for r in 0..rows {
            scratch.maxima[r] = carry_stats[(from + r) * STATS_ROW];
            scratch.sums[r] = carry_stats[(from + r) * STATS_ROW + 1];
        }
    }
    scratch.references.clear();
    scratch.references.extend_from_slice(&scratch.maxima);
    let first = (block.split * a.split_keys()).min(a.keys);
    let last = (first + a.split_keys()).min(a.keys);
    for key in (first..last).step_by(TILE) {
        let mut list = std::mem::take(&mut scratch.runs);
        let count = TILE.min(last - key);
        runs(a, key, count, &mut list);
        run_tile(a, o, block, key, count, &list, scratch, acc);
        scratch.runs = list;
    }
    for r in 0..rows {
        let sum = scratch.sums[r];
        // The state is relative to the true maximum, so that it does not depend on the tiles.
        let factor = if a.stores_result() {
            if sum > 0.0 { 1.0 / sum } else { 1.0 }
        } else {
            exp((scratch.references[r] - scratch.maxima[r]).clamp(-87.0, 87.0))
        };
        if factor != 1.0 {
            for x in &mut acc[r * a.columns..(r + 1) * a.columns] {
                *x *= factor;
            }
        }
        if let Some(stats) = stats.as_deref_mut() {
            stats[r * STATS_ROW] = scratch.maxima[r];
            stats[r * STATS_ROW + 1] = sum * factor;
            stats[r * STATS_ROW + 2..(r + 1) * STATS_ROW].fill(0.0);
        }
    }
}

/// Scores, weights and sums of one tile of keys.
#[allow(
    clippy::too_many_arguments,
    reason = "one inner loop, split off for reading"
)]
fn run_tile(
    a: &FactoredAttention,
    o: &Operands<'_, f32>,
    block: Block,
    key: usize,
    count: usize,
    runs: &[Run],
    scratch: &mut Scratch,
    acc: &mut [f32],
) {
    let f = &a.factors;
    let rows = block.rows;
    let content_row = f.content.next_multiple_of(4);
    let mask_row = a.keys.next_multiple_of(4);
    scratch.scores.resize(rows * TILE, 0.0);
    let content = &o.content[((block.item * a.keys + key) * content_row)..];
    let queries = &o.queries[block.first_query * a.columns..][..rows * a.columns];
    let few = f.content <= FEW_CHANNELS;
    if few {
        scratch.scores[..rows * count].fill(0.0);
        scratch.planes.clear();
        for c in 0..f.content {
            let channel = (0..count).map(|k| content[k * content_row + c]);
            scratch.planes.extend(channel);
        }
    } else {
        let q = MatRef::from_row_major_slice_with_stride(
            &queries[a.first_column..(rows - 1) * a.columns + a.first_column + f.content],
            rows,
            f.content,
            a.columns,
        );
        let c = MatRef::from_row_major_slice_with_stride(
            &content[..(count - 1) * content_row + f.content],
            count,
            f.content,
            content_row,
        );
        let scores =
            MatMut::from_row_major_slice_mut(&mut scratch.scores[..rows * count], rows, count);
        matmul(scores, Accum::Replace, q, c.transpose(), 1.0, Par::Seq);
    }
    let scale = &o.scale[block.item * mask_row + key..][..count];
    let mask = a
        .masked
        .then(|| &o.mask[block.item * mask_row + key..][..count]);
    let constant = a.first_column + f.constant_column();
    let slow_axes = f.dimensions.saturating_sub(1);
    vectorised(
        #[inline(always)]
        || {
            for r in 0..rows {
                let scores = &mut scratch.scores[r * count..(r + 1) * count];
                let g = &queries[r * a.columns..(r + 1) * a.columns];
                let sums = &mut acc[r * a.columns..(r + 1) * a.columns];
                let mut largest = scratch.maxima[r];
                if few {
                    for (c, plane) in scratch.planes.chunks_exact(count).enumerate() {
                        add_scaled(scores, plane, g[a.first_column + c]);
                    }
                }
                for run in runs {
                    let slow: f32 = run.slow[..slow_axes].iter().map(|&c| g[c]).sum();
                    let slow = slow + g[constant];
                    let scores = &mut scores[run.first..run.first + run.count];
                    let scale = &scale[run.first..run.first + run.count];
                    let table = (f.dimensions > 0).then(|| &g[run.fast..run.fast + run.count]);
                    largest = add_tables(scores, scale, table, slow, largest);
                }
                if let Some(mask) = mask {
                    // Masked scores have been seen by the maximum: start again.
                    largest = scratch.maxima[r];
                    for (s, &keep) in scores.iter_mut().zip(mask) {
                        *s = if keep == 0.0 { MASKED_SCORE } else { *s };
                        largest = if *s > largest { *s } else { largest };
                    }
                }
                scratch.maxima[r] = largest;
                let mut reference = scratch.references[r];
                if largest > reference + SLACK {
                    let factor = exp(reference - largest);
                    scratch.sums[r] *= factor;
                    for x in sums.iter_mut() {
                        *x *= factor;
                    }
                    reference = largest;
                    scratch.references[r] = reference;
                }
                let mut total = 0.0;
                for run in runs {
                    let scores = &mut scores[run.first..run.first + run.count];
                    let scale = &scale[run.first..run.first + run.count];
                    let marginal = if f.dimensions > 0 {
                        Some(&mut sums[run.fast..run.fast + run.count])
                    } else {
                        None
                    };
                    let (p, w) = weights(scores, scale, marginal, reference);
                    total += p;
                    for &c in &run.slow[..slow_axes] {
                        sums[c] += w;
                    }
                    sums[constant] += w;
                }
                scratch.sums[r] += total;
                if few {
                    for (c, plane) in scratch.planes.chunks_exact(count).enumerate() {
                        sums[a.first_column + c] += dot(scores, plane);
                    }
                }
            }
        },
    );
    if !few {
        let w = MatRef::from_row_major_slice(&scratch.scores[..rows * count], rows, count);
        let c = MatRef::from_row_major_slice_with_stride(
            &content[..(count - 1) * content_row + f.content],
            count,
            f.content,
            content_row,
        );
        let end = (rows - 1) * a.columns + a.first_column + f.content;
        // faer 0.24 swaps the strides of a mutable row-major view; the transpose is right.
        let sums = MatMut::from_column_major_slice_with_stride_mut(
            &mut acc[a.first_column..end],
            f.content,
            rows,
            a.columns,
        )
        .transpose_mut();
        matmul(sums, Accum::Add, w, c, 1.0, Par::Seq);
    }
}

/// Lanes of all inner loops: fixed-size blocks compile to whole vectors.
const LANES: usize = 16;
type Lanes = [f32; LANES];

/// The first elements of a slice of less than a block, the rest `padding`.
#[inline(always)]
fn padded(slice: &[f32], padding: f32) -> Lanes {
    let mut lanes = [padding; LANES];
    lanes[..slice.len()].copy_from_slice(slice);
    lanes
}

/// s = (s + table + slow)·scale; returns the largest, at least `largest`. No table adds nothing.
#[inline(always)]
fn add_tables(s: &mut [f32], scale: &[f32], table: Option<&[f32]>, slow: f32, largest: f32) -> f32 {
    #[inline(always)]
    fn block(s: &mut Lanes, scale: &Lanes, table: &Lanes, slow: f32, most: &mut Lanes) {
        for i in 0..LANES {
            let score = (s[i] + (table[i] + slow)) * scale[i];
            s[i] = score;
            most[i] = if score > most[i] { score } else { most[i] };
        }
    }
    let mut most = [largest; LANES];
    let (blocks, rest) = s.as_chunks_mut::<LANES>();
    let (scales, scale_rest) = scale.as_chunks::<LANES>();
    let nothing = [0.0; LANES];
    match table {
        Some(table) => {
            let (tables, table_rest) = table.as_chunks::<LANES>();
            for ((s, scale), table) in blocks.iter_mut().zip(scales).zip(tables) {
                block(s, scale, table, slow, &mut most);
            }
            if !rest.is_empty() {
                // Lanes beyond the end repeat the first, which changes no maximum.
                let mut s = padded(rest, rest[0]);
                let scale = padded(scale_rest, scale_rest[0]);
                block(
                    &mut s,
                    &scale,
                    &padded(table_rest, table_rest[0]),
                    slow,
                    &mut most,
                );
                rest.copy_from_slice(&s[..rest.len()]);
            }
        }
        None => {
            for (s, scale) in blocks.iter_mut().zip(scales) {
                block(s, scale, &nothing, slow, &mut most);
            }
            if !rest.is_empty() {
                let mut s = padded(rest, rest[0]);
                let scale = padded(scale_rest, scale_rest[0]);
                block(&mut s, &scale, &nothing, slow, &mut most);
                rest.copy_from_slice(&s[..rest.len()]);
            }
        }
    }
    most.into_iter()
        .fold(largest, |a, b| if b > a { b } else { a })
}

/// Replaces scores by weights p·r; adds them to `marginal`, if there is one; returns Σp and Σp·r.
#[inline(always)]
fn weights(
    s: &mut [f32],
    scale: &[f32],
    marginal: Option<&mut [f32]>,
    reference: f32,
) -> (f32, f32) {
    #[inline(always)]
    fn block(s: &mut Lanes, scale: &Lanes, reference: f32, ps: &mut Lanes, ws: &mut Lanes) {
        let mut p = [0.0; LANES];
        for i in 0..LANES {
            p[i] = exp(s[i] - reference);
        }
        for i in 0..LANES {
            ps[i] += p[i];
            let w = p[i] * scale[i];
            ws[i] += w;
            s[i] = w;
        }
    }
    #[inline(always)]
    fn add(marginal: &mut Lanes, w: Lanes) {
        for i in 0..LANES {
            marginal[i] += w[i];
        }
    }
    let (mut ps, mut ws) = ([0.0; LANES], [0.0; LANES]);
    let (blocks, rest) = s.as_chunks_mut::<LANES>();
    let (scales, scale_rest) = scale.as_chunks::<LANES>();
    match marginal {
        Some(marginal) => {
            let (marginals, marginal_rest) = marginal.as_chunks_mut::<LANES>();
            for ((s, scale), marginal) in blocks.iter_mut().zip(scales).zip(marginals) {
                block(s, scale, reference, &mut ps, &mut ws);
                add(marginal, *s);
            }
            if !rest.is_empty() {
                // Lanes beyond the end have weight zero.
                let mut s = padded(rest, LOWEST_SCORE);
                let scale = padded(scale_rest, 0.0);
                block(&mut s, &scale, reference, &mut ps, &mut ws);
                for (marginal, w) in marginal_rest.iter_mut().zip(&s) {
                    *marginal += w;
                }
                rest.copy_from_slice(&s[..rest.len()]);
            }
        }
        None => {
            for (s, scale) in blocks.iter_mut().zip(scales) {
                block(s, scale, reference, &mut ps, &mut ws);
            }
            if !rest.is_empty() {
                let mut s = padded(rest, LOWEST_SCORE);
                let scale = padded(scale_rest, 0.0);
                block(&mut s, &scale, reference, &mut ps, &mut ws);
                rest.copy_from_slice(&s[..rest.len()]);
            }
        }
    }
    (ps.iter().sum(), ws.iter().sum())
}

/// s += x·factor.
#[inline(always)]
fn add_scaled(s: &mut [f32], x: &[f32], factor: f32) {
    for (s, &x) in s.iter_mut().zip(x) {
        *s += x * factor;
    }
}

/// Σ a·b.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (blocks, other) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = blocks.remainder().iter().zip(other.remainder());
    for ((a, b), sum) in rest.zip(&mut sums) {
        *sum = a * b;
    }
    for (a, b) in blocks.zip(other) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}
