//! Files of `torch.save` since 1.6: a zip archive with `data.pkl` and one entry for each storage.
//!
//! Torch stores its entries without compression, so that they can be mapped. Archives that are
//! compressed are refused: nothing is ever unpacked, and no name in an archive becomes a path.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use zip::CompressionMethod;
use zip::read::{ArchiveOffset, Config, ZipArchive};

use super::entry::Entry;
use super::entry::shown;
use super::pickle::{Pickle, Value};
use super::torch::{Range, entries, nested};
use crate::error::{Error, Result};

/// The pickle, below a folder of any name.
const PICKLE: &str = "data.pkl";

/// The tensors of an archive; `among` passes over what it holds beside them.
pub(super) fn parse(path: &Path, file: &[u8], among: bool) -> Result<BTreeMap<String, Entry>> {
    let wrong = |what: String| {
        let hint = "the file is damaged or was not made by torch.save; download or save it again";
        Error::checkpoint(path, what, hint)
    };
    let places = places(file).map_err(wrong)?;
    let pickles: Vec<&String> =
        places.keys().filter(|name| name.strip_suffix(PICKLE).is_some_and(is_folder)).collect();
    let [pickle] = pickles[..] else {
        return Err(wrong(format!(
            "is a zip archive with {} pickles of tensors (`{PICKLE}` in its folder), not one",
            pickles.len()
        )));
    };
    let folder = pickle.strip_suffix(PICKLE).unwrap_or_default();
    let big_endian = match places.get(&format!("{folder}byteorder")) {
        None => false,
        Some(&(start, end)) => match file[start..end].trim_ascii() {
            b"little" => false,
            b"big" => true,
            other => {
                let order = String::from_utf8_lossy(&other[..other.len().min(40)]).into_owned();
                return Err(wrong(format!(
                    "has the byte order `{}`, which is neither little nor big",
                    shown(&order)
                )));
            }
        },
    };
    let (start, end) = places[pickle];
    // Positions in the pickle are positions in the file.
    let read = if among { Pickle::read_among } else { Pickle::read };
    let read = read(&file[..end], start).map_err(|refusal| refusal.error(path))?;
    let place = |storage: usize| -> Result<Range> {
        let key = read.name(Value::Text(read.heap.storages[storage].key));
        let key = key.ok_or_else(|| wrong("has a storage without a proper name".to_owned()))?;
        let name = format!("{folder}data/{key}");
        let found = places.get(&name).copied();
        found.ok_or_else(|| {
            wrong(format!("refers to `{}`, which is not in the archive", shown(&name)))
        })
    };
    if among {
        return nested(path, &read, big_endian, &place);
    }
    entries(path, &read, big_endian, &place)
}

/// True for one folder and its slash, whatever its name: it is compared, never opened.
fn is_folder(prefix: &str) -> bool {
    prefix.len() > 1 && prefix.find('/') == Some(prefix.len() - 1)
}

/// Where the content of each entry is. The error is what is wrong with the archive.
fn places(file: &[u8]) -> Result<BTreeMap<String, Range>, String> {
    let unreadable = |e: zip::result::ZipError| {
        let what: String = e.to_string().chars().take(200).collect();
        format!("is no zip archive that can be read, or is truncated: {what}")
    };
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, Cursor::new(file)).map_err(unreadable)?;
    if archive.has_duplicate_names() {
        return Err("is a zip archive with two entries of one name".to_owned());
    }
    if archive.has_overlapping_entries().map_err(unreadable)? {
        return Err("is a zip archive with entries that overlap".to_owned());
    }
    let mut places = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(unreadable)?;
        let name = entry.name().map_err(unreadable)?.into_owned();
        if entry.encrypted() {
            return Err(format!("has the entry `{}`, which is encrypted", shown(&name)));
        }
        if entry.compression() != CompressionMethod::Stored
            || entry.size() != entry.compressed_size()
        {
            return Err(format!(
                "has the entry `{}`, which is compressed, as torch.save never does",
                shown(&name)
            ));
        }
        let start = entry.data_start().and_then(|s| usize::try_from(s).ok());
        let size = usize::try_from(entry.size()).ok();
        let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
        let (Some(start), Some(end)) = (start, end.filter(|&end| end <= file.len())) else {
            return Err(format!("is truncated: the entry `{}` ends beyond the file", shown(&name)));
        };
        places.insert(name, (start, end));
    }
    Ok(places)
}
