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
    let row = a.columns().next_multiple_of(4);
    let [width, head] = a.head();
    let columns: Vec<usize> =
        (0..a.heads).flat_map(|h| (0..width).map(move |c| h * head + c)).collect();
    let count = T::from_f64(a.cols.max(1) as f64);
    y.fill(T::default());
    for r in 0..a.rows {
        let (x, y) = (&x[r * row..][..row], &mut y[r * row..][..row]);
        let mut mean = T::default();
        for &c in columns.iter().filter(|_| a.centred) {
            mean += x[c] / count;
        }
        let mut variance = T::default();
        for &c in &columns {
            variance += (x[c] - mean) * (x[c] - mean) / count;
        }
        let deviation = (variance + T::from_f32(a.eps)).sqrt();
        for &c in &columns {
            y[c] = (x[c] - mean) / deviation * gain[c] + bias[c];
        }
    }
}

/// Rows on all threads, two passes so that the variance does not cancel.
pub(crate) fn fast(a: &LayerNorm, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let (x, gain, bias, y) = (inputs[0], inputs[1], inputs[2], &mut *outputs[0]);
    let stride = a.columns().next_multiple_of(4);
    if a.rows == 0 || a.cols == 0 {
        return;
    }
    let block = (16_384 / stride).max(1);
    y[..a.rows * stride]
        .par_chunks_mut(block * stride)
        .zip(x[..a.rows * stride].par_chunks(block * stride))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(stride).zip(x.chunks_exact(stride)) {
                normalise_row(a, x, gain, bias, y);
            }
        });
}

/// Padding of a row is zero: it adds nothing to the sum.
fn normalise_row(a: &LayerNorm, x: &[f32], gain: &[f32], bias: &[f32], y: &mut [f32]) {
    let [width, head] = a.head();
    let head = if a.heads == 1 { x.len() } else { head };
    vectorised(
        #[inline(always)]
        || {
            let mean = if a.centred { sum(x) / a.cols as f32 } else { 0.0 };
            let squares = x.chunks_exact(head).map(|x| sum_squared_differences(&x[..width], mean));
            let inverse = 1.0 / (squares.sum::<f32>() / a.cols as f32 + a.eps).sqrt();
            let weights = gain.chunks_exact(head).zip(bias.chunks_exact(head));
            for ((y, x), (gain, bias)) in
                y.chunks_exact_mut(head).zip(x.chunks_exact(head)).zip(weights)
            {
                let (y, padding) = y.split_at_mut(width);
                for ((y, &x), (&g, &b)) in y.iter_mut().zip(x).zip(gain.iter().zip(bias)) {
                    *y = (x - mean) * inverse * g + b;
                }
                padding.fill(0.0);
            }
        },
    );
}
