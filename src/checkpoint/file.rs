//! One file of tensors, memory-mapped: safetensors, `torch.save` old and new, or a pickle of numpy
//! arrays. Which of them it is, its first bytes say.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::entry::shown;
use super::entry::{Entry, Unread};
use super::safetensors_file;
#[cfg(feature = "torch")]
use super::{haiku, torch_legacy, torch_zip};
use crate::error::{Error, Result};
use crate::memory;
use crate::open;
use crate::tensor::{NamedTensors, Tensor};

/// All tensors together may take this many times the bytes of the file: some share a storage, but
/// a file whose few bytes stand for gigabytes is an attack.
const MOST_SHARING: usize = 16;

/// How a file keeps its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WeightFormat {
    /// `model.safetensors`.
    Safetensors,
    /// `pytorch_model.bin`: a zip archive with a pickle, as torch saves since 1.6.
    Torch,
    /// Pickles and storages one after the other, as torch saved before 1.6.
    TorchLegacy,
    /// A pickle of modules with their arrays, as DeepMind published its models.
    Haiku,
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WeightFormat::Safetensors => "safetensors",
            WeightFormat::Torch => "torch",
            WeightFormat::TorchLegacy => "torch (before 1.6)",
            WeightFormat::Haiku => "haiku",
        })
    }
}

impl WeightFormat {
    /// The format of a file with these first bytes.
    fn of(file: &[u8]) -> Self {
        if file.starts_with(b"PK\x03\x04") {
            return WeightFormat::Torch;
        }
        #[cfg(feature = "torch")]
        if torch_legacy::is_one(file) {
            return WeightFormat::TorchLegacy;
        }
        // The header of safetensors begins at byte 8 with a brace, no pickle has one there: a protocol is
        // followed by a frame, a container or a name.
        match file {
            [0x80, 2..=5, ..] if file.get(8) != Some(&b'{') => WeightFormat::Haiku,
            _ => WeightFormat::Safetensors,
        }
    }
}

/// The bytes of a file: mapped, or in memory.
pub(crate) type Content = Box<dyn AsRef<[u8]> + Send + Sync>;

/// An open file of tensors.
pub struct TensorFile {
    path: PathBuf,
    content: Content,
    format: WeightFormat,
    entries: BTreeMap<String, Entry>,
    /// `None` for bytes that are in memory.
    identity: Option<Identity>,
}

/// What tells a file from others, and from itself before it was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    length: u64,
    modified: SystemTime,
    /// Device, inode, and when that changed.
    #[cfg(unix)]
    node: (u64, u64, i64, i64),
}

impl Identity {
    fn of(meta: &Metadata) -> Option<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Some(Identity {
            length: meta.len(),
            modified: meta.modified().ok()?,
            #[cfg(unix)]
            node: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorFile")
            .field("path", &self.path)
            .field("format", &self.format)
            .field("tensors", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl TensorFile {
    /// Maps a file and checks what it says about its tensors. No format executes anything.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Checkpoint`] for a file that is truncated, hostile, or has types that
    /// are not supported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::opened(path.as_ref(), false)
    }

    /// As [`TensorFile::open`], of a file that may hold other things beside weights, as checkpoints of a training do: tensors
    /// of mappings within mappings have names with dots, and everything else is passed over.
    pub(super) fn open_among(path: &Path) -> Result<Self> {
        Self::opened(path, true)
    }

    fn opened(path: &Path, among: bool) -> Result<Self> {
        let file = open::regular(path)?;
        let meta = file.metadata().map_err(|e| Error::io("read", path, e))?;
        if meta.len() == 0 {
            let hint = "the download broke off; download it again";
            return Err(Error::checkpoint(path, "has 0 bytes", hint));
        }
        let map = map(&file).map_err(|e| Error::io("map", path, e))?;
        let parsed = Self::parsed(path, map, among)?;
        Ok(TensorFile { identity: Identity::of(&meta), ..parsed })
    }

    /// As [`TensorFile::open`], of bytes that are in memory. Messages name them by `path`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as [`TensorFile::open`].
    pub(crate) fn of(path: &Path, content: Content) -> Result<Self> {
        Self::parsed(path, content, false)
    }

    #[cfg_attr(
        not(feature = "torch"),
        allow(unused_variables, reason = "other files hold weights alone")
    )]
    /// As [`TensorFile::open`], of these bytes; `among` as in `open_among`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as there.
    pub fn parsed(path: &Path, content: Content, among: bool) -> Result<Self> {
        let wrong = |what: &str, hint: &str| Err(Error::checkpoint(path, what, hint));
        let map = (*content).as_ref();
        if map.starts_with(b"version https://git-lfs") {
            return wrong(
                "is a git-lfs pointer, not the weights",
                "run `git lfs pull` in the checkpoint's folder, or download the file itself",
            );
        }
        let format = WeightFormat::of(map);
        let entries = match format {
            WeightFormat::Safetensors => safetensors_file::parse(path, map)?,
            #[cfg(feature = "torch")]
            WeightFormat::Torch => torch_zip::parse(path, map, among)?,
            #[cfg(feature = "torch")]
            WeightFormat::TorchLegacy => torch_legacy::parse(path, map)?,
            #[cfg(feature = "torch")]
            WeightFormat::Haiku => haiku::parse(path, map)?,
            #[cfg(not(feature = "torch"))]
            _ => {
                return wrong(
                    "holds weights as torch or DeepMind's code saves them, which this build does not read",
                    "build `perceiver` with its feature `torch`, or give the weights as safetensors",
                );
            }
        };
        let most = map.len().saturating_mul(MOST_SHARING);
        let total = entries.values().fold(0usize, |sum, e| sum.saturating_add(e.bytes()));
        if total > most {
            return Err(Error::checkpoint(
                path,
                format!("has {} bytes, but its tensors take {total} when they are read", map.len()),
                "its tensors share their elements as no weights do; save each by itself",
            ));
        }
        let path = path.to_path_buf();
        Ok(TensorFile { path, content, format, entries, identity: None })
    }

    fn content(&self) -> &[u8] {
        (*self.content).as_ref()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity.clone()
    }

    /// How it keeps its tensors.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.content().len() as u64
    }

    /// All tensors by name: those of a Haiku pickle are `module/name`, in Haiku's layout.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, e)| (name.as_str(), e))
    }

    /// One tensor.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    fn known(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            let what = format!("has no tensor `{}`", shown(name));
            Error::checkpoint(&self.path, what, "the names it has are those of its entries")
        })
    }

    /// The elements of a tensor of floats as `f32`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor or it holds integers.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.floats(name, self.known(name)?)
    }

    /// The elements of one of this file's entries, possibly transposed, as `f32`.
    pub(super) fn floats(&self, name: &str, entry: &Entry) -> Result<Vec<f32>> {
        entry.floats(self.content()).map_err(|unread| self.unread(name, entry, unread))
    }

    fn unread(&self, name: &str, entry: &Entry, unread: Unread) -> Error {
        let (name, shape) = (shown(name), &entry.shape);
        match unread {
            Unread::Whole => {
                let what = format!("tensor `{name}` holds {}", entry.dtype);
                Error::checkpoint(&self.path, what, "weights must be F32, F16, BF16 or F64")
            }
            Unread::NoMemory(Error::Limit { needed, limit, hint, .. }) => {
                let what = format!("{}: tensor `{name}` of shape {shape:?}", self.path.display());
                Error::Limit { what, needed, limit, hint }
            }
            Unread::NoMemory(other) => other,
        }
    }

    /// A tensor with its own element type, smaller and wider ones converted to those that
    /// [`Data`](crate::Data) has.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor.
    pub fn read(&self, name: &str) -> Result<Tensor> {
        self.tensor(name, self.known(name)?)
    }

    /// All tensors.
    fn all(&self) -> Result<NamedTensors> {
        let bytes = self.entries.values().fold(0usize, |sum, e| sum.saturating_add(e.bytes()));
        memory::allow(format_args!("{}", self.path.display()), bytes as u64)?;
        self.entries.keys().map(|name| Ok((name.clone(), self.read(name)?))).collect()
    }

    /// One of this file's entries, possibly transposed.
    pub(super) fn tensor(&self, name: &str, entry: &Entry) -> Result<Tensor> {
        let data = entry.data(self.content());
        let data = data.map_err(|unread| self.unread(name, entry, unread))?;
        Tensor::new(entry.shape.clone(), data)
    }
}

/// Reads all tensors of a file.
///
/// # Errors
/// [`Error::Io`], or [`Error::Checkpoint`] for a file that is truncated, hostile, or has types that
/// are not supported.
pub fn read_tensors(path: impl AsRef<Path>) -> Result<NamedTensors> {
    TensorFile::open(path)?.all()
}

/// Reads all tensors of a file that is in memory.
///
/// # Errors
/// [`Error::Checkpoint`] as [`read_tensors`].
pub(crate) fn tensors_from_bytes(bytes: &[u8]) -> Result<NamedTensors> {
    TensorFile::of(Path::new(IN_MEMORY), Box::new(bytes.to_vec()))?.all()
}

/// What messages call files that are in memory.
pub(crate) const IN_MEMORY: &str = "(bytes in memory)";

#[cfg(feature = "files")]
#[allow(unsafe_code, reason = "weights are too large to be read twice")]
fn map(file: &File) -> std::io::Result<Content> {
    // SAFETY: the map is private to this process and read-only. A file that somebody truncates while
    // it is mapped would end the process with a bus error, as with every program that maps files;
    // the documentation of `Checkpoint` says so.
    unsafe { Ok(Box::new(memmap2::Mmap::map(file)?)) }
}

#[cfg(not(feature = "files"))]
fn map(mut file: &File) -> std::io::Result<Content> {
    let mut bytes = Vec::new();
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(length).map_err(|_| std::io::ErrorKind::OutOfMemory)?;
    std::io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(Box::new(bytes))
}
