//! Pictures, sequences of frames and sound, read, written and resized. Nothing here knows a model.

mod frame;
#[cfg(feature = "media")]
pub(crate) mod frames;
#[cfg(feature = "media")]
pub(crate) mod gif;
#[cfg(feature = "media")]
pub mod picture;
pub(crate) mod resample;
#[cfg(feature = "media")]
pub mod wav;
pub(crate) mod y4m;
pub(crate) mod ycbcr;

pub use frame::Frame;
#[cfg(feature = "media")]
pub use frames::{Frames, NamedFrame, Pairs};
pub use resample::Resampling;
