//! Output files and folders that are either whole or not there; and files of a checkpoint, opened.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

#[cfg(not(feature = "files"))]
pub use refusing::{whole_file, whole_folder, write_whole};
#[cfg(feature = "files")]
pub use writing::{whole_file, whole_folder, write_whole};

/// Opens a file that belongs to a checkpoint. A pipe, for which opening would wait, is none.
fn open_regular(path: &Path) -> Result<std::fs::File> {
    let io = |e| Error::io("read", path, e);
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(std::io::Error::other("it is not a file")));
    }
    std::fs::File::open(path).map_err(io)
}

/// The text of a file that belongs to a checkpoint; `None` for one of more than `most` bytes.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<Option<String>> {
    let mut text = String::new();
    let read = open_regular(path)?.take(most + 1).read_to_string(&mut text);
    read.map_err(|e| Error::io("read", path, e))?;
    Ok((text.len() as u64 <= most).then_some(text))
}

#[cfg(feature = "files")]
mod writing {
    use std::io::{BufWriter, Write};
    use std::path::Path;

    use tempfile::NamedTempFile;

    use crate::error::{Error, Result};

    /// Writes a file by way of a temporary one in the same folder, which takes the name only when all
    /// is written: a failure leaves what was there before.
    pub fn write_whole(
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        whole_file(path, |file| {
            let mut writer = BufWriter::new(file.as_file_mut());
            content(&mut writer)?;
            writer.flush().map_err(|e| Error::io("write", path, e))
        })
    }

    /// As [`write_whole`], for content that wants the temporary file itself.
    pub fn whole_file(
        path: &Path,
        content: impl FnOnce(&mut NamedTempFile) -> Result<()>,
    ) -> Result<()> {
        let folder = parent(path);
        let mut builder = tempfile::Builder::new();
        // Temporary files are made for their owner alone; a result is made for whom the umask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder
            .prefix(".perceiver-")
            .tempfile_in(folder)
            .map_err(|e| Error::io("create a file in", folder, plain(e)))?;
        content(&mut file)?;
        file.persist(path).map_err(|e| Error::io("create", path, e.error))?;
        Ok(())
    }

    /// The error without the name of a temporary file, which nobody asked for.
    fn plain(error: std::io::Error) -> std::io::Error {
        match error.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::from(error.kind()),
        }
    }

    /// The folder that a file lies in.
    fn parent(path: &Path) -> &Path {
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// Fills a folder with files by way of a temporary one, whose files take their places only when all
    /// are written. A folder that is there keeps its other files.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be made; whatever `content` gives.
    pub fn whole_folder(path: &Path, content: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let exists = path.is_dir();
        // On the same file system as the result.
        let beside = if exists { path } else { parent(path) };
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let staging = builder
            .prefix(".perceiver-")
            .tempdir_in(beside)
            .map_err(|e| Error::io("create a folder in", beside, plain(e)))?;
        content(staging.path())?;
        let failed = |e| Error::io("create", path, e);
        if !exists {
            std::fs::rename(staging.path(), path).map_err(failed)?;
            // It has another name now: there is nothing to remove.
            let _ = staging.keep();
            return Ok(());
        }
        for entry in std::fs::read_dir(staging.path()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let to = path.join(entry.file_name());
            std::fs::rename(entry.path(), &to).map_err(|e| Error::io("create", &to, e))?;
        }
        Ok(())
    }
}

/// What takes the place of writing in a build that cannot.
#[cfg(not(feature = "files"))]
mod refusing {
    use std::fs::File;
    use std::io::{Error as IoError, ErrorKind, Write};
    use std::path::Path;

    use crate::error::{Error, Result};

    /// A file that there never is.
    pub enum NoFile {}

    impl NoFile {
        /// Its place.
        pub fn path(&self) -> &Path {
            match *self {}
        }
        /// The file.
        pub fn as_file_mut(&mut self) -> &mut File {
            match *self {}
        }
    }

    fn refuse(path: &Path) -> Error {
        let why = "this build of `perceiver` lacks the feature `files`";
        Error::io("create", path, IoError::new(ErrorKind::Unsupported, why))
    }

    /// Refuses.
    pub fn write_whole(path: &Path, _: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        Err(refuse(path))
    }

    /// Refuses.
    pub fn whole_file(path: &Path, _: impl FnOnce(&mut NoFile) -> Result<()>) -> Result<()> {
        Err(refuse(path))
    }

    /// Refuses.
    pub fn whole_folder(path: &Path, _: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        Err(refuse(path))
    }
}
