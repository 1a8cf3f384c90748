//! What a repository holds, and which of its files a model needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::name::{is_commit, is_file_name, stays_inside};
use crate::checkpoint::COMPANIONS;
use crate::error::{Error, Result};
use crate::open;

/// The description of a model.
pub(super) const CONFIG: &str = "config.json";
/// Weights, best first: whole, then the index of several files, in two formats.
const WEIGHTS: [Weights; 4] = [
    Weights::Whole("model.safetensors"),
    Weights::Shards("model.safetensors.index.json"),
    Weights::Whole("pytorch_model.bin"),
    Weights::Shards("pytorch_model.bin.index.json"),
];
/// Endings of files of weights that a user may name.
const ENDINGS: [&str; 6] = [".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar"];
/// An index larger than this is none, and neither is a configuration.
pub(super) const LARGEST_SMALL: u64 = 64 << 20;
/// The hub itself takes no file that is larger.
pub(super) const LARGEST_WEIGHTS: u64 = 64 << 30;
/// More files of weights than this are none of a Perceiver.
const MOST_SHARDS: usize = 1000;

/// Where the weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    /// In this file.
    Whole(&'static str),
    /// In those that this file names.
    Shards(&'static str),
}

/// The files of a repository at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    /// Name and, where the hub says it, size.
    files: BTreeMap<String, Option<u64>>,
}

#[derive(Deserialize)]
struct Document {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Listing {
    /// Reads the hub's answer. The error is what is wrong with it.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(text)
            .map_err(|e| format!("sent a list of files that cannot be read: {e}"))?;
        if !is_commit(&document.sha) {
            return Err("names a commit that is none".to_owned());
        }
        let mut files = BTreeMap::new();
        for sibling in document.siblings {
            if !stays_inside(&sibling.rfilename) {
                let name: String = sibling.rfilename.chars().take(100).collect();
                let outside = "which would lie outside of the model's folder";
                return Err(format!("lists a file {name:?}, {outside}"));
            }
            files.insert(sibling.rfilename, sibling.size);
        }
        Ok(Listing { commit: document.sha, files })
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    pub(super) fn size(&self, file: &str) -> Option<u64> {
        self.files.get(file).copied().flatten()
    }

    /// Small files to take, the configuration first.
    pub(super) fn small(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(CONFIG).chain(COMPANIONS).filter(|file| self.has(file))
    }

    /// Files that may be of weights, to be told to who named none.
    pub(super) fn candidates(&self) -> String {
        let known = |name: &&String| ENDINGS.iter().any(|ending| name.ends_with(ending));
        let found: Vec<&String> = self.files.keys().filter(known).collect();
        let mut text: Vec<String> = found.iter().take(8).map(|name| format!("`{name}`")).collect();
        if found.len() > text.len() {
            text.push(format!("{} more", found.len() - text.len()));
        }
        if text.is_empty() { "none of weights".to_owned() } else { text.join(", ") }
    }

    /// Where the weights are, if there are any.
    pub(super) fn weights(&self) -> Option<Weights> {
        WEIGHTS.into_iter().find(|weights| {
            let (Weights::Whole(file) | Weights::Shards(file)) = weights;
            self.has(file)
        })
    }
}

/// The files that an index of weights names.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let refused = |what: String| {
        let hint = "the index is damaged or hostile; ask whoever published the model";
        Error::checkpoint(index, what, hint)
    };
    let long = || refused(format!("has more than {LARGEST_SMALL} bytes"));
    let text = open::bytes(index, LARGEST_SMALL)?.ok_or_else(long)?;
    let read: Index = serde_json::from_slice(&text)
        .map_err(|e| refused(format!("is no index of weights: {e}")))?;
    let files: BTreeSet<String> = read.weight_map.into_values().collect();
    if files.is_empty() || files.len() > MOST_SHARDS {
        return Err(refused(format!("names {} files", files.len())));
    }
    match files.iter().find(|file| !is_file_name(file)) {
        Some(odd) => {
            let odd: String = odd.chars().take(100).collect();
            Err(refused(format!("names {odd:?}, which is no name of a file")))
        }
        None => Ok(files),
    }
}

/// True when a folder holds a configuration and all weights of one format.
pub(super) fn is_complete(folder: &Path) -> bool {
    let has = |file: &str| folder.join(file).is_file();
    has(CONFIG)
        && WEIGHTS.into_iter().any(|weights| match weights {
            Weights::Whole(file) => has(file),
            Weights::Shards(index) => {
                let all = |files: BTreeSet<String>| files.iter().all(|file| has(file));
                has(index) && shards(&folder.join(index)).is_ok_and(all)
            }
        })
}

#[cfg(test)]
#[path = "../../tests/unit/hub_listing.rs"]
mod tests;
