//! Everything that is tested through the library and needs no test program of its own, by kind of claim. One
//! program, since each takes long to link.

#[path = "../common/mod.rs"]
mod common;

mod blueprint;
mod checkpoint;
mod device_loss;
mod embedding;
mod families;
mod front_door;
mod fuzzed;
mod hub;
mod inputs;
mod layers;
mod limits;
mod load;
mod pacing;
mod plan;
mod runtime;
mod shaders;
mod simd;
mod soundness;
mod stream;
mod tasks;
mod weights;
mod windows;
