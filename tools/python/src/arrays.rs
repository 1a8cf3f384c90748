//! Arrays between Python and Rust: what is there is read where it lies, what has another form is converted, and what
//! cannot be converted without doubt is refused.

use std::borrow::Cow;

use numpy::{
    PyArray1, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray,
    PyUntypedArrayMethods,
};
use perceiver::{Data, NamedTensors, Tensor};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::errors::{Result, wrong, wrong_type};

/// Memory of the machine itself, and pinned memory of CUDA and ROCm, as DLPack numbers devices.
const HOST_DEVICES: [i32; 3] = [1, 3, 11];

/// What a tensor is to be made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Floats,
    Whole,
    /// Bytes, if the array has them.
    Bytes,
}

/// A tensor from an array of any kind. Floats that lie as the engine reads them are lent, everything else is copied.
pub(crate) fn tensor(name: &str, value: &Bound<'_, PyAny>, kind: Kind) -> Result<Tensor> {
    let array = numbers(name, value)?;
    match kind {
        Kind::Bytes if array.dtype().kind() == b'u' && array.dtype().itemsize() == 1 => {
            let array = required::<u8>(&array, "uint8")?;
            let bytes = array.readonly().as_slice().map_err(PyErr::from)?.to_vec();
            Ok(Tensor::new(array.shape().to_vec(), Data::U8(bytes))?)
        }
        Kind::Floats | Kind::Bytes => {
            let array = required::<f32>(&array, "float32")?;
            Ok(Tensor::lent(array.shape().to_vec(), Lent::new(&array)?)?)
        }
        Kind::Whole => {
            let shape = array.shape().to_vec();
            Ok(Tensor::i64(shape, whole(name, &array)?)?)
        }
    }
}

/// Whole numbers of an array, row by row.
pub(crate) fn whole(name: &str, array: &Bound<'_, PyUntypedArray>) -> Result<Vec<i64>> {
    let (kind, bytes) = (array.dtype().kind(), array.dtype().itemsize());
    match kind {
        b'u' if bytes == 8 => {
            let numbers = required::<u64>(array, "uint64")?;
            let numbers = numbers.readonly();
            let numbers = numbers.as_slice().map_err(PyErr::from)?;
            let one = |(at, &n): (usize, &u64)| {
                i64::try_from(n).map_err(|_| {
                    wrong(name, format!("has {n} at element {at}"), "64-bit integers with a sign")
                })
            };
            numbers.iter().enumerate().map(one).collect()
        }
        b'b' | b'i' | b'u' => {
            let numbers = required::<i64>(array, "int64")?;
            Ok(numbers.readonly().as_slice().map_err(PyErr::from)?.to_vec())
        }
        _ => {
            let numbers = required::<f64>(array, "float64")?;
            let numbers = numbers.readonly();
            let numbers = numbers.as_slice().map_err(PyErr::from)?;
            let one = |(at, &x): (usize, &f64)| {
                // The largest are beyond what 64 bits hold.
                if x.fract() == 0.0 && x.abs() < 2f64.powi(63) {
                    return Ok(x as i64);
                }
                Err(wrong(name, format!("has {x} at element {at}"), "whole numbers"))
            };
            numbers.iter().enumerate().map(one).collect()
        }
    }
}

/// An array of an object that holds booleans, whole numbers or floats in the machine's memory.
pub(crate) fn numbers<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyUntypedArray>> {
    const EXPECTED: &str = "an array of booleans, whole numbers or floats";
    if value.is_none() {
        return Err(wrong_type(name, "is None", EXPECTED));
    }
    let array = untyped(name, value)?;
    let dtype = array.dtype();
    if matches!(dtype.kind(), b'b' | b'i' | b'u' | b'f') {
        return Ok(array);
    }
    // Types that other packages have added to numpy; each is exact as a float32.
    let called: String = dtype.getattr("name")?.extract()?;
    if called == "bfloat16" || called.starts_with("float8") {
        return Ok(required::<f32>(&array, "float32")?.as_untyped().clone());
    }
    let what = format!("has elements of type {called}");
    Err(wrong_type(name, what, EXPECTED))
}

fn untyped<'py>(name: &str, value: &Bound<'py, PyAny>) -> Result<Bound<'py, PyUntypedArray>> {
    let py = value.py();
    if value.is_exact_instance_of::<PyUntypedArray>() {
        return Ok(value.cast::<PyUntypedArray>().map_err(PyErr::from)?.clone());
    }
    let numpy = py.import("numpy")?;
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        // Of a masked array numpy would give what lies behind the mask.
        let masked = numpy.getattr("ma")?.call_method1("is_masked", (array,))?;
        if masked.is_truthy()? {
            return Err(wrong_type(
                name,
                "has masked elements",
                "an array without a mask: `filled` makes one",
            ));
        }
        return Ok(array.clone());
    }
    // What another package says of its own array.
    let refused = |error: PyErr| {
        let text = error.value(py).str().map(|text| text.to_string()).unwrap_or_default();
        let what = format!("is of type {}, which gives no array: {text}", type_name(value));
        wrong_type(name, what, "an array, or nested lists of numbers")
    };
    // torch's quick way: its `__array__` and `__dlpack_device__` are written in Python. What it refuses is looked at below.
    let quick = || value.call_method0(intern!(py, "detach"))?.call_method0(intern!(py, "numpy"));
    if value.hasattr(intern!(py, "detach"))?
        && let Ok(array) = quick()
        && let Ok(array) = array.cast_into::<PyUntypedArray>()
    {
        return Ok(array);
    }
    let mut value = value.clone();
    let mut made = "asarray";
    if value.hasattr(intern!(py, "__dlpack_device__"))? {
        let device = value.call_method0(intern!(py, "__dlpack_device__")).map_err(refused)?;
        let (device, _): (i32, i64) = device.extract().map_err(refused)?;
        if !HOST_DEVICES.contains(&device) {
            let what = format!("is on another device (DLPack's number {device})");
            let expected =
                "an array in the machine's memory; `.cpu()` moves a tensor of torch there";
            return Err(wrong(name, what, expected));
        }
        if value.hasattr(intern!(py, "detach"))? {
            value = value.call_method0(intern!(py, "detach")).map_err(refused)?;
            // numpy has no such type.
            if value.getattr("dtype").is_ok_and(|d| d.to_string().ends_with("bfloat16")) {
                value = value.call_method0("float").map_err(refused)?;
            }
        }
        if !value.hasattr(intern!(py, "__array__"))? {
            made = "from_dlpack";
        }
    }
    let array = numpy.call_method1(made, (value,)).map_err(refused)?;
    Ok(array.cast_into::<PyUntypedArray>().map_err(PyErr::from)?)
}

/// The name of a value's type, for messages.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().fully_qualified_name();
    name.map(|name| name.to_string()).unwrap_or_default()
}

/// The array itself where it is aligned, dense, row-major and of this type in this machine's byte order, else a copy that is.
fn required<'py, T: numpy::Element>(
    array: &Bound<'py, PyUntypedArray>,
    dtype: &str,
) -> Result<Bound<'py, PyArrayDyn<T>>> {
    if let Ok(same) = array.cast::<PyArrayDyn<T>>()
        && same.is_c_contiguous()
        && same.readonly().as_slice().is_ok()
    {
        return Ok(same.clone());
    }
    let py = array.py();
    let arguments = PyDict::new(py);
    arguments.set_item("requirements", ("C", "A"))?;
    let made = py.import("numpy")?.call_method("require", (array, dtype), Some(&arguments))?;
    Ok(made.cast_into::<PyArrayDyn<T>>().map_err(PyErr::from)?)
}

/// The floats of an array, which lives as long as they are lent.
struct Lent {
    floats: *const [f32],
    _array: Py<PyArrayDyn<f32>>,
}

#[expect(
    unsafe_code,
    reason = "a run reads an array where it lies, in a thread without the interpreter"
)]
// SAFETY: the array is kept, so its memory stays where it is; nothing here writes to it.
unsafe impl Send for Lent {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    fn new(array: &Bound<'_, PyArrayDyn<f32>>) -> Result<Self> {
        let readonly = array.readonly();
        let floats: *const [f32] = readonly.as_slice().map_err(PyErr::from)?;
        Ok(Lent { floats, _array: array.clone().unbind() })
    }
}

impl AsRef<[f32]> for Lent {
    fn as_ref(&self) -> &[f32] {
        #[expect(unsafe_code, reason = "the array's memory is read, not copied")]
        // SAFETY: numpy checked that the elements are dense and aligned, and the array is alive. That nobody writes to it
        // meanwhile is what the documentation of a run asks for.
        unsafe {
            &*self.floats
        }
    }
}

/// An array of weights, in the machine's own byte order, as a file of weights holds it.
pub(crate) struct Weight {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    bytes: PyBackedBytes,
}

impl Weight {
    pub(crate) fn new(name: &str, array: &Bound<'_, PyUntypedArray>) -> Result<Self> {
        use safetensors::Dtype;
        let (kind, size) = (array.dtype().kind(), array.dtype().itemsize());
        let shape = array.shape().to_vec();
        let (dtype, stored) = match (kind, size) {
            (b'f', 2) => (Dtype::F16, "<f2"),
            (b'f', 4) => (Dtype::F32, "<f4"),
            (b'f', 8) => (Dtype::F64, "<f8"),
            (b'b' | b'i' | b'u', 1..=4) | (b'i', 8) => (Dtype::I64, "<i8"),
            _ => {
                let what = format!("has elements of type {}", array.dtype());
                return Err(wrong_type(
                    name,
                    what,
                    "floats of 16, 32 or 64 bits, or whole numbers",
                ));
            }
        };
        let options = PyDict::new(array.py());
        options.set_item("copy", false)?;
        let array = array.call_method("astype", (stored,), Some(&options))?;
        let bytes = array.call_method0("tobytes")?;
        let bytes = bytes.cast_into::<PyBytes>().map_err(PyErr::from)?;
        Ok(Weight { dtype, shape, bytes: PyBackedBytes::from(bytes) })
    }
}

impl safetensors::View for Weight {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Tensors by name, of a mapping and of keywords. `None` stands for what is left out.
pub(crate) fn tensors(
    arrays: &[(String, Bound<'_, PyAny>)],
    kind: impl Fn(&str) -> Kind,
) -> Result<NamedTensors> {
    let mut tensors = NamedTensors::new();
    for (name, value) in arrays.iter().filter(|(_, value)| !value.is_none()) {
        if tensors.insert(name.clone(), tensor(name, value, kind(name))?).is_some() {
            return Err(wrong(name, "is given twice", "each input once"));
        }
    }
    Ok(tensors)
}

/// Names and values of a mapping.
pub(crate) fn items<'py>(
    name: &str,
    mapping: &Bound<'py, PyAny>,
) -> Result<Vec<(String, Bound<'py, PyAny>)>> {
    let listed = mapping.call_method0("items").and_then(|items| items.try_iter());
    let listed = listed.map_err(|_| {
        let what = format!("is of type {}", type_name(mapping));
        wrong_type(name, what, "a mapping of names to arrays")
    })?;
    let mut found = Vec::new();
    for item in listed {
        let (key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item?.extract()?;
        let key = key.cast::<PyString>().map_err(|_| {
            wrong_type(name, format!("has the key {key}"), "names of arrays as keys")
        })?;
        found.push((key.to_string(), value));
    }
    Ok(found)
}

/// The array of a tensor, whose memory it takes over.
pub(crate) fn array_of(py: Python<'_>, tensor: Tensor) -> PyResult<Bound<'_, PyAny>> {
    let (shape, data) = tensor.into_parts();
    match data {
        Data::F32(data) => shaped(PyArray1::from_vec(py, data), shape),
        Data::I64(data) => shaped(PyArray1::from_vec(py, data), shape),
        Data::U8(data) => shaped(PyArray1::from_vec(py, data), shape),
        Data::I16(data) => shaped(PyArray1::from_vec(py, data), shape),
        other => {
            let floats = Tensor::new(shape, other).map_err(crate::errors::Thrown::from)?;
            let copy = floats.as_f32().unwrap_or(&[]).to_vec();
            shaped(PyArray1::from_vec(py, copy), floats.shape().to_vec())
        }
    }
}

/// An array of floats.
pub(crate) fn floats(
    py: Python<'_>,
    shape: Vec<usize>,
    data: Vec<f32>,
) -> PyResult<Bound<'_, PyAny>> {
    shaped(PyArray1::from_vec(py, data), shape)
}

/// An array of bytes.
pub(crate) fn bytes(
    py: Python<'_>,
    shape: Vec<usize>,
    data: Vec<u8>,
) -> PyResult<Bound<'_, PyAny>> {
    shaped(PyArray1::from_vec(py, data), shape)
}

fn shaped<'py, T: numpy::Element>(
    flat: Bound<'py, PyArray1<T>>,
    shape: Vec<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(flat.reshape(shape)?.into_any())
}

/// A dictionary of arrays.
pub(crate) fn dictionary(py: Python<'_>, tensors: NamedTensors) -> PyResult<Bound<'_, PyDict>> {
    let dictionary = PyDict::new(py);
    for (name, tensor) in tensors {
        dictionary.set_item(name, array_of(py, tensor)?)?;
    }
    Ok(dictionary)
}
