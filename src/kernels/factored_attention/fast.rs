//! `factored_attention` on all threads.
//!
//! Each task gets a block of queries. Tiles of keys pass by, run by run of neighbouring grid
//! positions (all but the fastest axis fixed): tables are added, exponentials taken, marginals summed.
//! Content of few channels is read in those two passes, channel by channel; more channels are two
//! products around them.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::{Arch, Simd, WithSimd};

use super::FactoredAttention;
use super::cpu::{Operands, STATS_ROW, operands};
use crate::kernels::attention::{LOWEST_SCORE, MASKED_SCORE};
use crate::kernels::blocks::{Block, States, part, rows_of};
use crate::kernels::math::exp;
use crate::kernels::simd::{larger, load_end};

/// Keys per tile.
const TILE: usize = 512;
/// Scores may pass the reference of a row's exponentials by this before it is moved, which costs a
/// pass over all sums of the row. e⁸ is far from any limit of f32.
const SLACK: f32 = 8.0;

/// Query rows per task.
fn query_block(a: &FactoredAttention) -> usize {
    let tasks = rayon::current_num_threads().max(1) * 2;
    (a.batch * a.splits * a.queries).div_ceil(tasks).clamp(8, 128).next_multiple_of(8)
}

/// Blocks of queries on all threads.
pub(crate) fn fast(a: &FactoredAttention, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let o = operands(a, inputs);
    if a.queries == 0 || a.batch == 0 {
        return;
    }
    let row = [a.columns, STATS_ROW];
    let states = States { splits: a.splits, batch: a.batch, queries: a.queries, row };
    states.each_block(query_block(a), outputs, |scratch, block, acc, stats| {
        run_block(a, &o, block, scratch, acc, stats);
    });
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
        runs.push(Run { first: at, count: length, slow, fast });
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
    let keys = part(block.split, a.split_keys(), a.keys);
    for key in keys.clone().step_by(TILE) {
        let mut list = std::mem::take(&mut scratch.runs);
        let count = TILE.min(keys.end - key);
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
#[allow(clippy::too_many_arguments, reason = "one inner loop, split off for reading")]
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
        scratch.planes.clear();
        for c in 0..f.content {
            let channel = (0..count).map(|k| content[k * content_row + c]);
            scratch.planes.extend(channel);
        }
        // Channels that the fixed widths below have and the content lacks.
        scratch.planes.resize(FEW_CHANNELS * count, 0.0);
    } else {
        let q = rows_of(&queries[a.first_column..], rows, f.content, a.columns);
        let c = rows_of(content, count, f.content, content_row);
        let scores =
            MatMut::from_row_major_slice_mut(&mut scratch.scores[..rows * count], rows, count);
        matmul(scores, Accum::Replace, q, c.transpose(), 1.0, Par::Seq);
    }
    let tile = Tile {
        a,
        runs,
        count,
        scale: &o.scale[block.item * mask_row + key..][..count],
        mask: a.masked.then(|| &o.mask[block.item * mask_row + key..][..count]),
    };
    let work = Work { tile: &tile, queries, scratch, acc };
    match f.content {
        0 => Arch::new().dispatch(Passes::<0, true>(work)),
        1 => Arch::new().dispatch(Passes::<1, true>(work)),
        2 => Arch::new().dispatch(Passes::<2, true>(work)),
        3 => Arch::new().dispatch(Passes::<3, true>(work)),
        4 => Arch::new().dispatch(Passes::<4, true>(work)),
        5..=FEW_CHANNELS => Arch::new().dispatch(Passes::<FEW_CHANNELS, true>(work)),
        _ => Arch::new().dispatch(Passes::<0, false>(work)),
    }
    if !few {
        let w = MatRef::from_row_major_slice(&scratch.scores[..rows * count], rows, count);
        let c = rows_of(content, count, f.content, content_row);
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

/// What the passes over a tile read, whatever the query.
struct Tile<'a> {
    a: &'a FactoredAttention,
    runs: &'a [Run],
    count: usize,
    scale: &'a [f32],
    mask: Option<&'a [f32]>,
}

/// A tile and what the passes change.
struct Work<'a> {
    tile: &'a Tile<'a>,
    queries: &'a [f32],
    scratch: &'a mut Scratch,
    acc: &'a mut [f32],
}

/// Scores, maxima, weights and sums of all rows. `C` channels of content are read here; `FRESH` scores
/// start from nothing, others from the product with the content, and their weights are left for the
/// next product.
struct Passes<'a, const C: usize, const FRESH: bool>(Work<'a>);

impl<const C: usize, const FRESH: bool> WithSimd for Passes<'_, C, FRESH> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Work { tile, queries, scratch, acc } = self.0;
        let (a, count) = (tile.a, tile.count);
        let f = &a.factors;
        let constant = a.first_column + f.constant_column();
        let slow_axes = f.dimensions.saturating_sub(1);
        let content = C.min(f.content);
        let rows = queries
            .chunks_exact(a.columns)
            .zip(acc.chunks_exact_mut(a.columns))
            .zip(scratch.scores.chunks_exact_mut(count));
        for (r, ((g, sums), scores)) in rows.enumerate() {
            let mut factors = [simd.splat_f32s(0.0); C];
            for (factor, &g) in factors.iter_mut().zip(&g[a.first_column..][..content]) {
                *factor = simd.splat_f32s(g);
            }
            let before = scratch.maxima[r];
            let mut most = simd.splat_f32s(before);
            for run in tile.runs {
                let slow: f32 = run.slow[..slow_axes].iter().map(|&c| g[c]).sum();
                let score = Score { factors, slow: simd.splat_f32s(slow + g[constant]) };
                let keys = tile.keys::<C>(run, &scratch.planes);
                let scores = &mut scores[run.first..run.first + run.count];
                most = if f.dimensions > 0 {
                    let table = &g[run.fast..run.fast + run.count];
                    scores_of_run::<S, C, FRESH, true>(simd, scores, &keys, table, score, most)
                } else {
                    scores_of_run::<S, C, FRESH, false>(simd, scores, &keys, &[], score, most)
                };
            }
            let mut largest = simd.reduce_max_f32s(most);
            if let Some(mask) = tile.mask {
                // Masked scores have been seen by the maximum: start again.
                largest = before;
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
            let mut weighed = [simd.splat_f32s(0.0); C];
            let mut total = simd.splat_f32s(0.0);
            for run in tile.runs {
                let keys = tile.keys::<C>(run, &scratch.planes);
                let scores = &mut scores[run.first..run.first + run.count];
                let (p, w) = if f.dimensions > 0 {
                    let marginal = &mut sums[run.fast..run.fast + run.count];
                    weights_of_run::<S, C, FRESH, true>(
                        simd,
                        scores,
                        &keys,
                        marginal,
                        reference,
                        &mut weighed,
                    )
                } else {
                    weights_of_run::<S, C, FRESH, false>(
                        simd,
                        scores,
                        &keys,
                        &mut [],
                        reference,
                        &mut weighed,
                    )
                };
                total = simd.add_f32s(total, p);
                let w = simd.reduce_sum_f32s(w);
                for &c in &run.slow[..slow_axes] {
                    sums[c] += w;
                }
                sums[constant] += w;
            }
            scratch.sums[r] += simd.reduce_sum_f32s(total);
            for (to, lanes) in sums[a.first_column..][..content].iter_mut().zip(weighed) {
                *to += simd.reduce_sum_f32s(lanes);
            }
        }
    }
}

impl<'a> Tile<'a> {
    /// What a run reads: its part of the first `C` channels, and the scales.
    #[inline(always)]
    fn keys<'b, const C: usize>(&self, run: &Run, planes: &'b [f32]) -> Keys<'b, C>
    where
        'a: 'b,
    {
        Keys {
            planes: std::array::from_fn(|c| &planes[c * self.count + run.first..][..run.count]),
            scale: &self.scale[run.first..run.first + run.count],
        }
    }
}

/// Keys of a run.
struct Keys<'a, const C: usize> {
    /// Content by channel.
    planes: [&'a [f32]; C],
    scale: &'a [f32],
}

/// What a query adds to the scores of a run.
#[derive(Clone, Copy)]
struct Score<V, const C: usize> {
    factors: [V; C],
    slow: V,
}

/// (product + content·factors + table + slow)·scale.
#[inline(always)]
fn scores_of_lanes<S: Simd, const C: usize>(
    simd: S,
    product: S::f32s,
    table: S::f32s,
    content: [S::f32s; C],
    scale: S::f32s,
    score: Score<S::f32s, C>,
) -> S::f32s {
    let mut sum = simd.add_f32s(simd.add_f32s(score.slow, table), product);
    for (content, factor) in content.into_iter().zip(score.factors) {
        sum = simd.mul_add_e_f32s(content, factor, sum);
    }
    simd.mul_f32s(sum, scale)
}

/// s = (s + content·factors + table + slow)·scale; returns the larger of `most` and the scores.
#[inline(always)]
fn scores_of_run<S: Simd, const C: usize, const FRESH: bool, const TABLE: bool>(
    simd: S,
    s: &mut [f32],
    keys: &Keys<'_, C>,
    table: &[f32],
    score: Score<S::f32s, C>,
    mut most: S::f32s,
) -> S::f32s {
    let nothing = simd.splat_f32s(0.0);
    let (blocks, rest) = S::as_mut_simd_f32s(s);
    let (scales, scale_rest) = S::as_simd_f32s(keys.scale);
    let (tables, table_rest) = S::as_simd_f32s(table);
    let planes = keys.planes.map(|plane| S::as_simd_f32s(plane));
    for (i, (s, &scale)) in blocks.iter_mut().zip(scales).enumerate() {
        let table = if TABLE { tables[i] } else { nothing };
        let product = if FRESH { nothing } else { *s };
        let content = planes.map(|(plane, _)| plane[i]);
        let sum = scores_of_lanes(simd, product, table, content, scale, score);
        *s = sum;
        most = larger(simd, most, sum);
    }
    if !rest.is_empty() {
        let table = if TABLE { simd.partial_load_f32s(table_rest) } else { nothing };
        let product = if FRESH { nothing } else { simd.partial_load_f32s(rest) };
        let content = planes.map(|(_, plane)| simd.partial_load_f32s(plane));
        let scale = simd.partial_load_f32s(scale_rest);
        let sum = scores_of_lanes(simd, product, table, content, scale, score);
        simd.partial_store_f32s(rest, sum);
        most = larger(simd, most, load_end(simd, rest, LOWEST_SCORE));
    }
    most
}

/// Sums of one run, by lane.
struct Weighed<V, const C: usize> {
    p: V,
    w: V,
    content: [V; C],
}

/// w = e^shifted·scale, added to the sums.
#[inline(always)]
fn weights_of_lanes<S: Simd, const C: usize>(
    simd: S,
    shifted: S::f32s,
    content: [S::f32s; C],
    scale: S::f32s,
    sums: &mut Weighed<S::f32s, C>,
) -> S::f32s {
    let p = crate::kernels::simd::exp(simd, shifted);
    sums.p = simd.add_f32s(sums.p, p);
    let w = simd.mul_f32s(p, scale);
    sums.w = simd.add_f32s(sums.w, w);
    for (sum, content) in sums.content.iter_mut().zip(content) {
        *sum = simd.mul_add_e_f32s(w, content, *sum);
    }
    w
}

/// Weights p·r of scores: adds them to `marginal`, their products with the content to `weighed`;
/// returns Σp and Σp·r by lane. They replace the scores where a product follows.
#[inline(always)]
fn weights_of_run<S: Simd, const C: usize, const FRESH: bool, const TABLE: bool>(
    simd: S,
    s: &mut [f32],
    keys: &Keys<'_, C>,
    marginal: &mut [f32],
    reference: f32,
    weighed: &mut [S::f32s; C],
) -> (S::f32s, S::f32s) {
    let reference = simd.splat_f32s(reference);
    let nothing = simd.splat_f32s(0.0);
    let mut sums = Weighed { p: nothing, w: nothing, content: *weighed };
    let (blocks, rest) = S::as_mut_simd_f32s(s);
    let (scales, scale_rest) = S::as_simd_f32s(keys.scale);
    let (marginals, marginal_rest) = S::as_mut_simd_f32s(marginal);
    let planes = keys.planes.map(|plane| S::as_simd_f32s(plane));
    for (i, (s, &scale)) in blocks.iter_mut().zip(scales).enumerate() {
        let shifted = simd.sub_f32s(*s, reference);
        let w = weights_of_lanes(simd, shifted, planes.map(|(p, _)| p[i]), scale, &mut sums);
        if TABLE {
            marginals[i] = simd.add_f32s(marginals[i], w);
        }
        if !FRESH {
            *s = w;
        }
    }
    if !rest.is_empty() {
        // Lanes beyond the end have weight zero.
        let shifted = simd.sub_f32s(load_end(simd, rest, f32::NEG_INFINITY), reference);
        let content = planes.map(|(_, plane)| simd.partial_load_f32s(plane));
        let scale = simd.partial_load_f32s(scale_rest);
        let w = weights_of_lanes(simd, shifted, content, scale, &mut sums);
        if TABLE {
            let sum = simd.add_f32s(simd.partial_load_f32s(marginal_rest), w);
            simd.partial_store_f32s(marginal_rest, sum);
        }
        if !FRESH {
            simd.partial_store_f32s(rest, w);
        }
    }
    *weighed = sums.content;
    (sums.p, sums.w)
}
