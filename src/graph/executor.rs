//! What the two executors have in common: a plan with its memory, ready to run any number of times.

use std::future::Future;
use std::pin::Pin;

use super::{Control, Plan, Waiting};
use crate::error::Result;
use crate::tensor::Tensor;

pub(crate) mod sealed {
    /// Only the crate's own executors are executors.
    pub trait Sealed {}
}

/// A run that is awaited.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A plan with its memory, on the CPU or on a GPU.
pub trait Executor: sealed::Sealed + Send + Sync {
    /// The plan that it runs.
    fn plan(&self) -> &Plan;

    /// Sets an input: `data` is dense, batch × rows × columns.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) when there is no such input or the size is wrong.
    fn write(&mut self, name: &str, data: &[f32]) -> Result<()>;

    /// Runs the plan and waits for it. `progress` hears how many of how many floating-point operations
    /// are done.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled), after which it can run again;
    /// [`Error::DeviceLost`](crate::Error::DeviceLost) or [`Error::Device`](crate::Error::Device) on a GPU.
    fn run_with(&mut self, control: &Control, progress: &mut dyn FnMut(u64, u64)) -> Result<()>;

    /// As [`Executor::run_with`], without a way to end it.
    ///
    /// # Errors
    /// As [`Executor::run_with`].
    fn run(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.run_with(&Control::new(), progress)
    }

    /// As [`Executor::run_with`], awaited. A GPU's run goes on while the app polls its device; one on the CPU
    /// is done when this is first polled.
    fn run_async<'a>(
        &'a mut self,
        control: &'a Control,
        progress: &'a mut (dyn FnMut(u64, u64) + Send),
    ) -> Running<'a>;

    /// As [`Executor::run`], on what inputs are on the device, and leaves results there: for benchmarks,
    /// which want the kernels' time and not that of transfers.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn compute(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<()>;

    /// The result `name` of the last run, dense.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) when the plan has no such output.
    fn read(&self, name: &str) -> Result<Tensor>;

    /// Runs the part that runs once, again: for a graph with inputs that are kept, after they have been
    /// written.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn prepare(&mut self) -> Result<()>;

    /// As [`Executor::prepare`], awaited.
    fn prepare_async(&mut self) -> Running<'_>;

    /// Has the first keys of all factored attentions lie further on, by `first` grid positions.
    ///
    /// # Errors
    /// [`Error::Graph`](crate::Error::Graph) when keys would lie beyond the grid.
    fn set_first_key(&mut self, first: usize) -> Result<()>;

    /// Whether it is of a device that is known to be lost, so that it will never run again.
    fn is_lost(&self) -> bool {
        false
    }

    /// Bytes allocated: parameters, arrays, and on a GPU transfers and uniforms.
    fn allocated_bytes(&self) -> u64;

    /// The part of [`Executor::allocated_bytes`] that holds transfers and uniforms; 0 on the CPU.
    fn staging_bytes(&self) -> u64;

    /// As [`Executor::compute`], with a clock on every launch.
    ///
    /// # Errors
    /// As [`Executor::run`].
    fn profile(&mut self) -> Result<Spans>;

    /// How every node is run, in order: the name of its shader variant, or "cpu" or "reference".
    fn variant_names(&self) -> Vec<&'static str>;
}

impl dyn Executor {
    /// Runs in one way or the other, as one of `turns` that cost the same. The control is told how far all of them are;
    /// so is `progress`, where the thread waits.
    ///
    /// # Errors
    /// As [`Executor::run_with`].
    pub(crate) async fn run_as(
        &mut self,
        waiting: Waiting,
        control: &Control,
        [turn, turns]: [u64; 2],
        mut progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        let tell = |done, total| {
            let (done, total) = (turn * total + done, turns * total);
            control.tell(done, total);
            (done, total)
        };
        match waiting {
            Waiting::Block => self.run_with(control, &mut |done, total| {
                let (done, total) = tell(done, total);
                progress(done, total);
            }),
            Waiting::Await => {
                let mut tell = |done, total| {
                    tell(done, total);
                };
                self.run_async(control, &mut tell).await
            }
        }
    }
}

/// When a part of a node ran.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Index of the node.
    pub node: usize,
    /// Seconds since the run began, on the device's clock if it has one.
    pub start: f64,
    /// How long it took.
    pub seconds: f64,
}

/// A run, launch by launch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spans {
    /// On the device, in order; a dispatch that was cut has several.
    pub device: Vec<Span>,
    /// On a GPU's host: what it did, start and duration in seconds.
    pub host: Vec<(&'static str, f64, f64)>,
    /// Whether the device's times are its own; else they are the host's, submission by submission.
    pub timestamps: bool,
}
