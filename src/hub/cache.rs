//! One model's folder in the cache, in the layout of Python's `huggingface_hub`.
//!
//! ```text
//! models--ORG--NAME/refs/REVISION              a commit
//! models--ORG--NAME/blobs/ETAG                 a file's content, once
//! models--ORG--NAME/snapshots/COMMIT/FILE  ->  ../../blobs/ETAG
//! models--ORG--NAME/parts/COMMIT/KEY/          of a larger model, the tensors of its Perceiver (not Python's), and their digest
//! .locks/models--ORG--NAME/ETAG.lock           locked while that blob is written
//! ```
//!
//! Invariants: a blob takes its name only when it is whole and checked; a reference is written last;
//! what Python left is used as it is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::listing::{CONFIG, is_complete};
use super::name::{ModelName, is_commit, is_file_name};
use crate::error::{Error, Result};
use crate::open;
use crate::output::{whole_file, write_bytes};

/// A commit has 40 bytes; a reference of more is none.
const LONGEST_REFERENCE: u64 = 256;

/// A model that the cache holds whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cached {
    /// The commit.
    pub commit: String,
    /// The folder with configuration and weights.
    pub folder: PathBuf,
    /// What its files take.
    pub bytes: u64,
}

/// One model's folder.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    locks: PathBuf,
    model: ModelName,
}

impl Store {
    pub(super) fn new(cache: &Path, model: &ModelName) -> Self {
        Store {
            root: cache.join(model.folder()),
            locks: cache.join(".locks").join(model.folder()),
            model: model.clone(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// The folder of a part of a model, by what was asked for.
    pub(super) fn part(&self, commit: &str, key: &str) -> PathBuf {
        self.root.join("parts").join(commit).join(key)
    }

    /// The folders of all parts of a commit.
    pub(super) fn parts(&self, commit: &str) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.root.join("parts").join(commit)).into_iter().flatten();
        let mut folders: Vec<_> = folders.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        folders
    }

    /// What a folder below the model's is called in reports.
    pub(super) fn name(&self, folder: &Path) -> String {
        folder.strip_prefix(&self.root).unwrap_or(folder).display().to_string()
    }

    /// Deletes the folder of a part whose content is wrong.
    pub(super) fn discard(&self, folder: &Path) -> Result<()> {
        fs::remove_dir_all(folder).map_err(|e| Error::io("delete", folder, e))
    }

    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// The commit that the model's revision was, when it was last asked for.
    pub(super) fn commit(&self) -> Option<String> {
        if self.model.is_commit() {
            return Some(self.model.revision.clone());
        }
        let file = self.reference();
        let commit = open::text(&file, LONGEST_REFERENCE).ok()??.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    /// The model's folder, when at least its configuration is there.
    pub(super) fn described(&self) -> Option<PathBuf> {
        let folder = self.snapshot(&self.commit()?);
        folder.join(CONFIG).is_file().then_some(folder)
    }

    /// The model, when configuration and weights are all there.
    pub(super) fn complete(&self) -> Option<Cached> {
        let commit = self.commit()?;
        let folder = self.snapshot(&commit);
        if !is_complete(&folder) {
            return None;
        }
        // `metadata` follows the links to the blobs.
        let entries = fs::read_dir(&folder).ok()?;
        let files = entries.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
        let bytes = files.filter(fs::Metadata::is_file).map(|file| file.len()).sum();
        Some(Cached { commit, folder, bytes })
    }

    /// Files of a snapshot that are links to blobs, with their etags.
    pub(super) fn linked(&self, commit: &str) -> Vec<(String, String)> {
        let snapshot = self.snapshot(commit);
        let (mut linked, mut open) = (Vec::new(), vec![snapshot.clone()]);
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(path);
                    continue;
                }
                let blob = fs::read_link(&path).ok();
                let etag = blob.as_ref().and_then(|b| b.file_name()?.to_str());
                let file = path.strip_prefix(&snapshot).ok().and_then(Path::to_str);
                if let Some((file, etag)) = file.zip(etag.filter(|etag| is_file_name(etag))) {
                    linked.push((file.to_owned(), etag.to_owned()));
                }
            }
        }
        linked.sort();
        linked
    }

    /// Deletes a blob whose content is wrong, so that it is downloaded again.
    pub(super) fn delete(&self, etag: &str) -> Result<()> {
        let blob = self.blob(etag);
        fs::remove_file(&blob).map_err(|e| Error::io("delete", &blob, e))
    }

    /// Puts a blob into a snapshot under the name of its file.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let place = self.snapshot(commit).join(file);
        // A file may lie in a folder of the repository.
        create_folder(place.parent().unwrap_or(&place))?;
        let leads = fs::read_link(&place).is_ok_and(|to| to.file_name() == Some(etag.as_ref()));
        if leads && place.is_file() {
            return Ok(());
        }
        // A copy that is damaged, or a link that leads nowhere: its blob was deleted.
        if place.symlink_metadata().is_ok() {
            fs::remove_file(&place).map_err(|e| Error::io("replace", &place, e))?;
        }
        let up = "../".repeat(2 + file.matches('/').count());
        let blob = Path::new(&up).join("blobs").join(etag);
        match symlink(&blob, &place) {
            Err(_) if place.is_file() => Ok(()),
            // Windows without the right to make links, or a disk that has none.
            Err(_) => copy(&self.blob(etag), &place),
            Ok(()) => Ok(()),
        }
    }

    /// Remembers which commit the revision is.
    pub(super) fn set_reference(&self, commit: &str) -> Result<()> {
        if self.model.is_commit() || self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        let file = self.reference();
        if let Some(folder) = file.parent() {
            create_folder(folder)?;
        }
        write_bytes(&file, commit.as_bytes())
    }

    /// Keeps others, Python's included, from writing the same blob. Given back when dropped.
    pub(super) fn lock(&self, etag: &str) -> Result<File> {
        create_folder(&self.locks)?;
        let path = self.locks.join(format!("{etag}.lock"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| Error::io("create", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::hub(
                self.model.to_string(),
                format!("is being downloaded by another program, which holds {}", path.display()),
                "wait until that is done and try again",
            )),
            // Some network disks have no locks. Content is checked before it gets its name, so
            // that two downloads cost time and no more.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
        }
    }

    fn reference(&self) -> PathBuf {
        self.root.join("refs").join(&self.model.revision)
    }
}

pub(super) fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    whole_file(to, |file| {
        io::copy(&mut open::regular(from)?, file.as_file_mut())
            .and_then(|_| file.flush())
            .map_err(|e| Error::io("copy", from, e))
    })
}

#[cfg(unix)]
fn symlink(to: &Path, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, place)
}

#[cfg(windows)]
fn symlink(to: &Path, place: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(to, place)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[path = "../../tests/unit/hub_cache.rs"]
mod tests;
