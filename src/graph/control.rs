//! What the one who asked for a run holds meanwhile: its progress, and a way to end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Ends runs from any thread or callback, and tells how far they are. Clones share everything.
///
/// Progress counts floating-point operations of matrix products, in which a run's cost is known before
/// it begins. Once cancelled, a control stays cancelled: later runs under it end before they begin.
///
/// ```
/// use perceiver::{Control, Engine, Error, NamedTensors, Tensor};
///
/// let control = Control::new();
/// let model = Engine::cpu().load("models/text-tiny")?.controlled(&control);
/// control.cancel();
/// let ids = Tensor::i64(vec![1, 8], vec![7; 8])?;
/// let ended = model.run(&NamedTensors::from([("input_ids".to_owned(), ids)]), &mut |_, _| {});
/// assert!(matches!(ended, Err(Error::Cancelled)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Control {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
}

impl Control {
    /// A control of runs that are yet to begin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has runs under this control end with [`Error::Cancelled`]: on a GPU before the next submission, so
    /// that the device is done after the two that may be under way; on the CPU after the present op.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
    }

    /// Whether it has been cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// How many of how many floating-point operations of the present run are done; zeros before the first.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let read = |x: &AtomicU64| x.load(Ordering::Relaxed);
        (read(&self.shared.done), read(&self.shared.total))
    }

    /// # Errors
    /// [`Error::Cancelled`] once it has been cancelled.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn tell(&self, done: u64, total: u64) {
        self.shared.done.store(done, Ordering::Relaxed);
        self.shared.total.store(total, Ordering::Relaxed);
    }
}
