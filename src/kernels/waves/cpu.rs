//! CPU twin of `waves`.

use super::{COORDINATE, COSINE, SINE, Waves};
use crate::kernels::Real;
use crate::parallel::*;

/// Plain loops, angles in f64.
pub(crate) fn reference<T: Real>(a: &Waves, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let ([xs, ys], y) = ([a.axes, a.cols].map(|n| n.next_multiple_of(4)), &mut *outputs[0]);
    y.fill(T::default());
    for row in 0..a.rows {
        for c in 0..a.cols {
            let [axis, first, second, third, kind] =
                [0, 1, 2, 3, 4].map(|i| inputs[1][i * ys + c].to_f64());
            let x = inputs[0][row * xs + (axis as usize).min(a.axes - 1)].to_f64();
            let angle = x * (first + second + third) * std::f64::consts::PI;
            let [sine, cosine] = [SINE, COSINE].map(f64::from);
            y[row * ys + c] = T::from_f64(match kind {
                k if k == sine => angle.sin(),
                k if k == cosine => angle.cos(),
                _ => x,
            });
        }
    }
}

/// Rows on all threads: angles are reduced in f64, sines are of f32.
pub(crate) fn fast(a: &Waves, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let ([xs, ys], y) = ([a.axes, a.cols].map(|n| n.next_multiple_of(4)), &mut *outputs[0]);
    if a.rows == 0 || ys == 0 {
        return;
    }
    let column = |c: usize| {
        let [axis, parts @ .., kind] = [0, 1, 2, 3, 4].map(|i| inputs[1][i * ys + c]);
        ((axis as usize).min(a.axes - 1), parts.iter().map(|&x| f64::from(x)).sum(), kind)
    };
    let columns: Vec<(usize, f64, f32)> = (0..a.cols).map(column).collect();
    let band = (4096 / ys).max(1);
    let x = inputs[0][..a.rows * xs].par_chunks(band * xs);
    y[..a.rows * ys].par_chunks_mut(band * ys).zip(x).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(ys).zip(x.chunks_exact(xs)) {
            for (y, &(axis, frequency, kind)) in y.iter_mut().zip(&columns) {
                let turns = f64::from(x[axis]) * frequency;
                let within = (turns - 2.0 * (0.5 * turns).round()) as f32;
                let angle = within * std::f32::consts::PI;
                *y = match kind {
                    COORDINATE => x[axis],
                    SINE => angle.sin(),
                    _ => angle.cos(),
                };
            }
            y[a.cols..].fill(0.0);
        }
    });
}
