//! Measuring how cost grows: layers of any size on any device, timed, with slopes fitted.
//!
//! What the benchmarks and `perceiver scaling` share. Nothing here is needed to run a model.
//!
//! ```
//! use perceiver_cli::study::{Place, Series, Trial, Widths};
//! let place = Place::Cpu;
//! let plan = place.plan(&Widths::default(), Series::Encode, 1024)?;
//! let mut trial = Trial::new(&place, plan)?;
//! assert!(trial.seconds()? > 0.0);
//! # Ok::<(), perceiver::Error>(())
//! ```

mod fit;
mod place;
mod scaling;

pub use fit::exponent;
pub use place::{Place, Trial};
pub use scaling::{Series, Widths, streamed_encode};
