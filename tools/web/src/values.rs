//! Tensors, pictures and errors between JavaScript and Rust.

use js_sys::{Array, BigInt64Array, Float32Array, Int32Array, Object, Reflect, Uint8Array};
use perceiver::media::Frame;
use perceiver::{Data, Error, NamedTensors, Tensor};
use wasm_bindgen::{JsCast, JsValue};

/// What a promise is rejected with.
pub(crate) type Thrown = JsValue;

/// An error as JavaScript has them; cancelled runs have the name that the web platform gives them.
pub(crate) fn thrown(error: &Error) -> Thrown {
    let js = js_sys::Error::new(&error.to_string());
    if matches!(error, Error::Cancelled) {
        js.set_name("AbortError");
    }
    js.into()
}

/// The error for an argument that is something else.
pub(crate) fn wrong(name: &str, what: &str, expected: &str) -> Thrown {
    js_sys::TypeError::new(&format!("`{name}` {what}; expected {expected}")).into()
}

/// A member of an object; `undefined` where there is none.
pub(crate) fn member(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// A number that counts, or what stands for one that is not given.
pub(crate) fn count(object: &JsValue, name: &str, default: usize) -> Result<usize, Thrown> {
    let value = member(object, name);
    if value.is_undefined() {
        return Ok(default);
    }
    match value.as_f64() {
        Some(x) if x >= 0.0 && x.fract() == 0.0 && x <= f64::from(u32::MAX) => Ok(x as usize),
        _ => Err(wrong(name, "is no count", "a whole number from 0")),
    }
}

/// Tensors from an object of `{ shape, data }` by name.
pub(crate) fn tensors(object: &JsValue) -> Result<NamedTensors, Thrown> {
    let object = object.dyn_ref::<Object>();
    let object =
        object.ok_or_else(|| wrong("inputs", "is no object", "{ name: { shape, data } }"))?;
    let mut tensors = NamedTensors::new();
    for entry in Object::entries(object).iter() {
        let entry: Array = entry.unchecked_into();
        let name = entry.get(0).as_string().unwrap_or_default();
        let value = entry.get(1);
        let tensor = tensor(&name, &value)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn tensor(name: &str, value: &JsValue) -> Result<Tensor, Thrown> {
    let shape = member(value, "shape");
    let shape = shape.dyn_ref::<Array>();
    let shape = shape.ok_or_else(|| wrong(name, "has no shape", "{ shape: [..], data }"))?;
    let sizes = shape.iter().map(|n| {
        let n = n.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0 && *n <= f64::from(u32::MAX));
        n.map(|n| n as usize).ok_or_else(|| wrong(name, "has no shape", "whole numbers from 0"))
    });
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    let data = member(value, "data");
    let tensor = if let Some(data) = data.dyn_ref::<Float32Array>() {
        Tensor::f32(sizes, data.to_vec())
    } else if let Some(data) = data.dyn_ref::<BigInt64Array>() {
        Tensor::i64(sizes, data.to_vec())
    } else if let Some(data) = data.dyn_ref::<Int32Array>() {
        Tensor::i64(sizes, data.to_vec().into_iter().map(i64::from).collect())
    } else if let Some(data) = data.dyn_ref::<Uint8Array>() {
        Tensor::new(sizes, Data::U8(data.to_vec()))
    } else {
        let expected = "a Float32Array, for whole numbers a BigInt64Array or Int32Array, for bytes a Uint8Array";
        return Err(wrong(name, "has no numbers in `data`", expected));
    };
    tensor.map_err(|e| thrown(&e))
}

/// An object of `{ shape, data }` by name.
pub(crate) fn objects(tensors: &NamedTensors) -> JsValue {
    let object = Object::new();
    for (name, tensor) in tensors {
        set(&object, name, &object_of(tensor));
    }
    object.into()
}

/// `{ shape, data }`.
pub(crate) fn object_of(tensor: &Tensor) -> JsValue {
    let (object, shape) = (Object::new(), Array::new());
    for &n in tensor.shape() {
        shape.push(&(n as f64).into());
    }
    let data: JsValue = match tensor.data() {
        Data::I64(data) => BigInt64Array::from(data.as_slice()).into(),
        Data::U8(data) => Uint8Array::from(data.as_slice()).into(),
        _ => Float32Array::from(tensor.as_f32().unwrap_or(&[])).into(),
    };
    set(&object, "shape", &shape);
    set(&object, "data", &data);
    object.into()
}

pub(crate) fn set(object: &Object, name: &str, value: &JsValue) {
    // It fails for objects that are frozen, and these are new.
    let _ = Reflect::set(object, &name.into(), value);
}

/// A frame from `{ width, height, data }` with four bytes a pixel, as `ImageData` has them.
pub(crate) fn frame(name: &str, picture: &JsValue) -> Result<Frame, Thrown> {
    let (width, height) = (count(picture, "width", 0)?, count(picture, "height", 0)?);
    let data = member(picture, "data");
    let expected = "{ width, height, data } with four bytes a pixel, such as ImageData";
    let bytes = if let Some(data) = data.dyn_ref::<js_sys::Uint8ClampedArray>() {
        data.to_vec()
    } else if let Some(data) = data.dyn_ref::<Uint8Array>() {
        data.to_vec()
    } else {
        return Err(wrong(name, "is no picture", expected));
    };
    if width.checked_mul(height).and_then(|n| n.checked_mul(4)) != Some(bytes.len()) {
        let what = format!("has {} bytes for {width}×{height} pixels", bytes.len());
        return Err(wrong(name, &what, expected));
    }
    let rgb = bytes.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    Frame::new(width, height, rgb).map_err(|e| thrown(&e))
}

/// `{ width, height, data }` of pixels of four bytes.
pub(crate) fn picture(width: usize, height: usize, rgba: &[u8]) -> JsValue {
    let object = Object::new();
    set(&object, "width", &(width as f64).into());
    set(&object, "height", &(height as f64).into());
    set(&object, "data", &js_sys::Uint8ClampedArray::from(rgba));
    object.into()
}

/// A plain object.
pub(crate) fn plain(value: &impl serde::Serialize) -> Result<JsValue, Thrown> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(JsValue::from)
}
