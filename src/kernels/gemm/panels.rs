//! `gemm` on all threads with W in panels.
//!
//! Each task gets a block of rows of Y and a stripe of its panels. It packs its rows of X, few enough to stay in the second
//! cache beside a panel of W, and meets them with panel after panel; the epilogue follows while a tile is in the
//! first cache.

use std::cell::RefCell;
use std::ops::Range;

use faer::MatMut;
use pulp::{Arch, Simd, WithSimd};

use super::Gemm;
use super::cpu::apply;
use crate::kernels::blocks::part;
use crate::kernels::math::vectorised;
use crate::kernels::panel::{BLOCK, Block, EMPTY, PANEL, STRIP, Tile, multiply, pack_row};
use crate::parallel::*;

/// Elements of the inner dimension that are multiplied at a time: a panel of them is 192 KiB.
const DEPTH: usize = 1536;
/// Elements of packed rows, which share the second cache with a panel.
const PACKED: usize = 160 << 10;
/// Multiply-adds that are not worth a second thread.
const FEW: usize = 1 << 19;

/// Rows of a block and panels of a stripe: blocks that stay in cache, then stripes, so that all threads have two tasks each.
fn tile(rows: usize, inner: usize, panels: usize) -> [usize; 2] {
    let threads = rayon::current_num_threads().max(1);
    if threads == 1 || rows * inner * panels * PANEL <= FEW {
        return [PACKED / inner.clamp(1, DEPTH), panels];
    }
    let blocks = rows.div_ceil(PACKED / inner.clamp(1, DEPTH));
    let blocks = if blocks > threads { blocks.next_multiple_of(threads) } else { blocks };
    // Stripes of less than four panels would pack rows too often.
    let stripes = (2 * threads).div_ceil(blocks).min(panels / 4).max(1);
    let blocks = blocks.max((2 * threads).div_ceil(stripes));
    [rows.div_ceil(blocks).next_multiple_of(4), panels.div_ceil(stripes)]
}

/// Arrays that a thread keeps from task to task.
#[derive(Default)]
struct Scratch {
    strips: Vec<Block>,
    panel: Vec<[f32; PANEL]>,
}

thread_local!(static SCRATCH: RefCell<Scratch> = RefCell::default());

/// Product on all threads.
pub(super) fn product(a: &Gemm, [x, weight, bias, residual]: [&[f32]; 4], y: &mut [f32]) {
    let ys = a.cols.next_multiple_of(4);
    let [block, stripe] = tile(a.rows, a.inner, ys.div_ceil(PANEL));
    for (split, y) in y.chunks_exact_mut(a.rows * ys).take(a.splits.max(1)).enumerate() {
        let inner = part(split, 4 * a.split_vectors(), a.inner);
        MatMut::from_row_major_slice_mut(y, a.rows, ys)
            .par_row_chunks_mut(block)
            .enumerate()
            .for_each(|(i, y)| {
                y.par_col_chunks_mut(stripe * PANEL).enumerate().for_each(|(j, y)| {
                    let rows = y.row_iter_mut().filter_map(|row| row.try_as_row_major_mut());
                    let rows: Vec<_> = rows.map(|row| row.as_slice_mut()).collect();
                    let task = Task {
                        args: a,
                        x,
                        weight,
                        bias,
                        residual,
                        inner: inner.clone(),
                        first: [i * block, j * stripe * PANEL],
                    };
                    SCRATCH
                        .with_borrow_mut(|scratch| Arch::new().dispatch(Run(task, rows, scratch)));
                });
            });
    }
}

/// A block of rows by a stripe of columns.
struct Task<'a> {
    args: &'a Gemm,
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    residual: &'a [f32],
    inner: Range<usize>,
    /// First row and column.
    first: [usize; 2],
}

impl Task<'_> {
    /// Copies rows of X into strips.
    #[inline(always)]
    fn pack(&self, rows: usize, inner: Range<usize>, strips: &mut Vec<Block>) {
        let (stride, blocks) = (self.args.inner.next_multiple_of(4), inner.len().div_ceil(BLOCK));
        strips.resize(rows.div_ceil(STRIP) * blocks, EMPTY);
        for r in 0..rows {
            let row = &self.x[(self.first[0] + r) * stride..][inner.clone()];
            pack_row(row, r % STRIP, &mut strips[r / STRIP * blocks..][..blocks]);
        }
    }

    /// Some rows of a panel of W, those of a narrower one copied.
    #[inline(always)]
    fn panel<'p>(
        &'p self,
        column: usize,
        inner: Range<usize>,
        panel: &'p mut Vec<[f32; PANEL]>,
    ) -> &'p [[f32; PANEL]] {
        let width = PANEL.min(self.args.cols.next_multiple_of(4) - column);
        let start = column * self.args.inner.next_multiple_of(4) + inner.start * width;
        let rows = &self.weight[start..][..inner.len() * width];
        if width == PANEL {
            return rows.as_chunks().0;
        }
        panel.clear();
        panel.resize(inner.len(), [0.0; PANEL]);
        for (to, from) in panel.iter_mut().zip(rows.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
        }
        panel
    }
}

impl Task<'_> {
    /// Adds a tile to what is there of Y, unless it is the first part of the inner dimension; the epilogue follows the last.
    #[inline(never)]
    fn store(
        &self,
        tile: &Tile,
        y: &mut [&mut [f32]],
        [first, column]: [usize; 2],
        [starts, ends]: [bool; 2],
    ) {
        let a = self.args;
        let (stride, at) = (a.cols.next_multiple_of(4), self.first[1] + column);
        vectorised(
            #[inline(always)]
            || {
                // Blocks of a known length: of slices, this took a third of the product's time at 256 columns of X.
                for (r, y) in y.iter_mut().enumerate() {
                    let row = (self.first[0] + first + r) % a.residual_rows.max(1);
                    for (half, block) in tile.iter().enumerate() {
                        let (start, at) = (column + half * BLOCK, at + half * BLOCK);
                        if start >= y.len() {
                            continue;
                        }
                        let mut sums = block[r];
                        if !starts {
                            add(&mut sums, &block_at(y, start));
                        }
                        if ends && a.splits <= 1 {
                            if a.bias {
                                add(&mut sums, &block_at(self.bias, at));
                            }
                            apply(&mut sums, a.activation);
                            if a.residual_rows > 0 {
                                add(&mut sums, &block_at(self.residual, row * stride + at));
                            }
                        }
                        match y[start..].first_chunk_mut() {
                            Some(y) => *y = sums,
                            None => {
                                let rest = y.len() - start;
                                y[start..].copy_from_slice(&sums[..rest]);
                            }
                        }
                    }
                }
            },
        );
    }
}

/// A block's length of an array, zeros beyond its end.
#[inline(always)]
fn block_at(array: &[f32], at: usize) -> [f32; BLOCK] {
    match array[at..].first_chunk() {
        Some(block) => *block,
        None => {
            let mut block = [0.0; BLOCK];
            block[..array.len() - at].copy_from_slice(&array[at..]);
            block
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f32; BLOCK], other: &[f32; BLOCK]) {
    for i in 0..BLOCK {
        sums[i] += other[i];
    }
}

struct Run<'a>(Task<'a>, Vec<&'a mut [f32]>, &'a mut Scratch);

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Run(task, mut y_rows, Scratch { strips, panel }) = self;
        let (rows, cols) = (y_rows.len(), y_rows.first().map_or(0, |row| row.len()));
        let mut tile = [EMPTY; 2];
        // Without an inner dimension there is the epilogue.
        for part_of in 0..task.inner.len().div_ceil(DEPTH).max(1) {
            let start = task.inner.start + part_of * DEPTH;
            let inner = start..(start + DEPTH).min(task.inner.end);
            let (starts, ends) = (part_of == 0, inner.end == task.inner.end);
            let blocks = inner.len().div_ceil(BLOCK);
            task.pack(rows, inner.clone(), strips);
            for column in (0..cols).step_by(PANEL) {
                let panel = task.panel(task.first[1] + column, inner.clone(), panel);
                for first in (0..rows).step_by(STRIP) {
                    let count = STRIP.min(rows - first);
                    let strip = &strips[first / STRIP * blocks..][..blocks];
                    multiply(simd, strip, panel, count, false, &mut tile);
                    let y = &mut y_rows[first..first + count];
                    task.store(&tile, y, [first, column], [starts, ends]);
                }
            }
        }
    }
}
