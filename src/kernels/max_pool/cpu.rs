//! CPU twin of `max_pool`.

use crate::parallel::*;

use super::MaxPool;
use crate::kernels::Real;

/// First input pixel of the window of a result, all items counted.
fn first_pixel(a: &MaxPool, at: usize) -> usize {
    let [_, out_width] = a.output();
    let item = at / a.output_pixels();
    let within = at % a.output_pixels();
    let (row, column) = (within / out_width, within % out_width);
    (item * a.height + row * a.stride) * a.width + column * a.stride
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &MaxPool, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let (x, y) = (inputs[0], &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    for at in 0..a.batch * a.output_pixels() {
        let first = first_pixel(a, at);
        for c in 0..stride {
            let mut largest = x[first * stride + c];
            for dy in 0..a.side {
                for dx in 0..a.side {
                    let value = x[(first + dy * a.width + dx) * stride + c];
                    if value > largest {
                        largest = value;
                    }
                }
            }
            y[at * stride + c] = largest;
        }
    }
}

/// Results on all threads.
pub(crate) fn fast(a: &MaxPool, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let (x, y) = (inputs[0], &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    let results = a.batch * a.output_pixels();
    if results * stride == 0 {
        return;
    }
    y[..results * stride].par_chunks_mut(stride).with_min_len(64).enumerate().for_each(
        |(at, out)| {
            let first = first_pixel(a, at) * stride;
            out.copy_from_slice(&x[first..first + stride]);
            for dy in 0..a.side {
                for dx in 0..a.side {
                    let from = &x[first + (dy * a.width + dx) * stride..][..stride];
                    for (out, &value) in out.iter_mut().zip(from) {
                        *out = if value > *out { value } else { *out };
                    }
                }
            }
        },
    );
}
