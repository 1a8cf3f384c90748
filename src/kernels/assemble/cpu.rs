//! CPU twin of `assemble`.

use rayon::prelude::*;

use super::Assemble;
use crate::kernels::real::Real;

/// Operands in the order of [`Assemble`], empty where there is none.
struct Operands<'a, T> {
    content: &'a [T],
    tables: &'a [T],
    tail: &'a [T],
    points: &'a [T],
}

fn operands<'a, T>(a: &Assemble, inputs: &[&'a [T]]) -> Operands<'a, T> {
    let mut rest = inputs.iter().copied();
    let mut next = |there: bool| {
        if there { rest.next().unwrap_or(&[]) } else { &[] }
    };
    Operands {
        content: next(a.content > 0),
        tables: next(a.dimensions > 0),
        tail: next(a.tail > 0),
        points: next(a.indexed),
    }
}

/// Grid position of row `r` of an item; points beyond the grid wrap, as they do in the shader.
fn position<T: Real>(a: &Assemble, points: &[T], r: usize) -> usize {
    if a.indexed { points[4 * r].to_f32().max(0.0) as usize } else { a.first_row + r }
}

/// Plain loops.
pub(super) fn reference<T: Real>(a: &Assemble, inputs: &[&[T]], y: &mut [T]) {
    let o = operands(a, inputs);
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
                *value = o.content[at * content_stride + c];
            }
            let mut position = position(a, o.points, r);
            for axis in (0..d).rev() {
                let index = position % a.axes[axis];
                position /= a.axes[axis];
                let before: usize = a.axes[..axis].iter().sum();
                let table = &o.tables[(before + index) * table_stride..];
                row[a.content + axis] = table[0];
                for k in 0..a.bands {
                    row[a.content + d + axis * a.bands + k] = table[1 + k];
                    row[a.content + d + (d + axis) * a.bands + k] = table[1 + a.bands + k];
                }
            }
            for c in 0..a.tail {
                row[a.cols() - a.tail + c] = o.tail[r % a.tail_rows.max(1) * tail_stride + c];
            }
        }
    }
}

/// Rows on all threads, by copies of whole table segments.
pub(super) fn fast(a: &Assemble, inputs: &[&[f32]], y: &mut [f32]) {
    let o = operands(a, inputs);
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
            row[..a.content].copy_from_slice(&o.content[at * content_stride..][..a.content]);
            let r = at % a.rows;
            let mut position = position(a, o.points, r);
            for axis in (0..d).rev() {
                let index = position % a.axes[axis];
                position /= a.axes[axis];
                let table = &o.tables[(offsets[axis] + index) * table_stride..][..1 + 2 * k];
                row[a.content + axis] = table[0];
                let sines = a.content + d + axis * k;
                row[sines..sines + k].copy_from_slice(&table[1..1 + k]);
                let cosines = sines + d * k;
                row[cosines..cosines + k].copy_from_slice(&table[1 + k..]);
            }
            let end = a.cols();
            let tail = &o.tail[r % a.tail_rows.max(1) * tail_stride..];
            row[end - a.tail..end].copy_from_slice(&tail[..a.tail]);
            row[end..].fill(0.0);
        },
    );
}
