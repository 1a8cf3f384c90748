//! `attention` on all threads.
//!
//! This is the flash algorithm over cache-sized tiles: a block of query rows meets blocks of keys;
//! scores and context are matrix products by `faer`, the softmax runs online in between.
//!
//! Measured on two cores with AVX-512, against this: blocks of at most 128 rows 0.93 of the rate at 2048 queries and
//! keys with 16 heads of 32, and 512 rows 1.03 with twice the scores in the second cache. Dropped: 128 or 512 keys a
//! tile (no clear difference), and a kernel of our own in place of `faer` (6 rows by two vectors of sums; keys and
//! values packed for the block; softmax on six rows at once): 0.9 to 1.0 at heads of 32, 0.7 to 1.0 at most wider
//! ones, 0.2 to 0.8 where there are few queries.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::{Arch, Simd, WithSimd};

use super::cpu::{Operands, operands, state_rows, table_rows};
use super::{Attention, LOWEST_SCORE, MASKED_SCORE, QueryFactors};
use crate::kernels::blocks::{Block, States, part, rows_of};
use crate::kernels::math::vectorised;
use crate::kernels::simd::softmax_row;

/// Keys per tile.
const KEY_TILE: usize = 256;

/// Query rows per task: enough to reuse a packed tile of keys, few enough to fill all threads.
fn query_tile(a: &Attention) -> usize {
    let tasks = rayon::current_num_threads().max(1) * 2;
    (a.batch * a.queries).div_ceil(tasks).clamp(16, 256).next_multiple_of(8).min(a.queries.max(1))
}

/// Flash attention over tiles, on all threads.
pub(crate) fn fast(a: &Attention, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let o = operands(a, inputs);
    if a.queries == 0 || a.batch == 0 || a.heads == 0 {
        return;
    }
    let states =
        States { splits: a.splits, batch: a.batch, queries: a.queries, row: state_rows(a).into() };
    states.each_block(query_tile(a), outputs, |scratch, block, acc, stats| {
        run_block(a, &o, block, scratch, acc, stats);
    });
}

/// Arrays that a thread keeps from task to task.
#[derive(Default)]
struct Scratch {
    q: Vec<f32>,
    scores: Vec<f32>,
    acc: Vec<f32>,
    maxima: Vec<f32>,
    sums: Vec<f32>,
}

fn run_block(
    a: &Attention,
    o: &Operands<'_, f32>,
    block: Block,
    scratch: &mut Scratch,
    acc: &mut [f32],
    mut stats: Option<&mut [f32]>,
) {
    let (acc_row, stats_row) = state_rows(a);
    let rows = block.rows;
    acc.fill(0.0);
    if let Some(stats) = stats.as_deref_mut() {
        stats.fill(0.0);
    }
    let keys = part(block.split, a.split_keys(), a.keys);
    let q_item = if a.shared_queries { 0 } else { block.item };
    let d_v = a.d_v;
    for head in 0..a.heads {
        // The scale goes into the queries, once.
        scratch.q.clear();
        for r in 0..rows {
            let at = (q_item * a.queries + block.first_query + r) * a.q_row
                + a.q_column
                + head * a.qk_stride();
            scratch.q.extend(o.q[at..at + a.d_qk].iter().map(|&x| x * a.scale));
        }
        scratch.acc.clear();
        scratch.acc.resize(rows * d_v, 0.0);
        scratch.maxima.clear();
        scratch.maxima.resize(rows, LOWEST_SCORE);
        scratch.sums.clear();
        scratch.sums.resize(rows, 0.0);
        if let Some((carry_acc, carry_stats)) = o.carry.filter(|_| block.split == 0) {
            for r in 0..rows {
                let row = block.item * a.queries + block.first_query + r;
                scratch.maxima[r] = carry_stats[row * stats_row + 2 * head];
                scratch.sums[r] = carry_stats[row * stats_row + 2 * head + 1];
                scratch.acc[r * d_v..(r + 1) * d_v]
                    .copy_from_slice(&carry_acc[row * acc_row + head * a.v_stride()..][..d_v]);
            }
        }
        for key in keys.clone().step_by(KEY_TILE) {
            let count = KEY_TILE.min(keys.end - key);
            run_tile(a, o, block, head, key, count, scratch);
        }
        for r in 0..rows {
            let out = &mut acc[r * acc_row + head * a.v_stride()..][..d_v];
            let from = &scratch.acc[r * d_v..(r + 1) * d_v];
            let sum = scratch.sums[r];
            let factor = if a.stores_result() && sum > 0.0 { 1.0 / sum } else { 1.0 };
            for (out, &x) in out.iter_mut().zip(from) {
                *out = x * factor;
            }
            if let Some(stats) = stats.as_deref_mut() {
                stats[r * stats_row + 2 * head] = scratch.maxima[r];
                stats[r * stats_row + 2 * head + 1] = sum;
            }
        }
    }
}

/// Completes the scores of factored queries.
fn add_tables(
    a: &Attention,
    f: &QueryFactors,
    (scale, tables, points): (&[f32], &[f32], &[f32]),
    block: Block,
    key: usize,
    count: usize,
    scores: &mut [f32],
) {
    let stride = a.keys.next_multiple_of(4);
    let q_item = if a.shared_queries { 0 } else { block.item };
    let row = |r: usize| &tables[(block.item * f.columns + r) * stride + key..][..count];
    vectorised(
        #[inline(always)]
        || {
            for (r, s) in scores.chunks_exact_mut(count).take(block.rows).enumerate() {
                let n = block.first_query + r;
                let (axes, constant) = table_rows(f, points, n);
                let scale = scale[q_item * a.queries.next_multiple_of(4) + n];
                let (u, key_score) = (row(constant), row(constant + 1));
                let last = match f.factors.dimensions {
                    0 => {
                        for ((s, &u), &k) in s.iter_mut().zip(u).zip(key_score) {
                            *s = (*s + u) * scale + k;
                        }
                        continue;
                    }
                    d => row(axes[d - 1]),
                };
                for &axis in &axes[..f.factors.dimensions - 1] {
                    for (s, &t) in s.iter_mut().zip(row(axis)) {
                        *s += t;
                    }
                }
                for (((s, &t), &u), &k) in s.iter_mut().zip(last).zip(u).zip(key_score) {
                    *s = (*s + t + u) * scale + k;
                }
            }
        },
    );
}

/// Scores, online softmax and context of one tile of keys.
fn run_tile(
    a: &Attention,
    o: &Operands<'_, f32>,
    block: Block,
    head: usize,
    key: usize,
    count: usize,
    scratch: &mut Scratch,
) {
    let rows = block.rows;
    let d_v = a.d_v;
    let k_at = (block.item * a.keys + key) * a.k_row + a.k_column + head * a.qk_stride();
    let v_at = (block.item * a.keys + key) * a.v_row + a.v_column + head * a.v_stride();
    scratch.scores.resize(rows * count, 0.0);
    if a.d_qk > 0 {
        let q = MatRef::from_row_major_slice(&scratch.q, rows, a.d_qk);
        let k = rows_of(&o.k[k_at..], count, a.d_qk, a.k_row);
        let scores =
            MatMut::from_row_major_slice_mut(&mut scratch.scores[..rows * count], rows, count);
        matmul(scores, Accum::Replace, q, k.transpose(), 1.0, Par::Seq);
    } else {
        scratch.scores[..rows * count].fill(0.0);
    }
    if let (Some(f), Some(factored)) = (&a.factors, o.factored) {
        add_tables(a, f, factored, block, key, count, &mut scratch.scores);
    }
    if a.causal {
        let rows = scratch.scores[..rows * count].chunks_exact_mut(count).enumerate();
        for (r, scores) in rows {
            let seen = (block.first_query + r + 1).saturating_sub(key).min(count);
            scores[seen..].fill(MASKED_SCORE);
        }
    }
    let mask = o.mask.map(|m| &m[block.item * a.keys.next_multiple_of(4) + key..][..count]);
    Arch::new().dispatch(Softmax {
        scores: &mut scratch.scores[..rows * count],
        count,
        mask,
        maxima: &mut scratch.maxima,
        sums: &mut scratch.sums,
        acc: &mut scratch.acc,
        d_v,
    });
    let p = MatRef::from_row_major_slice(&scratch.scores[..rows * count], rows, count);
    let v = rows_of(&o.v[v_at..], count, d_v, a.v_row);
    let acc = MatMut::from_row_major_slice_mut(&mut scratch.acc[..rows * d_v], rows, d_v);
    matmul(acc, Accum::Add, p, v, 1.0, Par::Seq);
}

/// Online softmax of the rows of a tile: scores become exponentials, what was summed before is
/// rescaled.
struct Softmax<'a> {
    scores: &'a mut [f32],
    count: usize,
    mask: Option<&'a [f32]>,
    maxima: &'a mut [f32],
    sums: &'a mut [f32],
    acc: &'a mut [f32],
    d_v: usize,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.scores.chunks_exact_mut(self.count);
        for (r, row) in rows.enumerate() {
            if let Some(mask) = self.mask {
                for (s, &keep) in row.iter_mut().zip(mask) {
                    *s = if keep == 0.0 { MASKED_SCORE } else { *s };
                }
            }
            let before = self.maxima[r];
            let mut maximum = before;
            let sum = softmax_row(simd, row, &mut maximum);
            if maximum > before {
                let factor = crate::kernels::math::exp(before - maximum);
                self.sums[r] = self.sums[r] * factor + sum;
                self.maxima[r] = maximum;
                for x in &mut self.acc[r * self.d_v..(r + 1) * self.d_v] {
                    *x *= factor;
                }
            } else {
                self.sums[r] += sum;
            }
        }
    }
}
