//! CPU twin of `gemm`.

use super::{Activation, Gemm};
use crate::kernels::blocks::part;
use crate::kernels::layer_norm::cpu::mean_and_scale;
use crate::kernels::math::{gelu_erf, gelu_tanh, silu, tanh, vectorised};
use crate::kernels::{Kernel, Real};

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &Gemm, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let ([x, weight, bias, residual], y) = (a.arrays(inputs), &mut *outputs[0]);
    let (xs, ys) = (a.inner.next_multiple_of(4), a.cols.next_multiple_of(4));
    for (split, r) in (0..a.splits.max(1)).flat_map(|s| (0..a.rows).map(move |r| (s, r))) {
        let at = (split * a.rows + r) * ys;
        let row = &mut y[at..at + ys];
        row.fill(T::default());
        let (mean, scale) = if a.normalise {
            mean_and_scale(&x[r * xs..][..a.inner])
        } else {
            (T::default(), T::from_f64(1.0))
        };
        for k in part(split, 4 * a.split_vectors(), a.inner) {
            let x = (x[r * xs + k] - mean) * scale;
            for (n, out) in row[..a.cols].iter_mut().enumerate() {
                *out += x * weight[k * ys + n];
            }
        }
        for (n, out) in row[..a.cols].iter_mut().enumerate() {
            let mut v = *out;
            if a.bias {
                v += bias[n];
            }
            v = activate(a.activation, v);
            if a.residual_rows > 0 {
                v += residual[(r % a.residual_rows) * ys + n];
            }
            *out = v;
        }
    }
}

/// An activation by its formula.
pub(crate) fn activate<T: Real>(activation: Activation, v: T) -> T {
    match activation {
        Activation::None => v,
        Activation::GeluErf => {
            T::from_f64(0.5)
                * v
                * (T::from_f64(1.0) + (v * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
        }
        Activation::GeluTanh => {
            let inner = T::from_f64((2.0 / std::f64::consts::PI).sqrt())
                * (v + T::from_f64(0.044715) * v * v * v);
            T::from_f64(0.5) * v * (T::from_f64(1.0) + inner.tanh())
        }
        Activation::Relu if v > T::default() => v,
        Activation::Relu => T::default(),
        Activation::Silu => v / (T::from_f64(1.0) + (T::default() - v).exp()),
        Activation::Tanh => v.tanh(),
    }
}

#[cfg(feature = "cpu")]
pub(crate) use super::fast::fast;

/// Bias and residual, empty where there is none, and activation of one row. Padding stays zero: every activation maps zero to zero.
pub(crate) fn epilogue(row: &mut [f32], bias: &[f32], activation: Activation, residual: &[f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (y, &b) in row.iter_mut().zip(bias) {
                *y += b;
            }
            match activation {
                Activation::None => {}
                Activation::GeluErf => {
                    for y in row.iter_mut() {
                        *y = gelu_erf(*y);
                    }
                }
                Activation::GeluTanh => {
                    for y in row.iter_mut() {
                        *y = gelu_tanh(*y);
                    }
                }
                Activation::Relu => {
                    for y in row.iter_mut() {
                        *y = y.max(0.0);
                    }
                }
                Activation::Silu => {
                    for y in row.iter_mut() {
                        *y = silu(*y);
                    }
                }
                Activation::Tanh => {
                    for y in row.iter_mut() {
                        *y = tanh(*y);
                    }
                }
            }
            for (y, &r) in row.iter_mut().zip(residual) {
                *y += r;
            }
        },
    );
}
