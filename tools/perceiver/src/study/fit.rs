//! Exponents of measured costs.

/// The power of the size that a cost grows with, over the last `last` points (size, cost), by least
/// squares on logarithms: 1 is linear, 2 quadratic, 0 constant. Small sizes are better left out, since
/// what does not grow still counts there. `None` for fewer than two points, or where a size or cost is
/// not positive.
///
/// ```
/// let points = [(1024, 3.0), (2048, 6.0), (4096, 12.0)];
/// let slope = perceiver_cli::study::exponent(&points, 3).unwrap();
/// assert!((slope - 1.0).abs() < 1e-9);
/// ```
#[must_use]
pub fn exponent(points: &[(usize, f64)], last: usize) -> Option<f64> {
    let points = &points[points.len().saturating_sub(last)..];
    if points.len() < 2 || points.iter().any(|&(n, c)| n == 0 || c <= 0.0) {
        return None;
    }
    let logs: Vec<[f64; 2]> =
        points.iter().map(|&(size, cost)| [(size as f64).ln(), cost.ln()]).collect();
    let count = logs.len() as f64;
    let mean = |k: usize| logs.iter().map(|l| l[k]).sum::<f64>() / count;
    let (mx, my) = (mean(0), mean(1));
    let xy: f64 = logs.iter().map(|l| (l[0] - mx) * (l[1] - my)).sum();
    let xx: f64 = logs.iter().map(|l| (l[0] - mx).powi(2)).sum();
    (xx > 0.0).then(|| xy / xx)
}

#[cfg(test)]
mod tests {
    use super::exponent;

    #[test]
    fn finds_powers_and_leaves_early_points_out() {
        let cost = |n: usize| if n < 100 { 5.0 } else { (n * n) as f64 };
        let points: Vec<(usize, f64)> = [10, 20, 200, 400, 800].map(|n| (n, cost(n))).to_vec();
        assert!((exponent(&points, 3).unwrap() - 2.0).abs() < 1e-9);
        assert!(exponent(&points[..1], 3).is_none());
        assert!(exponent(&[(8, 1.0), (8, 2.0)], 3).is_none());
        assert!(exponent(&[(0, 1.0), (8, 2.0)], 3).is_none());
        assert_eq!(exponent(&[(8, 2.0), (16, 2.0)], 9), Some(0.0));
    }
}
