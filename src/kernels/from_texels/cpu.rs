//! CPU twin of `from_texels`.

use crate::parallel::*;

use super::FromTexels;
use crate::kernels::{Kernel, Real};
use crate::tensor::Element;

/// The value of a column of a pixel's row.
fn value<T: Real>(a: &FromTexels, [texels, map]: [&[T]; 2], pixel: usize, column: usize) -> T {
    let (channel, rest) = (column % a.channels, column / a.channels);
    let (at, plane) = (rest % (a.side * a.side), rest / (a.side * a.side));
    let y = (pixel / a.width + at / a.side).checked_sub(a.side / 2);
    let x = (pixel % a.width + at % a.side).checked_sub(a.side / 2);
    let (Some(y), Some(x)) = (y.filter(|&y| y < a.height), x.filter(|&x| x < a.width)) else {
        return T::default();
    };
    let line = (plane * a.height + y) * a.line.next_multiple_of(4);
    let texel = texels[line + x * a.pixel + a.place(channel)];
    let stride = a.map_extent().stride();
    match (a.mapped, a.texels) {
        (false, _) => texel,
        (true, Element::U8) => map[channel * stride + texel.to_f32() as usize],
        (true, _) => texel * map[channel] + map[stride + channel],
    }
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &FromTexels, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let arrays = a.arrays(inputs);
    let stride = a.cols().next_multiple_of(4);
    outputs[0].fill(T::default());
    for row in 0..a.rows {
        for column in 0..a.cols() {
            outputs[0][row * stride + column] = value(a, arrays, a.first + row, column);
        }
    }
}

/// Rows on all threads.
pub(crate) fn fast(a: &FromTexels, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let arrays = a.arrays(inputs);
    let stride = a.cols().next_multiple_of(4);
    if stride == 0 {
        return;
    }
    outputs[0].par_chunks_exact_mut(stride).take(a.rows).enumerate().for_each(|(row, out)| {
        out.fill(0.0);
        for (column, out) in out[..a.cols()].iter_mut().enumerate() {
            *out = value(a, arrays, a.first + row, column);
        }
    });
}
