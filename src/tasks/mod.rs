//! What the models are for: pipelines that take texts, pictures, frames and sound, and give filled
//! texts, classes, flow and reconstructed clips.
//!
//! One pipeline for each class of model: [`FillMask`], [`TextClassifier`], [`ImageClassifier`],
//! [`OpticalFlow`] and [`Autoencoder`]. They do what the published ones do before and after the network,
//! and leave all arithmetic of the network to [`Model::run`].

mod autoencode;
mod classes;
mod classify_image;
mod classify_text;
pub(crate) mod fill_mask;
pub(crate) mod flow;
pub(crate) mod flow_file;
pub(crate) mod flow_picture;
pub(crate) mod flow_tiles;
pub(crate) mod flow_warp;
mod image_processor;
mod processor_file;
mod shape;
pub(crate) mod text;
mod text_windows;

pub use autoencode::{Autoencoder, Reconstruction, SAMPLE_RATE};
pub use classes::ClassScore;
pub use classify_image::ImageClassifier;
pub use classify_text::TextClassifier;
pub use fill_mask::{BytePrediction, Candidate, FillMask, FillOptions, Filled, Filling, Span};
pub use flow::{FlowField, FlowOptions, OpticalFlow};
pub use image_processor::{PerceiverImageProcessor, Size};
pub use shape::{Grid, ShapeDecoder};

use crate::error::{Error, Result};
use crate::graph::Waiting;
use crate::model::{Model, RunOptions};
use crate::perceiver::Architecture;
use crate::tensor::{NamedTensors, Tensor};

/// Runs inputs as [`Model::run`] does.
pub(crate) type Run<'a> =
    dyn FnMut(&NamedTensors, &mut dyn FnMut(u64, u64)) -> Result<NamedTensors> + Send + 'a;

/// What runs the network of a pipeline.
pub(crate) enum Network<'a> {
    /// A model, in either way to wait.
    Model(&'a Model, Waiting),
    /// A stand-in for one.
    Other(&'a mut Run<'a>),
}

impl Network<'_> {
    /// A run; only one that blocks tells `progress`.
    async fn run(
        &mut self,
        inputs: NamedTensors,
        options: RunOptions,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<NamedTensors> {
        match self {
            Network::Model(model, waiting) => {
                model.run_as(inputs, options, *waiting, progress).await
            }
            Network::Other(run) => run(&inputs, &mut progress),
        }
    }
}

/// What a run of some `items` tells of its progress, among `all` that cost the same, `before` of which are
/// done.
fn among<P: FnMut(u64, u64)>(
    progress: &mut P,
    [before, items, all]: [usize; 3],
) -> impl FnMut(u64, u64) + use<'_, P> {
    move |done, total| {
        let each = total / items as u64;
        let before = (before as u64).saturating_mul(each);
        progress(before.saturating_add(done), (all as u64).saturating_mul(each));
    }
}

/// Frames of bytes, `[height, width, 3]` each, as planes in [0, 1].
#[doc(hidden)]
pub fn planes<'b>(frames: impl Iterator<Item = &'b [u8]>) -> Vec<f32> {
    let colours = |frame: &'b [u8]| (0..3).flat_map(|c| frame.iter().skip(c).step_by(3));
    frames.flat_map(colours).map(|&b| (f64::from(b) / 255.0) as f32).collect()
}

/// An error unless the model is of the architecture that a task needs.
fn expect_architecture(model: &Model, wanted: Architecture, task: &str) -> Result<()> {
    let found = model.architecture();
    if found == Some(wanted) {
        return Ok(());
    }
    let name = model.description().name();
    let what = format!("{name} cannot be used for {task}");
    Err(Error::input("model", what, format!("a checkpoint of {}", wanted.name())))
}

/// An error where the numbers of an output are not finite; `place` says where the one of an index is.
fn finite(name: &str, values: &[f32], place: impl Fn(usize) -> String) -> Result<()> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let what = format!("{} {}", values[at], place(at));
            Err(Error::input(name, what, "finite numbers; are the weights damaged?"))
        }
    }
}

/// An output of a run, after a look at its type and shape.
fn output_f32<'t>(outputs: &'t NamedTensors, name: &str, shape: &[usize]) -> Result<&'t [f32]> {
    let found = outputs.get(name);
    match found.and_then(|t| Some((t.shape(), t.as_f32()?))) {
        Some((found, values)) if found == shape => Ok(values),
        _ => {
            let shown = |t: &Tensor| format!("the model gave shape {:?}", t.shape());
            let what = found.map_or_else(|| "the model gave none".to_owned(), shown);
            Err(Error::input(name, what, format!("32-bit floats of shape {shape:?}")))
        }
    }
}
