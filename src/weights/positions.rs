//! Fourier position features as Hugging Face computes them: in float32, whatever the model's type.
//!
//! The arguments of sine and cosine reach tens of thousands, where float32 is coarse; the trained
//! weights have seen that rounding, so it is reproduced: linspace with one rounding per element,
//! products rounded one by one, then accurate functions of the rounded argument.

use crate::error::Result;
use crate::graph::{FourierPositions, Spacing};
use crate::memory::room;

/// What messages call a table of positions.
const WHAT: &str = "positions";

/// `linspace(start, end, n)` in float32 as PyTorch's CPU build computes it: `fma(step, i, start)`
/// for the first half, `fma(-step, n-1-i, end)` for the second.
pub fn linspace(start: f32, end: f32, n: usize) -> Vec<f32> {
    if n <= 1 {
        return vec![start; n];
    }
    let step = (end - start) / (n - 1) as f32;
    (0..n)
        .map(|i| {
            // The product of two float32 is exact in float64; the sum rounds once more there, far
            // below float32's last place.
            if i < n / 2 {
                (f64::from(step) * i as f64 + f64::from(start)) as f32
            } else {
                (f64::from(end) - f64::from(step) * (n - 1 - i) as f64) as f32
            }
        })
        .collect()
}

/// Sines and cosines of one position in all bands, appended as `[position, sines, cosines]`.
fn push_features(position: f32, frequencies: &[f32], row: &mut Vec<f32>) {
    let argument = |f: &f32| f64::from((position * f) * std::f32::consts::PI);
    row.push(position);
    row.extend(frequencies.iter().map(|f| argument(f).sin() as f32));
    row.extend(frequencies.iter().map(|f| argument(f).cos() as f32));
}

/// Positions -1 + 2·i/n in float32, as Hugging Face places points that are picked from a grid.
pub fn cells(n: usize) -> Vec<f32> {
    (0..n).map(|i| 2.0 * i as f32 / n as f32 - 1.0).collect()
}

/// Tables `[Σ axes, 1 + 2·bands]` for grid positions in [-1, 1] on each axis, with frequencies from 1 to half of the axis' highest resolution (paper, appendix D).
pub fn fourier_tables(p: &FourierPositions) -> Result<Vec<f32>> {
    let mut tables = room(WHAT, p.axes.iter().sum::<usize>() * (1 + 2 * p.bands))?;
    for (&length, &resolution) in p.axes.iter().zip(&p.max_resolution) {
        let frequencies = linspace(1.0, resolution as f32 / 2.0, p.bands);
        let positions = match p.spacing {
            Spacing::Ends => linspace(-1.0, 1.0, length),
            Spacing::Cells => cells(length),
        };
        for position in positions {
            push_features(position, &frequencies, &mut tables);
        }
    }
    Ok(tables)
}

/// Sines, cosines and position on every axis of a grid, cell by cell, in f64.
pub fn grid_waves(axes: &[usize], bands: usize, highest: f32) -> Result<Vec<f64>> {
    let even = |first: f64, last: f64, n: usize, i: usize| {
        if n > 1 { first + (last - first) * i as f64 / (n - 1) as f64 } else { first }
    };
    let frequencies: Vec<f64> =
        (0..bands).map(|i| even(1.0, f64::from(highest), bands, i)).collect();
    let of_place = |position: f64| {
        let angles = || frequencies.iter().map(move |f| std::f64::consts::PI * position * f);
        angles().map(f64::sin).chain(angles().map(f64::cos)).chain([position])
    };
    let tables: Vec<Vec<f64>> = axes
        .iter()
        .map(|&n| (0..n).flat_map(|i| of_place(even(-1.0, 1.0, n, i))).collect())
        .collect();
    let columns = 2 * bands + 1;
    let cells = axes.iter().product();
    let mut features = room(WHAT, cells * axes.len() * columns)?;
    for cell in 0..cells {
        let mut within: usize = cells;
        for (&n, table) in axes.iter().zip(&tables) {
            within /= n;
            features.extend_from_slice(&table[cell / within % n * columns..][..columns]);
        }
    }
    Ok(features)
}

/// Resizes a table of `[⌊√positions⌋², channels]` to `[height·width, channels]`: bicubic with a = -0.75,
/// half-pixel centres, border clamped, no antialiasing (PyTorch's `interpolate`), in f64.
pub fn resized_positions(
    table: &[f32],
    channels: usize,
    [height, width]: [usize; 2],
) -> Result<Vec<f64>> {
    let side = (table.len() / channels.max(1)).isqrt();
    let (rows, columns) = (taps(side, height), taps(side, width));
    let mut resized = room(WHAT, height * width * channels)?;
    for row in &rows {
        for column in &columns {
            for c in 0..channels {
                let mut sum = 0.0;
                for &(y, wy) in row {
                    for &(x, wx) in column {
                        sum += wy * wx * f64::from(table[(y * side + x) * channels + c]);
                    }
                }
                resized.push(sum);
            }
        }
    }
    Ok(resized)
}

/// Index and weight of the four taps of each output of a bicubic resize along one axis.
fn taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    (0..to)
        .map(|i| {
            let source = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            let floor = source.floor();
            let t = source - floor;
            let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
            let mut k = 0.0;
            weights.map(|weight| {
                let at = (floor - 1.0 + k).clamp(0.0, from.saturating_sub(1) as f64);
                k += 1.0;
                (at as usize, weight)
            })
        })
        .collect()
}
