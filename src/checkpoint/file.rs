//! One safetensors file, memory-mapped.
//!
//! The header is parsed by the `safetensors` crate; what it promises is checked here against the
//! length of the file before any element is touched.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata};

use crate::error::{Error, Result};
use crate::tensor::{DType, Data, NamedTensors, Tensor};

/// Bytes before the header: its length.
const LENGTH: usize = 8;
/// A header of a hundred tensors has ten kilobytes; one of this size is an attack or no header.
const LONGEST_HEADER: u64 = 64 << 20;

/// Name, type and shape of a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Element type.
    pub dtype: DType,
    /// Shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// First and last byte in the data part.
    range: (usize, usize),
}

/// An open safetensors file.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    /// Where the data part begins.
    data: usize,
    entries: BTreeMap<String, Entry>,
}

fn damaged(path: &Path, what: impl Into<String>) -> Error {
    Error::checkpoint(
        path,
        what,
        "the file is damaged or no safetensors file; download or save it again",
    )
}

impl TensorFile {
    /// Maps a file and checks its header.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Checkpoint`] for a file that is truncated, has a hostile header or
    /// types that are not supported.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |e| Error::io("read", path, e);
        let file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(damaged(path, "is not a file"));
        }
        if meta.len() < LENGTH as u64 {
            return Err(damaged(
                path,
                format!("has {} bytes, a header alone takes more", meta.len()),
            ));
        }
        let map = map(&file).map_err(|e| Error::io("map", path, e))?;
        let (data, entries) = parse(path, &map)?;
        Ok(TensorFile {
            path: path.to_path_buf(),
            map,
            data,
            entries,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, e)| (name.as_str(), e))
    }

    /// One tensor.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    fn bytes(&self, entry: &Entry) -> &[u8] {
        // `parse` has checked the range against the map.
        &self.map[self.data + entry.range.0..self.data + entry.range.1]
    }

    /// The elements of a tensor of floats as `f32`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor or it holds integers.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| damaged(&self.path, format!("has no tensor `{name}`")))?;
        floats(entry.dtype, self.bytes(entry)).ok_or_else(|| {
            Error::checkpoint(
                &self.path,
                format!("tensor `{name}` holds {}", entry.dtype),
                "weights must be F32, F16, BF16 or F64",
            )
        })
    }

    /// A tensor with its own element type, smaller and wider ones converted to those that
    /// [`Data`] has.
    ///
    /// # Errors
    /// As [`TensorFile::read_f32`].
    pub fn read(&self, name: &str) -> Result<Tensor> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| damaged(&self.path, format!("has no tensor `{name}`")))?;
        let bytes = self.bytes(entry);
        let data = match entry.dtype {
            DType::U8 => Data::U8(bytes.to_vec()),
            DType::I16 => Data::I16(elements(bytes, i16::from_le_bytes)),
            DType::I32 => Data::I64(elements(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            DType::I64 => Data::I64(elements(bytes, i64::from_le_bytes)),
            dtype => Data::F32(floats(dtype, bytes).unwrap_or_default()),
        };
        Tensor::new(entry.shape.clone(), data)
    }
}

/// Reads all tensors of a file.
///
/// # Errors
/// As [`TensorFile::open`].
pub fn read_tensors(path: impl AsRef<Path>) -> Result<NamedTensors> {
    let file = TensorFile::open(path)?;
    let names: Vec<&String> = file.entries.keys().collect();
    let read = names
        .into_iter()
        .map(|name| Ok((name.clone(), file.read(name)?)));
    read.collect()
}

#[allow(unsafe_code, reason = "weights are too large to be read twice")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private to this process and read-only. A file that somebody truncates while
    // it is mapped would end the process with a bus error, as with every program that maps files;
    // the documentation of `Checkpoint` says so.
    unsafe { Mmap::map(file) }
}

/// Beginning of the data part, and entries whose ranges lie inside the file.
fn parse(path: &Path, file: &[u8]) -> Result<(usize, BTreeMap<String, Entry>)> {
    if file.starts_with(b"version https://git-lfs") {
        return Err(Error::checkpoint(
            path,
            "is a git-lfs pointer, not the weights",
            "run `git lfs pull` in the checkpoint's folder, or download the file itself",
        ));
    }
    let mut length = [0; LENGTH];
    length.copy_from_slice(&file[..LENGTH]);
    let length = u64::from_le_bytes(length);
    let rest = (file.len() - LENGTH) as u64;
    if length > rest {
        return Err(damaged(
            path,
            format!("is truncated: its header has {length} bytes, {rest} are there"),
        ));
    }
    if length > LONGEST_HEADER {
        return Err(damaged(path, format!("has a header of {length} bytes")));
    }
    // Not longer than the file, which is in memory.
    let data = LENGTH + length as usize;
    let header = &file[LENGTH..data];
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|e| damaged(path, format!("has a header that makes no sense: {e}")))?;
    let available = file.len() - data;
    let mut entries = BTreeMap::new();
    let mut end = 0;
    for (name, info) in metadata.tensors() {
        let shown: String = name.chars().take(120).collect();
        let (first, last) = info.data_offsets;
        if first > last || last > available {
            return Err(damaged(
                path,
                format!(
                    "is truncated: tensor `{shown}` ends at byte {last}, {available} are there"
                ),
            ));
        }
        end = end.max(last);
        let dtype = dtype(info.dtype).ok_or_else(|| {
            Error::checkpoint(
                path,
                format!("tensor `{shown}` has type {:?}", info.dtype),
                "supported are F32, F16, BF16, F64, I64, I32, I16, U8 and BOOL",
            )
        })?;
        let wanted = info
            .shape
            .iter()
            .try_fold(dtype.size(), |a, &b| a.checked_mul(b));
        if wanted != Some(last - first) {
            return Err(damaged(
                path,
                format!(
                    "tensor `{shown}` of shape {:?} and type {dtype} has {} bytes",
                    info.shape,
                    last - first
                ),
            ));
        }
        let entry = Entry {
            dtype,
            shape: info.shape.clone(),
            range: (first, last),
        };
        entries.insert(name, entry);
    }
    if end != available {
        return Err(damaged(
            path,
            format!("has {available} bytes of data, its header describes {end}"),
        ));
    }
    Ok((data, entries))
}

fn dtype(stored: Dtype) -> Option<DType> {
    Some(match stored {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F64 => DType::F64,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::U8 | Dtype::BOOL => DType::U8,
        _ => return None,
    })
}

/// Little-endian floats; `None` for integers.
fn floats(dtype: DType, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        DType::F32 => elements(bytes, f32::from_le_bytes),
        DType::F16 => elements(bytes, |b| f16::from_le_bytes(b).to_f32()),
        DType::BF16 => elements(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        DType::F64 => elements(bytes, |b| f64::from_le_bytes(b) as f32),
        _ => return None,
    })
}

/// Elements of N bytes each, at any alignment, converted on all threads.
fn elements<const N: usize, T: Send>(
    bytes: &[u8],
    convert: impl Fn([u8; N]) -> T + Sync,
) -> Vec<T> {
    bytes
        .par_chunks_exact(N)
        .with_min_len(1 << 16)
        .map(|chunk| {
            let mut element = [0; N];
            element.copy_from_slice(chunk);
            convert(element)
        })
        .collect()
}
