//! A checkpoint folder: `config.json` and weights, whole or in shards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::file::{IN_MEMORY, TensorFile, WeightFormat};
use super::weights::Weights;
use crate::error::{Error, Result, TensorReport};
use crate::perceiver::Description;
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
        let folder = folder.as_ref();
        if !folder.is_dir() {
            let hint = "give the folder that holds config.json and model.safetensors";
            return Err(Error::checkpoint(folder, "is not a folder", hint));
        }
        let description = Description::read(folder)?;
        let weights = Weights::open(folder, description.architecture())?;
        Ok(Checkpoint { folder: folder.to_path_buf(), description, weights })
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
        let description = Description::from_json(config, "config.json")?;
        let folder = PathBuf::from(IN_MEMORY);
        let file = TensorFile::of(&folder, Box::new(weights))?;
        let weights = Weights::of(file, description.architecture())?;
        Ok(Checkpoint { folder, description, weights })
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
        for (&name, entry) in &found {
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
