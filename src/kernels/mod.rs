//! Host side of every kernel: its arguments, its cost, its variants and dispatch geometry.
//!
//! One kernel is four files of one name: `shaders/NAME.wgsl`, `src/kernels/NAME.rs` (this folder),
//! `src/cpu/NAME.rs` (the twin with the same argument struct) and rows in the table that
//! `src/check/NAME.rs` holds. A test keeps the four sets of names equal.

pub mod attention;
pub mod attention_merge;
pub mod embed;
pub mod fourier;
pub mod gemm;
pub mod layer_norm;

/// Names of all kernels, in the order of the documentation.
pub const NAMES: [&str; 6] = [
    "gemm",
    "layer_norm",
    "attention",
    "attention_merge",
    "embed",
    "fourier",
];

/// What one execution of an op costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of matrix products, two for a multiply-add. Element-wise work is
    /// not counted, as in the paper.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
}
