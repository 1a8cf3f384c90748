//! Resizing as Pillow does it: the same bytes as `Image.resize` of Pillow 13 gives for 8-bit RGB.
//!
//! Two passes, most often the width first, each rounded to bytes. A pass weighs the source pixels under a filter
//! that is widened when shrinking; the weights are fixed-point numbers of 22 fraction
//! bits. Invariant: all arithmetic on pixels is in integers, so neither threads nor vector width can
//! change a byte.

use std::f64::consts::PI;

use crate::parallel::*;

use super::frame::{Frame, room};
use crate::error::{Error, Result};

/// Fraction bits of a weight: what 32 bits leave beside 8 bits of colour and 2 of overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// The filters of Pillow, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resampling {
    /// 0: the one pixel under the middle, without any filter.
    Nearest,
    /// 1: a windowed sinc over six pixels.
    Lanczos,
    /// 2: a triangle over two pixels.
    Bilinear,
    /// 3: a cubic over four pixels, with a = −0.5.
    Bicubic,
    /// 4: the mean of the pixels that are covered.
    Box,
    /// 5: a Hamming window over two pixels.
    Hamming,
}

impl Resampling {
    /// All, by Pillow's number.
    #[doc(hidden)]
    pub const ALL: [Resampling; 6] = [
        Resampling::Nearest,
        Resampling::Lanczos,
        Resampling::Bilinear,
        Resampling::Bicubic,
        Resampling::Box,
        Resampling::Hamming,
    ];

    /// The filter of a number, as `resample` in `preprocessor_config.json` gives it.
    #[doc(hidden)]
    pub fn from_number(number: u64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|n| Self::ALL.get(n)).copied()
    }

    /// How far the filter reaches to either side, in pixels of the coarser picture.
    fn support(self) -> f64 {
        match self {
            Resampling::Nearest => 0.0,
            Resampling::Box => 0.5,
            Resampling::Bilinear | Resampling::Hamming => 1.0,
            Resampling::Bicubic => 2.0,
            Resampling::Lanczos => 3.0,
        }
    }

    /// The filter at a distance from its middle.
    fn weight(self, x: f64) -> f64 {
        match self {
            Resampling::Nearest => 0.0,
            // Half open, so that a pixel between two boxes counts once.
            Resampling::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Resampling::Bilinear => (1.0 - x.abs()).max(0.0),
            Resampling::Hamming => match x.abs() {
                0.0 => 1.0,
                x if x >= 1.0 => 0.0,
                // Pillow's two numbers are single precision.
                x => sinc(x) * (f64::from(0.54f32) + f64::from(0.46f32) * (x * PI).cos()),
            },
            Resampling::Bicubic => {
                const A: f64 = -0.5;
                match x.abs() {
                    x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                    x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                    _ => 0.0,
                }
            }
            Resampling::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Resampling::Lanczos => 0.0,
        }
    }
}

/// sin(πx)/(πx).
fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}

/// The source pixels of one result pixel: the first, and the weights from there on.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of every pixel of a side that goes from `from` to `to` pixels.
fn taps(from: usize, to: usize, how: Resampling) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let support = how.support() * widening;
    let step = 1.0 / widening;
    (0..to)
        .into_par_iter()
        .map(|at| {
            let centre = (at as f64 + 0.5) * scale;
            // Truncated towards zero after the clamp, as C does.
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let mut weights: Vec<f64> =
                (first..end).map(|x| how.weight((x as f64 - centre + 0.5) * step)).collect();
            // In order: the rounding of the sum counts.
            let sum: f64 = weights.iter().sum();
            if sum != 0.0 {
                for weight in &mut weights {
                    *weight /= sum;
                }
            }
            let fixed = |w: f64| {
                let w = w * f64::from(1u32 << PRECISION);
                (w + f64::copysign(0.5, w)) as i32
            };
            Taps { first, weights: weights.into_iter().map(fixed).collect() }
        })
        .collect()
}

/// Half a unit, for rounding.
const HALF: i32 = 1 << (PRECISION - 1);

/// A weighted sum as a colour. The weights' magnitudes add up to less than 2, so no sum leaves i32.
fn colour(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// A frame at another size.
///
/// # Errors
/// [`Error::Input`] when a side is zero, [`Error::Limit`] when there is no memory for the result.
pub fn resize(frame: &Frame, width: usize, height: usize, how: Resampling) -> Result<Frame> {
    if width == 0 || height == 0 {
        return Err(Error::input("size", format!("{width}×{height} pixels"), "at least one pixel"));
    }
    if (width, height) == (frame.width(), frame.height()) {
        return Ok(frame.clone());
    }
    if how == Resampling::Nearest {
        return nearest(frame, width, height);
    }
    let (other_width, other_height) = (width != frame.width(), height != frame.height());
    match (other_width, other_height) {
        (true, false) => columns(frame, width, how),
        (false, _) => rows(frame, height, how),
        _ if rows_first(frame, width, height) => columns(&rows(frame, height, how)?, width, how),
        _ => rows(&columns(frame, width, how)?, height, how),
    }
}

/// Whether the height is reduced first: since version 13 Pillow does where it loses more than twice
/// as many pixels as the width. Bytes are rounded after the first pass, so the order counts.
fn rows_first(frame: &Frame, width: usize, height: usize) -> bool {
    let lost_rows = frame.height().saturating_sub(height);
    // A width that grows has lost nothing.
    lost_rows > frame.width().saturating_sub(width).saturating_mul(2)
}

/// The pass that changes the width.
fn columns(frame: &Frame, width: usize, how: Resampling) -> Result<Frame> {
    let mut rgb = room(width, frame.height())?;
    rgb.resize(width * frame.height() * 3, 0);
    let taps = taps(frame.width(), width, how);
    rgb.par_chunks_exact_mut(width * 3)
        .zip(frame.rgb().par_chunks_exact(frame.width() * 3))
        .for_each(|(to, from)| {
            for (pixel, taps) in to.chunks_exact_mut(3).zip(&taps) {
                let mut sums = [HALF; 3];
                let from = from.chunks_exact(3).skip(taps.first);
                for (colours, &weight) in from.zip(&taps.weights) {
                    for (sum, &value) in sums.iter_mut().zip(colours) {
                        *sum += i32::from(value) * weight;
                    }
                }
                pixel.copy_from_slice(&sums.map(colour));
            }
        });
    Frame::new(width, frame.height(), rgb)
}

/// The pass that changes the height.
fn rows(frame: &Frame, height: usize, how: Resampling) -> Result<Frame> {
    let stride = frame.width() * 3;
    let mut rgb = room(frame.width(), height)?;
    rgb.resize(stride * height, 0);
    let taps = taps(frame.height(), height, how);
    rgb.par_chunks_exact_mut(stride).zip(&taps).for_each(|(to, taps)| {
        let mut sums = vec![HALF; stride];
        let from = frame.rgb().chunks_exact(stride).skip(taps.first);
        for (row, &weight) in from.zip(&taps.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        for (value, sum) in to.iter_mut().zip(sums) {
            *value = colour(sum);
        }
    });
    Frame::new(frame.width(), height, rgb)
}

/// The pixel under the middle of each result pixel.
fn nearest(frame: &Frame, width: usize, height: usize) -> Result<Frame> {
    let columns = places(frame.width(), width);
    let rows = places(frame.height(), height);
    Frame::from_fn(width, height, |x, y| frame.pixel(columns[x], rows[y]).unwrap_or_default())
}

/// The source pixel of every pixel of a side. Steps are added up one by one, since Pillow's
/// rounding is that of the sum.
fn places(from: usize, to: usize) -> Vec<usize> {
    let step = from as f64 / to as f64;
    let mut at = step * 0.5;
    (0..to)
        .map(|_| {
            let here = at as usize;
            at += step;
            here.min(from - 1)
        })
        .collect()
}
