//! Perceiver IO: configuration, layers, and the three parts encode, process and decode as graphs.

pub(crate) mod batch;
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

pub use config::{Architecture, AttentionShape, PerceiverConfig, ProblemType};
