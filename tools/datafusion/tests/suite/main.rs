//! Functions of a model in DataFusion: equality with whole runs, groups, refusals, memory.

mod common;
mod decode;
mod encode;
mod refusals;
