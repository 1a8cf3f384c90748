//! CPU twin of `assemble`.

use crate::parallel::*;

use super::Assemble;
use crate::kernels::{Kernel, Real};

/// Grid position of row `r` of an item; points beyond the grid wrap, as they do in the shader.
fn position<T: Real>(a: &Assemble, points: &[T], r: usize) -> usize {
    if a.indexed { points[4 * r].to_f32().max(0.0) as usize } else { a.first_row + r }
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Assemble, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let ([content, tables, tail, points], y) = (a.arrays(inputs), &mut *outputs[0]);
    let stride = a.cols().next_multiple_of(4);
    let content_stride = a.content.next_multiple_of(4);
    let table_stride = (1 + 2 * a.bands).next_multiple_of(4);
    let tail_stride = a.tail.next_multiple_of(4);
    let d = a.dimensions;
    for item in 0..a.batch {
        for r in 0..a.rows {
            let at = item * a.rows + r;
            let row = &mut y[at * stride..(at + 1) * stride];
            row.fill(T::default());
            for (c, value) in row[..a.content].iter_mut().enumerate() {
                *value = content[at * content_stride + c];
            }
            let mut position = position(a, points, r);
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
            for c in 0..a.tail {
                row[a.cols() - a.tail + c] = tail[r % a.tail_rows.max(1) * tail_stride + c];
            }
        }
    }
}

/// Rows on all threads, by copies of whole table segments.
pub(crate) fn fast(a: &Assemble, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let ([content, tables, tail, points], y) = (a.arrays(inputs), &mut *outputs[0]);
    let stride = a.cols().next_multiple_of(4);
    let content_stride = a.content.next_multiple_of(4);
    let table_stride = (1 + 2 * a.bands).next_multiple_of(4);
    let tail_stride = a.tail.next_multiple_of(4);
    let (d, k) = (a.dimensions, a.bands);
    let mut offsets = [0; 3];
    for axis in 1..d {
        offsets[axis] = offsets[axis - 1] + a.axes[axis - 1];
    }
    if a.rows == 0 || stride == 0 {
        return;
    }
    y[..a.batch * a.rows * stride].par_chunks_mut(stride).with_min_len(64).enumerate().for_each(
        |(at, row)| {
            row[..a.content].copy_from_slice(&content[at * content_stride..][..a.content]);
            let r = at % a.rows;
            let mut position = position(a, points, r);
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
            let end = a.cols();
            let tail = &tail[r % a.tail_rows.max(1) * tail_stride..];
            row[end - a.tail..end].copy_from_slice(&tail[..a.tail]);
            row[end..].fill(0.0);
        },
    );
}
