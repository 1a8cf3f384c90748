//! Passes are functions from graph to graph (or to a property of one).

mod hoist;
mod split;

pub use hoist::hoist;
pub use split::split_attention;
