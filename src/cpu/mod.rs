//! The CPU executor: every op twice.
//!
//! `reference` functions are plain loops, generic over `f32` and `f64`. In `f64` they are what
//! every other implementation is checked against, so they share no code with any of them. `fast`
//! functions run models in `f32` where there is no GPU: blocked matrix products by a well-kept
//! crate, all cores, and loops that compile to the widest vectors the processor has.

pub mod assemble;
pub mod attention;
pub mod attention_merge;
pub mod convolution;
pub mod embed;
pub mod factored_attention;
pub mod gemm;
pub mod gemm_merge;
pub mod join;
pub mod layer_norm;
pub mod max_pool;
pub mod row_scale;
pub mod transpose;

mod dispatch;
mod executor;
pub mod math;
mod real;
pub mod simd;

pub use dispatch::{Execute, fast, reference};
pub use executor::Session;
pub(crate) use executor::{input_parts, no_output, repeat_to, unpad};
pub use real::Real;

/// Names of all twins.
pub const NAMES: [&str; 13] = [
    "gemm",
    "gemm_merge",
    "layer_norm",
    "attention",
    "attention_merge",
    "embed",
    "assemble",
    "convolution",
    "max_pool",
    "factored_attention",
    "row_scale",
    "transpose",
    "join",
];
