//! The engine: where models run.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use perceiver::hub::Hub;
use perceiver::{Control, MemorySize, Precision, set_memory_limit};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyMemoryView, PyString};

use crate::arrays::{items, numbers, type_name};
use crate::errors::{Result, wrong, wrong_type};
use crate::model::Model;
use crate::running;

/// Where models run, and how they store numbers.
///
/// `device` is "auto" (the best GPU, else the CPU; `PERCEIVER_DEVICE` decides if it is set), "cpu", "gpu",
/// "reference" (float64 on the CPU, slow), the number of an adapter or a part of its name. `precision` "f16" needs a
/// GPU. `memory_budget` bounds what a session of a model allocates: inputs and outputs are cut until it fits.
/// `memory_limit` is what no file, input or run of this process may exceed, half of the machine's memory unless it is
/// set. Both are bytes or a text such as "512MiB".
///
/// Raises NoDeviceError, DeviceError, InputError.
#[pyclass(frozen, module = "perceiver")]
pub(crate) struct Engine {
    pub(crate) engine: perceiver::Engine,
    precision: Precision,
    budget: Option<MemorySize>,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (device = None, *, precision = "f32", memory_budget = None, memory_limit = None))]
    fn new(
        py: Python<'_>,
        device: Option<&Bound<'_, PyAny>>,
        precision: &str,
        memory_budget: Option<&Bound<'_, PyAny>>,
        memory_limit: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let device = match device {
            None => "auto".to_owned(),
            Some(number) if !number.is_instance_of::<PyBool>() && number.extract::<usize>().is_ok() => {
                number.to_string()
            }
            Some(name) => name.extract::<String>().map_err(|_| {
                let expected = "\"auto\", \"cpu\", \"gpu\", \"reference\", an adapter's number or a part of its name";
                wrong_type("device", format!("is of type {}", type_name(name)), expected)
            })?,
        };
        let precision = precision
            .parse::<Precision>()
            .map_err(|expected| wrong("precision", format!("is `{precision}`"), expected))?;
        let budget = memory_budget.map(|size| memory("memory_budget", size)).transpose()?;
        if let Some(limit) = memory_limit {
            set_memory_limit(memory("memory_limit", limit)?);
        }
        let open = move |_: running::Progress<'_>| perceiver::Engine::named(&device);
        let engine = running::run(py, &Control::new(), None, open)?;
        Ok(Engine { engine, precision, budget })
    }

    /// Name of the adapter, "cpu" or "reference".
    #[getter]
    fn name(&self) -> &str {
        self.engine.device_name()
    }

    /// "gpu", "cpu" or "reference".
    #[getter]
    fn device(&self) -> &str {
        match self.engine.device_name() {
            name @ ("cpu" | "reference") => name,
            _ => "gpu",
        }
    }

    /// How models of this engine store numbers: "f32" or "f16".
    #[getter]
    fn precision(&self) -> String {
        self.precision.to_string()
    }

    /// The adapters of this machine.
    #[getter]
    fn devices<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        let found = |_: running::Progress<'_>| Ok(perceiver::internals::gpu::adapters());
        for adapter in running::run(py, &Control::new(), None, found)? {
            let entry = PyDict::new(py);
            entry.set_item("index", adapter.index)?;
            entry.set_item("name", &adapter.name)?;
            entry.set_item("backend", &adapter.backend)?;
            entry.set_item("kind", adapter.kind.name())?;
            entry.set_item("driver", &adapter.driver)?;
            list.append(entry)?;
        }
        Ok(list)
    }

    /// Opens the device again after a DeviceLostError; models go on.
    fn reopen(&self, py: Python<'_>) -> Result<()> {
        let engine = self.engine.clone();
        running::run(py, &Control::new(), None, move |_| engine.reopen())
    }

    /// As `Model.load`, on this engine.
    #[pyo3(signature = (model, *, config = None, processor = None, part = None, progress = None))]
    pub(crate) fn load(
        &self,
        py: Python<'_>,
        model: &Bound<'_, PyAny>,
        config: Option<&Bound<'_, PyAny>>,
        processor: Option<&Bound<'_, PyAny>>,
        part: Option<String>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> Result<Model> {
        let processor = processor.map(|text| json("processor", text)).transpose()?;
        if let Some(weights) = weights(model)? {
            let config = config.ok_or_else(|| {
                wrong(
                    "config",
                    "is missing",
                    "the configuration that the bytes of weights belong to",
                )
            })?;
            if part.is_some() {
                let expected = "a folder, a file or a name, of which there are parts";
                return Err(wrong("part", "comes with bytes", expected));
            }
            return self.load_bytes(py, json("config", config)?, weights, processor, progress);
        }
        if config.is_some() {
            return Err(wrong("config", "comes with a folder or name", "bytes of weights"));
        }
        let path: PathBuf = model.extract().map_err(|_| {
            let expected = "a folder, a name on the hub, or the bytes of a file of weights";
            wrong_type("model", format!("is of type {}", type_name(model)), expected)
        })?;
        let engine = self.engine.clone();
        let load = move |progress: running::Progress<'_>| {
            let path = found(&path, part.as_deref(), progress)?;
            let model = engine.load_part(&path, part.as_deref())?;
            let folder = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
            Ok((model, folder.map(Path::to_path_buf)))
        };
        let (model, folder) = running::run(py, &Control::new(), progress, load)?;
        self.finished(model, folder, processor)
    }

    /// As `Model.from_arrays`, on this engine.
    #[pyo3(signature = (config, arrays, *, processor = None))]
    pub(crate) fn load_arrays(
        &self,
        py: Python<'_>,
        config: &Bound<'_, PyAny>,
        arrays: &Bound<'_, PyAny>,
        processor: Option<&Bound<'_, PyAny>>,
    ) -> Result<Model> {
        let processor = processor.map(|text| json("processor", text)).transpose()?;
        let config = json("config", config)?;
        let mut held = Vec::new();
        for (name, value) in items("arrays", arrays)? {
            let array = numbers(&name, &value)?;
            held.push((name.clone(), crate::arrays::Weight::new(&name, &array)?));
        }
        let file = safetensors::serialize(held, None)
            .map_err(|error| wrong("arrays", error.to_string(), "weights that fit one file"))?;
        self.load_bytes(py, config, file, processor, None)
    }

    fn __repr__(&self) -> String {
        let budget =
            self.budget.map(|size| format!(", memory_budget=\"{size}\"")).unwrap_or_default();
        format!("Engine({:?}, precision=\"{}\"{budget})", self.name(), self.precision)
    }
}

impl Engine {
    fn load_bytes(
        &self,
        py: Python<'_>,
        config: String,
        weights: impl AsRef<[u8]> + Send + Sync + 'static,
        processor: Option<String>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> Result<Model> {
        let engine = self.engine.clone();
        let load = move |_: running::Progress<'_>| engine.load_bytes(&config, weights);
        let model = running::run(py, &Control::new(), progress, load)?;
        self.finished(model, None, processor)
    }

    fn finished(
        &self,
        mut model: perceiver::Model,
        folder: Option<PathBuf>,
        processor: Option<String>,
    ) -> Result<Model> {
        model.set_memory_budget(self.budget);
        model.set_precision(self.precision)?;
        Ok(Model::new(model, folder, processor))
    }
}

/// The engine of those who name none, opened once.
pub(crate) fn usual(py: Python<'_>) -> Result<Py<Engine>> {
    static USUAL: Mutex<Option<Py<Engine>>> = Mutex::new(None);
    let known = || USUAL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(engine) = &*known() {
        return Ok(engine.clone_ref(py));
    }
    // Not under the lock, since the interpreter is released meanwhile.
    let opened = Py::new(py, Engine::new(py, None, "f32", None, None)?)?;
    Ok(known().get_or_insert(opened).clone_ref(py))
}

/// The folder or file of a model, downloaded where it is a name and not here yet.
fn found(
    path: &Path,
    part: Option<&str>,
    progress: running::Progress<'_>,
) -> perceiver::Result<PathBuf> {
    let name = path.to_str().unwrap_or_default();
    let is_name = !name.starts_with(['.', '/', '~']) && name.contains('/');
    if path.exists() || !is_name {
        return Ok(path.to_path_buf());
    }
    let found = Hub::from_env()?.part(name, part, &mut |p| progress(p.done, p.total));
    found.map_err(|error| match error {
        // It may have been meant as a path.
        perceiver::Error::Hub { model, what, hint } => {
            let what = format!("is no folder here; as a name on the hub: {what}");
            perceiver::Error::Hub { model, what, hint }
        }
        other => other,
    })
}

/// Bytes of weights, if the object holds any: those of `bytes` where they lie, a copy of what may change.
fn weights(object: &Bound<'_, PyAny>) -> Result<Option<PyBackedBytes>> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Some(PyBackedBytes::from(bytes.clone())));
    }
    if object.is_instance_of::<PyString>() || object.hasattr("__fspath__")? {
        return Ok(None);
    }
    let Ok(view) = PyMemoryView::from(object) else {
        return Ok(None);
    };
    let bytes = view.call_method0("tobytes")?;
    let bytes = bytes.cast_into::<PyBytes>().map_err(PyErr::from)?;
    Ok(Some(PyBackedBytes::from(bytes)))
}

/// The text of JSON, given as that or as what it says.
fn json(name: &str, value: &Bound<'_, PyAny>) -> Result<String> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_string());
    }
    let text = value.py().import("json")?.call_method1("dumps", (value,));
    let text = text.map_err(|error| {
        let what = format!("is no JSON: {}", error.value(value.py()));
        wrong_type(name, what, "a dictionary, or the text of a configuration file")
    })?;
    Ok(text.extract()?)
}

/// An amount of memory: bytes, or a text such as "512MiB".
fn memory(name: &str, value: &Bound<'_, PyAny>) -> Result<MemorySize> {
    if let Ok(bytes) = value.extract::<u64>()
        && bytes > 0
    {
        return Ok(MemorySize(bytes));
    }
    let text = value.str()?.to_string();
    text.parse().map_err(|_| {
        wrong(name, format!("is `{text}`"), "a size above zero such as 512MiB, 2G or 65536")
    })
}
