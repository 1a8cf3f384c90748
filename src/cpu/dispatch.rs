//! From an op to its twin: plain loops in f64, the fast ones in f32.

use super::real::Real;
use crate::graph::Op;

/// A number type that plans can be run in.
pub trait Execute: Real {
    /// Runs one op on resolved operands, in the order that the op's argument struct documents.
    fn execute(op: &Op, inputs: &[&[Self]], outputs: &mut [&mut [Self]]);
}

impl Execute for f64 {
    fn execute(op: &Op, inputs: &[&[Self]], outputs: &mut [&mut [Self]]) {
        reference(op, inputs, outputs);
    }
}

impl Execute for f32 {
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
        Op::GemmMerge(a) => super::gemm_merge::reference(a, inputs, outputs[0]),
        Op::LayerNorm(a) => {
            super::layer_norm::reference(a, inputs[0], inputs[1], inputs[2], outputs[0]);
        }
        Op::Attention(a) => super::attention::reference(a, inputs, outputs),
        Op::AttentionMerge(a) => {
            super::attention_merge::reference(a, inputs[0], inputs[1], outputs);
        }
        Op::Embed(a) => super::embed::reference(a, inputs[0], inputs[1], inputs[2], outputs[0]),
        Op::Assemble(a) => super::assemble::reference(a, inputs, outputs[0]),
        Op::Convolution(a) => {
            super::convolution::reference(a, inputs[0], inputs[1], inputs[2], outputs[0]);
        }
        Op::MaxPool(a) => super::max_pool::reference(a, inputs[0], outputs[0]),
        Op::FactoredAttention(a) => super::factored_attention::reference(a, inputs, outputs),
        Op::RowScale(a) => super::row_scale::reference(a, inputs, outputs[0]),
        Op::Transpose(a) => super::transpose::reference(a, inputs[0], outputs[0]),
        Op::Join(a) => super::join::reference(a, inputs, outputs[0]),
    }
}

/// Runs one op the fast way, on all threads of rayon's current pool.
pub fn fast(op: &Op, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    match op {
        Op::Gemm(a) => super::gemm::fast(a, inputs, outputs[0]),
        Op::GemmMerge(a) => super::gemm_merge::fast(a, inputs, outputs[0]),
        Op::LayerNorm(a) => super::layer_norm::fast(a, inputs[0], inputs[1], inputs[2], outputs[0]),
        Op::Attention(a) => super::attention::fast(a, inputs, outputs),
        Op::AttentionMerge(a) => super::attention_merge::fast(a, inputs[0], inputs[1], outputs),
        // Pure data movement: the plain loops are the fast ones.
        Op::Embed(a) => super::embed::fast(a, inputs[0], inputs[1], inputs[2], outputs[0]),
        Op::Assemble(a) => super::assemble::fast(a, inputs, outputs[0]),
        Op::Convolution(a) => {
            super::convolution::fast(a, inputs[0], inputs[1], inputs[2], outputs[0]);
        }
        Op::MaxPool(a) => super::max_pool::fast(a, inputs[0], outputs[0]),
        Op::FactoredAttention(a) => super::factored_attention::fast(a, inputs, outputs),
        Op::RowScale(a) => super::row_scale::fast(a, inputs, outputs[0]),
        Op::Transpose(a) => super::transpose::fast(a, inputs[0], outputs[0]),
        Op::Join(a) => super::join::fast(a, inputs, outputs[0]),
    }
}
