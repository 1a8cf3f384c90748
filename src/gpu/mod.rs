//! The GPU side: adapters, devices, shader variants, pipelines, and the executor that replays plans.
//!
//! Invariants: nothing in the steady state creates a GPU object other than the command buffers that
//! WebGPU makes single-use; every wgpu failure arrives as an [`crate::Error`]; no callback that
//! belongs to a host app is replaced.

mod adapter;
mod bases;
mod choice;
mod device;
mod footprint;
mod pacing;
mod pipeline;
mod session;
pub mod shader;
mod staging;
mod store;

pub use adapter::{Adapter, AdapterKind, adapters};
pub use device::{Device, ShaderChecks};
pub(crate) use footprint::transfer_bytes;
pub use pacing::{Submission, SubmissionBudget};
pub use session::{Choice, Session};
pub use store::Parameters;
