//! `convolution` on all threads: gathers the windows of one row of results and multiplies them with the weight by
//! `faer`.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::Convolution;
use super::cpu::pixel;
use crate::kernels::math::vectorised;
use crate::parallel::*;

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
