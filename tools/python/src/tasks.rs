//! The pipelines on what Python people hold.

use perceiver::media::Frame;
use perceiver::tasks::{
    Autoencoder, FillMask, FillOptions, Filling, FlowOptions, Grid, ImageClassifier, OpticalFlow,
    PerceiverImageProcessor, ShapeDecoder, TextClassifier,
};
use perceiver::{Architecture, Error};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use pythonize::pythonize;

use crate::arrays::{bytes, floats, type_name};
use crate::errors::{Result, wrong_type};
use crate::media::{frame, frames, samples};
use crate::model::Model;
use crate::running::Progress;
use crate::stream::Latents;

type Object<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

pub(crate) fn fill_mask<'py>(
    model: &Model,
    py: Python<'py>,
    given: &Bound<'py, PyAny>,
    top: usize,
    most_certain_first: bool,
    progress: Object<'_, 'py>,
) -> Result<Bound<'py, PyAny>> {
    let (texts, alone) = texts("texts", given)?;
    let filling = match most_certain_first {
        true => Filling::MostCertainFirst,
        false => Filling::AtOnce,
    };
    let options = FillOptions { top, filling };
    let fill = move |model: &perceiver::Model, progress: Progress<'_>| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        FillMask::new(model)?.fill(&texts, &options, progress)
    };
    of_all(py, model.work(py, progress, fill)?, alone)
}

pub(crate) fn classify<'py>(
    model: &Model,
    py: Python<'py>,
    what: &Bound<'py, PyAny>,
    top: usize,
    resize_positions: bool,
    progress: Object<'_, 'py>,
) -> Result<Bound<'py, PyAny>> {
    if !model.model.architecture().is_some_and(Architecture::is_image) {
        let (texts, alone) = texts("texts", what)?;
        let classify = move |model: &perceiver::Model, progress: Progress<'_>| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            TextClassifier::new(model)?.classify(&texts, top, progress)
        };
        return of_all(py, model.work(py, progress, classify)?, alone);
    }
    let (pictures, alone) = frames("pictures", what)?;
    let (folder, processor) = (model.folder.clone(), model.processor.clone());
    let classify = move |model: &perceiver::Model, progress: Progress<'_>| {
        let processor = match (&processor, &folder) {
            (Some(text), _) => PerceiverImageProcessor::from_json(text, "processor")?,
            (None, Some(folder)) => PerceiverImageProcessor::read_for(folder, model.config()?)?,
            (None, None) => PerceiverImageProcessor::for_model(model.config()?),
        };
        let classifier = match resize_positions {
            true => ImageClassifier::with_resized_positions(model, processor)?,
            false => ImageClassifier::new(model, processor)?,
        };
        let pictures: Vec<&Frame> = pictures.iter().collect();
        classifier.classify(&pictures, top, progress)
    };
    of_all(py, model.work(py, progress, classify)?, alone)
}

pub(crate) fn flow<'py>(
    model: &Model,
    py: Python<'py>,
    pictures: [&Bound<'py, PyAny>; 2],
    options: FlowOptions,
    progress: Object<'_, 'py>,
) -> Result<Bound<'py, PyAny>> {
    let (first, second) = (frame("first", pictures[0])?, frame("second", pictures[1])?);
    let find = move |model: &perceiver::Model, progress: Progress<'_>| {
        OpticalFlow::new(model)?.flow(&first, &second, &options, progress)
    };
    let field = model.work(py, progress, find)?;
    let shape = vec![field.height(), field.width(), 2];
    Ok(floats(py, shape, field.vectors().as_flattened().to_vec())?)
}

pub(crate) fn autoencode<'py>(
    model: &Model,
    py: Python<'py>,
    clip: &Bound<'py, PyAny>,
    audio: Object<'_, 'py>,
    top: usize,
    progress: Object<'_, 'py>,
) -> Result<Bound<'py, PyDict>> {
    let (clip, _) = frames("frames", clip)?;
    let audio = audio.map(|sound| samples("audio", sound)).transpose()?;
    let run = move |model: &perceiver::Model, progress: Progress<'_>| {
        Autoencoder::new(model)?.run(&clip, audio.as_deref(), top, progress)
    };
    let found = model.work(py, progress, run)?;
    let (count, side) = (found.frames.len(), found.frames.first().map_or(0, Frame::width));
    let rgb = found.frames.iter().flat_map(Frame::rgb).copied().collect();
    let result = PyDict::new(py);
    result.set_item("frames", bytes(py, vec![count, side, side, 3], rgb)?)?;
    result.set_item("audio", floats(py, vec![found.audio.len()], found.audio)?)?;
    result.set_item("classes", plain(py, &found.classes)?)?;
    result.set_item("video_psnr", found.video_psnr)?;
    result.set_item("audio_snr", found.audio_snr)?;
    Ok(result)
}

pub(crate) fn shape<'py>(
    model: &Model,
    py: Python<'py>,
    latents: &Latents,
    grid: Grid,
    progress: Object<'_, 'py>,
) -> Result<Bound<'py, PyAny>> {
    let latents = latents.one()?.clone();
    let read = move |model: &perceiver::Model, progress: Progress<'_>| {
        let mut values = Vec::new();
        let mut layer = |_: usize, layer: &[f32]| {
            values.try_reserve(layer.len()).map_err(|_| Error::Limit {
                what: "the grid".to_owned(),
                needed: format!("{} points", grid.points().saturating_pow(3)),
                limit: "what the system has".to_owned(),
                hint: "give fewer cells".to_owned(),
            })?;
            values.extend_from_slice(layer);
            Ok(())
        };
        ShapeDecoder::new(model, &latents)?.grid(&grid, &mut layer, progress)?;
        Ok(values)
    };
    Ok(floats(py, vec![grid.points(); 3], model.work(py, progress, read)?)?)
}

/// Texts: one, or several; and whether it was one alone.
fn texts(name: &str, given: &Bound<'_, PyAny>) -> Result<(Vec<String>, bool)> {
    if let Ok(text) = given.cast::<PyString>() {
        return Ok((vec![text.to_str()?.to_owned()], true));
    }
    let refused = |value: &Bound<'_, PyAny>| {
        wrong_type(name, format!("is or has a {}", type_name(value)), "a text, or a list of texts")
    };
    if !given.is_instance_of::<PyList>()
        && !given.is_instance_of::<PyTuple>()
        && !given.hasattr("tolist")?
    {
        return Err(refused(given));
    }
    let texts = given.try_iter()?.map(|text| {
        let text = text?;
        Ok(text.cast::<PyString>().map_err(|_| refused(&text))?.to_str()?.to_owned())
    });
    Ok((texts.collect::<Result<_>>()?, false))
}

/// Results of all, or that of the one.
fn of_all<'py, T: serde::Serialize>(
    py: Python<'py>,
    results: Vec<T>,
    alone: bool,
) -> Result<Bound<'py, PyAny>> {
    match results.first() {
        Some(only) if alone => plain(py, only),
        _ => plain(py, &results),
    }
}

/// Dictionaries and lists.
fn plain<'py>(py: Python<'py>, value: &impl serde::Serialize) -> Result<Bound<'py, PyAny>> {
    Ok(pythonize(py, value).map_err(PyErr::from)?)
}
