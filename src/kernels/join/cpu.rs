//! CPU twin of `join`.

use crate::parallel::*;

use super::Join;
use crate::kernels::Real;

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Join, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let y = &mut *outputs[0];
    let strides = [a.left, a.right, a.cols()].map(|n| n.next_multiple_of(4));
    y.fill(T::default());
    for row in 0..a.rows {
        for column in 0..a.cols() {
            let mut sum = match column.checked_sub(a.left) {
                None => inputs[0][row * strides[0] + column],
                Some(column) => inputs[1][row * strides[1] + column],
            };
            if a.residual {
                sum += inputs[2][row * strides[2] + column];
            }
            y[row * strides[2] + column] = sum;
        }
    }
}

/// Rows in parallel.
pub(crate) fn fast(a: &Join, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    const BAND: usize = 64;
    let y = &mut *outputs[0];
    let [left, right, stride] = [a.left, a.right, a.cols()].map(|n| n.next_multiple_of(4));
    if stride == 0 {
        return;
    }
    y.par_chunks_mut(BAND * stride).enumerate().for_each(|(band, y)| {
        for (i, y) in y.chunks_exact_mut(stride).enumerate() {
            let row = band * BAND + i;
            y[..a.left].copy_from_slice(&inputs[0][row * left..][..a.left]);
            let (to, padding) = y[a.left..].split_at_mut(a.right);
            to.copy_from_slice(&inputs[1][row * right..][..a.right]);
            padding.fill(0.0);
            if a.residual {
                for (y, r) in y.iter_mut().zip(&inputs[2][row * stride..]) {
                    *y += r;
                }
            }
        }
    });
}
