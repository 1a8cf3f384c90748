//! Compiled pipelines on disk or in bytes, where the back end has a cache (`PIPELINE_CACHE`: Vulkan).
//!
//! One file per adapter and driver, named by wgpu's key for them, or bytes that an app keeps. Either holds a mark, the
//! length and a checksum, then what the driver gave; a file that is damaged, cut short or of another kind is ignored
//! and replaced. It is written beside its place and renamed, so that readers see a whole one. wgpu and the
//! driver look at the header of the data once more and fall back to an empty cache. A cache that cannot
//! be read or written costs time, never a result.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::output::write_whole;

/// First bytes of a file, with the version of its form.
const MARK: &[u8; 8] = b"PIOPIPE1";
/// Bytes before the data: mark, length, checksum.
const HEADER: usize = 24;
/// More than this is no cache of ours.
const MOST_BYTES: u64 = 512 << 20;

/// A cache of compiled pipelines and its file, if it has one.
pub(super) struct PipelineCache {
    cache: wgpu::PipelineCache,
    file: Option<PathBuf>,
    /// Pipelines compiled since the file was written.
    fresh: AtomicUsize,
}

impl PipelineCache {
    /// The cache of a device in a folder; `None` where the back end has none.
    #[allow(
        unsafe_code,
        reason = "drivers take data as they are; wgpu leaves vouching to its user"
    )]
    pub(super) fn open(device: &wgpu::Device, folder: &Path) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = wgpu::util::pipeline_cache_key(&device.adapter_info())?;
        let file = folder.join(key);
        // SAFETY: what is in the file `get_data` gave, which a checksum vouches for. Who can write the user's own cache
        // folder on purpose can run code as that user anyway.
        let cache = unsafe { create(device, read(&file).as_deref()) };
        Some(PipelineCache { cache, file: Some(file), fresh: AtomicUsize::new(0) })
    }

    /// The cache of a device from what [`PipelineCache::bytes`] gave, or empty ones; `None` where the back end has none.
    ///
    /// # Safety
    /// As [`Engine::apply_pipelines`](crate::Engine::apply_pipelines).
    ///
    /// # Errors
    /// [`Error::Input`] for bytes that are not whole.
    #[allow(unsafe_code, reason = "the app vouches for the bytes")]
    pub(super) unsafe fn from_bytes(device: &wgpu::Device, bytes: &[u8]) -> Result<Option<Self>> {
        let data = match bytes {
            [] => None,
            _ => Some(unpack(bytes.to_vec()).ok_or_else(|| {
                let expected = "what `Engine::pipelines` gave, or no bytes";
                Error::input("compiled pipelines", "are damaged, or none", expected)
            })?),
        };
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return Ok(None);
        }
        // SAFETY: the caller's word.
        let cache = unsafe { create(device, data.as_deref()) };
        Ok(Some(PipelineCache { cache, file: None, fresh: AtomicUsize::new(0) }))
    }

    /// What has been compiled, for [`PipelineCache::from_bytes`].
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        self.cache.get_data().map(|data| [&header(&data)[..], &data].concat())
    }

    /// For pipelines to be made with.
    pub(super) fn handle(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// A pipeline has been made.
    pub(super) fn made_one(&self) {
        self.fresh.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the file if pipelines have been made since.
    pub(super) fn save(&self) {
        let Some(file) = &self.file else {
            return;
        };
        if self.fresh.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        let Some(data) = self.cache.get_data() else {
            return;
        };
        match write(file, &data) {
            Ok(()) => tracing::debug!(file = %file.display(), bytes = data.len(), "saved"),
            Err(e) => {
                tracing::warn!(file = %file.display(), error = %e, "cannot keep compiled pipelines");
            }
        }
    }
}

impl Drop for PipelineCache {
    fn drop(&mut self) {
        self.save();
    }
}

/// A cache from data, which wgpu compares with the adapter and driver: of others it makes an empty one.
///
/// # Safety
/// The data is what `get_data` of a cache gave.
#[allow(unsafe_code, reason = "drivers take data as they are; wgpu leaves vouching to its user")]
unsafe fn create(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    // SAFETY: the caller's word; wgpu asks for the same.
    unsafe {
        device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
            label: Some("perceiver"),
            data,
            fallback: true,
        })
    }
}

/// The data of a file; `None` if there is none or it is not whole.
fn read(file: &Path) -> Option<Vec<u8>> {
    if !file.exists() {
        return None;
    }
    let bytes = crate::open::bytes(file, MOST_BYTES).ok().flatten();
    let data = bytes.and_then(unpack);
    if data.is_none() {
        tracing::warn!(file = %file.display(), "compiled pipelines are damaged: they are made again");
    }
    data
}

fn write(file: &Path, data: &[u8]) -> Result<()> {
    let io = |e| Error::io("write", file, e);
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).map_err(io)?;
    write_whole(file, |out| {
        out.write_all(&header(data)).and_then(|()| out.write_all(data)).map_err(io)
    })
}

fn header(data: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MARK);
    header[8..16].copy_from_slice(&(data.len() as u64).to_le_bytes());
    header[16..].copy_from_slice(&super::fingerprint(data).to_le_bytes());
    header
}

/// The data in a file's bytes; `None` if it is not whole.
pub fn unpack(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let found: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
    let data = bytes.split_off(HEADER);
    (found == header(&data)).then_some(data)
}

#[cfg(test)]
#[path = "../../tests/unit/gpu_pipeline_cache.rs"]
mod tests;
