//! Errors of the engine as Python's exceptions, with the same text.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyType};

/// What a call ends with that does not succeed.
pub(crate) enum Thrown {
    Engine(perceiver::Error),
    Python(PyErr),
}

pub(crate) type Result<T, E = Thrown> = std::result::Result<T, E>;

impl From<perceiver::Error> for Thrown {
    fn from(error: perceiver::Error) -> Self {
        Thrown::Engine(error)
    }
}

impl From<PyErr> for Thrown {
    fn from(error: PyErr) -> Self {
        Thrown::Python(error)
    }
}

impl From<Thrown> for PyErr {
    fn from(thrown: Thrown) -> Self {
        match thrown {
            Thrown::Engine(error) => raised(class(&error), error.to_string()),
            Thrown::Python(error) => error,
        }
    }
}

/// The error for an argument that does not fit.
pub(crate) fn wrong(
    name: impl Into<String>,
    what: impl Into<String>,
    expected: impl Into<String>,
) -> Thrown {
    perceiver::Error::input(name, what, expected).into()
}

/// The error for an object that is of another kind than what is wanted.
pub(crate) fn wrong_type(
    name: &str,
    what: impl Into<String>,
    expected: impl Into<String>,
) -> Thrown {
    let error = perceiver::Error::input(name, what, expected);
    raised("DTypeError", error.to_string()).into()
}

/// The class of `perceiver._errors` for an error.
fn class(error: &perceiver::Error) -> &'static str {
    use perceiver::Error;
    match error {
        Error::Io { .. } => "FileError",
        Error::Checkpoint { .. } | Error::Tensors { .. } => "CheckpointError",
        Error::Config { .. } => "ConfigError",
        Error::Input { .. } | Error::Media { .. } => "InputError",
        Error::NoDevice { .. } => "NoDeviceError",
        Error::Device { .. } => "DeviceError",
        Error::DeviceLost { .. } => "DeviceLostError",
        Error::Cancelled => "CancelledError",
        Error::OutOfMemory { .. } => "OutOfMemoryError",
        Error::Limit { .. } => "LimitError",
        Error::NotFinite { .. } => "NotFiniteError",
        Error::Hub { .. } => "HubError",
        Error::Shader { .. } | Error::Graph { .. } => "DefectError",
        _ => "Error",
    }
}

fn raised(class: &str, text: String) -> PyErr {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    Python::attach(|py| {
        let module = ERRORS
            .get_or_try_init(py, || PyModule::import(py, "perceiver._errors").map(Bound::unbind));
        let found = module.and_then(|module| module.bind(py).getattr(class));
        match found.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
            Ok(class) => PyErr::from_type(class, (text,)),
            Err(error) => error,
        }
    })
}
