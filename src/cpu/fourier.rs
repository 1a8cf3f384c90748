//! CPU twin of `fourier`.

use rayon::prelude::*;

use super::real::Real;
use crate::kernels::fourier::Fourier;

/// Content and tables in the order of [`Fourier`].
fn operands<'a, T>(a: &Fourier, inputs: &[&'a [T]]) -> (&'a [T], &'a [T]) {
    if a.content == 0 {
        (&[], inputs[0])
    } else {
        (inputs[0], inputs[1])
    }
}

/// Plain loops.
pub fn reference<T: Real>(a: &Fourier, inputs: &[&[T]], y: &mut [T]) {
    let (content, tables) = operands(a, inputs);
    let stride = a.cols().next_multiple_of(4);
    let content_stride = a.content.next_multiple_of(4);
    let table_stride = (1 + 2 * a.bands).next_multiple_of(4);
    let d = a.dimensions;
    for item in 0..a.batch {
        for r in 0..a.rows {
            let at = item * a.rows + r;
            let row = &mut y[at * stride..(at + 1) * stride];
            row.fill(T::default());
            for c in 0..a.content {
                row[c] = content[at * content_stride + c];
            }
            let mut position = a.first_row + r;
            for axis in (0..d).rev() {
                let index = position % a.axes[axis];
                position /= a.axes[axis];
                let before: usize = a.axes[..axis].iter().sum();
                let table = &tables[(before + index) * table_stride..];
                row[a.content + axis] = table[0];
                for k in 0..a.bands {
                    row[a.content + d + axis * a.bands + k] = table[1 + k];
                    row[a.content + d + (d + axis) * a.bands + k] = table[1 + a.bands + k];
                }
            }
        }
    }
}

/// Rows on all threads, by copies of whole table segments.
pub fn fast(a: &Fourier, inputs: &[&[f32]], y: &mut [f32]) {
    let (content, tables) = operands(a, inputs);
    let stride = a.cols().next_multiple_of(4);
    let content_stride = a.content.next_multiple_of(4);
    let table_stride = (1 + 2 * a.bands).next_multiple_of(4);
    let (d, k) = (a.dimensions, a.bands);
    let mut offsets = [0; 3];
    for axis in 1..d {
        offsets[axis] = offsets[axis - 1] + a.axes[axis - 1];
    }
    if a.rows == 0 {
        return;
    }
    y[..a.batch * a.rows * stride]
        .par_chunks_mut(stride)
        .enumerate()
        .for_each(|(at, row)| {
            row[..a.content].copy_from_slice(&content[at * content_stride..][..a.content]);
            let mut position = a.first_row + at % a.rows;
            for axis in (0..d).rev() {
                let index = position % a.axes[axis];
                position /= a.axes[axis];
                let table = &tables[(offsets[axis] + index) * table_stride..][..1 + 2 * k];
                row[a.content + axis] = table[0];
                let sines = a.content + d + axis * k;
                row[sines..sines + k].copy_from_slice(&table[1..1 + k]);
                let cosines = sines + d * k;
                row[cosines..cosines + k].copy_from_slice(&table[1 + k..]);
            }
            row[a.cols()..].fill(0.0);
        });
}
