//! CPU twin of `to_texels`.

use crate::parallel::*;

use super::{HUES, ToTexels, UNKNOWN};
use crate::kernels::{Kernel, Real};
use crate::tensor::Element;

/// An element of a line.
fn value<T: Real>(a: &ToTexels, [x, map, wheel]: [&[T]; 3], line: usize, element: usize) -> T {
    let (at, place) = (element / a.channels, element % a.channels);
    let pixel = ((a.top() + line) * a.width + at).checked_sub(a.first).filter(|&p| p < a.rows);
    let (Some(pixel), true) = (pixel, at < a.width) else {
        return T::default();
    };
    let channel = if a.swapped && place < 3 { 2 - place } else { place };
    let row = &x[pixel * a.cols.next_multiple_of(4)..][..a.cols];
    let stride = a.channels.next_multiple_of(4);
    let scaled = |c: usize| row.get(c).map_or(T::default(), |&x| x * map[c]) + map[stride + c];
    if a.wheel && channel < 3 {
        let known = row[..2].iter().all(|x| x.to_f32().abs() <= UNKNOWN);
        let [x, y] = [0, 1].map(|c| f64::from(scaled(c).to_f32()));
        return if known { colour(wheel, x, y, channel) } else { T::default() };
    }
    match a.texels {
        Element::U8 => {
            let level = f64::from(scaled(channel).to_f32()).clamp(0.0, 1.0) * 255.0;
            T::from_f64((level + 0.5).floor())
        }
        Element::F16 | Element::F32 => scaled(channel),
    }
}

/// A colour of the vector (x, y), where length 1 has full colour.
fn colour<T: Real>(wheel: &[T], x: f64, y: f64, channel: usize) -> T {
    let length = x.hypot(y);
    let place = ((-y).atan2(-x) / std::f64::consts::PI + 1.0) / 2.0 * (HUES - 1) as f64;
    let (hue, part) = (place as usize % HUES, place.fract());
    let [here, next] = [hue, (hue + 1) % HUES].map(|h| f64::from(wheel[4 * h + channel].to_f32()));
    let full = (1.0 - part) * here + part * next;
    let value = if length <= 1.0 { 1.0 - length * (1.0 - full) } else { full * 0.75 };
    T::from_f64((255.0 * value).floor().clamp(0.0, 255.0))
}

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &ToTexels, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let arrays = a.arrays(inputs);
    let stride = a.line.next_multiple_of(4);
    outputs[0].fill(T::default());
    for line in 0..a.lines() {
        for element in 0..a.line {
            outputs[0][line * stride + element] = value(a, arrays, line, element);
        }
    }
}

/// Lines on all threads.
pub(crate) fn fast(a: &ToTexels, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let arrays = a.arrays(inputs);
    let stride = a.line.next_multiple_of(4);
    outputs[0].par_chunks_exact_mut(stride.max(1)).enumerate().for_each(|(line, out)| {
        out.fill(0.0);
        for (element, out) in out[..a.line].iter_mut().enumerate() {
            *out = value(a, arrays, line, element);
        }
    });
}
