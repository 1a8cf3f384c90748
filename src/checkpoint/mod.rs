//! Checkpoints: folders as Hugging Face saves them, and single files of tensors.
//!
//! Invariants: nothing here trusts a byte of a file before it is checked; no error path allocates
//! more than the file's own size; a file that is being written appears under its name only when it
//! is complete.

mod file;
mod folder;
mod write;

pub use file::{Entry, TensorFile, read_tensors};
pub use folder::Checkpoint;
pub use write::write_tensors;
