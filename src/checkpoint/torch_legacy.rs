//! Files of `torch.save` before 1.6: four pickles (magic number, protocol, machine, tensors), a fifth
//! with the names of the storages, then the storages, each after its number of elements.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::entry::Entry;
use super::pickle::{Pickle, Refusal, Value};
use super::torch::{Range, entries};
use crate::error::Result;

/// The first pickle: a whole number of ten bytes.
const MAGIC: [u8; 15] =
    [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
const PROTOCOL: i64 = 1001;

/// True for a file that begins like one.
pub(super) fn is_one(file: &[u8]) -> bool {
    file.starts_with(&MAGIC)
}

/// The tensors of a file.
pub(super) fn parse(path: &Path, file: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let (tensors, ranges) = read(file).map_err(|refusal| refusal.error(path))?;
    let place = |storage: usize| -> Result<Range> { Ok(ranges[storage]) };
    // Storages are little-endian whatever machine wrote them.
    entries(path, &tensors, false, &place)
}

/// The pickle of tensors, and where each storage of its heap is.
fn read(file: &[u8]) -> Result<(Pickle<'_>, Vec<Range>), Refusal> {
    let protocol = Pickle::read(file, MAGIC.len())?;
    if protocol.root != Value::Whole(PROTOCOL) {
        let what = format!("was made by torch.save of another protocol than {PROTOCOL}");
        return Err(Refusal::Damaged(what));
    }
    let machine = Pickle::read(file, protocol.end)?;
    let tensors = Pickle::read(file, machine.end)?;
    let keys = Pickle::read(file, tensors.end)?;
    let Value::List(list) = keys.root else {
        return Err(Refusal::Damaged("has no list of storages".to_owned()));
    };
    let missing = || Refusal::Damaged("has a storage without a proper name".to_owned());
    // Elements are as long as the tensors say.
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::new();
    for storage in &tensors.heap.storages {
        let name = tensors.name(Value::Text(storage.key)).ok_or_else(missing)?;
        names.push(name);
        let size = storage.element.size;
        if *sizes.entry(name).or_insert(size) != size {
            return Err(Refusal::Damaged("has a storage of two element types".to_owned()));
        }
    }
    let mut places: HashMap<&str, Range> = HashMap::new();
    let mut at = keys.end;
    for &key in &keys.heap.lists[list] {
        let name = keys.name(key).ok_or_else(missing)?;
        let Some(&size) = sizes.get(name) else {
            return Err(Refusal::Damaged("has a storage that no tensor uses".to_owned()));
        };
        let range = range(file, at, size).ok_or_else(|| {
            Refusal::Damaged(format!("is truncated: a storage at byte {at} ends beyond the file"))
        })?;
        if places.insert(name, range).is_some() {
            return Err(Refusal::Damaged("has a storage twice".to_owned()));
        }
        at = range.1;
    }
    let ranges: Option<Vec<Range>> = names.iter().map(|n| places.get(n).copied()).collect();
    let ranges = ranges
        .ok_or_else(|| Refusal::Damaged("has a tensor whose storage is not there".to_owned()))?;
    Ok((tensors, ranges))
}

/// Where the elements of a storage are whose length stands at `at`.
fn range(file: &[u8], at: usize, size: usize) -> Option<Range> {
    let count = file.get(at..)?.first_chunk::<8>()?;
    let count = usize::try_from(i64::from_le_bytes(*count)).ok()?;
    let start = at + 8;
    let end = start.checked_add(count.checked_mul(size)?)?;
    (end <= file.len()).then_some((start, end))
}
