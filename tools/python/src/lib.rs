//! The engine as a module of Python: what the package `perceiver` in this folder is made of.
//!
//! Whatever takes time releases the interpreter lock and ends by Ctrl-C. Errors are exceptions with the text of
//! [`perceiver::Error`]; arrays cross without a copy where their memory allows.

mod arrays;
mod engine;
mod errors;
mod media;
mod model;
mod running;
mod stream;
mod tasks;

use pyo3::prelude::*;

/// The native part of the package.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::media::flow_picture;
    #[pymodule_export]
    use crate::model::{Model, TensorInfo};
    #[pymodule_export]
    use crate::stream::{Decoding, Encoder, EncoderState, Latents};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
