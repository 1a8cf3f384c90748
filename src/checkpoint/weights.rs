//! The weight files of a folder: which there are, and where each tensor is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::entry::Entry;
use super::file::TensorFile;
#[cfg(feature = "torch")]
use super::haiku_names::{Known, translate};
use crate::error::{Error, Result};
use crate::perceiver::Architecture;

/// An index larger than this is none.
const LONGEST_INDEX: u64 = 16 << 20;
/// Weights in one file, and the index of weights in several; the first pair that is there is taken.
const NAMES: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];
/// Endings of DeepMind's files.
const PICKLES: [&str; 3] = ["pickle", "pystate", "pkl"];

/// The open weight files of a folder.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) files: Vec<TensorFile>,
    /// Number of the file and entry of each tensor, under Hugging Face's names.
    pub(super) places: BTreeMap<String, (usize, Entry)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens what a folder has, the safest format first.
    pub(super) fn open(folder: &Path, architecture: Option<Architecture>) -> Result<Self> {
        for (whole, index) in NAMES {
            let (whole, index) = (folder.join(whole), folder.join(index));
            if whole.exists() {
                return Self::whole(&whole, architecture);
            }
            if index.exists() {
                return Self::shards(folder, &index);
            }
        }
        match &pickles(folder)?[..] {
            [one] => Self::whole(one, architecture),
            [] => Err(Error::checkpoint(
                folder,
                format!("has no {} and no {}", NAMES[0].0, NAMES[0].1),
                "download the weights as well: model.safetensors, pytorch_model.bin or DeepMind's \
                 .pickle",
            )),
            several => {
                let names = several.iter().filter_map(|p| p.file_name()).take(5);
                let short = names.map(|n| n.to_string_lossy().chars().take(80).collect());
                let names = short.collect::<Vec<String>>().join(", ");
                let what = format!("has {} pickles: {names}", several.len());
                Err(Error::checkpoint(folder, what, "leave the one with the weights in the folder"))
            }
        }
    }

    /// True when there is something to open.
    pub(super) fn any(folder: &Path) -> bool {
        let names = NAMES.into_iter().flat_map(|(whole, index)| [whole, index]);
        names.into_iter().any(|name| folder.join(name).exists())
            || pickles(folder).is_ok_and(|found| !found.is_empty())
    }

    fn whole(path: &Path, architecture: Option<Architecture>) -> Result<Self> {
        Self::of(TensorFile::open(path)?, architecture)
    }

    /// All weights in one file.
    pub(super) fn of(file: TensorFile, architecture: Option<Architecture>) -> Result<Self> {
        let mut places = BTreeMap::new();
        for (name, entry) in file.entries() {
            let Some((new, entry)) = renamed(&file, architecture, name, entry) else {
                continue;
            };
            if places.insert(new.clone(), (0, entry)).is_some() {
                let what = format!("has two arrays that are `{new}`, one of them `{name}`");
                let hint = "is this a Perceiver IO model as DeepMind published them?";
                return Err(Error::checkpoint(file.path(), what, hint));
            }
        }
        Ok(Weights { files: vec![file], places })
    }

    /// Opens the shards that an index names.
    fn shards(folder: &Path, index: &Path) -> Result<Self> {
        let wrong = |what: String| {
            let hint = "give the index that save_pretrained wrote, with all its shards beside it";
            Error::checkpoint(index, what, hint)
        };
        let map = read_index(index, &wrong)?;
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut files = Vec::new();
        for shard in map.weight_map.values() {
            if numbers.contains_key(shard.as_str()) {
                continue;
            }
            // A shard is a plain file name: an index must not reach out of its folder.
            let plain = Path::new(shard).file_name().is_some_and(|n| n == shard.as_str())
                && !shard.contains(['/', '\\', '\0']);
            if !plain {
                let shown: String = shard.chars().take(120).collect();
                let what = format!("names the shard {shown:?}, which is no plain file name");
                return Err(wrong(what));
            }
            let path = folder.join(shard);
            if !path.exists() {
                return Err(wrong(format!("names the shard `{shard}`, which is not there")));
            }
            numbers.insert(shard, files.len());
            files.push(TensorFile::open(&path)?);
        }
        let mut places = BTreeMap::new();
        for (name, shard) in &map.weight_map {
            let Some(&i) = numbers.get(shard.as_str()) else {
                continue;
            };
            let Some(entry) = files[i].entry(name) else {
                return Err(wrong(format!("says that `{name}` is in `{shard}`, where it is not")));
            };
            places.insert(name.clone(), (i, entry.clone()));
        }
        for (i, file) in files.iter().enumerate() {
            for (name, entry) in file.entries() {
                match places.get(name) {
                    Some(&(at, _)) if at == i => {}
                    Some(_) => return Err(wrong(format!("`{name}` is in two shards"))),
                    // What the index does not list is still a tensor of the checkpoint: it is
                    // reported as unexpected if no model asks for it.
                    None => {
                        places.insert(name.to_owned(), (i, entry.clone()));
                    }
                }
            }
        }
        Ok(Weights { files, places })
    }
}

/// A tensor under Hugging Face's name and in its layout; `None` for one that no model needs. What is unknown keeps its
/// name, under which it is reported as unexpected.
#[cfg(feature = "torch")]
fn renamed(
    file: &TensorFile,
    architecture: Option<Architecture>,
    name: &str,
    entry: &Entry,
) -> Option<(String, Entry)> {
    let haiku = file.format() == super::file::WeightFormat::Haiku;
    match architecture.filter(|_| haiku).and_then(|a| translate(a, name)) {
        Some(Known::Unused) => None,
        Some(Known::Tensor(new, axes)) => Some((new, axes.of(entry.clone()))),
        None => Some((name.to_owned(), entry.clone())),
    }
}

/// A tensor of safetensors, which have Hugging Face's names.
#[cfg(not(feature = "torch"))]
fn renamed(
    _: &TensorFile,
    _: Option<Architecture>,
    name: &str,
    entry: &Entry,
) -> Option<(String, Entry)> {
    Some((name.to_owned(), entry.clone()))
}

fn read_index(index: &Path, wrong: &dyn Fn(String) -> Error) -> Result<Index> {
    let long = || wrong(format!("is longer than {LONGEST_INDEX} bytes"));
    let text = crate::open::text(index, LONGEST_INDEX)?.ok_or_else(long)?;
    serde_json::from_str(&text).map_err(|e| wrong(format!("makes no sense: {e}")).caused_by(e))
}

/// Files of a folder that end as DeepMind's do, by name.
fn pickles(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| Error::io("read", folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let ending = path.extension().and_then(|e| e.to_str());
        if ending.is_some_and(|e| PICKLES.contains(&e)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
