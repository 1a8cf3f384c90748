//! Work that takes time: the interpreter lock is released, Ctrl-C ends it, progress is told.
//!
//! The work is done in a thread of its own, so that the one that called can look at signals meanwhile, whatever the
//! work is busy with. Python is called by the thread that called alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use perceiver::Control;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::errors::{Result, Thrown};

/// How often signals are looked at and progress is told.
const PERIOD: Duration = Duration::from_millis(40);
/// How long work that was ended may take to notice. What still goes on then, a download say, is left to itself.
const GRACE: Duration = Duration::from_secs(5);

/// What the engine's own closures tell progress to.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Does work. `control` must be the one that ends it; `progress` is a callable of (done, total), True for a bar, or None.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    control: &Control,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(Progress<'_>) -> perceiver::Result<T> + Send + 'static,
) -> Result<T> {
    refuse_forked()?;
    let mut listener = Listener::new(py, progress)?;
    let told = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let (sender, receiver) = sync_channel(1);
    let tell = Arc::clone(&told);
    let body = move || {
        let result = work(&mut |done, total| {
            tell[0].store(done, Ordering::Relaxed);
            tell[1].store(total, Ordering::Relaxed);
        });
        // Nobody waits any more for what was ended.
        let _ = sender.send(result);
    };
    thread::Builder::new().name("perceiver".to_owned()).spawn(body).map_err(PyErr::from)?;
    let mut receiver = receiver;
    loop {
        let (back, got) = received(py, receiver, PERIOD);
        receiver = back;
        let now = || [&told[0], &told[1]].map(|x| x.load(Ordering::Relaxed));
        let heard = match got {
            Ok(result) => {
                let value = result?;
                let [_, total] = now();
                listener.hear([total, total])?;
                listener.close()?;
                return Ok(value);
            }
            Err(RecvTimeoutError::Disconnected) => {
                let text = "the engine panicked, which is a defect: please report it";
                return Err(PyRuntimeError::new_err(text).into());
            }
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals().and_then(|()| listener.hear(now()))
            }
        };
        if let Err(error) = heard {
            control.cancel();
            let until = Instant::now() + GRACE;
            let _ = received(py, receiver, until.saturating_duration_since(Instant::now()));
            // The error that is under way counts more than one of the bar.
            let _ = listener.close();
            return Err(error.into());
        }
    }
}

/// The receiver again, and what came within a time, the interpreter being free meanwhile.
fn received<T: Send>(
    py: Python<'_>,
    receiver: Receiver<T>,
    within: Duration,
) -> (Receiver<T>, std::result::Result<T, RecvTimeoutError>) {
    py.detach(move || {
        let got = receiver.recv_timeout(within);
        (receiver, got)
    })
}

/// Threads and devices do not survive a fork; work that needs them would wait for ever.
fn refuse_forked() -> Result<()> {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    let own = std::process::id();
    if *PROCESS.get_or_init(|| own) == own {
        return Ok(());
    }
    let text = "perceiver was used before this process was forked, which its threads did not survive; use the start method \
                \"spawn\" or \"forkserver\" of multiprocessing";
    Err(Thrown::Python(PyRuntimeError::new_err(text)))
}

/// Who is told of progress.
struct Listener<'py> {
    callable: Option<Bound<'py, PyAny>>,
    bar: bool,
    last: [u64; 2],
}

impl<'py> Listener<'py> {
    fn new(py: Python<'py>, progress: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        let mut listener = Listener { callable: None, bar: false, last: [0, 0] };
        match progress {
            Some(flag) if flag.is_instance_of::<PyBool>() => {
                listener.bar = flag.is_truthy()?;
                if listener.bar {
                    listener.callable =
                        Some(py.import("perceiver._progress")?.call_method0("Bar")?);
                }
            }
            other => listener.callable = other.cloned(),
        }
        Ok(listener)
    }

    /// Nothing is told twice, nor before anything is known.
    fn hear(&mut self, now: [u64; 2]) -> PyResult<()> {
        if let Some(callable) = &self.callable
            && now[1] > 0
            && now != self.last
        {
            self.last = now;
            callable.call1((now[0], now[1]))?;
        }
        Ok(())
    }

    fn close(&self) -> PyResult<()> {
        match &self.callable {
            Some(bar) if self.bar => bar.call_method0("close").map(drop),
            _ => Ok(()),
        }
    }
}
