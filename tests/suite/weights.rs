//! Weight files beside safetensors: torch's zip and older files and Haiku's pickles are read right, what
//! is damaged or hostile is an error that names it, and nothing that a file asks for is done.

use crate::common;
mod conversion;
mod haiku;
mod hostile;
mod mutations;
mod recorded;
mod same_model;
pub(crate) mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use perceiver::Result;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Files that torch and numpy wrote.
fn fixture(name: &str) -> PathBuf {
    common::fixtures().join("weights").join(name)
}

fn golden(case: &str) -> PathBuf {
    common::fixtures().join("golden").join(case)
}

/// All recorded models.
fn cases() -> Vec<PathBuf> {
    let folder = common::fixtures().join("golden");
    let all = fs::read_dir(folder).expect("recorded cases");
    let mut all: Vec<_> = all.map(|e| e.expect("an entry").path()).collect();
    all.sort();
    assert!(all.len() >= 12);
    all
}

#[track_caller]
fn refusal<T>(result: Result<T>, parts: &[&str]) {
    let text = match result {
        Ok(_) => panic!("must be refused: {parts:?}"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("written");
    path
}
