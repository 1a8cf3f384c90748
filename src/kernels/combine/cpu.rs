//! CPU twin of `combine`.

use super::{Columns, Combine};
use crate::kernels::gemm::cpu::{activate, epilogue};
use crate::kernels::{Kernel, Real};
use crate::parallel::*;

/// First element of what row `row` of the result takes.
fn at(of: Columns, row: usize) -> usize {
    (of.first + row % of.rows) * of.row + of.column
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Combine, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let ([left, right], y) = (a.arrays(inputs), &mut *outputs[0]);
    y.fill(T::default());
    for (row, y) in y.chunks_exact_mut(a.cols.next_multiple_of(4).max(1)).take(a.rows).enumerate() {
        for (c, y) in y[..a.cols].iter_mut().enumerate() {
            let value = activate(a.activation, left[at(a.a, row) + c]);
            *y = match a.b.map(|b| right[at(b, row) + c]) {
                None => value,
                Some(b) if a.product => value * b,
                Some(b) => value + b,
            };
        }
    }
}

/// Rows on all threads.
pub(crate) fn fast(a: &Combine, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let ([left, right], y) = (a.arrays(inputs), &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    if a.rows == 0 || stride == 0 {
        return;
    }
    let band = (16_384 / stride).max(1);
    y[..a.rows * stride].par_chunks_mut(band * stride).enumerate().for_each(|(i, y)| {
        for (r, y) in y.chunks_exact_mut(stride).enumerate() {
            let row = i * band + r;
            let (y, padding) = y.split_at_mut(a.cols);
            padding.fill(0.0);
            y.copy_from_slice(&left[at(a.a, row)..][..a.cols]);
            let b = a.b.map_or(&[][..], |b| &right[at(b, row)..][..a.cols]);
            if a.product {
                epilogue(y, &[], a.activation, &[]);
                for (y, &b) in y.iter_mut().zip(b) {
                    *y *= b;
                }
            } else {
                epilogue(y, &[], a.activation, b);
            }
        }
    });
}
