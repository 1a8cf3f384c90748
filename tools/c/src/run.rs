//! How a run is followed and ended.

use std::ffi::c_void;

use perceiver::{Control, Error, Model, Result, RunOptions};

use crate::pointer::shared;
use crate::status::{PerceiverStatus, free, guarded, made};

/// Ends runs from any thread or callback.
pub struct PerceiverControl(Control);

/// What a run returns beside the model's outputs, and how it reads its inputs; added together.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerceiverFlag {
    /// Also the arrays on the way: latents after each stage, queries.
    Intermediates = 1,
    /// For pictures of another size than that of the training: positions are resized.
    ResizePositions = 2,
}

/// Hears how many of how many floating-point operations are done, on the thread that runs; other than 0 ends the run. It must
/// return: an exception or a longjmp through it is undefined behaviour.
pub type PerceiverProgress =
    Option<unsafe extern "C" fn(done: u64, total: u64, user: *mut c_void) -> i32>;

/// How to run. All zeros, or NULL in its place, is a plain run.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PerceiverRun {
    /// Numbers of PerceiverFlag, added together.
    pub flags: u32,
    /// Ends the run with PERCEIVER_STATUS_CANCELLED when it is cancelled. NULL: nothing does.
    pub control: *const PerceiverControl,
    /// Hears of progress. NULL: nobody does.
    pub progress: PerceiverProgress,
    /// What progress is handed.
    pub user: *mut c_void,
}

/// A run with its arguments checked.
pub(crate) struct Run {
    pub(crate) options: RunOptions,
    control: Control,
    progress: PerceiverProgress,
    user: *mut c_void,
}

impl Run {
    /// # Safety
    /// As [`shared`], for it and its control.
    pub(crate) unsafe fn new(run: *const PerceiverRun) -> Result<Self> {
        if run.is_null() {
            let (options, control) = (RunOptions::default(), Control::new());
            return Ok(Run { options, control, progress: None, user: std::ptr::null_mut() });
        }
        // SAFETY: the caller's.
        let run = unsafe { shared(run, "run") }?;
        let control = match run.control.is_null() {
            true => Control::new(),
            // SAFETY: the caller's.
            false => unsafe { shared(run.control, "control") }?.0.clone(),
        };
        let has = |flag: PerceiverFlag| run.flags & flag as u32 != 0;
        let options = RunOptions {
            intermediates: has(PerceiverFlag::Intermediates),
            resize_positions: has(PerceiverFlag::ResizePositions),
        };
        let known = PerceiverFlag::Intermediates as u32 | PerceiverFlag::ResizePositions as u32;
        if run.flags & !known != 0 {
            let what = format!("are {:#x}", run.flags);
            return Err(Error::input("flags", what, "numbers of PerceiverFlag, added together"));
        }
        Ok(Run { options, control, progress: run.progress, user: run.user })
    }

    /// The model with its runs under this one's control.
    pub(crate) fn of(&self, model: &Model) -> Model {
        model.controlled(&self.control)
    }

    /// Tells the caller's function.
    pub(crate) fn progress(&self) -> impl FnMut(u64, u64) {
        |done, total| {
            // SAFETY: a function of C that takes these, as its type says, and what it is handed is its own.
            let ends =
                self.progress.is_some_and(|tell| unsafe { tell(done, total, self.user) } != 0);
            if ends {
                self.control.cancel();
            }
        }
    }
}

/// Makes a control of runs that are yet to begin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_control_new(
    control: *mut *mut PerceiverControl,
) -> PerceiverStatus {
    // SAFETY: the caller's.
    unsafe { made(control, || Ok(PerceiverControl(Control::new()))) }
}

/// Ends the runs under a control, present and later ones, with PERCEIVER_STATUS_CANCELLED. From any thread or callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_control_cancel(
    control: *const PerceiverControl,
) -> PerceiverStatus {
    guarded(|| {
        // SAFETY: the caller's.
        unsafe { shared(control, "control") }?.0.cancel();
        Ok(())
    })
}

/// Frees a control; runs under it go on. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn perceiver_control_free(control: *mut PerceiverControl) {
    // SAFETY: the caller's.
    unsafe { free(control) }
}
