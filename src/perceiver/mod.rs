//! Perceiver IO: configuration, models as data, layers, and encode, process and decode as graphs.

pub(crate) mod batch;
pub mod blueprint;
mod blueprint_check;
mod blueprint_file;
pub mod blueprint_inputs;
pub mod blueprint_sizes;
pub mod build;
pub mod builder;
pub mod config;
mod config_file;
pub mod decoder;
mod description;
pub mod encoder;
mod fold;
pub mod layer;
pub mod official;
pub mod presets;
pub mod processor;
pub mod rows;
pub mod stack;
pub(crate) mod stream;

pub use blueprint_file::MODEL_TYPE as BLUEPRINT_MODEL_TYPE;
pub(crate) use blueprint_file::{is_blueprint, read_text};
pub use config::{Architecture, AttentionShape, PerceiverConfig, ProblemType};
pub use description::Description;
