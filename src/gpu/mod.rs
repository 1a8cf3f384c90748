//! The GPU side: adapters, devices, shader variants, pipelines, and the executor that replays plans.
//!
//! Invariants: nothing in the steady state creates a GPU object other than the command buffers that
//! WebGPU makes single-use; every wgpu failure arrives as an [`crate::Error`]; no callback that
//! belongs to a host app is replaced.

mod adapter;
mod bases;
mod buffer;
mod cache_place;
mod choice;
mod clock;
mod copy_rate;
mod device;
mod footprint;
mod pacing;
mod pipeline;
mod pipeline_cache;
mod session;
pub mod shader;
mod slot;
mod staging;
mod store;
mod trial;
mod tuning;

pub use adapter::{Adapter, AdapterKind, adapters, adapters_async};
pub use cache_place::{CACHE_VARIABLE, CachePlace};
pub(crate) use device::USEFUL_FEATURES;
pub use device::{Device, ShaderChecks};
pub(crate) use footprint::transfer_bytes;
pub use pacing::{Ran, Submission, SubmissionBudget};
pub use pipeline_cache::unpack;
pub use session::{Bound, Choice, GpuExecutor, Place, Slice, Sliced, Transfer, try_transfer};
pub(crate) use slot::Slot;
pub use store::Parameters;
pub(crate) use trial::session_of;
pub use trial::{try_variant, try_variant_as};
pub use tuning::{Denied, TunedChoice, Tuning, bucket};

/// FNV-1a of some bytes: enough to notice damage and change, not meant against forgery.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
