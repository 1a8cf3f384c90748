//! A checkpoint folder: `config.json` and weights, whole or in shards.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::file::{Entry, TensorFile};
use crate::error::{Error, Result, TensorReport};
use crate::perceiver::PerceiverConfig;
use crate::perceiver::parameters::TensorSource;

/// An index larger than this is none.
const LONGEST_INDEX: u64 = 64 << 20;
/// Weights in one file, and the index of weights in several.
const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// An open checkpoint: configuration read, weights memory-mapped.
///
/// The weight files must not be truncated or overwritten in place while the checkpoint is open
/// (replacing them by renaming is fine); no program that maps files can survive that.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: PerceiverConfig,
    files: Vec<TensorFile>,
    /// Which file each tensor is in.
    places: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a folder that holds `config.json` and either `model.safetensors` or
    /// `model.safetensors.index.json` with its shards.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], or [`Error::Checkpoint`] for weights that are missing,
    /// damaged, hostile or in another format.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            return Err(Error::checkpoint(
                folder,
                "is not a folder",
                "give the folder that holds config.json and model.safetensors",
            ));
        }
        let config = PerceiverConfig::read(folder)?;
        let whole = folder.join(WHOLE);
        let index = folder.join(INDEX);
        let (files, places) = if whole.exists() {
            let file = TensorFile::open(&whole)?;
            let places = file.entries().map(|(n, _)| (n.to_owned(), 0)).collect();
            (vec![file], places)
        } else if index.exists() {
            shards(folder, &index)?
        } else {
            let old = folder.join("pytorch_model.bin").exists();
            return Err(Error::checkpoint(
                folder,
                format!("has no {WHOLE} and no {INDEX}"),
                if old {
                    "its pytorch_model.bin must be converted: load it with transformers and call \
                     save_pretrained(folder), which writes safetensors"
                } else {
                    "download the weights as well"
                },
            ));
        };
        Ok(Checkpoint {
            folder: folder.to_path_buf(),
            config,
            files,
            places,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &PerceiverConfig {
        &self.config
    }

    /// All tensors by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.places
            .iter()
            .filter_map(|(name, &i)| Some((name.as_str(), self.files[i].entry(name)?)))
    }

    /// Compares the tensors with those that a model needs; those in `ignored` may be there or not.
    ///
    /// # Errors
    /// [`Error::Tensors`] with all that are missing, unexpected or of another shape.
    pub fn check(&self, wanted: &[(String, Vec<usize>)], ignored: &[&str]) -> Result<()> {
        let found: BTreeMap<&str, &Entry> = self.tensors().collect();
        let wanted: BTreeMap<&str, &[usize]> = wanted
            .iter()
            .map(|(n, s)| (n.as_str(), s.as_slice()))
            .collect();
        let mut report = TensorReport::default();
        for (&name, &shape) in &wanted {
            match found.get(name) {
                None => report.missing.push((name.to_owned(), shape.to_vec())),
                Some(entry) if entry.shape != shape => {
                    report
                        .misshaped
                        .push((name.to_owned(), shape.to_vec(), entry.shape.clone()));
                }
                Some(_) => {}
            }
        }
        for (&name, entry) in &found {
            if !wanted.contains_key(name) && !ignored.contains(&name) {
                report
                    .unexpected
                    .push((name.to_owned(), entry.shape.clone()));
            }
        }
        if report.is_empty() {
            return Ok(());
        }
        Err(Error::Tensors {
            path: self.folder.clone(),
            report,
        })
    }
}

impl TensorSource for Checkpoint {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        match self.places.get(name) {
            Some(&i) => self.files[i].read_f32(name),
            None => Err(Error::checkpoint(
                &self.folder,
                format!("has no tensor `{name}`"),
                "is config.json the one these weights were saved with?",
            )),
        }
    }
}

/// Opens the shards that an index names.
fn shards(folder: &Path, index: &Path) -> Result<(Vec<TensorFile>, BTreeMap<String, usize>)> {
    let wrong = |what: String| {
        Error::checkpoint(
            index,
            what,
            "give the index that save_pretrained wrote, with all its shards beside it",
        )
    };
    let mut text = String::new();
    let file = std::fs::File::open(index).map_err(|e| Error::io("read", index, e))?;
    let read = file.take(LONGEST_INDEX + 1).read_to_string(&mut text);
    read.map_err(|e| Error::io("read", index, e))?;
    if text.len() as u64 > LONGEST_INDEX {
        return Err(wrong(format!("is longer than {LONGEST_INDEX} bytes")));
    }
    let map: Index =
        serde_json::from_str(&text).map_err(|e| wrong(format!("makes no sense: {e}")))?;
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut files = Vec::new();
    for shard in map.weight_map.values() {
        if numbers.contains_key(shard.as_str()) {
            continue;
        }
        // A shard is a plain file name: an index must not reach out of its folder.
        let plain = Path::new(shard)
            .file_name()
            .is_some_and(|n| n == shard.as_str())
            && !shard.contains(['/', '\\', '\0']);
        if !plain {
            let shown: String = shard.chars().take(120).collect();
            return Err(wrong(format!(
                "names the shard {shown:?}, which is no plain file name"
            )));
        }
        let path = folder.join(shard);
        if !path.exists() {
            return Err(wrong(format!(
                "names the shard `{shard}`, which is not there"
            )));
        }
        numbers.insert(shard, files.len());
        files.push(TensorFile::open(&path)?);
    }
    let mut places = BTreeMap::new();
    for (name, shard) in &map.weight_map {
        let Some(&i) = numbers.get(shard.as_str()) else {
            continue;
        };
        if files[i].entry(name).is_none() {
            return Err(wrong(format!(
                "says that `{name}` is in `{shard}`, where it is not"
            )));
        }
        places.insert(name.clone(), i);
    }
    for (i, file) in files.iter().enumerate() {
        for (name, _) in file.entries() {
            match places.get(name) {
                Some(&at) if at == i => {}
                Some(_) => return Err(wrong(format!("`{name}` is in two shards"))),
                // What the index does not list is still a tensor of the checkpoint: it is reported
                // as unexpected if no model asks for it.
                None => {
                    places.insert(name.to_owned(), i);
                }
            }
        }
    }
    Ok((files, places))
}
