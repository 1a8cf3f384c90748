//! Fourier position features as Hugging Face computes them: in float32, whatever the model's type.
//!
//! The arguments of sine and cosine reach tens of thousands, where float32 is coarse; the trained
//! weights have seen that rounding, so it is reproduced: linspace with one rounding per element,
//! products rounded one by one, then accurate functions of the rounded argument.

/// `linspace(start, end, n)` in float32 as PyTorch's CPU build computes it: `fma(step, i, start)`
/// for the first half, `fma(-step, n-1-i, end)` for the second.
#[must_use]
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

/// Tables `[Σ axes, 1 + 2·bands]` for grid positions that span [-1, 1] on each axis, with
/// frequencies from 1 to half of the axis' highest resolution (paper, appendix D).
///
/// ```
/// let table = perceiver::perceiver::positions::fourier_tables(&[3], &[8], 2);
/// assert_eq!(table.len(), 3 * 5);
/// assert_eq!([table[0], table[5], table[10]], [-1.0, 0.0, 1.0]);
/// ```
#[must_use]
pub fn fourier_tables(axes: &[usize], max_resolution: &[usize], bands: usize) -> Vec<f32> {
    let mut tables = Vec::with_capacity(axes.iter().sum::<usize>() * (1 + 2 * bands));
    for (&length, &resolution) in axes.iter().zip(max_resolution) {
        let frequencies = linspace(1.0, resolution as f32 / 2.0, bands);
        for position in linspace(-1.0, 1.0, length) {
            push_features(position, &frequencies, &mut tables);
        }
    }
    tables
}
