//! Files that are either whole or not there.

use std::io::Write;
use std::path::Path;

use perceiver::{Error, Result};

/// Writes a file by way of a temporary one in its folder.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // A result is made for whom the umask allows, not for its owner alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder
        .prefix(".perceiver-")
        .tempfile_in(folder)
        .map_err(|e| Error::io("create a file in", folder, e))?;
    file.write_all(content).map_err(|e| Error::io("write", path, e))?;
    file.persist(path).map_err(|e| Error::io("create", path, e.error))?;
    Ok(())
}

/// Refuses a place for results that cannot take any, before the work begins.
pub(crate) fn check_place(path: &Path) -> Result<()> {
    let inside = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = if path.is_dir() { path } else { inside };
    // The operating system alone knows who may write where; the file is gone at once.
    tempfile::tempfile_in(folder)
        .map(drop)
        .map_err(|e| Error::io("create a file in", folder, plain(e)))
}

/// The error without the name of a temporary file, which nobody asked for.
fn plain(error: std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::from(error.kind()),
    }
}
