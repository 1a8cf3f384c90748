//! CPU twin of `gemm_merge`.

use crate::parallel::*;

use super::GemmMerge;
use crate::kernels::gemm::cpu::{activate, epilogue};
use crate::kernels::{Kernel, Real};

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &GemmMerge, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let ([parts, bias, residual], y) = (a.arrays(inputs), &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    y.fill(T::default());
    for r in 0..a.rows {
        for c in 0..a.cols {
            let mut v = T::default();
            for p in 0..a.parts {
                v += parts[(p * a.rows + r) * stride + c];
            }
            if a.bias {
                v += bias[c];
            }
            v = activate(a.activation, v);
            if a.residual_rows > 0 {
                v += residual[(r % a.residual_rows) * stride + c];
            }
            y[r * stride + c] = v;
        }
    }
}

/// Rows on all threads.
pub(crate) fn fast(a: &GemmMerge, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let ([parts, bias, residual], y) = (a.arrays(inputs), &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    if a.rows == 0 || a.cols == 0 {
        return;
    }
    y[..a.rows * stride].par_chunks_exact_mut(stride).enumerate().for_each(|(r, row)| {
        row.fill(0.0);
        for p in 0..a.parts {
            let part = &parts[(p * a.rows + r) * stride..][..stride];
            for (y, &x) in row.iter_mut().zip(part) {
                *y += x;
            }
        }
        let residual = match a.residual_rows {
            0 => residual,
            n => &residual[(r % n) * stride..][..stride],
        };
        epilogue(row, bias, a.activation, residual);
    });
}
