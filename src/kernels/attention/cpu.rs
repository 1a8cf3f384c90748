//! CPU twin of `attention`.

use super::{Attention, LOWEST_SCORE, MASKED_SCORE, QueryFactors};
use crate::kernels::blocks::part;
use crate::kernels::{Kernel, Real};

/// Operands in the order of [`Attention`].
pub(super) struct Operands<'a, T> {
    pub(super) q: &'a [T],
    pub(super) k: &'a [T],
    pub(super) v: &'a [T],
    pub(super) mask: Option<&'a [T]>,
    pub(super) carry: Option<(&'a [T], &'a [T])>,
    /// Row scales and tables of factored queries, and their points.
    pub(super) factored: Option<(&'a [T], &'a [T], &'a [T])>,
}

pub(super) fn operands<'a, T>(a: &Attention, inputs: &[&'a [T]]) -> Operands<'a, T> {
    let [q, k, v, fourth, fifth, sixth] = a.arrays(inputs);
    Operands {
        q,
        k,
        v,
        mask: a.masked.then_some(fourth),
        carry: a.carry.then_some((fifth, sixth)),
        factored: a.factors.map(|_| (fourth, fifth, sixth)),
    }
}

/// Rows of the tables that the score of query `n` adds up: one per axis, and the constant's.
pub(super) fn table_rows<T: Real>(f: &QueryFactors, points: &[T], n: usize) -> ([usize; 3], usize) {
    let position =
        if f.indexed { points[4 * n].to_f32().max(0.0) as usize } else { f.first_query + n };
    let mut rows = f.factors.indices(position);
    for (axis, row) in rows.iter_mut().enumerate().take(f.factors.dimensions) {
        *row += f.first_column + f.factors.axis_column(axis);
    }
    (rows, f.first_column + f.factors.constant_column())
}

/// Elements from one row of the accumulators or the result to the next, and of the statistics.
pub(super) fn state_rows(a: &Attention) -> (usize, usize) {
    (a.heads * a.v_stride(), (2 * a.heads).next_multiple_of(4))
}

/// Plain loops: all scores of a query, their maximum, their exponentials, the weighted sum.
pub(crate) fn reference<T: Real>(a: &Attention, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let o = operands(a, inputs);
    let (acc_row, stats_row) = state_rows(a);
    for out in outputs.iter_mut() {
        out.fill(T::default());
    }
    for split in 0..a.splits {
        let keys = part(split, a.split_keys(), a.keys);
        for item in 0..a.batch {
            for n in 0..a.queries {
                for head in 0..a.heads {
                    let carried = o.carry.filter(|_| split == 0).map(|(acc, stats)| {
                        let row = item * a.queries + n;
                        (
                            stats[row * stats_row + 2 * head],
                            stats[row * stats_row + 2 * head + 1],
                            &acc[row * acc_row + head * a.v_stride()..][..a.d_v],
                        )
                    });
                    let (maximum, sum, context) =
                        query(a, &o, item, n, head, keys.clone(), carried);
                    let row = (split * a.batch + item) * a.queries + n;
                    let acc = &mut outputs[0][row * acc_row + head * a.v_stride()..][..a.d_v];
                    for (out, &c) in acc.iter_mut().zip(&context) {
                        *out = if a.stores_result() && sum > T::default() { c / sum } else { c };
                    }
                    if !a.stores_result() {
                        outputs[1][row * stats_row + 2 * head] = maximum;
                        outputs[1][row * stats_row + 2 * head + 1] = sum;
                    }
                }
            }
        }
    }
}

/// State of one query and head over some keys: maximum, sum, accumulator.
fn query<T: Real>(
    a: &Attention,
    o: &Operands<'_, T>,
    item: usize,
    n: usize,
    head: usize,
    keys: std::ops::Range<usize>,
    carried: Option<(T, T, &[T])>,
) -> (T, T, Vec<T>) {
    let q_item = if a.shared_queries { 0 } else { item };
    let q =
        &o.q[(q_item * a.queries + n) * a.q_row + a.q_column + head * a.qk_stride()..][..a.d_qk];
    let scores: Vec<T> = keys
        .clone()
        .map(|m| {
            let keep = o
                .mask
                .is_none_or(|mask| mask[item * a.keys.next_multiple_of(4) + m] != T::default());
            if !keep || (a.causal && m > n) {
                return T::from_f32(MASKED_SCORE);
            }
            let k =
                &o.k[(item * a.keys + m) * a.k_row + a.k_column + head * a.qk_stride()..][..a.d_qk];
            let mut dot = T::default();
            for (&q, &k) in q.iter().zip(k) {
                dot += q * k;
            }
            let (Some(f), Some((scale, tables, points))) = (&a.factors, o.factored) else {
                return dot * T::from_f32(a.scale);
            };
            let row = a.keys.next_multiple_of(4);
            let at = |r: usize| tables[(item * f.columns + r) * row + m];
            let (axes, constant) = table_rows(f, points, n);
            let mut sum = dot + at(constant);
            for &r in &axes[..f.factors.dimensions] {
                sum += at(r);
            }
            sum * scale[q_item * a.queries.next_multiple_of(4) + n] + at(constant + 1)
        })
        .collect();
    let mut maximum = carried.map_or(T::from_f32(LOWEST_SCORE), |c| c.0);
    for &s in &scores {
        if s > maximum {
            maximum = s;
        }
    }
    let mut sum = T::default();
    let mut context = vec![T::default(); a.d_v];
    if let Some((m, l, acc)) = carried {
        let factor = (m - maximum).exp();
        sum += l * factor;
        for (out, &c) in context.iter_mut().zip(acc) {
            *out += c * factor;
        }
    }
    for (m, &s) in keys.zip(&scores) {
        let p = (s - maximum).exp();
        sum += p;
        let v = &o.v[(item * a.keys + m) * a.v_row + a.v_column + head * a.v_stride()..][..a.d_v];
        for (out, &v) in context.iter_mut().zip(v) {
            *out += p * v;
        }
    }
    (maximum, sum, context)
}

#[cfg(feature = "cpu")]
pub(crate) use super::fast::fast;
