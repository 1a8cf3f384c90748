//! The tensors of a Perceiver inside a larger model: of safetensors files their headers and those tensors alone.
//!
//! Invariants: a file of a part takes its name only when it is whole; it holds exactly the tensors that the family reads, and
//! with them alone the same blueprint is recognised. Ranges cannot be compared with the hub's SHA-256, which is of whole
//! files: their lengths and places are checked, and what came has a digest of its own from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use super::client::Client;
use super::download::Wanted;
use super::failure::Failure;
use super::name::ModelName;
use crate::checkpoint::entry::Entry;
use crate::checkpoint::{parse_start, stated_header};
use crate::error::{Error, Result};
use crate::output::write_whole;
use crate::perceiver::families;

/// Bytes that are asked for at once: the header of most files, and parts of tensors.
const START: u64 = 256 << 10;
const PIECE: u64 = 8 << 20;
/// Tries of one piece.
const TRIES: usize = 3;

/// One tensor in one of the files.
struct Place {
    file: usize,
    entry: Entry,
}

/// The tensors of a part, in the order in which the files have them.
pub(super) struct Tensors<'a> {
    files: &'a [Wanted],
    places: Vec<(String, Place)>,
}

impl<'a> Tensors<'a> {
    /// Finds a part by the headers of the files; `None` where the server has no ranges, or where they would save less than
    /// half.
    pub(super) fn find(
        client: &Client,
        model: &ModelName,
        files: &'a [Wanted],
        config: &Value,
        part: Option<&str>,
    ) -> Result<Option<Self>> {
        let mut all = BTreeMap::new();
        for (file, wanted) in files.iter().enumerate() {
            let start = header(client, wanted);
            let Some(start) = start.map_err(|failure| failure.error(model, client.base()))? else {
                return Ok(None);
            };
            let Ok(length) = usize::try_from(wanted.size) else { return Ok(None) };
            let entries = parse_start(Path::new(&wanted.file), &start, length)?;
            all.extend(entries.into_iter().map(|(name, entry)| (name, Place { file, entry })));
        }
        let shapes: BTreeMap<_, _> =
            all.iter().map(|(name, place)| (name.clone(), place.entry.shape.clone())).collect();
        let origin = match files {
            [file] => format!("{model}, {}", file.file),
            _ => model.to_string(),
        };
        let (_, blueprint) = families::recognise(&shapes, config, part, &origin)?;
        let names: BTreeSet<String> =
            blueprint.tensors()?.into_iter().map(|(name, _)| name).collect();
        let mut few = shapes;
        few.retain(|name, _| names.contains(name));
        all.retain(|name, _| names.contains(name));
        let bytes: usize = all.values().map(|place| place.entry.bytes()).sum();
        let same =
            families::recognise(&few, config, part, &origin).is_ok_and(|(_, b)| b == blueprint);
        let whole: u64 = files.iter().map(|file| file.size).sum();
        if !same || bytes as u64 * 2 > whole {
            return Ok(None);
        }
        let mut places: Vec<_> = all.into_iter().collect();
        places.sort_by_key(|(_, place)| (place.file, place.entry.range()));
        Ok(Some(Tensors { files, places }))
    }

    /// Downloads them into a safetensors file of their own. `advance` is told the file, how many bytes are here, and of how
    /// many.
    pub(super) fn fetch(
        &self,
        client: &Client,
        model: &ModelName,
        to: &Path,
        advance: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<()> {
        let mut entries = serde_json::Map::new();
        let mut end = 0;
        // Tensors that follow each other are one range.
        let mut ranges: Vec<(usize, Range<u64>)> = Vec::new();
        for (name, Place { file, entry }) in &self.places {
            let (first, last) = entry.range();
            let stored = serde_json::json!({
                "dtype": entry.dtype.to_string(),
                "shape": entry.shape,
                "data_offsets": [end, end + last - first],
            });
            entries.insert(name.clone(), stored);
            end += last - first;
            match ranges.last_mut() {
                Some((of, range)) if of == file && range.end == first as u64 => {
                    range.end = last as u64;
                }
                _ => ranges.push((*file, first as u64..last as u64)),
            }
        }
        let mut header = Value::Object(entries).to_string();
        // Elements begin at a multiple of eight.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let (mut done, total) = (0, end as u64);
        write_whole(to, |out| {
            let io = |e| Error::io("write", to, e);
            out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
            out.write_all(header.as_bytes()).map_err(io)?;
            for (file, range) in &ranges {
                let wanted = &self.files[*file];
                let mut at = range.start;
                while at < range.end {
                    let next = range.end.min(at + PIECE);
                    let bytes = piece(client, wanted, at..next)
                        .and_then(|bytes| bytes.ok_or_else(|| no_range(wanted)))
                        .map_err(|failure| failure.error(model, client.base()))?;
                    out.write_all(&bytes).map_err(io)?;
                    done += next - at;
                    at = next;
                    advance(&wanted.file, done, total);
                }
            }
            Ok(())
        })
    }
}

fn no_range(wanted: &Wanted) -> Failure {
    Failure::nonsense(&wanted.address, "gave one range of the file and now gives none")
}

/// The header of a file and what is before it; `None` from a server without ranges.
fn header(client: &Client, wanted: &Wanted) -> Result<Option<Vec<u8>>, Failure> {
    let Some(start) = piece(client, wanted, 0..START.min(wanted.size))? else { return Ok(None) };
    // What is wrong with a header that states too much, its parser tells.
    match stated_header(&start).map(|n| n.min(wanted.size)) {
        Some(n) if n > start.len() as u64 => piece(client, wanted, 0..n),
        _ => Ok(Some(start)),
    }
}

/// A range of a file, asked for again when the network fails.
fn piece(client: &Client, wanted: &Wanted, range: Range<u64>) -> Result<Option<Vec<u8>>, Failure> {
    let mut found = client.range(&wanted.address, &range);
    for _ in 1..TRIES {
        match &found {
            Err(failure) if failure.is_outage() => {
                std::thread::sleep(super::download::PAUSE);
                found = client.range(&wanted.address, &range);
            }
            _ => break,
        }
    }
    found
}
