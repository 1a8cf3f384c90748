//! A GPU kernel engine for Perceiver IO on wgpu.
pub mod check;
pub mod cpu;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod perceiver;
pub mod tasks { //! Tasks.
 pub mod masked_lm; pub mod optical_flow; }
pub mod tensor;

pub use error::{Error, Result};
pub use tensor::{NamedTensors, Tensor};
