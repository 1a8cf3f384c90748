//! Perceiver IO: configuration, models as data, layers, and encode, process and decode as graphs.

pub(crate) mod batch;
pub mod blueprint;
pub mod build;
pub mod config;
mod config_file;
pub mod decoder;
pub mod encoder;
mod fold;
mod fold_weights;
pub mod layer;
pub mod parameters;
pub mod positions;
pub mod processor;
pub mod rows;
pub mod stack;
pub(crate) mod stream;

pub use config::{Architecture, AttentionShape, PerceiverConfig, ProblemType};
