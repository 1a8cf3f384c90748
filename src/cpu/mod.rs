//! The CPU executor: plans in f32 on all threads by the fast twins of the kernels, or in f64 by the
//! reference twins.

mod executor;

pub use executor::{CpuExecutor, Execute};
