//! The one way to open a file: a regular one, of bounded size where it is read whole.
//!
//! Pipes, for which opening waits, and devices, which never end, are refused before they are opened; what a file says of its
//! length is not believed while it is read.

use std::fs::File;
use std::io::{Error as IoError, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a file to read it.
pub fn regular(path: &Path) -> Result<File> {
    let io = |e| Error::io("read", path, e);
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(IoError::other("it is not a regular file")));
    }
    File::open(path).map_err(io)
}

/// The content of a file of at most `most` bytes; `None` for a longer one.
pub(crate) fn bytes(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let file = regular(path)?;
    let length = file.metadata().map_or(0, |m| m.len());
    let room = usize::try_from(length.min(most)).unwrap_or(usize::MAX);
    let mut content = crate::memory::room(path.display(), room)?;
    file.take(most + 1).read_to_end(&mut content).map_err(|e| Error::io("read", path, e))?;
    Ok((content.len() as u64 <= most).then_some(content))
}

/// As [`bytes`], of a text in UTF-8.
pub(crate) fn text(path: &Path, most: u64) -> Result<Option<String>> {
    let text = bytes(path, most)?.map(String::from_utf8).transpose();
    text.map_err(|_| Error::io("read", path, IoError::other("it is no text in UTF-8")))
}
