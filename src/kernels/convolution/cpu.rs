//! CPU twin of `convolution`.
//!
//! `fast` gathers the windows of one row of results and multiplies them with the weight by `faer`.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::Convolution;
use crate::kernels::Real;
use crate::kernels::math::vectorised;

/// Input pixel under offset `(dy, dx)` of result `(row, column)`, `None` in the padding.
fn pixel(a: &Convolution, row: usize, column: usize, dy: usize, dx: usize) -> Option<usize> {
    let y = (row * a.stride + dy).checked_sub(a.padding)?;
    let x = (column * a.stride + dx).checked_sub(a.padding)?;
    (y < a.height && x < a.width).then_some(y * a.width + x)
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Convolution, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let (x, weight, bias, y) = (inputs[0], inputs[1], inputs[2], &mut *outputs[0]);
    let [out_height, out_width] = a.output();
    let (xs, ys) = (a.inner.next_multiple_of(4), a.cols.next_multiple_of(4));
    for item in 0..a.batch {
        for at in 0..out_height * out_width {
            let (row, column) = (at / out_width, at % out_width);
            let out = &mut y[(item * out_height * out_width + at) * ys..][..ys];
            out.fill(T::default());
            out[..a.cols].copy_from_slice(&bias[..a.cols]);
            for dy in 0..a.side {
                for dx in 0..a.side {
                    let Some(from) = pixel(a, row, column, dy, dx) else {
                        continue;
                    };
                    for c in 0..a.inner {
                        let x = x[(item * a.height * a.width + from) * xs + c];
                        let weights = &weight[((dy * a.side + dx) * a.inner + c) * ys..];
                        for (out, &w) in out[..a.cols].iter_mut().zip(weights) {
                            *out += x * w;
                        }
                    }
                }
            }
            for out in &mut out[..a.cols] {
                if a.relu && *out < T::default() {
                    *out = T::default();
                }
            }
        }
    }
}

/// Rows of results on all threads.
pub(crate) fn fast(a: &Convolution, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let (x, weight, bias, y) = (inputs[0], inputs[1], inputs[2], &mut *outputs[0]);
    let [out_height, out_width] = a.output();
    let (xs, ys) = (a.inner.next_multiple_of(4), a.cols.next_multiple_of(4));
    if out_height * out_width == 0 || a.batch == 0 || ys == 0 {
        return;
    }
    let window = a.side * a.side * a.inner;
    y[..a.batch * out_height * out_width * ys]
        .par_chunks_mut(out_width * ys)
        .enumerate()
        .for_each_init(Vec::new, |windows: &mut Vec<f32>, (i, out)| {
            let (item, row) = (i / out_height, i % out_height);
            windows.clear();
            windows.resize(out_width * window, 0.0);
            if window == 0 {
                out.fill(0.0);
            } else {
                for (column, into) in windows.chunks_exact_mut(window).enumerate() {
                    for (offset, into) in into.chunks_exact_mut(a.inner).enumerate() {
                        let (dy, dx) = (offset / a.side, offset % a.side);
                        if let Some(from) = pixel(a, row, column, dy, dx) {
                            let from = (item * a.height * a.width + from) * xs;
                            into.copy_from_slice(&x[from..from + a.inner]);
                        }
                    }
                }
                let windows = MatRef::from_row_major_slice(windows, out_width, window);
                let weight = MatRef::from_row_major_slice_with_stride(
                    &weight[..window * ys],
                    window,
                    ys,
                    ys,
                );
                let out = MatMut::from_row_major_slice_mut(out, out_width, ys);
                matmul(out, Accum::Replace, windows, weight, 1.0, Par::Seq);
            }
            vectorised(
                #[inline(always)]
                || {
                    for out in out.chunks_exact_mut(ys) {
                        for (out, &b) in out.iter_mut().zip(bias) {
                            let sum = *out + b;
                            *out = if a.relu && sum < 0.0 { 0.0 } else { sum };
                        }
                    }
                },
            );
        });
}
