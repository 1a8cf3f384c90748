//! Is it right, where does the time go, which variant is fastest: check, profile, tune.

pub(crate) mod ceiling;
pub(crate) mod predict;
pub mod profile;
pub mod tune;
