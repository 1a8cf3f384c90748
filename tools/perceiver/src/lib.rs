//! What the `perceiver` command shares with its tests and benchmarks. It promises nothing.

pub mod flow_style;
pub mod scenes;
pub mod study;
pub mod writers;
