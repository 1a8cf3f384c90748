//! Passes are functions from graph to graph (or to a property of one).

mod hoist;
mod limit;
mod norm;
mod split;
mod store_f16;
mod texels;

pub use hoist::hoist;
pub use limit::limit_arrays;
pub use norm::fuse_norms;
pub use split::split;
pub use store_f16::store_f16;
pub use texels::{finite, finite_of, from_texels, map_of, texels_of, to_texels, warp, wheel_of};
