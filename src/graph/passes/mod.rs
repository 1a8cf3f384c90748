//! Passes are functions from graph to graph (or to a property of one).

mod halve;
mod hoist;
mod limit;
mod norm;
mod split;

pub use halve::halve;
pub use hoist::hoist;
pub use limit::limit_arrays;
pub use norm::fuse_norms;
pub use split::split;
