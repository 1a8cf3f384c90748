//! Vectorisable `f32` mathematics for the fast CPU kernels.
//!
//! Every function is branch-free and always inlined, so that a loop over it inside [`vectorised`]
//! compiles to the widest vectors that the processor has at run time. No fused multiply-add is
//! written out: without hardware support it would be a library call. [`super::simd`] has the loops
//! where that matters.

/// Runs a closure compiled for the best instruction set of this processor. The closure must be marked
/// `#[inline(always)]`: one that is large is otherwise compiled by itself, for the least processor,
/// and everything in it runs several times slower.
#[inline]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(not(feature = "cpu"))]
    return work();
    #[cfg(feature = "cpu")]
    dispatched(work)
}

#[cfg(feature = "cpu")]
#[inline]
fn dispatched<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnOnce() -> R> pulp::WithSimd for Work<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _simd: S) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Work(work))
}

/// e^x to 1·10⁻⁷ relative for x in [-87, 88]; 0 below. Larger x must not occur (softmax subtracts
/// the maximum).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding this constant rounds to an integer and leaves it in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = clamped - n * 0.693_359_4;
    let r = r - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let y = p * f32::from_bits(exponent);
    if x < -87.0 { 0.0 } else { y }
}

/// x/(1 + e^−x).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp((-x).min(80.0)))
}

/// The hyperbolic tangent to 10⁻⁷ absolute.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

/// The error function to 4·10⁻⁷ absolute: the rational approximation of Eigen.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let mut p = -2.726_142_3e-10;
    p = p * s + 2.770_681_4e-8;
    p = p * s + -2.101_024e-6;
    p = p * s + -5.692_506_4e-5;
    p = p * s + -7.349_906_3e-4;
    p = p * s + -2.954_6e-3;
    p = p * s + -1.609_603_3e-2;
    let mut q = -1.456_607_2e-5;
    q = q * s + -2.133_740_6e-4;
    q = q * s + -1.682_827e-3;
    q = q * s + -7.373_329e-3;
    q = q * s + -1.426_473_9e-2;
    (x * p / q).clamp(-1.0, 1.0)
}

/// x/2·(1 + erf(x/√2)).
#[inline(always)]
pub fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The tanh approximation of GELU.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    // x/2·(1 + tanh(u)) = x·σ(2u)
    x / (1.0 + exp((-2.0 * inner).clamp(-80.0, 80.0)))
}

/// Independent partial sums, so that the additions vectorise.
const LANES: usize = 16;

/// Sum of a slice.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    sum_of(x, |v| v)
}

/// Σ (x − mean)².
#[inline(always)]
pub fn sum_squared_differences(x: &[f32], mean: f32) -> f32 {
    sum_of(x, |v| (v - mean) * (v - mean))
}

#[inline(always)]
fn sum_of(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += term(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += term(v);
    }
    lanes.iter().sum()
}
