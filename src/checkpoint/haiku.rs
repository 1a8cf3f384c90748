//! Pickles of Haiku's parameters: modules with their arrays, as DeepMind published its models.
//!
//! A file holds `{module: {name: array}}`, or that under `params` with batch statistics of the same form
//! under `state`. Entries are named `module/name`; `haiku_names` knows Hugging Face's names.

use std::collections::BTreeMap;
use std::path::Path;

use super::entry::shown;
use super::entry::{Entry, Layout, MOST_AXES, count, decoded_len, row_major};
use super::pickle::{Array, Content, Pickle, Refusal, Value};
use crate::error::Result;

/// Arrays of all modules.
const MOST_ARRAYS: usize = 100_000;

/// The arrays of a pickle.
pub(super) fn parse(path: &Path, file: &[u8]) -> Result<BTreeMap<String, Entry>> {
    read(file).map_err(|refusal| refusal.error(path))
}

fn read(file: &[u8]) -> Result<BTreeMap<String, Entry>, Refusal> {
    let pickle = Pickle::read(file, 0)?;
    let top = pickle.items(pickle.root, "what it holds")?;
    let named = |name: &str| top.iter().rev().find(|(n, _)| *n == name);
    let mut entries = BTreeMap::new();
    if let Some(&(_, params)) = named("params") {
        modules(file, &pickle, pickle.items(params, "`params`")?, &mut entries)?;
        match named("state") {
            None | Some((_, Value::None)) => {}
            Some(&(_, state)) => {
                modules(file, &pickle, pickle.items(state, "`state`")?, &mut entries)?;
            }
        }
    } else {
        modules(file, &pickle, top, &mut entries)?;
    }
    Ok(entries)
}

/// Adds the arrays of modules.
fn modules(
    file: &[u8],
    pickle: &Pickle<'_>,
    modules: Vec<(&str, Value)>,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), Refusal> {
    for (module, arrays) in modules {
        let what = format!("module `{}`", shown(module));
        for (name, value) in pickle.items(arrays, &what)? {
            let name = format!("{module}/{name}");
            if entries.len() >= MOST_ARRAYS {
                return Err(Refusal::Forbidden(format!("has more than {MOST_ARRAYS} arrays")));
            }
            let array = match value {
                Value::Array(array) => pickle.heap.arrays[array].as_ref(),
                _ => None,
            };
            let Some(array) = array else {
                return Err(Refusal::Damaged(format!(
                    "`{}` is {}, not an array with its elements",
                    shown(&name),
                    value.describe()
                )));
            };
            // Numbers of steps, which no model needs, may have types that weights have not.
            if array.kind.element.dtype.is_none() {
                let (what, kind) = (shown(&name), array.kind.element.name);
                return Err(Refusal::Damaged(format!("array `{what}` has type {kind}")));
            }
            let entry = entry(file, pickle, array)
                .map_err(|what| Refusal::Damaged(format!("array `{}` {what}", shown(&name))))?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Refusal::Damaged(format!("has array `{}` twice", shown(&name))));
            }
        }
    }
    Ok(())
}

/// An array whose bytes are exactly those of its shape. The error is what is wrong with it.
fn entry(file: &[u8], pickle: &Pickle<'_>, array: &Array) -> Result<Entry, String> {
    let axes = pickle.heap.tuple(array.shape).len();
    if axes > MOST_AXES {
        return Err(format!("has {axes} axes, at most {MOST_AXES} are read"));
    }
    let (Some(shape), Some(dtype)) = (pickle.heap.sizes(array.shape), array.kind.element.dtype)
    else {
        return Err("has a shape or type that makes no sense".to_owned());
    };
    let wanted = count(&shape).and_then(|n| n.checked_mul(dtype.size()));
    let (span, encoded) = match array.content {
        Content::Plain(span) => (span, false),
        Content::Encoded(span) => (span, true),
    };
    let found = match wanted {
        // One or two bytes of text for a byte: what does not fit is not even counted.
        Some(wanted) if encoded && (wanted..=wanted.saturating_mul(2)).contains(&span.len()) => {
            decoded_len(&file[span.start..span.end])
        }
        _ if encoded => None,
        _ => Some(span.len()),
    };
    if found.is_none() || found != wanted {
        return Err(format!(
            "of shape {shape:?} and type {dtype} has {} bytes",
            found.unwrap_or(span.len())
        ));
    }
    let strides = if array.fortran {
        let mut reversed: Vec<usize> = shape.iter().rev().copied().collect();
        reversed = row_major(&reversed);
        reversed.reverse();
        reversed
    } else {
        row_major(&shape)
    };
    let layout = Layout {
        range: (span.start, span.end),
        offset: 0,
        strides,
        big_endian: array.kind.big_endian,
        encoded,
    };
    let available = found.unwrap_or(0) / dtype.size();
    Entry::new(dtype, shape, layout, available)
}
