//! A checkpoint folder: `config.json` and weights, whole or in shards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::entry::Entry;
use super::file::{IN_MEMORY, Identity, TensorFile, WeightFormat};
use super::weights::Weights;
use crate::error::{Error, Result, TensorReport};
use crate::perceiver::families::{self, Family};
use crate::perceiver::{Architecture, Description};
use crate::tensor::Tensor;
use crate::weights::TensorSource;

/// An open checkpoint: configuration read, weights memory-mapped or in memory.
///
/// Weight files must not be truncated or overwritten in place while the checkpoint is open
/// (replacing them by renaming is fine); no program that maps files can survive that.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    description: Description,
    weights: Weights,
    family: Option<&'static Family>,
}

/// Which files a checkpoint is, and how they are read: two of which this is the same have the same tensors under the
/// same names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    path: PathBuf,
    files: Vec<Identity>,
    architecture: Option<Architecture>,
    /// Whether it was recognised by its tensors.
    part: bool,
}

impl Checkpoint {
    /// Opens a folder that holds `config.json` and weights: `model.safetensors`, else
    /// `pytorch_model.bin` (each whole, or as an index with its shards), else one pickle of Haiku
    /// parameters as DeepMind published them (`.pickle`, `.pystate`, `.pkl`).
    ///
    /// Pickles are read by an interpreter that executes nothing; names that weights do not need are
    /// refused.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], or [`Error::Checkpoint`] for weights that are missing,
    /// damaged, hostile or in another format.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_part(folder, None)
    }

    /// As [`open`](Self::open), of a model that has a Perceiver inside: its folder, or a file of weights by itself. `part` is
    /// what the names of the Perceiver's tensors begin with, or a word of it, and may be left out where there is one
    /// Perceiver only. Other tensors are not read.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Checkpoint`] where no family, or several parts, are recognised.
    pub fn open_part(path: impl AsRef<Path>, part: Option<&str>) -> Result<Self> {
        let path = path.as_ref();
        let (folder, file) = match path.is_file() {
            true => (path.parent().unwrap_or(Path::new("")), Some(path)),
            false => (path, None),
        };
        if !path.is_dir() && file.is_none() {
            let hint = "give the folder that holds config.json and model.safetensors";
            return Err(Error::checkpoint(path, "is not a folder", hint));
        }
        let configured = folder.join("config.json").exists();
        let config = if configured { families::read(folder) } else { Value::Null };
        // A file may lie beside the configuration of another model, whose Perceiver it has.
        let described = file.is_none() || families::is_perceiver(&config);
        if part.is_none() && configured && described && !families::may_be(&config) {
            let description = Description::read(folder)?;
            let architecture = description.architecture();
            let weights = match file {
                Some(file) => Weights::of(TensorFile::open(file)?, architecture)?,
                None => Weights::open(folder, architecture)?,
            };
            let family = None;
            return Ok(Checkpoint { folder: folder.to_path_buf(), description, weights, family });
        }
        let weights = match file {
            Some(file) => Weights::of(TensorFile::open_among(file)?, None)?,
            None if !Weights::any(folder) => {
                let hint = "name the file of weights itself, or the folder of a whole model";
                return Err(Error::checkpoint(folder, "has no weights of a usual name", hint));
            }
            None => Weights::open(folder, None)?,
        };
        Self::of_part(path.to_path_buf(), &config, part, weights)
    }

    /// A checkpoint of a part that is recognised by its tensors.
    fn of_part(
        folder: PathBuf,
        config: &Value,
        part: Option<&str>,
        weights: Weights,
    ) -> Result<Self> {
        let shapes = weights.places.iter().map(|(name, (_, e))| (name.clone(), e.shape.clone()));
        let origin = folder.display().to_string();
        let (family, blueprint) = families::recognise(&shapes.collect(), config, part, &origin)?;
        let description = Description::Blueprint(blueprint);
        Ok(Checkpoint { folder, description, weights, family: Some(family) })
    }

    /// Which files it is, and how they are read; `None` where one of them is in memory.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let files = self.weights.files.iter().map(TensorFile::identity);
        Some(Origin {
            path: std::fs::canonicalize(&self.folder).ok()?,
            files: files.collect::<Option<_>>()?,
            architecture: self.description.architecture(),
            part: self.family.is_some(),
        })
    }

    /// The family of a model with a Perceiver inside.
    #[doc(hidden)]
    #[must_use]
    pub fn family(&self) -> Option<&'static Family> {
        self.family
    }

    /// A checkpoint that is in memory: the text of its `config.json`, and its one file of weights in any of the
    /// formats that [`open`](Self::open) reads, which is not copied.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::Checkpoint`] as [`open`](Self::open).
    pub fn from_bytes(
        config: &str,
        weights: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self> {
        let folder = PathBuf::from(IN_MEMORY);
        let file = TensorFile::of(&folder, Box::new(weights))?;
        let parsed: Value = serde_json::from_str(config).unwrap_or_default();
        if families::may_be(&parsed) {
            return Self::of_part(folder, &parsed, None, Weights::of(file, None)?);
        }
        let description = Description::from_json(config, "config.json")?;
        let weights = Weights::of(file, description.architecture())?;
        Ok(Checkpoint { folder, description, weights, family: None })
    }

    /// True when a folder has weight files that [`open`](Self::open) would read, whatever they hold.
    #[doc(hidden)]
    pub fn has_weights(folder: impl AsRef<Path>) -> bool {
        Weights::any(folder.as_ref())
    }

    /// The folder.
    #[doc(hidden)]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// What `config.json` says that the model is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// How the weights are kept.
    #[doc(hidden)]
    pub fn format(&self) -> WeightFormat {
        // There is a file, or `open` had failed; shards are of one format.
        self.weights.files.first().map_or(WeightFormat::Safetensors, |file| file.format())
    }

    /// Bytes of all weight files.
    #[doc(hidden)]
    pub fn bytes(&self) -> u64 {
        self.weights.files.iter().map(|file| file.bytes()).sum()
    }

    /// All tensors by Hugging Face's names.
    #[doc(hidden)]
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let places = self.weights.places.iter();
        places.map(|(name, (_, entry))| (name.as_str(), entry))
    }

    /// A tensor with its own element type, smaller and wider ones converted to those that
    /// [`Data`](crate::Data) has.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not there.
    pub fn read(&self, name: &str) -> Result<Tensor> {
        let (file, entry) = self.place(name)?;
        self.weights.files[*file].tensor(name, entry)
    }

    fn place(&self, name: &str) -> Result<&(usize, Entry)> {
        self.weights.places.get(name).ok_or_else(|| {
            let hint = "is config.json the one these weights were saved with?";
            Error::checkpoint(&self.folder, format!("has no tensor `{name}`"), hint)
        })
    }

    /// Compares the tensors with those that a model needs; those in `ignored` may be there or not.
    /// Numbers of positions and of batches, which some versions of transformers saved as buffers of
    /// integers, may be there too: no model reads them.
    ///
    /// # Errors
    /// [`Error::Tensors`] with all that are missing, unexpected or of another shape.
    pub fn check(&self, wanted: &[(String, Vec<usize>)], ignored: &[&str]) -> Result<()> {
        let found: BTreeMap<&str, &Entry> = self.tensors().collect();
        let wanted: BTreeMap<&str, &[usize]> =
            wanted.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect();
        let mut report = TensorReport::default();
        for (&name, &shape) in &wanted {
            match found.get(name) {
                None => report.missing.push((name.to_owned(), shape.to_vec())),
                Some(entry) if entry.shape != shape => {
                    report.misshaped.push((name.to_owned(), shape.to_vec(), entry.shape.clone()));
                }
                Some(_) => {}
            }
        }
        // A part has the tensors of the whole model around it.
        for (&name, entry) in found.iter().filter(|_| self.family.is_none()) {
            if !wanted.contains_key(name) && !ignored.contains(&name) && !is_buffer(name, entry) {
                report.unexpected.push((name.to_owned(), entry.shape.clone()));
            }
        }
        if report.is_empty() {
            return Ok(());
        }
        Err(Error::Tensors { path: self.folder.clone(), report })
    }
}

/// True for buffers of integers that change no result.
fn is_buffer(name: &str, entry: &Entry) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    entry.is_whole() && ["position_ids", "num_batches_tracked"].contains(&last)
}

impl TensorSource for Checkpoint {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let (file, entry) = self.place(name)?;
        self.weights.files[*file].floats(name, entry)
    }
}
