//! Perceiver IO: configurations, models as data, layers, and encode, process and decode as graphs.

mod arrays;
pub(crate) mod batch;
pub mod blueprint;
pub mod build;
pub(crate) mod chunks;
mod config;
pub mod decoder;
mod description;
pub mod encoder;
pub mod families;
mod folded;
pub mod layer;
pub mod official;
mod processor;
mod request;
pub mod rows;

pub use config::{AttentionShape, PerceiverConfig, ProblemType};
pub use description::Description;
pub use official::Architecture;
pub use request::{Request, Sizes};
