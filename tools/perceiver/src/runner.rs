//! The generic runner: any supported checkpoint on the tensors of a file. Tests of the library have it too.
//!
//! Names are those of `tools/reference/golden.py`. What a model is called with wins over the raw
//! material that it follows from: `input_ids` over `raw.text.N`, `pixel_values` over
//! `raw.image.N`, `patches` over `raw.frames`.

use perceiver::internals::perceiver::official::Item;
use perceiver::internals::tasks::{flow_tiles, planes, text as bytes};
use perceiver::media::Frame;
use perceiver::tasks::{FlowOptions, OpticalFlow, PerceiverImageProcessor};
use perceiver::{Architecture, Error, Model, NamedTensors, Result, RunOptions, Tensor};

/// What to compute beside the model's outputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct RunnerOptions {
    /// Also the arrays on the way.
    pub(crate) intermediates: bool,
    /// For `raw.tiled_frames`.
    pub(crate) flow: FlowOptions,
    /// Whether a multimodal model also decodes everything, as `full.image` and `full.audio`; `None`
    /// does so where that is little work.
    pub(crate) full: Option<bool>,
    /// For `raw.image.N`: what prepares pictures; `None` is
    /// [`PerceiverImageProcessor::for_model`].
    pub(crate) processor: Option<PerceiverImageProcessor>,
}

/// Runs a model on what a file holds. Returns `logits`; `unpadded.logits` for `unpadded.input_ids`,
/// run without a mask; `tiled.flow` for `raw.tiled_frames`; and the intermediates if asked for.
///
/// # Errors
/// [`Error::Input`] for unknown or missing names, wrong shapes and values; whatever
/// [`Model::run_with`] gives.
pub(crate) fn run(
    model: &Model,
    inputs: &NamedTensors,
    options: &RunnerOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<NamedTensors> {
    let Some(architecture) = model.architecture() else {
        // A blueprint names its inputs itself, and knows no raw material.
        let with = RunOptions { intermediates: options.intermediates, resize_positions: false };
        return model.run_with(inputs, with, progress);
    };
    refuse_unknown(architecture, inputs)?;
    let processor = options.processor.as_ref();
    let runs = runs(model, architecture, inputs, processor, options.full)?;
    let tiled = inputs.get("raw.tiled_frames");
    if runs.is_empty() && tiled.is_none() {
        return Err(nothing(architecture));
    }
    let parts = runs.len() as u64 + u64::from(tiled.is_some());
    let mut outputs = NamedTensors::new();
    for (part, (prefix, tensors)) in runs.into_iter().enumerate() {
        let part = part as u64;
        let with = RunOptions {
            intermediates: options.intermediates && prefix.is_empty(),
            resize_positions: prefix == "interp.",
        };
        let found = model.run_with(&tensors, with, &mut |done, total| {
            progress(part * total + done, parts * total);
        })?;
        if prefix == FULL {
            for (name, tensor) in found {
                let name = name.replacen("logits.", FULL, 1);
                if name == "full.image" {
                    let mut shape = model.config()?.output_shape.to_vec();
                    shape[0] = tensor.shape()[0];
                    shape.push(3);
                    outputs.insert(name, tensor.reshape(shape)?);
                } else if name == "full.audio" {
                    outputs.insert(name, tensor);
                }
            }
            continue;
        }
        outputs.extend(found.into_iter().map(|(n, t)| (format!("{prefix}{n}"), t)));
    }
    if let Some(frames) = tiled {
        let &[2, height, width, 3] = frames.shape() else {
            return Err(shape("raw.tiled_frames", frames, "u8 [2, height, width, 3]"));
        };
        let pair = frames_of("raw.tiled_frames", frames, height, width)?;
        let mut last = |done: u64, total: u64| {
            progress((parts - 1) * total + done, parts * total);
        };
        let pipeline = OpticalFlow::new(model)?;
        let field = pipeline.flow(&pair[0], &pair[1], &options.flow, &mut last)?;
        let data = field.vectors().iter().flatten().copied().collect();
        outputs.insert("tiled.flow".to_owned(), Tensor::f32(vec![height, width, 2], data)?);
    }
    Ok(outputs)
}

/// The tensors that a model is called with, raw material (`raw.text.N`, `raw.image.N`, `raw.frames`, …)
/// prepared as for [`run`]. Tensors for further runs (`unpadded.*`, `interp.*`, `raw.tiled_frames`) are
/// left out.
///
/// # Errors
/// [`Error::Input`] for unknown names, and where there is nothing to run on.
pub(crate) fn prepared(
    model: &Model,
    inputs: &NamedTensors,
    processor: Option<&PerceiverImageProcessor>,
) -> Result<NamedTensors> {
    let Some(architecture) = model.architecture() else {
        return Ok(inputs.clone());
    };
    refuse_unknown(architecture, inputs)?;
    let runs = runs(model, architecture, inputs, processor, Some(false))?;
    match runs.into_iter().find(|(prefix, _)| prefix.is_empty()) {
        Some((_, tensors)) => Ok(tensors),
        None => Err(nothing(architecture)),
    }
}

fn expected(architecture: Architecture) -> String {
    let names = architecture.file_inputs().iter();
    let list: Vec<String> = names.map(|n| format!("`{n}`")).collect();
    format!("some of {}", list.join(", "))
}

fn nothing(architecture: Architecture) -> Error {
    Error::input("inputs", "hold nothing to run on", expected(architecture))
}

fn refuse_unknown(architecture: Architecture, inputs: &NamedTensors) -> Result<()> {
    let names = architecture.file_inputs();
    let known = |name: &str| {
        let numbered = |prefix| number(name, prefix).is_some();
        names.contains(&name)
            || (names.contains(&"raw.text.N") && numbered("raw.text."))
            || (names.contains(&"raw.image.N") && numbered("raw.image."))
    };
    match inputs.keys().find(|n| !known(n)) {
        Some(name) => Err(Error::input(name, "is unknown to this model", expected(architecture))),
        None => Ok(()),
    }
}

fn runs(
    model: &Model,
    architecture: Architecture,
    inputs: &NamedTensors,
    processor: Option<&PerceiverImageProcessor>,
    full: Option<bool>,
) -> Result<Runs> {
    match architecture.item() {
        Item::Text => text(model, inputs),
        Item::Picture { .. } => pictures(model, inputs, processor),
        Item::Frames => optical_flow(inputs),
        Item::Clip => multimodal(model, inputs, full),
    }
}

/// What to run a model on, and the prefix of the results' names.
type Runs = Vec<(&'static str, NamedTensors)>;

/// Prefix of the results of decoding everything.
const FULL: &str = "full.";
/// Points up to which everything is decoded without being asked for.
const FEW_POINTS: usize = 1 << 16;

/// Tensors of `raw.text.N` and the like, by N.
fn raw<'t>(inputs: &'t NamedTensors, prefix: &str) -> Vec<(usize, &'t Tensor)> {
    let mut found: Vec<_> =
        inputs.iter().filter_map(|(name, t)| Some((number(name, prefix)?, t))).collect();
    found.sort_by_key(|t| t.0);
    found
}

/// N of `raw.text.N` and the like.
fn number(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.parse().ok()
}

fn text(model: &Model, inputs: &NamedTensors) -> Result<Runs> {
    let mut runs = Runs::new();
    let texts = raw(inputs, "raw.text.");
    if inputs.contains_key("input_ids") {
        let names = ["input_ids", "attention_mask"];
        let tensors = names.iter().filter_map(|n| Some(((*n).to_owned(), inputs.get(*n)?.clone())));
        runs.push(("", tensors.collect()));
    } else if inputs.contains_key("attention_mask") {
        let what = "comes without `input_ids`";
        return Err(Error::input("attention_mask", what, "both, or neither"));
    } else if !texts.is_empty() {
        let rows = texts
            .into_iter()
            .map(|(n, t)| match t.as_u8() {
                Some(bytes) if t.shape().len() == 1 => Ok(bytes::encode(bytes)),
                _ => Err(shape(&format!("raw.text.{n}"), t, "u8 [bytes]")),
            })
            .collect::<Result<Vec<_>>>()?;
        let padded = bytes::batch(&rows, model.config()?.max_position_embeddings)?;
        runs.push(("", padded));
    }
    if let Some(ids) = inputs.get("unpadded.input_ids") {
        let tensors = NamedTensors::from([("input_ids".to_owned(), ids.clone())]);
        runs.push(("unpadded.", tensors));
    }
    Ok(runs)
}

fn pictures(
    model: &Model,
    inputs: &NamedTensors,
    processor: Option<&PerceiverImageProcessor>,
) -> Result<Runs> {
    let mut runs = Runs::new();
    let raw = raw(inputs, "raw.image.");
    let of = |pixels| NamedTensors::from([("pixel_values".to_owned(), pixels)]);
    if let Some(pixels) = inputs.get("pixel_values") {
        runs.push(("", of(pixels.clone())));
    } else if !raw.is_empty() {
        let frames = raw
            .into_iter()
            .map(|(n, t)| match (t.shape(), t.as_u8()) {
                (&[height, width, 3], Some(bytes)) => Frame::new(width, height, bytes.to_vec()),
                _ => Err(shape(&format!("raw.image.{n}"), t, "u8 [height, width, 3]")),
            })
            .collect::<Result<Vec<_>>>()?;
        let usual = PerceiverImageProcessor::for_model(model.config()?);
        let processor = processor.unwrap_or(&usual);
        let pixels = processor.pixel_values(&frames.iter().collect::<Vec<_>>())?;
        runs.push(("", of(pixels)));
    }
    if let Some(pixels) = inputs.get("interp.pixel_values") {
        runs.push(("interp.", of(pixels.clone())));
    }
    Ok(runs)
}

fn multimodal(model: &Model, inputs: &NamedTensors, full: Option<bool>) -> Result<Runs> {
    let config = model.config()?;
    let mut tensors = NamedTensors::new();
    for name in ["image", "audio", "label", "points.image", "points.audio"] {
        if let Some(tensor) = inputs.get(name) {
            tensors.insert(name.to_owned(), tensor.clone());
        }
    }
    if let (None, Some(video)) = (inputs.get("image"), inputs.get("raw.video")) {
        tensors.insert("image".to_owned(), video_tensor(video)?);
    }
    if let (None, Some(audio)) = (inputs.get("audio"), inputs.get("raw.audio")) {
        tensors.insert("audio".to_owned(), audio_tensor(audio)?);
    }
    if !tensors.contains_key("image") && !tensors.contains_key("audio") {
        return Ok(Runs::new());
    }
    let pixels: usize = config.output_shape.iter().product();
    let patches = config.audio_patches();
    let all = [("points.image", pixels), ("points.audio", patches)];
    let every = |count: usize| Tensor::i64(vec![count], (0..count as i64).collect());
    let asked = full.unwrap_or(pixels + patches <= FEW_POINTS);
    let mut runs = Runs::new();
    let mut whole = tensors.clone();
    let mut chosen = true;
    for (name, count) in all {
        whole.insert(name.to_owned(), every(count)?);
        if !tensors.contains_key(name) {
            chosen = false;
            tensors.insert(name.to_owned(), every(count)?);
        }
    }
    runs.push(("", tensors));
    if chosen && asked {
        runs.push((FULL, whole));
    }
    Ok(runs)
}

/// Frames `[batch, frames, height, width, 3]` of bytes as planes in [0, 1].
fn video_tensor(video: &Tensor) -> Result<Tensor> {
    let wrong = || shape("raw.video", video, "u8 [batch, frames, height, width, 3]");
    let (&[items, frames, height, width, 3], Some(bytes)) = (video.shape(), video.as_u8()) else {
        return Err(wrong());
    };
    let values = planes(bytes.chunks_exact((3 * height * width).max(1)));
    Tensor::f32(vec![items, frames, 3, height, width], values)
}

/// Samples `[batch, samples]` of 16 bits in [-1, 1].
fn audio_tensor(audio: &Tensor) -> Result<Tensor> {
    let wrong = || shape("raw.audio", audio, "i16 [batch, samples]");
    let (&[items, samples], Some(data)) = (audio.shape(), audio.as_i16()) else {
        return Err(wrong());
    };
    let values = data.iter().map(|&s| f32::from(s) / 32768.0).collect();
    Tensor::f32(vec![items, samples, 1], values)
}

fn optical_flow(inputs: &NamedTensors) -> Result<Runs> {
    let patches = match (inputs.get("patches"), inputs.get("raw.frames")) {
        (Some(patches), _) => patches.clone(),
        (None, Some(frames)) => {
            let &[pairs, 2, height, width, 3] = frames.shape() else {
                return Err(shape("raw.frames", frames, "u8 [batch, 2, height, width, 3]"));
            };
            let all = frames_of("raw.frames", frames, height, width)?;
            let pairs: Vec<(&Frame, &Frame)> =
                (0..pairs).map(|i| (&all[2 * i], &all[2 * i + 1])).collect();
            flow_tiles::patches(&pairs)?
        }
        (None, None) => return Ok(Runs::new()),
    };
    Ok(vec![("", NamedTensors::from([("patches".to_owned(), patches)]))])
}

/// The frames of a tensor whose last dimensions are height, width, 3.
fn frames_of(name: &str, tensor: &Tensor, height: usize, width: usize) -> Result<Vec<Frame>> {
    let bytes = tensor.as_u8().ok_or_else(|| shape(name, tensor, "bytes (u8)"))?;
    let each = height * width * 3;
    if each == 0 {
        return Err(shape(name, tensor, "frames of at least one pixel"));
    }
    bytes.chunks_exact(each).map(|rgb| Frame::new(width, height, rgb.to_vec())).collect()
}

fn shape(name: &str, tensor: &Tensor, expected: &str) -> Error {
    Error::input(name, format!("has shape {:?} or another type", tensor.shape()), expected)
}
