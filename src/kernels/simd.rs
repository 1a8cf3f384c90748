//! Inner loops of softmax in explicit vectors, for the fast CPU kernels.
//!
//! What [`super::math`] leaves to the compiler is written out here where its choice costs: fused
//! multiply-adds, accumulators that stay in registers, ends of slices. Generic over the instruction
//! sets of `pulp`; every function is always inlined into one that is compiled for the set.

use pulp::Simd;

/// e^x to 1·10⁻⁷ relative for x ≤ 88; 0 below -87; NaN stays NaN.
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding this constant rounds to an integer and leaves it in the low mantissa bits, biased so
    // that a shift by 23 makes it an exponent.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    let shifted =
        simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), simd.splat_f32s(ROUND));
    let n = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    // ln 2 in two parts, the first exact in few bits.
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(2.121_944_4e-4), r);
    let mut p = simd.splat_f32s(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = simd.mul_add_e_f32s(p, r, simd.splat_f32s(c));
    }
    let p = simd.mul_add_e_f32s(simd.mul_f32s(p, r), r, r);
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.transmute_f32s_u32s(exponent);
    let y = simd.mul_add_e_f32s(p, power, power);
    let small = simd.less_than_f32s(x, simd.splat_f32s(-87.0));
    simd.select_f32s(small, simd.splat_f32s(0.0), y)
}

/// The larger of two, lane by lane; `a` where `b` is no number.
#[inline(always)]
pub fn larger<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
    simd.select_f32s(simd.greater_than_f32s(b, a), b, a)
}

/// Lanes that a slice of less than a vector fills get its elements, the others `padding`.
#[inline(always)]
pub fn load_end<S: Simd>(simd: S, slice: &[f32], padding: f32) -> S::f32s {
    let lanes = simd.splat_f32s(padding);
    let mut lanes = lanes;
    let all: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut lanes));
    all[..slice.len()].copy_from_slice(slice);
    lanes
}

/// Online softmax of one row: raises `maximum` to the row's, replaces scores by exponentials relative
/// to it, and returns their sum.
#[inline(always)]
pub fn softmax_row<S: Simd>(simd: S, row: &mut [f32], maximum: &mut f32) -> f32 {
    let (blocks, rest) = S::as_mut_simd_f32s(row);
    // Four maxima, since each step waits for the one before.
    let [mut a, mut b, mut c, mut d] = [simd.splat_f32s(*maximum); 4];
    let (fours, last) = blocks.as_chunks();
    for &[e, f, g, h] in fours {
        a = larger(simd, a, e);
        b = larger(simd, b, f);
        c = larger(simd, c, g);
        d = larger(simd, d, h);
    }
    for &block in last {
        a = larger(simd, a, block);
    }
    let mut most = larger(simd, larger(simd, a, b), larger(simd, c, d));
    if !rest.is_empty() {
        most = larger(simd, most, load_end(simd, rest, *maximum));
    }
    *maximum = simd.reduce_max_f32s(most);
    let shift = simd.splat_f32s(*maximum);
    let mut sum = simd.splat_f32s(0.0);
    for block in blocks {
        *block = exp(simd, simd.sub_f32s(*block, shift));
        sum = simd.add_f32s(sum, *block);
    }
    if !rest.is_empty() {
        let last = exp(simd, simd.sub_f32s(load_end(simd, rest, f32::NEG_INFINITY), shift));
        simd.partial_store_f32s(rest, last);
        sum = simd.add_f32s(sum, last);
    }
    simd.reduce_sum_f32s(sum)
}
