//! CPU twin of `warp`.

use crate::parallel::*;

use super::{CHANNELS, FARTHEST, HAIR, STEPS, Warp};
use crate::kernels::{Kernel, Real};
use crate::tensor::Element;

/// Where a point has gone along one side: the pixel before and the steps beyond it.
fn place<T: Real>(at: usize, [x, scale]: [T; 2], side: usize) -> Option<[usize; 2]> {
    // Of numbers in f32 the product in f64 is exact, so that it is rounded once in either type.
    let pixels = (x * scale).to_f32();
    let [at, last] = [at, side - 1].map(|n| (n * STEPS as usize) as i64);
    let hair = i64::from(HAIR);
    // Written so that a NaN is no place.
    let near = pixels.abs() <= FARTHEST as f32;
    let steps = at + near.then(|| (pixels * STEPS as f32).round_ties_even() as i64)?;
    let within = (-hair..=last + hair).contains(&steps);
    let steps = usize::try_from(steps.clamp(0, last)).ok().filter(|_| within)?;
    Some([steps / STEPS as usize, steps % STEPS as usize])
}

/// A channel of a pixel of the result.
fn value<T: Real>(a: &Warp, [x, scale, frame]: [&[T]; 3], line: usize, element: usize) -> T {
    let (across, channel) = (element / CHANNELS, element % CHANNELS);
    let (none, down) = (T::default(), a.top() + line);
    let row = (down * a.width + across).checked_sub(a.first).filter(|&p| p < a.rows);
    let (Some(row), true) = (row, across < a.width) else {
        return none;
    };
    let vector = &x[row * a.cols.next_multiple_of(4)..];
    let to_x = place(across, [vector[0], scale[0]], a.width);
    let to_y = place(down, [vector[1], scale[1]], a.height);
    let (Some([left, part_x]), Some([upper, part_y])) = (to_x, to_y) else {
        return none;
    };
    if channel == 3 {
        return T::from_f64(if a.texels == Element::U8 { 255.0 } else { 1.0 });
    }
    // Blue and red change places where one of the two sides has them the other way round.
    let colour = if a.swapped == a.into_swapped { channel } else { 2 - channel };
    let texel = |column: usize, row: usize| {
        let line = (a.plane * a.height + row.min(a.height - 1)) * a.line.next_multiple_of(4);
        frame[line + column.min(a.width - 1) * a.pixel + colour]
    };
    let corners = [[0, 0], [1, 0], [0, 1], [1, 1]].map(|[x, y]| texel(left + x, upper + y));
    if a.texels == Element::U8 {
        let [ab, bb, ac, bc] = corners.map(|byte| byte.to_f32() as u64);
        let (steps, part_x, part_y) = (u64::from(STEPS), part_x as u64, part_y as u64);
        let above = ab * (steps - part_x) + bb * part_x;
        let below = ac * (steps - part_x) + bc * part_x;
        let all = above * (steps - part_y) + below * part_y;
        let area = steps * steps;
        return T::from_f64(((all + area / 2) / area) as f64);
    }
    let [part_x, part_y] = [part_x, part_y].map(|p| T::from_f64(p as f64 / f64::from(STEPS)));
    let between = |a: T, b: T, part: T| a + part * (b - a);
    let above = between(corners[0], corners[1], part_x);
    let below = between(corners[2], corners[3], part_x);
    between(above, below, part_y)
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Warp, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let arrays = a.arrays(inputs);
    let stride = a.into_line.next_multiple_of(4);
    outputs[0].fill(T::default());
    for line in 0..a.lines() {
        for element in 0..a.into_line {
            outputs[0][line * stride + element] = value(a, arrays, line, element);
        }
    }
}

/// Lines on all threads.
pub(crate) fn fast(a: &Warp, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let arrays = a.arrays(inputs);
    let stride = a.into_line.next_multiple_of(4);
    outputs[0].par_chunks_exact_mut(stride.max(1)).enumerate().for_each(|(line, out)| {
        out.fill(0.0);
        for (element, out) in out[..a.into_line].iter_mut().enumerate() {
            *out = value(a, arrays, line, element);
        }
    });
}
