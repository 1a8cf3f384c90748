//! Passes are functions from graph to graph (or to a property of one).

mod hoist;
mod limit;
mod split;

pub use hoist::hoist;
pub use limit::limit_arrays;
pub use split::split_attention;
