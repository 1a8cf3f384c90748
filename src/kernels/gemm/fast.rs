//! `gemm` on all threads.
//!
//! Each thread gets parts of Y: product by `faer`, then the epilogue while the part is still in
//! cache. Measured on two cores with AVX-512, weights from memory as in a tower (GFLOP/s): blocks of
//! rows 199 at 512×1024×3072 and 190 at 256×1280×1792; four stripes of columns 209 and 203, since a
//! task packs its whole W. A kernel of our own (6×64 and 12×32 registers, W packed by stripe) reached 200
//! and 175, no more than `faer`: not kept. One of 12×32 whose W lay in panels from the beginning was 1.9 times as fast with one
//! row of 1280×1280, 1.2 times with 64, by itself 213 to 218, and made no tower faster: not kept either.
//!
//! Stripes share rows, so rows that are to be normalised are all normalised before the first product; CPU
//! plans keep LayerNorms as they are, which is the same work in memory that is there already.

use faer::linalg::matmul::matmul;
use faer::prelude::*;
use faer::{Accum, MatMut, MatRef, Par};

use super::Gemm;
use super::cpu::epilogue;
use crate::kernels::Kernel;
use crate::kernels::blocks::part;
use crate::kernels::layer_norm::EPS;
use crate::kernels::math::{sum, sum_squared_differences, vectorised};
use crate::parallel::*;

/// Rows and columns of Y per task. Stripes of columns first: a task packs its part of X and of W, and
/// W is the larger one in most layers, so that dividing it packs least; then blocks of rows, few enough
/// columns and rows to fill all threads twice, enough to be worth the packing.
fn tile(rows: usize, cols: usize) -> [usize; 2] {
    let tasks = 2 * rayon::current_num_threads().max(1);
    let stripes = (cols / 128).clamp(1, tasks);
    let stripe = cols.div_ceil(stripes).next_multiple_of(16);
    let blocks = tasks.div_ceil(stripes).max(rows.div_ceil(1024));
    let block = rows.div_ceil(blocks).clamp(16, 1024).next_multiple_of(8);
    [block, stripe]
}

/// Blocked product on all threads.
pub(crate) fn fast(a: &Gemm, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let ([x, weight, bias, residual], y) = (a.arrays(inputs), &mut *outputs[0]);
    let (xs, ys) = (a.inner.next_multiple_of(4), a.cols.next_multiple_of(4));
    if a.rows == 0 || a.cols == 0 {
        return;
    }
    let weight = MatRef::from_row_major_slice_with_stride(&weight[..xs * ys], a.inner, ys, ys);
    let normalised: Vec<f32>;
    let mut x = &x[..a.rows * xs];
    if a.normalise && a.inner > 0 {
        normalised = normalise(x, a.inner);
        x = &normalised;
    }
    let x = MatRef::from_row_major_slice_with_stride(x, a.rows, a.inner, xs);
    for (split, y) in y.chunks_exact_mut(a.rows * ys).take(a.splits.max(1)).enumerate() {
        let inner = part(split, 4 * a.split_vectors(), a.inner);
        let (first, inner) = (inner.start, inner.len());
        let (x, weight) = (x.subcols(first, inner), weight.subrows(first, inner));
        product(a, [bias, residual], x, weight, y);
    }
}

/// One part of the inner dimension.
fn product(
    a: &Gemm,
    [bias, residual]: [&[f32]; 2],
    x: MatRef<'_, f32>,
    weight: MatRef<'_, f32>,
    y: &mut [f32],
) {
    let ys = a.cols.next_multiple_of(4);
    let [block, stripe] = tile(a.rows, ys);
    MatMut::from_row_major_slice_mut(&mut y[..a.rows * ys], a.rows, ys)
        .par_row_chunks_mut(block)
        .enumerate()
        .for_each(|(i, y)| {
            y.par_col_chunks_mut(stripe).enumerate().for_each(|(j, mut y)| {
                let (first, column) = (i * block, j * stripe);
                let (rows, cols) = (y.nrows(), y.ncols());
                let (x, w) = (x.subrows(first, rows), weight.subcols(column, cols));
                matmul(y.rb_mut(), Accum::Replace, x, w, 1.0, Par::Seq);
                for (r, row) in y.row_iter_mut().enumerate() {
                    let Some(row) = row.try_as_row_major_mut() else {
                        continue;
                    };
                    let residual = match a.residual_rows {
                        0 => residual,
                        n => &residual[((first + r) % n) * ys + column..][..cols],
                    };
                    let bias = if a.bias { &bias[column..column + cols] } else { bias };
                    epilogue(row.as_slice_mut(), bias, a.activation, residual);
                }
            });
        });
}

/// Rows, normalised.
fn normalise(x: &[f32], inner: usize) -> Vec<f32> {
    let stride = inner.next_multiple_of(4);
    let mut rows = vec![0.0; x.len()];
    rows.par_chunks_exact_mut(stride).zip(x.par_chunks_exact(stride)).for_each(|(to, from)| {
        let (to, from) = (&mut to[..inner], &from[..inner]);
        vectorised(
            #[inline(always)]
            || {
                let mean = sum(from) / inner as f32;
                let variance = sum_squared_differences(from, mean) / inner as f32;
                let scale = 1.0 / (variance + EPS).sqrt();
                for (to, &x) in to.iter_mut().zip(from) {
                    *to = (x - mean) * scale;
                }
            },
        );
    });
    rows
}
