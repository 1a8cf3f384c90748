//! Pictures, sequences of frames and sound, read, written and resized. Nothing here knows a model.

pub mod frame;
#[cfg(feature = "media")]
pub mod frames;
#[cfg(feature = "media")]
pub mod gif;
#[cfg(feature = "media")]
pub mod picture;
pub mod resample;
#[cfg(feature = "media")]
pub mod wav;
pub mod y4m;
pub mod ycbcr;

pub use frame::Frame;
#[cfg(feature = "media")]
pub use frames::{Frames, NamedFrame};
