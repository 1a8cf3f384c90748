//! Perceiver IO: configurations, models as data, layers, and encode, process and decode as graphs.

pub(crate) mod batch;
pub mod blueprint;
pub mod build;
mod config;
pub mod decoder;
mod description;
pub mod encoder;
mod fold;
pub mod layer;
pub mod official;
mod processor;
mod request;
pub mod rows;
pub(crate) mod stream;

pub use config::{AttentionShape, PerceiverConfig, ProblemType};
pub use description::Description;
pub use official::Architecture;
pub use request::{Request, Sizes};
