//! Models by name, against a small hub in the test itself: what is right arrives whole, what is wrong is
//! refused with a message, and nothing that is not whole ever looks as if it were.

mod cache;
mod download;
mod faults;
mod parts;
mod refusals;
mod repair;
mod server;

use std::path::Path;

use perceiver::Result;

use crate::common::fixtures;
use crate::weights::writer as torch;

/// The message of an error.
#[track_caller]
fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("should be refused"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message}\nlacks: {part}");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// All files below a folder, with `/` between the parts of their names, without locks.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).expect("below");
            let parts: Vec<_> = name.iter().map(|p| p.to_string_lossy()).collect();
            found.push(parts.join("/"));
        }
    }
    found.retain(|name| !name.ends_with(".lock"));
    found.sort();
    found
}
