//! What functions return, the text behind it, and the border that no panic crosses.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use perceiver::{Error, Result};

/// What a call came to. The text is perceiver_last_error's.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerceiverStatus {
    /// It worked.
    Ok = 0,
    /// An argument or input does not fit: NULL, a wrong name, shape, type, value or size.
    Input = 1,
    /// A file could not be read or written.
    Io = 2,
    /// A checkpoint is damaged, or its tensors and configuration do not fit each other.
    Checkpoint = 3,
    /// No device matches.
    NoDevice = 4,
    /// The device refused something.
    Device = 5,
    /// The device was lost; perceiver_engine_reopen opens it again.
    DeviceLost = 6,
    /// The device has no room.
    OutOfMemory = 7,
    /// Something is beyond a limit of the device, of the host's memory or of this engine.
    Limit = 8,
    /// A control or a callback ended the run.
    Cancelled = 9,
    /// An output has infinities or what is no number.
    NotFinite = 10,
    /// A defect of perceiver or of a driver. Please report it.
    Defect = 11,
}

impl PerceiverStatus {
    fn of(error: &Error) -> Self {
        match error {
            Error::Input { .. } | Error::Media { .. } | Error::Hub { .. } => Self::Input,
            Error::Io { .. } => Self::Io,
            Error::Checkpoint { .. } | Error::Tensors { .. } | Error::Config { .. } => {
                Self::Checkpoint
            }
            Error::NoDevice { .. } => Self::NoDevice,
            Error::Device { .. } => Self::Device,
            Error::DeviceLost { .. } => Self::DeviceLost,
            Error::OutOfMemory { .. } => Self::OutOfMemory,
            Error::Limit { .. } => Self::Limit,
            Error::Cancelled => Self::Cancelled,
            Error::NotFinite { .. } => Self::NotFinite,
            _ => Self::Defect,
        }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// What the last call on this thread that did not return PERCEIVER_STATUS_OK has to say: what is wrong, where, and what to
/// try. UTF-8; never NULL; valid until the next call on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn perceiver_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// A text for C, which ends at a NUL.
pub(crate) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Does the work of a call.
pub(crate) fn guarded(work: impl FnOnce() -> Result<()>) -> PerceiverStatus {
    // What a panic leaves behind is of this call alone or behind locks that the engine does not trust after one.
    let (status, text) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return PerceiverStatus::Ok,
        Ok(Err(error)) => (PerceiverStatus::of(&error), error.to_string()),
        Err(panic) => (PerceiverStatus::Defect, said(&*panic)),
    };
    // A thread that is ending has no place for texts.
    let _ = LAST.try_with(|last| last.replace(c_text(&text)));
    status
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a defect of perceiver, please report it: {}", text.unwrap_or("a panic"))
}

/// Does the work of a call that makes a handle.
///
/// # Safety
/// `handle` is NULL or valid for a write.
pub(crate) unsafe fn made<T>(
    handle: *mut *mut T,
    work: impl FnOnce() -> Result<T>,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        let place = unsafe { crate::pointer::place(handle, "the place for the handle") }?;
        place.write(ptr::null_mut());
        let value = work()?;
        place.write(Box::into_raw(Box::new(value)));
        Ok(())
    })
}

/// Frees a handle.
///
/// # Safety
/// `handle` is NULL or came from [`made`], and nobody uses it any more.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        guarded(|| {
            // SAFETY: made by `Box::into_raw`, and given back once.
            drop(unsafe { Box::from_raw(handle) });
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_a_status() {
        assert_eq!(guarded(|| panic!("nobody expects \0 {}", 7)), PerceiverStatus::Defect);
        // SAFETY: a text of this thread, until its next call.
        let text = unsafe { std::ffi::CStr::from_ptr(perceiver_last_error()) };
        assert!(text.to_string_lossy().ends_with("please report it: nobody expects \u{fffd} 7"));
        assert_eq!(guarded(|| Err(Error::Cancelled)), PerceiverStatus::Cancelled);
    }
}
