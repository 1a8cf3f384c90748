//! The generic runner: any supported checkpoint on the tensors of a file.
//!
//! Names are those of `tools/reference/golden.py`. What a model is called with wins over the raw
//! material that it follows from: `input_ids` over `raw.text.N`, `patches` over `raw.frames`.

use super::flow::{FlowOptions, flow_with};
use super::frame::Frame;
use super::{flow_tiles, text};
use crate::error::{Error, Result};
use crate::model::{Model, RunOptions};
use crate::perceiver::Architecture;
use crate::tensor::{NamedTensors, Tensor};

/// What to compute beside the model's outputs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunnerOptions {
    /// Also the arrays on the way.
    pub intermediates: bool,
    /// For `raw.tiled_frames`.
    pub flow: FlowOptions,
}

/// Names of inputs that an architecture's files may hold; `N` stands for a number.
#[must_use]
pub fn input_names(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::MaskedLm => &[
            "input_ids",
            "attention_mask",
            "unpadded.input_ids",
            "raw.text.N",
        ],
        Architecture::OpticalFlow => &["patches", "raw.frames", "raw.tiled_frames"],
    }
}

/// Runs a model on what a file holds. Returns `logits`; `unpadded.logits` for `unpadded.input_ids`,
/// run without a mask; `tiled.flow` for `raw.tiled_frames`; and the intermediates if asked for.
///
/// # Errors
/// [`Error::Input`] for unknown or missing names, wrong shapes and values; whatever
/// [`Model::run_with`] gives.
pub fn run(
    model: &Model,
    inputs: &NamedTensors,
    options: &RunnerOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<NamedTensors> {
    let names = input_names(model.architecture());
    let expected = || {
        let list: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
        format!("some of {}", list.join(", "))
    };
    let known = |name: &str| {
        names.contains(&name) || (names.contains(&"raw.text.N") && text_number(name).is_some())
    };
    if let Some(name) = inputs.keys().find(|n| !known(n)) {
        return Err(Error::input(name, "is unknown to this model", expected()));
    }
    let runs = match model.architecture() {
        Architecture::MaskedLm => masked_lm(model, inputs)?,
        Architecture::OpticalFlow => optical_flow(inputs)?,
    };
    let tiled = inputs.get("raw.tiled_frames");
    if runs.is_empty() && tiled.is_none() {
        return Err(Error::input("inputs", "hold nothing to run on", expected()));
    }
    let parts = runs.len() as u64 + u64::from(tiled.is_some());
    let mut outputs = NamedTensors::new();
    for (part, (prefix, tensors)) in runs.into_iter().enumerate() {
        let part = part as u64;
        let with = RunOptions {
            intermediates: options.intermediates && prefix.is_empty(),
        };
        let found = model.run_with(&tensors, with, &mut |done, total| {
            progress(part * total + done, parts * total);
        })?;
        outputs.extend(found.into_iter().map(|(n, t)| (format!("{prefix}{n}"), t)));
    }
    if let Some(frames) = tiled {
        let &[2, height, width, 3] = frames.shape() else {
            return Err(shape(
                "raw.tiled_frames",
                frames,
                "u8 [2, height, width, 3]",
            ));
        };
        let pair = frames_of("raw.tiled_frames", frames, height, width)?;
        let tile = model.config().train_size;
        let mut last = |done: u64, total: u64| {
            progress((parts - 1) * total + done, parts * total);
        };
        let field = flow_with(
            &pair[0],
            &pair[1],
            tile,
            &options.flow,
            &mut last,
            &mut |i, p| model.run(i, p),
        )?;
        let data = field.vectors().iter().flatten().copied().collect();
        outputs.insert(
            "tiled.flow".to_owned(),
            Tensor::f32(vec![height, width, 2], data)?,
        );
    }
    Ok(outputs)
}

/// What to run a model on, and the prefix of the results' names.
type Runs = Vec<(&'static str, NamedTensors)>;

/// N of `raw.text.N`.
fn text_number(name: &str) -> Option<usize> {
    name.strip_prefix("raw.text.")?.parse().ok()
}

fn masked_lm(model: &Model, inputs: &NamedTensors) -> Result<Runs> {
    let mut runs = Runs::new();
    let mut texts: Vec<(usize, &Tensor)> = inputs
        .iter()
        .filter_map(|(name, t)| Some((text_number(name)?, t)))
        .collect();
    texts.sort_by_key(|t| t.0);
    if inputs.contains_key("input_ids") {
        let names = ["input_ids", "attention_mask"];
        let tensors = names
            .iter()
            .filter_map(|n| Some(((*n).to_owned(), inputs.get(*n)?.clone())));
        runs.push(("", tensors.collect()));
    } else if inputs.contains_key("attention_mask") {
        return Err(Error::input(
            "attention_mask",
            "comes without `input_ids`",
            "both, or neither",
        ));
    } else if !texts.is_empty() {
        let rows = texts
            .into_iter()
            .map(|(n, t)| match t.as_u8() {
                Some(bytes) if t.shape().len() == 1 => Ok(text::encode(bytes)),
                _ => Err(shape(&format!("raw.text.{n}"), t, "u8 [bytes]")),
            })
            .collect::<Result<Vec<_>>>()?;
        let padded = text::batch(&rows, model.config().max_position_embeddings)?;
        runs.push(("", padded));
    }
    if let Some(ids) = inputs.get("unpadded.input_ids") {
        let tensors = NamedTensors::from([("input_ids".to_owned(), ids.clone())]);
        runs.push(("unpadded.", tensors));
    }
    Ok(runs)
}

fn optical_flow(inputs: &NamedTensors) -> Result<Runs> {
    let patches = match (inputs.get("patches"), inputs.get("raw.frames")) {
        (Some(patches), _) => patches.clone(),
        (None, Some(frames)) => {
            let &[pairs, 2, height, width, 3] = frames.shape() else {
                return Err(shape(
                    "raw.frames",
                    frames,
                    "u8 [batch, 2, height, width, 3]",
                ));
            };
            let all = frames_of("raw.frames", frames, height, width)?;
            let pairs: Vec<(&Frame, &Frame)> =
                (0..pairs).map(|i| (&all[2 * i], &all[2 * i + 1])).collect();
            flow_tiles::patches(&pairs)?
        }
        (None, None) => return Ok(Runs::new()),
    };
    Ok(vec![(
        "",
        NamedTensors::from([("patches".to_owned(), patches)]),
    )])
}

/// The frames of a tensor whose last dimensions are height, width, 3.
fn frames_of(name: &str, tensor: &Tensor, height: usize, width: usize) -> Result<Vec<Frame>> {
    let bytes = tensor
        .as_u8()
        .ok_or_else(|| shape(name, tensor, "bytes (u8)"))?;
    let each = height * width * 3;
    if each == 0 {
        return Err(shape(name, tensor, "frames of at least one pixel"));
    }
    bytes
        .chunks_exact(each)
        .map(|rgb| Frame::new(width, height, rgb.to_vec()))
        .collect()
}

fn shape(name: &str, tensor: &Tensor, expected: &str) -> Error {
    Error::input(
        name,
        format!("has shape {:?} or another type", tensor.shape()),
        expected,
    )
}
