//! Passes are functions from graph to graph (or to a property of one).

mod halve;
mod hoist;
mod norm;
mod split;

pub use halve::halve;
pub use hoist::hoist;
pub use norm::fuse_norms;
pub use split::split_attention;
