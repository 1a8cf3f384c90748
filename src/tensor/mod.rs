//! Tensors on the host: what users hand in and get back.
//!
//! Arrays are dense and row-major. Device arrays have a layout of their own ([`Extent`]): three
//! dimensions with rows padded to a multiple of four elements.

mod dtype;
mod element;
mod extent;
mod host;
mod view;

pub use dtype::DType;
pub use element::Element;
pub use extent::Extent;
pub use host::{Data, NamedTensors, Tensor};
pub use view::TensorView;
