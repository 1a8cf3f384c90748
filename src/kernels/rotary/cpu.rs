//! CPU twin of `rotary`.

use super::Rotary;
use crate::kernels::Real;
use crate::parallel::*;

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Rotary, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    rows(a, inputs, outputs[0], 0);
}

/// Rows on all threads.
pub(crate) fn fast(a: &Rotary, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let stride = (a.heads * a.stride()).next_multiple_of(4);
    if a.rows == 0 || stride == 0 {
        return;
    }
    let band = (16_384 / stride).max(1);
    outputs[0][..a.rows * stride]
        .par_chunks_mut(band * stride)
        .enumerate()
        .for_each(|(i, y)| rows(a, inputs, y, i * band));
}

/// Rows from `first` on, as many as the result has.
fn rows<T: Real>(a: &Rotary, inputs: &[&[T]], y: &mut [T], first: usize) {
    let stride = (a.heads * a.stride()).next_multiple_of(4);
    let angle_row = (2 * a.pairs).next_multiple_of(4);
    let head = a.stride().next_multiple_of(4);
    for (r, y) in y.chunks_exact_mut(stride.max(1)).take(a.rows - first).enumerate() {
        let row = first + r;
        let x = &inputs[0][row * stride..][..stride];
        let angles = &inputs[1][row % a.angle_rows * angle_row..][..angle_row];
        y.fill(T::default());
        for (y, x) in y.chunks_exact_mut(head.max(1)).zip(x.chunks_exact(head.max(1))) {
            for channel in 0..a.width {
                y[channel] = match a.pair(channel) {
                    None => x[channel],
                    Some((other, pair, is_first)) => {
                        let turned = x[other] * angles[pair];
                        let kept = x[channel] * angles[a.pairs + pair];
                        if is_first == a.back { kept + turned } else { kept - turned }
                    }
                };
            }
        }
    }
}
