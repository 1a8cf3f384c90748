//! State dicts of torch: names with tensors, each a view of a storage.

use std::collections::BTreeMap;
use std::path::Path;

use super::entry::shown;
use super::entry::{Entry, Layout, MOST_AXES};
use super::pickle::{Pickle, Refusal, Tensor, Value};
use crate::error::{Error, Result};

/// Names in a state dict.
const MOST_TENSORS: usize = 100_000;

/// Where a storage is: first and last byte in the file.
pub(super) type Range = (usize, usize);

/// The tensors of a state dict. `place` says where a storage is, by its number in the heap.
pub(super) fn entries(
    path: &Path,
    pickle: &Pickle<'_>,
    big_endian: bool,
    place: &dyn Fn(usize) -> Result<Range>,
) -> Result<BTreeMap<String, Entry>> {
    let items =
        pickle.items(pickle.root, "what it holds").map_err(|refusal| refusal.error(path))?;
    if items.len() > MOST_TENSORS {
        let what = format!("has {} tensors, at most {MOST_TENSORS} are read", items.len());
        return Err(Refusal::Forbidden(what).error(path));
    }
    let mut entries = BTreeMap::new();
    for (name, value) in items {
        let Value::Tensor(tensor) = value else {
            let what = format!("`{}` is {}, not a tensor", shown(name), value.describe());
            let hint = "give a state dict: torch.save(model.state_dict(), file)";
            return Err(Error::checkpoint(path, what, hint));
        };
        let tensor = &pickle.heap.tensors[tensor];
        let range = place(tensor.storage)?;
        let entry = entry(pickle, tensor, range, big_endian).map_err(|what| {
            let hint = "the file is damaged or hostile; download or save it again";
            Error::checkpoint(path, format!("tensor `{}` {what}", shown(name)), hint)
        })?;
        if entries.insert(name.to_owned(), entry).is_some() {
            let what = format!("has tensor `{}` twice", shown(name));
            return Err(Refusal::Damaged(what).error(path));
        }
    }
    Ok(entries)
}

/// The tensors of mappings within mappings. What is no tensor that can be read is passed over: weights that are asked for
/// are then missing by name.
pub(super) fn nested(
    path: &Path,
    pickle: &Pickle<'_>,
    big_endian: bool,
    place: &dyn Fn(usize) -> Result<Range>,
) -> Result<BTreeMap<String, Entry>> {
    let found = pickle.nested().map_err(|refusal| refusal.error(path))?;
    let mut entries = BTreeMap::new();
    for (name, tensor) in found.into_iter().take(MOST_TENSORS) {
        let tensor = &pickle.heap.tensors[tensor];
        if let Ok(entry) = entry(pickle, tensor, place(tensor.storage)?, big_endian) {
            entries.insert(name, entry);
        }
    }
    Ok(entries)
}

/// A tensor whose elements all lie in its storage. The error is what is wrong with it.
fn entry(
    pickle: &Pickle<'_>,
    tensor: &Tensor,
    range: Range,
    big_endian: bool,
) -> Result<Entry, String> {
    let heap = &pickle.heap;
    let axes = heap.tuple(tensor.shape).len();
    if axes.max(heap.tuple(tensor.strides).len()) > MOST_AXES {
        return Err(format!("has {axes} axes, at most {MOST_AXES} are read"));
    }
    let sizes = heap.sizes(tensor.shape).zip(heap.sizes(tensor.strides));
    let Some((shape, strides)) = sizes else {
        return Err("has a shape or strides that are no sizes".to_owned());
    };
    let Some(dtype) = tensor.element.dtype else {
        return Err(format!(
            "has type {}; supported are float32, float16, bfloat16, float64, int64, int32, int16, uint8 \
             and bool",
            tensor.element.name
        ));
    };
    let storage = &heap.storages[tensor.storage];
    let (start, len) = storage.view.unwrap_or((0, storage.len));
    let stored = storage.element.size;
    let begin = start.checked_mul(stored);
    let end = begin.zip(len.checked_mul(stored)).and_then(|(b, l)| b.checked_add(l));
    let inside = begin.zip(end).filter(|&(_, end)| end <= range.1 - range.0);
    let Some((begin, end)) = inside else {
        return Err(format!(
            "has a storage of {len} elements of type {}, but there are {} bytes",
            storage.element.name,
            range.1 - range.0
        ));
    };
    let layout = Layout {
        range: (range.0 + begin, range.0 + end),
        offset: tensor.offset,
        strides,
        big_endian,
        encoded: false,
    };
    Entry::new(dtype, shape, layout, (end - begin) / dtype.size())
}
