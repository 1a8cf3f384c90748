//! CPU twin of `transpose`.

use crate::parallel::*;

use super::Transpose;
use crate::kernels::Real;

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Transpose, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let (x, y) = (inputs[0], &mut *outputs[0]);
    let (xs, ys) = (a.cols.next_multiple_of(4), a.rows.next_multiple_of(4));
    y.fill(T::default());
    for item in 0..a.batch {
        for r in 0..a.rows {
            for c in 0..a.cols {
                y[(item * a.cols + c) * ys + r] = x[(item * a.rows + r) * xs + c];
            }
        }
    }
}

/// Bands of sixteen results, which share the cache lines that they read.
pub(crate) fn fast(a: &Transpose, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    const BAND: usize = 16;
    let (x, y) = (inputs[0], &mut *outputs[0]);
    let (xs, ys) = (a.cols.next_multiple_of(4), a.rows.next_multiple_of(4));
    if a.cols == 0 || ys == 0 {
        return;
    }
    for item in 0..a.batch {
        let x = &x[item * a.rows * xs..][..a.rows * xs];
        y[item * a.cols * ys..][..a.cols * ys].par_chunks_mut(BAND * ys).enumerate().for_each(
            |(band, y)| {
                let first = band * BAND;
                let count = y.len() / ys;
                for (r, row) in x.chunks_exact(xs).enumerate() {
                    for c in 0..count {
                        y[c * ys + r] = row[first + c];
                    }
                }
                for row in y.chunks_exact_mut(ys) {
                    row[a.rows..].fill(0.0);
                }
            },
        );
    }
}
