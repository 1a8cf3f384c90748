//! CPU twin of `embed`.

use crate::parallel::*;

use super::Embed;
use crate::kernels::Real;

fn id<T: Real>(a: &Embed, ids: &[T], item: usize, t: usize) -> usize {
    let stride = a.length.next_multiple_of(4);
    (ids[item * stride + t].to_f32().max(0.0) as usize).min(a.vocabulary.saturating_sub(1))
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Embed, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let (ids, table, positions, y) = (inputs[0], inputs[1], inputs[2], &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    for item in 0..a.batch {
        for t in 0..a.length {
            let row = &mut y[(item * a.length + t) * stride..][..stride];
            row.fill(T::default());
            let token = id(a, ids, item, t);
            for (c, out) in row[..a.cols].iter_mut().enumerate() {
                *out = table[token * stride + c] + positions[t * stride + c];
            }
        }
    }
}

/// Rows on all threads.
pub(crate) fn fast(a: &Embed, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let (ids, table, positions, y) = (inputs[0], inputs[1], inputs[2], &mut *outputs[0]);
    let stride = a.cols.next_multiple_of(4);
    if stride == 0 || a.length == 0 {
        return;
    }
    y[..a.batch * a.length * stride].par_chunks_mut(stride).enumerate().for_each(|(r, row)| {
        let (item, t) = (r / a.length, r % a.length);
        let token = id(a, ids, item, t);
        let from = &table[token * stride..][..stride];
        let position = &positions[t * stride..][..stride];
        for ((y, &e), &p) in row.iter_mut().zip(from).zip(position) {
            *y = e + p;
        }
    });
}
