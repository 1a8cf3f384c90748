//! CPU twin of `convolution`.

use super::Convolution;
use crate::kernels::Real;

/// Input pixel under offset `(dy, dx)` of result `(row, column)`, `None` in the padding.
pub(super) fn pixel(
    a: &Convolution,
    row: usize,
    column: usize,
    dy: usize,
    dx: usize,
) -> Option<usize> {
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

#[cfg(feature = "cpu")]
pub(crate) use super::fast::fast;
