//! Engines: where models run.

use std::ffi::{CString, c_char};

use perceiver::{Engine, Error, MemorySize, Result, set_memory_limit};

use crate::pointer::{shared, text};
use crate::status::{PerceiverStatus, c_text, free, guarded, made};

/// Where models run: a GPU, or the CPU.
pub struct PerceiverEngine {
    pub(crate) engine: Engine,
    device: CString,
}

/// The library's version, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn perceiver_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Bounds the host memory that files and sizes of inputs can make this process allocate: half of the machine's unless this is
/// called.
#[unsafe(no_mangle)]
pub extern "C" fn perceiver_set_memory_limit(bytes: u64) -> PerceiverStatus {
    guarded(|| {
        set_memory_limit(memory(bytes)?);
        Ok(())
    })
}

/// A size of memory above zero.
pub(crate) fn memory(bytes: u64) -> Result<MemorySize> {
    match bytes {
        0 => Err(Error::input("memory", "is 0 bytes", "a size above zero")),
        _ => Ok(MemorySize(bytes)),
    }
}

/// Opens a device: "auto" or NULL (the best GPU, else the CPU), "cpu", "gpu", an adapter's number or a part of its name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_engine_open(
    device: *const c_char,
    engine: *mut *mut PerceiverEngine,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe {
        made(engine, || {
            let name = if device.is_null() { "auto" } else { text(device, "device")? };
            let engine = Engine::named(name)?;
            let device = c_text(engine.device_name());
            Ok(PerceiverEngine { engine, device })
        })
    }
}

/// The adapter's name, or "cpu"; NULL for NULL. Valid until the engine is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_engine_device(engine: *const PerceiverEngine) -> *const c_char {
    // SAFETY: the caller's.
    match unsafe { shared(engine, "engine") } {
        Ok(engine) => engine.device.as_ptr(),
        Err(_) => std::ptr::null(),
    }
}

/// Opens the device again after PERCEIVER_STATUS_DEVICE_LOST: models go on, with the weights that they hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_engine_reopen(
    engine: *const PerceiverEngine,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    guarded(|| unsafe { shared(engine, "engine") }?.engine.reopen())
}

/// Frees an engine; its models live on. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_engine_free(engine: *mut PerceiverEngine) {
    // SAFETY: the caller's.
    unsafe { free(engine) }
}
