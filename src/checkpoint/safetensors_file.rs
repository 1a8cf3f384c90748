//! The header of a safetensors file. It is parsed by the `safetensors` crate; what it promises is
//! checked here against the length of the file before any element is touched.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata};

use super::entry::shown;
use super::entry::{Entry, Layout, MOST_AXES};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Bytes before the header: its length.
const LENGTH: usize = 8;
/// A header of a hundred tensors has ten kilobytes; one of this size is an attack or no header.
const LONGEST_HEADER: u64 = 16 << 20;

/// Entries whose ranges lie inside the file.
pub(super) fn parse(path: &Path, file: &[u8]) -> Result<BTreeMap<String, Entry>> {
    parse_start(path, file, file.len())
}

/// Bytes of the header and of what is before it, as the first bytes of a file state them.
#[cfg(feature = "hub")]
pub(crate) fn stated_header(file: &[u8]) -> Option<u64> {
    let (length, _) = file.split_first_chunk::<LENGTH>()?;
    u64::from_le_bytes(*length).checked_add(LENGTH as u64).filter(|&n| n <= LONGEST_HEADER)
}

/// The same of a file of `bytes`, of which `file` has the beginning.
pub(crate) fn parse_start(
    path: &Path,
    file: &[u8],
    bytes: usize,
) -> Result<BTreeMap<String, Entry>> {
    let damaged = |what: String| {
        let hint = "the file is damaged or no safetensors file; download or save it again";
        Error::checkpoint(path, what, hint)
    };
    let Some((length, rest)) = file.split_first_chunk::<LENGTH>() else {
        return Err(damaged(format!("has {} bytes, a header alone takes more", file.len())));
    };
    let length = u64::from_le_bytes(*length);
    let left = bytes.saturating_sub(LENGTH) as u64;
    if length > LONGEST_HEADER {
        return Err(damaged(format!("states a header of {length} bytes")));
    }
    if length > left {
        let what = format!("is truncated: its header has {length} bytes, {left} are there");
        return Err(damaged(what));
    }
    // Not longer than the file, whose length is a `usize`.
    let data = LENGTH + length as usize;
    let Some(header) = rest.get(..length as usize) else {
        return Err(damaged(format!("has a header of {length} bytes, {} are here", rest.len())));
    };
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|e| damaged(format!("has a header that makes no sense: {e}")).caused_by(e))?;
    let available = bytes - data;
    let mut entries = BTreeMap::new();
    let mut end = 0;
    for (name, info) in metadata.tensors() {
        let shown = shown(&name);
        let (first, last) = info.data_offsets;
        if first > last || last > available {
            return Err(damaged(format!(
                "is truncated: tensor `{shown}` ends at byte {last}, {available} are there"
            )));
        }
        end = end.max(last);
        let dtype = dtype(info.dtype).ok_or_else(|| {
            let hint = "supported are F32, F16, BF16, F64, I64, I32, I16, U8 and BOOL";
            Error::checkpoint(path, format!("tensor `{shown}` has type {:?}", info.dtype), hint)
        })?;
        let axes = info.shape.len();
        if axes > MOST_AXES {
            let what = format!("tensor `{shown}` has {axes} axes, at most {MOST_AXES} are read");
            return Err(damaged(what));
        }
        let wanted = info.shape.iter().try_fold(dtype.size(), |a, &b| a.checked_mul(b));
        if wanted != Some(last - first) {
            let (shape, bytes) = (&info.shape, last - first);
            return Err(damaged(format!(
                "tensor `{shown}` of shape {shape:?} and type {dtype} has {bytes} bytes"
            )));
        }
        let layout = Layout::dense((data + first, data + last), &info.shape);
        let entry = Entry::new(dtype, info.shape.clone(), layout, (last - first) / dtype.size());
        let entry = entry.map_err(|what| damaged(format!("tensor `{shown}` {what}")))?;
        entries.insert(name, entry);
    }
    if end != available {
        let what = format!("has {available} bytes of data, its header describes {end}");
        return Err(damaged(what));
    }
    Ok(entries)
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
