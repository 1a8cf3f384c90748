//! CPU twin of `factored_attention`.

use super::FactoredAttention;
use crate::kernels::attention::{LOWEST_SCORE, MASKED_SCORE};
use crate::kernels::blocks::part;
use crate::kernels::{Kernel, Real};

/// Operands in the order of [`FactoredAttention`], empty where there is none.
pub(super) struct Operands<'a, T> {
    pub(super) content: &'a [T],
    pub(super) queries: &'a [T],
    pub(super) scale: &'a [T],
    pub(super) mask: &'a [T],
    pub(super) carry: Option<(&'a [T], &'a [T])>,
}

pub(super) fn operands<'a, T>(a: &FactoredAttention, inputs: &[&'a [T]]) -> Operands<'a, T> {
    let [content, queries, scale, mask, acc, stats] = a.arrays(inputs);
    Operands { content, queries, scale, mask, carry: a.carry.then_some((acc, stats)) }
}

/// Elements of a row of the statistics.
pub(super) const STATS_ROW: usize = 4;

/// Plain loops: all scores of a query, their maximum, their exponentials, the sums.
pub(crate) fn reference<T: Real>(a: &FactoredAttention, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let o = operands(a, inputs);
    let f = &a.factors;
    let stride = f.content.next_multiple_of(4);
    let mask_row = a.keys.next_multiple_of(4);
    for out in outputs.iter_mut() {
        out.fill(T::default());
    }
    for split in 0..a.splits {
        let keys = part(split, a.split_keys(), a.keys);
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
                    before = Some((maximum, stats[from * STATS_ROW + 1], &acc[from * a.columns..]));
                }
                for m in keys.clone() {
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
                for m in keys.clone() {
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

#[cfg(feature = "cpu")]
pub(crate) use super::fast::fast;
