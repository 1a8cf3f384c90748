//! Checkpoints: folders as Hugging Face saves them, torch's older files, DeepMind's original pickles, and
//! single files of tensors.
//!
//! Invariants: nothing here trusts a byte of a file before it is checked, and nothing executes what a
//! file asks for; no error path allocates more than a small multiple of the file's own size; a file
//! that is being written appears under its name only when it is complete.

mod convert;
pub(crate) mod entry;
pub(crate) mod file;
mod folder;
#[cfg(feature = "torch")]
mod haiku;
#[cfg(feature = "torch")]
mod haiku_names;
#[cfg(feature = "torch")]
mod pickle;
pub(crate) mod ranges;
mod safetensors_file;
#[cfg(feature = "torch")]
mod torch;
#[cfg(feature = "torch")]
mod torch_legacy;
#[cfg(feature = "torch")]
mod torch_zip;
mod weights;
mod write;

/// Small files that belong to a checkpoint where they are there, beside its `config.json`.
pub(crate) const COMPANIONS: [&str; 6] = [
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
];

pub use convert::{ConvertOptions, Converted, FloatType, convert};
pub(crate) use file::tensors_from_bytes;
pub use file::{WeightFormat, read_tensors};
pub use folder::Checkpoint;
pub(crate) use folder::Origin;
pub use ranges::RangeSource;
#[cfg(feature = "hub")]
pub(crate) use safetensors_file::{parse_start, stated_header};
pub(crate) use write::serialize;
pub(crate) use write::tensors_to_bytes;
pub use write::write_tensors;
