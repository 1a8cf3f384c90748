//! CPU twin of `row_scale`.

use crate::parallel::*;

use super::RowScale;
use crate::kernels::math::{sum, sum_squared_differences, vectorised};
use crate::kernels::{Kernel, Real};

/// The epsilon of every LayerNorm of these models.
const EPSILON: f64 = 1e-5;

/// First element of each entry of `sums` that concerns row `r`: one per axis, and the constant.
fn entries<T: Real>(a: &RowScale, points: &[T], r: usize) -> ([usize; 3], usize) {
    let position =
        if a.indexed { points[4 * r].to_f32().max(0.0) as usize } else { a.first_row + r };
    let mut entries = a.factors.indices(position);
    let mut before = 0;
    for (entry, axis) in entries.iter_mut().zip(a.factors.axes).take(a.factors.dimensions) {
        *entry = 4 * (before + *entry);
        before += axis;
    }
    (entries, 4 * before)
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &RowScale, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let ([content, sums, points], y) = (a.arrays(inputs), &mut *outputs[0]);
    let stride = a.factors.content.next_multiple_of(4);
    let out = a.rows.next_multiple_of(4);
    y.fill(T::default());
    let count = T::from_f64(a.channels() as f64);
    for item in 0..a.batch {
        for r in 0..a.rows {
            let row = &content[(item * a.rows + r) * stride..][..a.factors.content];
            let (axes, constant) = entries(a, points, r);
            let (mut total, mut squares) = (sums[constant], sums[constant + 1]);
            for &axis in &axes[..a.factors.dimensions] {
                total += sums[axis];
                squares += sums[axis + 1];
            }
            for &c in row {
                total += c;
                squares += c * c;
            }
            let mean = total / count;
            let variance = squares / count - mean * mean;
            y[item * out + r] = T::from_f64(1.0) / (variance + T::from_f64(EPSILON)).sqrt();
        }
    }
}

/// Content of at most this many channels is summed one by one.
const FEW_CHANNELS: usize = 8;

/// Rows on all threads. Squares are taken around the mean, as cancellation would cost digits in f32.
pub(crate) fn fast(a: &RowScale, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    const BLOCK: usize = 256;
    let ([content, sums, points], y) = (a.arrays(inputs), &mut *outputs[0]);
    let out = a.rows.next_multiple_of(4);
    if out == 0 {
        return;
    }
    for (item, y) in y[..a.batch * out].chunks_exact_mut(out).enumerate() {
        y[a.rows..].fill(0.0);
        y[..a.rows].par_chunks_mut(BLOCK).enumerate().for_each(|(block, y)| {
            vectorised(
                #[inline(always)]
                || run_block(a, content, sums, points, item, block * BLOCK, y),
            );
        });
    }
}

/// Scales of some rows from `first` on.
#[inline(always)]
fn run_block(
    a: &RowScale,
    content: &[f32],
    sums: &[f32],
    points: &[f32],
    item: usize,
    first: usize,
    y: &mut [f32],
) {
    let stride = a.factors.content.next_multiple_of(4);
    let dimensions = a.factors.dimensions;
    let (features, constants) = (a.features as f32, a.constant as f32);
    let count = a.channels() as f32;
    let few = a.factors.content <= FEW_CHANNELS;
    let (mut axes, constant) = entries(a, points, first);
    for (i, y) in y.iter_mut().enumerate() {
        let r = first + i;
        if a.indexed {
            axes = entries(a, points, r).0;
        } else if i > 0 {
            next_position(a, &mut axes);
        }
        let row = &content[(item * a.rows + r) * stride..][..a.factors.content];
        let tables: f32 = axes[..dimensions].iter().map(|&e| sums[e]).sum();
        let own: f32 = if few { row.iter().sum() } else { sum(row) };
        let mean = (own + tables + sums[constant]) / count;
        let around = |entry: usize, n: f32| sums[entry + 1] - mean * (2.0 * sums[entry] - n * mean);
        let tables: f32 = axes[..dimensions].iter().map(|&e| around(e, features)).sum();
        let own: f32 = if few {
            row.iter().map(|x| (x - mean) * (x - mean)).sum()
        } else {
            sum_squared_differences(row, mean)
        };
        let squares = own + tables + around(constant, constants);
        *y = 1.0 / (squares / count + EPSILON as f32).sqrt();
    }
}

/// Moves on to the entries of the next grid position, the last axis first.
#[inline(always)]
fn next_position(a: &RowScale, entries: &mut [usize; 3]) {
    let mut after: usize = a.factors.axes[..a.factors.dimensions].iter().sum();
    for axis in (0..a.factors.dimensions).rev() {
        let before = after - a.factors.axes[axis];
        entries[axis] += 4;
        if entries[axis] < 4 * after {
            return;
        }
        entries[axis] = 4 * before;
        after = before;
    }
}
