//! CPU twin of `layer_norm`.

use crate::parallel::*;

use super::{EPS, LayerNorm};
use crate::kernels::Real;
use crate::kernels::math::{sum, sum_squared_differences, vectorised};

/// What a row is shifted and scaled by to be normalised, by plain loops.
pub(crate) fn mean_and_scale<T: Real>(x: &[T]) -> (T, T) {
    let count = T::from_f64(x.len().max(1) as f64);
    let mut mean = T::default();
    for &v in x {
        mean += v;
    }
    mean = mean / count;
    let mut variance = T::default();
    for &v in x {
        variance += (v - mean) * (v - mean);
    }
    let deviation = (variance / count + T::from_f32(EPS)).sqrt();
    (mean, T::from_f64(1.0) / deviation)
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &LayerNorm, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let (x, gain, bias, y) = (inputs[0], inputs[1], inputs[2], &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    for r in 0..a.rows {
        let x = &x[r * stride..][..a.cols];
        let y = &mut y[r * stride..][..stride];
        let (mean, inverse) = mean_and_scale(x);
        y.fill(T::default());
        for c in 0..a.cols {
            y[c] = (x[c] - mean) * inverse * gain[c] + bias[c];
        }
    }
}

/// Rows on all threads, two passes so that the variance does not cancel.
pub(crate) fn fast(a: &LayerNorm, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let (x, gain, bias, y) = (inputs[0], inputs[1], inputs[2], &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    if a.rows == 0 || a.cols == 0 {
        return;
    }
    let block = 64;
    y[..a.rows * stride]
        .par_chunks_mut(block * stride)
        .zip(x[..a.rows * stride].par_chunks(block * stride))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(stride).zip(x.chunks_exact(stride)) {
                normalise_row(&x[..a.cols], gain, bias, y);
            }
        });
}

fn normalise_row(x: &[f32], gain: &[f32], bias: &[f32], y: &mut [f32]) {
    let cols = x.len();
    vectorised(
        #[inline(always)]
        || {
            let mean = sum(x) / cols as f32;
            let variance = sum_squared_differences(x, mean) / cols as f32;
            let inverse = 1.0 / (variance + EPS).sqrt();
            let (y, padding) = y.split_at_mut(cols);
            for ((y, &x), (&g, &b)) in y.iter_mut().zip(x).zip(gain.iter().zip(bias)) {
                *y = (x - mean) * inverse * g + b;
            }
            padding.fill(0.0);
        },
    );
}
