//! CPU twin of `gemm`.
//!
//! `fast` gives each thread blocks of rows: product by `faer`, then the epilogue while the block is
//! still in cache.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::math::{gelu_erf, gelu_tanh, vectorised};
use super::real::Real;
use crate::kernels::gemm::{Activation, Gemm};

/// Operands in the order of [`Gemm`].
struct Operands<'a, T> {
    x: &'a [T],
    weight: &'a [T],
    bias: Option<&'a [T]>,
    residual: Option<&'a [T]>,
}

fn operands<'a, T>(a: &Gemm, inputs: &[&'a [T]]) -> Operands<'a, T> {
    let mut rest = inputs[2..].iter().copied();
    Operands {
        x: inputs[0],
        weight: inputs[1],
        bias: if a.bias { rest.next() } else { None },
        residual: if a.residual_rows > 0 {
            rest.next()
        } else {
            None
        },
    }
}

/// Plain loops.
pub fn reference<T: Real>(a: &Gemm, inputs: &[&[T]], y: &mut [T]) {
    let o = operands(a, inputs);
    let (xs, ys) = (a.inner.next_multiple_of(4), a.cols.next_multiple_of(4));
    for r in 0..a.rows {
        let row = &mut y[r * ys..(r + 1) * ys];
        row.fill(T::default());
        for k in 0..a.inner {
            let x = o.x[r * xs + k];
            for (n, out) in row[..a.cols].iter_mut().enumerate() {
                *out += x * o.weight[k * ys + n];
            }
        }
        for (n, out) in row[..a.cols].iter_mut().enumerate() {
            let mut v = *out;
            if let Some(b) = o.bias {
                v += b[n];
            }
            v = match a.activation {
                Activation::None => v,
                Activation::GeluErf => {
                    T::from_f64(0.5)
                        * v
                        * (T::from_f64(1.0)
                            + (v * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
                }
                Activation::GeluTanh => {
                    let inner = T::from_f64((2.0 / std::f64::consts::PI).sqrt())
                        * (v + T::from_f64(0.044715) * v * v * v);
                    T::from_f64(0.5) * v * (T::from_f64(1.0) + inner.tanh())
                }
            };
            if let Some(res) = o.residual {
                v += res[(r % a.residual_rows) * ys + n];
            }
            *out = v;
        }
    }
}

/// Rows per task: enough to reuse a packed weight, few enough to fill all threads.
fn block_rows(rows: usize) -> usize {
    let threads = rayon::current_num_threads().max(1);
    rows.div_ceil(threads).clamp(16, 256).next_multiple_of(8)
}

/// Blocked product on all threads.
pub fn fast(a: &Gemm, inputs: &[&[f32]], y: &mut [f32]) {
    let o = operands(a, inputs);
    let (xs, ys) = (a.inner.next_multiple_of(4), a.cols.next_multiple_of(4));
    if a.rows == 0 || a.cols == 0 {
        return;
    }
    let weight = MatRef::from_row_major_slice_with_stride(&o.weight[..xs * ys], a.inner, ys, ys);
    let block = block_rows(a.rows);
    y[..a.rows * ys]
        .par_chunks_mut(block * ys)
        .enumerate()
        .for_each(|(i, y)| {
            let rows = y.len() / ys;
            let first = i * block;
            if a.inner == 0 {
                y.fill(0.0);
            } else {
                let x = MatRef::from_row_major_slice_with_stride(
                    &o.x[first * xs..(first + rows) * xs],
                    rows,
                    a.inner,
                    xs,
                );
                let out = MatMut::from_row_major_slice_mut(y, rows, ys);
                matmul(out, Accum::Replace, x, weight, 1.0, Par::Seq);
            }
            for (r, row) in y.chunks_exact_mut(ys).enumerate() {
                let residual = o.residual.map(|res| {
                    let at = ((first + r) % a.residual_rows) * ys;
                    &res[at..at + ys]
                });
                epilogue(row, o.bias, a.activation, residual);
            }
        });
}

/// Bias, activation and residual of one row. Padding stays zero: both GELUs map zero to zero.
fn epilogue(
    row: &mut [f32],
    bias: Option<&[f32]>,
    activation: Activation,
    residual: Option<&[f32]>,
) {
    vectorised(
        #[inline(always)]
        || {
            if let Some(bias) = bias {
                for (y, &b) in row.iter_mut().zip(bias) {
                    *y += b;
                }
            }
            match activation {
                Activation::None => {}
                Activation::GeluErf => {
                    for y in row.iter_mut() {
                        *y = gelu_erf(*y);
                    }
                }
                Activation::GeluTanh => {
                    for y in row.iter_mut() {
                        *y = gelu_tanh(*y);
                    }
                }
            }
            if let Some(residual) = residual {
                for (y, &r) in row.iter_mut().zip(residual) {
                    *y += r;
                }
            }
        },
    );
}
