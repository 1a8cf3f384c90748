//! Output files and folders that are either whole or not there.

#[cfg(not(feature = "files"))]
pub use refusing::{whole_file, whole_folder, write_bytes, write_whole};
#[cfg(feature = "files")]
pub use writing::{
    check_place, discard_unfinished, whole_file, whole_folder, write_bytes, write_whole,
};

#[cfg(feature = "files")]
mod writing {
    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::io::{BufWriter, Error as IoError, Result as IoResult, Write};
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use tempfile::{Builder, NamedTempFile, TempDir};

    use crate::error::{Error, Result};

    /// What names of temporary files and folders begin with; six characters follow.
    const PREFIX: &str = ".perceiver-";

    /// Temporary files and folders of this process, for [`discard_unfinished`].
    static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what this process has begun to write, for a program that is about to end in the middle of it.
    pub fn discard_unfinished() {
        for path in &*unfinished() {
            remove(path);
        }
    }

    /// Errors are left: there may be nothing to remove, and nobody to tell.
    fn remove(path: &Path) {
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }

    /// A temporary file or folder that is in use: listed, and locked, by which other processes know.
    struct InUse {
        path: PathBuf,
        _lock: Option<File>,
    }

    impl InUse {
        /// `None` where another process has taken it for one that nobody uses, between its making and its lock.
        fn new(path: &Path) -> Option<Self> {
            let lock = lock(path);
            let path = path.to_path_buf();
            path.exists().then(|| {
                unfinished().insert(path.clone());
                InUse { path, _lock: lock }
            })
        }
    }

    impl Drop for InUse {
        fn drop(&mut self) {
            unfinished().remove(&self.path);
        }
    }

    /// Other systems keep a file's other handles from writing when one has locked it.
    #[cfg(unix)]
    fn lock(path: &Path) -> Option<File> {
        let file = File::open(path).ok()?;
        // Some network disks have no locks.
        let _ = file.lock();
        Some(file)
    }

    #[cfg(not(unix))]
    fn lock(_: &Path) -> Option<File> {
        None
    }

    /// Removes what processes that were killed have left in a folder.
    fn sweep(folder: &Path) {
        let abandoned = |path: &Path| {
            let regular = fs::symlink_metadata(path).is_ok_and(|m| m.is_file() || m.is_dir());
            let open = || cfg!(unix).then(|| File::open(path).ok()).flatten();
            regular.then(open).flatten().filter(|file| file.try_lock().is_ok())
        };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if rest.is_some_and(|r| r.len() == 6 && r.bytes().all(|b| b.is_ascii_alphanumeric()))
                && let Some(_lock) = abandoned(&entry.path())
            {
                tracing::info!(path = %entry.path().display(), "left by a process that was killed: removed");
                remove(&entry.path());
            }
        }
    }

    /// A temporary file or folder in a folder, with the permissions that the umask allows: temporary ones are made for their
    /// owner alone, results are not.
    fn temporary<T: AsRef<Path>>(
        folder: &Path,
        mode: u32,
        make: impl Fn(&Builder<'_, '_>, &Path) -> IoResult<T>,
    ) -> IoResult<(T, InUse)> {
        let mut builder = Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        #[cfg(not(unix))]
        let _ = mode;
        builder.prefix(PREFIX);
        sweep(folder);
        loop {
            let made = make(&builder, folder).map_err(plain)?;
            if let Some(in_use) = InUse::new(made.as_ref()) {
                return Ok((made, in_use));
            }
        }
    }

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

    /// As [`write_whole`], for content that is there already.
    pub fn write_bytes(path: &Path, content: &[u8]) -> Result<()> {
        write_whole(path, |out| out.write_all(content).map_err(|e| Error::io("write", path, e)))
    }

    /// As [`write_whole`], for content that wants the temporary file itself.
    pub fn whole_file(
        path: &Path,
        content: impl FnOnce(&mut NamedTempFile) -> Result<()>,
    ) -> Result<()> {
        let folder = parent(path);
        let made = temporary(folder, 0o666, |builder, folder| builder.tempfile_in(folder));
        let (mut file, _in_use) = made.map_err(|e| Error::io("create a file in", folder, e))?;
        content(&mut file)?;
        file.persist(path).map_err(|e| Error::io("create", path, e.error))?;
        Ok(())
    }

    /// The error without the name of a temporary file, which nobody asked for.
    fn plain(error: IoError) -> IoError {
        match error.raw_os_error() {
            Some(code) => IoError::from_raw_os_error(code),
            None => IoError::from(error.kind()),
        }
    }

    /// The folder that a file lies in.
    fn parent(path: &Path) -> &Path {
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// Refuses a place for results that cannot take any, before the work begins.
    ///
    /// # Errors
    /// [`Error::Io`] where no file can be made there.
    pub fn check_place(path: &Path) -> Result<()> {
        let folder = if path.is_dir() { path } else { parent(path) };
        // The operating system alone knows who may write where; the file is gone at once.
        let made = tempfile::tempfile_in(folder);
        made.map(drop).map_err(|e| Error::io("create a file in", folder, plain(e)))
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
        if exists {
            sweep(parent(path));
        }
        let made = temporary(beside, 0o777, |builder, folder| builder.tempdir_in(folder));
        let (staging, _in_use): (TempDir, InUse) =
            made.map_err(|e| Error::io("create a folder in", beside, e))?;
        content(staging.path())?;
        let failed = |e| Error::io("create", path, e);
        if !exists {
            fs::rename(staging.path(), path).map_err(failed)?;
            // It has another name now: there is nothing to remove.
            let _ = staging.keep();
            return Ok(());
        }
        for entry in fs::read_dir(staging.path()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let to = path.join(entry.file_name());
            fs::rename(entry.path(), &to).map_err(|e| Error::io("create", &to, e))?;
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
    pub fn write_bytes(path: &Path, _: &[u8]) -> Result<()> {
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
