//! Pictures and sounds that Python people hold.

use numpy::{PyArrayDescrMethods, PyUntypedArrayMethods};
use perceiver::Control;
use perceiver::media::Frame;
use perceiver::tasks::FlowField;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::arrays::{Kind, bytes, numbers, tensor, whole};
use crate::errors::{Result, wrong, wrong_type};
use crate::running;

const PICTURE: &str = "a picture of PIL, or uint8 [height, width, 3] (or 4, of which alpha is dropped; or [height, width], grey)";

/// A picture: PIL's, or an array of bytes.
pub(crate) fn frame(name: &str, picture: &Bound<'_, PyAny>) -> Result<Frame> {
    let converted = match picture.hasattr("getbands")? {
        true => picture.call_method1("convert", ("RGB",))?,
        false => picture.clone(),
    };
    let array = numbers(name, &converted)?;
    if array.dtype().kind() != b'u' || array.dtype().itemsize() != 1 {
        let what = format!("has elements of type {}", array.dtype());
        return Err(wrong_type(name, what, PICTURE));
    }
    let (height, width, channels) = match *array.shape() {
        [height, width] => (height, width, 1),
        [height, width, channels @ (3 | 4)] => (height, width, channels),
        ref shape => return Err(wrong(name, format!("has shape {shape:?}"), PICTURE)),
    };
    let data = whole(name, &array)?;
    let pixel = |p: &[i64]| match *p {
        [grey] => [grey as u8; 3],
        [r, g, b, ..] => [r, g, b].map(|x| x as u8),
        _ => [0; 3],
    };
    let rgb = data.chunks_exact(channels).flat_map(pixel).collect();
    Ok(Frame::new(width, height, rgb)?)
}

/// Several pictures: a list, or an array of them; and whether it was one alone.
pub(crate) fn frames(name: &str, pictures: &Bound<'_, PyAny>) -> Result<(Vec<Frame>, bool)> {
    let listed = pictures.is_instance_of::<PyList>() || pictures.is_instance_of::<PyTuple>();
    let dimensions = || pictures.getattr("ndim").and_then(|n| n.extract::<usize>());
    if !listed && dimensions().unwrap_or(0) != 4 {
        return Ok((vec![frame(name, pictures)?], true));
    }
    let each = pictures.try_iter()?.enumerate();
    let frames = each.map(|(i, picture)| frame(&format!("{name}[{i}]"), &picture?));
    Ok((frames.collect::<Result<_>>()?, false))
}

/// Samples of one channel, 1 being full scale: floats as they are, 16-bit integers divided by 32768.
pub(crate) fn samples(name: &str, sound: &Bound<'_, PyAny>) -> Result<Vec<f32>> {
    const SOUND: &str = "floats [samples], 1 being full scale, or int16 [samples]";
    let array = numbers(name, sound)?;
    if array.shape().len() != 1 {
        return Err(wrong(name, format!("has shape {:?}", array.shape()), SOUND));
    }
    match (array.dtype().kind(), array.dtype().itemsize()) {
        (b'f', _) => {
            let floats = tensor(name, array.as_any(), Kind::Floats)?;
            Ok(floats.as_f32().unwrap_or(&[]).to_vec())
        }
        (b'i', 2) => Ok(whole(name, &array)?.iter().map(|&s| s as f32 / 32768.0).collect()),
        _ => Err(wrong_type(name, format!("has elements of type {}", array.dtype()), SOUND)),
    }
}

/// A picture uint8 `[height, width, 3]` of flow `[height, width, 2]`: hue is direction, saturation length up to
/// `longest` pixels (by default the longest there is).
#[pyfunction]
#[pyo3(signature = (flow, *, longest = None))]
pub(crate) fn flow_picture<'py>(
    py: Python<'py>,
    flow: &Bound<'py, PyAny>,
    longest: Option<f32>,
) -> Result<Bound<'py, PyAny>> {
    let tensor = tensor("flow", flow, Kind::Floats)?;
    let &[height, width, 2] = tensor.shape() else {
        return Err(wrong("flow", format!("has shape {:?}", tensor.shape()), "[height, width, 2]"));
    };
    let vectors = tensor.as_f32().unwrap_or(&[]).chunks_exact(2).map(|v| [v[0], v[1]]).collect();
    let draw =
        move |_: running::Progress<'_>| FlowField::new(width, height, vectors)?.picture(longest);
    let picture = running::run(py, &Control::new(), None, draw)?;
    Ok(bytes(py, vec![height, width, 3], picture.rgb().to_vec())?)
}
