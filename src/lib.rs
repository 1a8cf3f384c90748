#![doc = include_str!("../README.md")]

mod budget;
pub mod check;
pub mod checkpoint;
mod convert;
pub mod cpu;
mod description;
mod engine;
mod error;
pub mod gpu;
pub mod graph;
#[cfg(feature = "hub")]
pub mod hub;
pub mod kernels;
mod memory;
mod model;
mod output;
pub mod perceiver;
pub mod profile;
mod random;
pub mod stream;
pub mod study;
pub mod tasks;
mod tensor;
pub mod tune;

pub use convert::{ConvertOptions, Converted, FloatType, convert};
pub use description::Description;
pub use engine::{DEVICE_VARIABLE, DeviceChoice, Engine, automatic};
pub use error::{Error, Result, TensorReport};
pub use memory::MemorySize;
pub use model::{
    Model, Precision, RunOptions, blueprint as model_blueprint, graph as model_graph,
    plan as model_plan, splits as attention_splits,
};
pub use perceiver::stack::Sizes;
pub use perceiver::{Architecture, PerceiverConfig, ProblemType};
pub use tensor::{DType, Data, Element, Extent, NamedTensors, Tensor};
