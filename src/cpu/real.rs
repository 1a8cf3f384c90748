//! The number type of a CPU session: `f32` to run models, `f64` to check them.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use crate::graph::Op;

/// A floating-point type that the CPU executor computes in.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + 'static
{
    /// From a stored weight or an input.
    fn from_f32(x: f32) -> Self;
    /// From a count or constant.
    fn from_f64(x: f64) -> Self;
    /// To a result.
    fn to_f32(self) -> f32;
    /// e^x.
    fn exp(self) -> Self;
    /// √x.
    fn sqrt(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Runs one op on resolved operands.
    fn execute(op: &Op, inputs: &[&[Self]], outputs: &mut [&mut [Self]]);
}

impl Real for f64 {
    fn from_f32(x: f32) -> Self {
        f64::from(x)
    }
    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f32(self) -> f32 {
        self as f32
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    fn erf(self) -> Self {
        libm::erf(self)
    }
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    fn execute(op: &Op, inputs: &[&[Self]], outputs: &mut [&mut [Self]]) {
        reference(op, inputs, outputs);
    }
}

impl Real for f32 {
    fn from_f32(x: f32) -> Self {
        x
    }
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    fn to_f32(self) -> f32 {
        self
    }
    fn exp(self) -> Self {
        f32::exp(self)
    }
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    fn erf(self) -> Self {
        libm::erff(self)
    }
    fn tanh(self) -> Self {
        f32::tanh(self)
    }
    fn execute(op: &Op, inputs: &[&[Self]], outputs: &mut [&mut [Self]]) {
        fast(op, inputs, outputs);
    }
}

/// Runs one op by plain loops.
///
/// `inputs` and `outputs` are in the order that the op's argument struct documents, with rows padded
/// to four elements. Results overwrite `outputs`, padding included.
pub fn reference<T: Real>(op: &Op, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    match op {
        Op::Gemm(a) => super::gemm::reference(a, inputs, outputs[0]),
        Op::LayerNorm(a) => {
            super::layer_norm::reference(a, inputs[0], inputs[1], inputs[2], outputs[0]);
        }
        Op::Attention(a) => super::attention::reference(a, inputs, outputs),
        Op::AttentionMerge(a) => {
            super::attention_merge::reference(a, inputs[0], inputs[1], outputs);
        }
        Op::Embed(a) => super::embed::reference(a, inputs[0], inputs[1], inputs[2], outputs[0]),
        Op::Fourier(a) => super::fourier::reference(a, inputs, outputs[0]),
    }
}

/// Runs one op the fast way, on all threads of rayon's current pool.
pub fn fast(op: &Op, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    match op {
        Op::Gemm(a) => super::gemm::fast(a, inputs, outputs[0]),
        Op::LayerNorm(a) => super::layer_norm::fast(a, inputs[0], inputs[1], inputs[2], outputs[0]),
        Op::Attention(a) => super::attention::fast(a, inputs, outputs),
        Op::AttentionMerge(a) => super::attention_merge::fast(a, inputs[0], inputs[1], outputs),
        // Pure data movement: the plain loops are the fast ones.
        Op::Embed(a) => super::embed::fast(a, inputs[0], inputs[1], inputs[2], outputs[0]),
        Op::Fourier(a) => super::fourier::fast(a, inputs, outputs[0]),
    }
}
