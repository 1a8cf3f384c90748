//! Softmax in explicit vectors, against that of f64.

use perceiver::internals::kernels::simd;
use pulp::{Arch, Simd, WithSimd};

/// A softmax compiled for the best instruction set of this processor.
fn softmax_row(row: &mut [f32], maximum: &mut f32) -> f32 {
    struct Work<'a>(&'a mut [f32], &'a mut f32);
    impl WithSimd for Work<'_> {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            simd::softmax_row(simd, self.0, self.1)
        }
    }
    Arch::new().dispatch(Work(row, maximum))
}

#[test]
fn softmax_of_any_length_is_that_of_f64() {
    for length in 1..70 {
        let scores: Vec<f32> = (0..length).map(|i| ((i * 37 % 101) as f32 - 50.0) * 1.9).collect();
        let mut row = scores.clone();
        let mut maximum = -60.0;
        let sum = softmax_row(&mut row, &mut maximum);
        let expected = scores.iter().copied().fold(-60.0f32, f32::max);
        assert_eq!(maximum, expected);
        let exact = scores.iter().map(|&s| f64::from(s - expected).exp());
        let total: f64 = exact.clone().sum();
        assert!((f64::from(sum) / total - 1.0).abs() < 1e-6, "{length}");
        for ((&x, exact), s) in row.iter().zip(exact).zip(&scores) {
            let bound = if s - expected < -86.9 { 1e-37 } else { 4e-7 * exact };
            assert!((f64::from(x) - exact).abs() <= bound, "e^{} = {x}", s - expected);
        }
    }
}

#[test]
fn what_is_no_number_stays_so() {
    let mut row = vec![0.0; 21];
    row[3] = f32::NAN;
    let mut maximum = f32::MIN;
    assert!(softmax_row(&mut row, &mut maximum).is_nan());
    assert_eq!(maximum, 0.0);
    assert!(row[3].is_nan() && row[4] == 1.0);
}
