//! Weights from an asynchronous source of byte ranges.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::Path;

use super::file::IN_MEMORY;
use crate::error::{Error, Result};

/// A file of weights that is read range by range: over HTTP, out of an app's archive, from a browser's storage.
pub trait RangeSource {
    /// Bytes of the file.
    fn length(&self) -> impl Future<Output = io::Result<u64>> + Send;

    /// These bytes of it, exactly.
    fn read(&self, range: Range<u64>) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
}

/// Bytes of a range: enough that asking for it costs little beside it.
const RANGE: u64 = 4 << 20;
/// What a file may have beside its tensors' elements: its header, and arrays that no model reads.
const HEADER: u64 = 16 << 20;
/// Bytes of the widest type of elements.
const WIDEST: u64 = 8;

/// Reads a whole file, after a look at its length: nothing is asked for, and no memory taken, for one that is too
/// large to be that of these tensors.
pub(crate) async fn read(
    source: &(impl RangeSource + Sync),
    tensors: &[(String, Vec<usize>)],
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<u8>> {
    let io = |e| Error::io("read", Path::new(IN_MEMORY), e);
    let length = source.length().await.map_err(io)?;
    let elements =
        tensors.iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>());
    let most = elements.sum::<u64>().saturating_mul(WIDEST).saturating_add(HEADER);
    if length > most {
        let what = format!("has {length} bytes, the tensors of config.json at most {most}");
        return Err(Error::checkpoint(IN_MEMORY, what, "is it the file of this configuration?"));
    }
    let mut bytes = Vec::new();
    let wanted = usize::try_from(length).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(wanted)
        .map_err(|e| io(io::Error::new(io::ErrorKind::OutOfMemory, e)))?;
    progress(0, length);
    let mut at = 0;
    while at < length {
        let range = at..length.min(at + RANGE);
        let part = source.read(range.clone()).await.map_err(io)?;
        if part.len() as u64 != range.end - range.start {
            let found = format!("{} bytes for the range {range:?}", part.len());
            return Err(io(io::Error::new(io::ErrorKind::UnexpectedEof, found)));
        }
        bytes.extend_from_slice(&part);
        at = range.end;
        progress(at, length);
    }
    Ok(bytes)
}
