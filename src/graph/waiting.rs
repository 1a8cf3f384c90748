//! How a thread waits for a device, and what cannot wait.

use std::future::Future;

use super::executor::Running;

#[cfg(target_arch = "wasm32")]
use crate::error::Error;
use crate::error::Result;

/// How a run waits for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The thread polls the device itself.
    Block,
    /// The app polls its device, on any thread, or the browser does, and wgpu's callbacks wake the task.
    Await,
}

/// What a long work on the CPU asks between its portions.
pub(crate) trait Pauses: Send {
    /// Something to wait for before the work goes on, where others want its thread.
    fn due(&mut self) -> Option<Running<'_>>;
}

/// Work that has its thread to itself.
pub(crate) struct Unpaused;

impl Pauses for Unpaused {
    fn due(&mut self) -> Option<Running<'_>> {
        None
    }
}

/// Runs a future on this thread until it is ready.
///
/// # Errors
/// Those of the future. In a browser, whose only thread brings what is waited for,
/// `Error::Input` if it is not ready at once.
#[cfg(not(target_arch = "wasm32"))]
pub fn blocking<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    pollster::block_on(future)
}

/// As elsewhere, if nothing has to be waited for.
#[cfg(target_arch = "wasm32")]
pub fn blocking<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    use std::task::{Context, Poll, Waker};

    let future = std::pin::pin!(future);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::input(
            "run",
            "would block the browser's thread, which the GPU's answer comes on",
            "the awaited form, such as `Model::run_async` or `Model::prepare_async`",
        )),
    }
}
