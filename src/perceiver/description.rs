//! What a `config.json` describes: one of the official classes, or any Perceiver as a blueprint.

use std::path::Path;

use super::batch::Batch;
use super::blueprint::{self, Blueprint, Skipped, is_blueprint, read_text};
use super::{Architecture, PerceiverConfig, Sizes, families};
use crate::error::{Error, Result};
use crate::tensor::NamedTensors;

/// A model without its weights.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Description {
    /// An official class and its sizes.
    Config(PerceiverConfig),
    /// A model as data.
    Blueprint(Blueprint),
}

impl Description {
    /// Reads `config.json`, or that file in a folder: `"model_type": "perceiver-blueprint"` makes it a
    /// [`Blueprint`].
    ///
    /// # Errors
    /// Those of [`PerceiverConfig::read`] and [`Blueprint::read`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let (text, origin) = read_text(path.as_ref())?;
        Self::from_json(&text, &origin)
    }

    /// The same from the file's text. Messages say that it comes from `origin`.
    ///
    /// # Errors
    /// [`Error::Config`] as [`Description::read`].
    pub fn from_json(text: &str, origin: &str) -> Result<Self> {
        if is_blueprint(text) {
            return Blueprint::from_json(text, origin).map(Description::Blueprint);
        }
        let config = serde_json::from_str(text).unwrap_or_default();
        if families::may_be(&config) {
            let what = "names a model with a Perceiver inside, which its tensors describe";
            let hint =
                "open it with its weights: the folder, or the file with `Checkpoint::open_part`";
            return Err(Error::config(origin, "model_type", what, hint));
        }
        PerceiverConfig::from_json(text, origin).map(Description::Config)
    }

    /// Checked inputs in the form that graphs read.
    pub(crate) fn batch(&self, inputs: &NamedTensors, resize_positions: bool) -> Result<Batch> {
        match self {
            Description::Config(config) => {
                (config.architecture.class().inputs)(config, inputs, resize_positions)
            }
            Description::Blueprint(blueprint) => blueprint::inputs(blueprint, inputs),
        }
    }

    /// The sets of rows that a run of these inputs leaves alone.
    pub(crate) fn skipped(&self, inputs: &NamedTensors) -> Option<Skipped> {
        match self {
            Description::Config(_) => None,
            Description::Blueprint(blueprint) => blueprint.skipped(inputs),
        }
    }

    /// Names of inputs that hold whole numbers.
    pub(crate) fn whole_number_inputs(&self) -> Vec<String> {
        let sizes = match self {
            Description::Config(config) => Sizes { points: [1, 1], ..Sizes::usual(config) },
            Description::Blueprint(_) => Sizes::default(),
        };
        let shapes = self.blueprint(&sizes).input_shapes();
        let whole = shapes.into_iter().filter(|s| s.kind.limit().is_some());
        whole.map(|s| s.name).collect()
    }

    /// The class; `None` for a blueprint.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        match self {
            Description::Config(config) => Some(config.architecture),
            Description::Blueprint(_) => None,
        }
    }

    /// Name of the class.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.architecture().map_or("Perceiver (blueprint)", Architecture::name)
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`Error::Input`] for a blueprint.
    pub fn config(&self) -> Result<&PerceiverConfig> {
        match self {
            Description::Config(config) => Ok(config),
            Description::Blueprint(_) => {
                let expected = "a checkpoint of one of Hugging Face's Perceiver classes";
                Err(Error::input("model", "is a blueprint", expected))
            }
        }
    }

    /// The model as data, for items of these sizes; a blueprint has its own, but for rows that vary.
    #[doc(hidden)]
    pub fn blueprint(&self, sizes: &Sizes) -> Blueprint {
        match self {
            Description::Config(config) => config.blueprint(sizes),
            Description::Blueprint(blueprint) => blueprint.fitted(&sizes.rows),
        }
    }

    /// Sizes that the model is usually run with.
    #[doc(hidden)]
    pub fn usual_sizes(&self) -> Sizes {
        match self {
            Description::Config(config) => Sizes::usual(config),
            Description::Blueprint(_) => Sizes::default(),
        }
    }

    /// Names and shapes of the tensors that it needs.
    ///
    /// # Errors
    /// [`Error::Graph`] or [`Error::Config`] when it does not hold together.
    pub fn tensors(&self) -> Result<Vec<(String, Vec<usize>)>> {
        match self {
            Description::Config(config) => config.tensors(),
            Description::Blueprint(blueprint) => blueprint.tensors(),
        }
    }

    /// Names of tensors that checkpoints have and that change no result.
    #[doc(hidden)]
    pub fn unused_tensors(&self) -> &'static [&'static str] {
        match self {
            Description::Config(config) => config.architecture.class().unused_tensors,
            Description::Blueprint(_) => &[],
        }
    }
}
