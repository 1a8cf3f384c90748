//! Pickles of weights, read by an interpreter that can make containers and descriptions of arrays, and
//! nothing else.
//!
//! Python's own `pickle` calls whatever a file names. This one executes nothing: the few names that
//! weights need are cases of an enum (`globals`), all others are refused by name.
//!
//! Invariants: each instruction makes at most one value of a few dozen bytes, so memory is bounded by
//! the length of the file, and by [`MOST_INSTRUCTIONS`] whatever its length; nothing recurses, however
//! deep a file nests; texts and elements are never copied, values hold where in the file they are.

mod calls;
mod globals;
mod machine;
mod stream;
mod value;

pub(crate) use value::{Array, Content, Heap, Tensor, Value};

use crate::error::Error;

/// The weights of five hundred tensors take some 30,000.
pub(crate) const MOST_INSTRUCTIONS: usize = 1 << 19;
/// Names of tensors and modules have at most some hundred bytes.
pub(crate) const LONGEST_NAME: usize = 512;

/// Why a pickle is not read.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It makes no sense.
    Damaged(String),
    /// It asks for something that no weights need.
    Forbidden(String),
}

impl Refusal {
    /// The error of a file.
    pub(crate) fn error(self, path: &std::path::Path) -> Error {
        match self {
            Refusal::Damaged(what) => {
                let hint = "the file is damaged or holds no weights; download or save it again";
                Error::checkpoint(path, what, hint)
            }
            Refusal::Forbidden(what) => Error::checkpoint(
                path,
                what,
                "only arrays and plain containers are read and nothing was executed; if the file \
                 should hold weights alone, do not open it elsewhere and ask its publisher for \
                 model.safetensors",
            ),
        }
    }
}

/// A pickle that was read.
pub(crate) struct Pickle<'a> {
    bytes: &'a [u8],
    /// What it describes.
    pub(crate) root: Value,
    /// What values refer to.
    pub(crate) heap: Heap,
    /// The first byte after it.
    pub(crate) end: usize,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle that begins at `from`; spans are positions in `bytes`.
    pub(crate) fn read(bytes: &'a [u8], from: usize) -> Result<Self, Refusal> {
        let (root, heap, end) = machine::run(bytes, from, false)?;
        Ok(Pickle { bytes, root, heap, end })
    }

    /// As [`Pickle::read`], of a file that may hold other things beside weights: what a name that is not known would have
    /// made is passed over.
    pub(crate) fn read_among(bytes: &'a [u8], from: usize) -> Result<Self, Refusal> {
        let (root, heap, end) = machine::run(bytes, from, true)?;
        Ok(Pickle { bytes, root, heap, end })
    }

    /// Tensors of mappings within mappings, names joined by dots; everything else is passed over.
    pub(crate) fn nested(&self) -> Result<Vec<(String, usize)>, Refusal> {
        const DEEPEST: usize = 8;
        let mut found = Vec::new();
        let mut waiting = vec![(String::new(), self.root, 0)];
        // Mappings may hold each other many times.
        let mut left = MOST_INSTRUCTIONS;
        while let Some((name, value, depth)) = waiting.pop() {
            left = left.checked_sub(1).ok_or_else(|| {
                Refusal::Forbidden("has more names than any weights have".to_owned())
            })?;
            match value {
                Value::Tensor(tensor) => found.push((name, tensor)),
                Value::Dict(dict) if depth < DEEPEST => {
                    for &(key, value) in &self.heap.dicts[dict] {
                        let holds = matches!(value, Value::Tensor(_) | Value::Dict(_));
                        let Some(key) = self.name(key).filter(|_| holds) else { continue };
                        let dot = if name.is_empty() { "" } else { "." };
                        if waiting.len() < MOST_INSTRUCTIONS && name.len() < LONGEST_NAME {
                            waiting.push((format!("{name}{dot}{key}"), value, depth + 1));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The text of a name; `None` for what is none.
    pub(crate) fn name(&self, value: Value) -> Option<&'a str> {
        name(self.bytes, value)
    }

    /// Keys and values of a mapping, whose keys must be names.
    pub(crate) fn items(&self, value: Value, what: &str) -> Result<Vec<(&'a str, Value)>, Refusal> {
        let Value::Dict(dict) = value else {
            let what = format!("{what} is {}, not a mapping of names to arrays", value.describe());
            return Err(Refusal::Damaged(what));
        };
        let items = self.heap.dicts[dict].iter().map(|&(key, value)| {
            let name = self.name(key).ok_or_else(|| {
                Refusal::Damaged(format!("{what} has {} as a key, not a name", key.describe()))
            })?;
            Ok((name, value))
        });
        items.collect()
    }
}

/// The text of a short name in a file.
fn name(bytes: &[u8], value: Value) -> Option<&str> {
    let (Value::Text(span) | Value::Bytes(span)) = value else {
        return None;
    };
    if span.len() > LONGEST_NAME {
        return None;
    }
    std::str::from_utf8(bytes.get(span.start..span.end)?).ok()
}
