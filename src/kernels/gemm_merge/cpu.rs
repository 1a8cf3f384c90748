//! CPU twin of `gemm_merge`.

use rayon::prelude::*;

use super::GemmMerge;
use crate::kernels::gemm::cpu::{activate, epilogue};
use crate::kernels::real::Real;

/// Bias and residual, where they are given.
fn operands<'a, T>(a: &GemmMerge, inputs: &[&'a [T]]) -> [Option<&'a [T]>; 2] {
    let mut rest = inputs[1..].iter().copied();
    let bias = if a.bias { rest.next() } else { None };
    [bias, if a.residual_rows > 0 { rest.next() } else { None }]
}

/// Plain loops.
pub(super) fn reference<T: Real>(a: &GemmMerge, inputs: &[&[T]], y: &mut [T]) {
    let stride = a.cols.next_multiple_of(4);
    let [bias, residual] = operands(a, inputs);
    y.fill(T::default());
    for r in 0..a.rows {
        for c in 0..a.cols {
            let mut v = T::default();
            for p in 0..a.parts {
                v += inputs[0][(p * a.rows + r) * stride + c];
            }
            if let Some(bias) = bias {
                v += bias[c];
            }
            v = activate(a.activation, v);
            if let Some(residual) = residual {
                v += residual[(r % a.residual_rows) * stride + c];
            }
            y[r * stride + c] = v;
        }
    }
}

/// Rows on all threads.
pub(super) fn fast(a: &GemmMerge, inputs: &[&[f32]], y: &mut [f32]) {
    let stride = a.cols.next_multiple_of(4);
    let [bias, residual] = operands(a, inputs);
    if a.rows == 0 || a.cols == 0 {
        return;
    }
    y[..a.rows * stride].par_chunks_exact_mut(stride).enumerate().for_each(|(r, row)| {
        row.fill(0.0);
        for p in 0..a.parts {
            let part = &inputs[0][(p * a.rows + r) * stride..][..stride];
            for (y, &x) in row.iter_mut().zip(part) {
                *y += x;
            }
        }
        let residual = residual.map(|res| &res[(r % a.residual_rows) * stride..][..stride]);
        epilogue(row, bias, a.activation, residual);
    });
}
