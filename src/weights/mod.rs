//! From checkpoint tensors to the arrays of a graph: evaluating recipes, the arithmetic of the fold, and
//! position tables.

mod fold;
mod parameters;
pub mod positions;

pub use parameters::{ParameterStore, RandomTensors, TensorSource};
pub(crate) use parameters::{evaluate, window};
