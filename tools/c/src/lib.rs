//! perceiver as a C library: `include/perceiver.h`, in Rust.
//!
//! * **Handles are opaque.** A function that makes one stores it where its last argument points, or stores NULL and
//!   returns a status other than `PERCEIVER_STATUS_OK`. Each is freed once, by its own `…_free`, which takes NULL too.
//!   A handle keeps what it was made of alive: an engine may be freed before its models.
//! * **Every status has a text**, that of [`perceiver::Error`], which `perceiver_last_error` gives on the same thread.
//! * **Sizes are explicit**: arrays come with the number of their elements, and nothing is read or written beyond.
//! * **Threads**: any function may be called on any thread, with the same handles at the same time; runs of one model go side
//!   by side, calls of one encoder or decoder one after the other. Only freeing has to be the last use.
//! * **No panic crosses the border**: one would be a defect, and arrives as `PERCEIVER_STATUS_DEFECT`.
//! * Memory that the caller hands in is read during the call alone; what a handle lends is valid until it is freed.
//! * A device of the app's own cannot be adopted from C: wgpu takes over raw Vulkan, Metal and DX12 handles by functions
//!   alone that trust the caller with the whole state of the device. In Rust, `Engine::from_wgpu` shares a device.
#![allow(unsafe_code, reason = "C hands in raw pointers; `pointer` turns them into references")]
#![allow(
    clippy::missing_safety_doc,
    reason = "one contract for all functions: pointers are NULL or valid for the sizes that come with them, see above"
)]

mod engine;
mod latents;
mod model;
mod pointer;
mod run;
mod status;
mod stream;
mod tasks;
mod tensors;

pub use engine::*;
pub use latents::*;
pub use model::*;
pub use run::*;
pub use status::{PerceiverStatus, perceiver_last_error};
pub use stream::*;
pub use tasks::*;
pub use tensors::*;
