//! Runs what a session has ready.
//!
//! Work is cut into submissions of bounded cost, so that a desktop stays smooth and no driver
//! watchdog fires, and so that progress can be told.

use std::ops::Range;
use web_time::Instant;

use futures_channel::oneshot;

use super::super::buffer::Buffer;
use super::super::device::{Completion, lock};
use super::super::pacing::{Part, Position, Ran, Submission, SubmissionBudget, copy_bytes};
use super::super::store::unmappable;
use super::GpuExecutor;
use crate::error::{Error, Result};
use crate::graph::{Control, Waiting};

impl GpuExecutor {
    /// Copies inputs to the device, runs all steps of a run and copies results back. A cancelled run leaves the
    /// session as one that is over does.
    pub(super) async fn whole_run(
        &mut self,
        waiting: Waiting,
        control: &Control,
        progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        let steps = self.plan.once()..self.steps.len();
        let ended = self.run_steps(steps, waiting, control, progress).await;
        let last = match ended {
            Ok(()) => {
                let mut encoder = self.copy_outputs(waiting).await?;
                self.record_outputs(&mut encoder)?;
                self.submit(encoder)?
            }
            Err(Error::Cancelled) => self.submit(self.device.encoder("cancelled")?)?,
            Err(error) => return Err(error),
        };
        self.map_staging(last, waiting).await?;
        ended
    }

    /// Runs the part that runs once, on what inputs are there now.
    pub(super) async fn run_once(&mut self, waiting: Waiting) -> Result<()> {
        let (steps, control) = (0..self.plan.once(), Control::new());
        self.run_steps(steps, waiting, &control, |_, _| {}).await?;
        let last = self.device.scoped("staging", 0, || self.device.submit_nothing())?;
        self.map_staging(last, waiting).await
    }

    /// Copies inputs to the device and runs some steps.
    pub(super) async fn run_steps(
        &mut self,
        steps: Range<usize>,
        waiting: Waiting,
        control: &Control,
        progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        self.device.alive()?;
        self.upload.unmap(&self.device)?;
        self.download.unmap(&self.device)?;
        control.check()?;
        let mut encoder = self.copy_inputs(waiting).await?;
        self.record_inputs(&mut encoder)?;
        self.submit_steps(steps, Some(encoder), waiting, control, progress).await
    }

    /// Copies inputs to where kernels read them. What crosses in a small part of the budget is left to
    /// the first submission; more goes ahead in submissions of its own.
    async fn copy_inputs(&self, waiting: Waiting) -> Result<wgpu::CommandEncoder> {
        let copies = self.upload.parts.iter().filter_map(|part| {
            let buffer = self.buffers[part.id.index()].as_ref()?;
            let staged = (&self.upload.buffers[part.buffer], part.offset);
            Some(Copy { from: staged, to: (buffer, 0), bytes: part.bytes })
        });
        self.copies("inputs", copies.collect(), waiting).await
    }

    pub(super) async fn copy_outputs(&self, waiting: Waiting) -> Result<wgpu::CommandEncoder> {
        let copies = self.download.parts.iter().filter_map(|part| {
            let buffer = self.buffers[part.id.index()].as_ref()?;
            let staged = (&self.download.buffers[part.buffer], part.offset);
            Some(Copy { from: (buffer, 0), to: staged, bytes: part.bytes })
        });
        self.copies("outputs", copies.collect(), waiting).await
    }

    /// Makes copies, a bounded number of bytes at a time, but for a few that are left to what is
    /// recorded next.
    async fn copies(
        &self,
        label: &str,
        copies: Vec<Copy<'_>>,
        waiting: Waiting,
    ) -> Result<wgpu::CommandEncoder> {
        let most = copy_bytes(self.device.submission_budget());
        let (mut encoder, mut recorded) = (self.device.encoder(label)?, 0);
        for copy in copies {
            let mut at = 0;
            while at < copy.bytes {
                if recorded == most {
                    let full = std::mem::replace(&mut encoder, self.device.encoder(label)?);
                    self.submit(full)?.done(&self.device, waiting).await?;
                    recorded = 0;
                }
                let bytes = (copy.bytes - at).min(most - recorded);
                let ((from, from_at), (to, to_at)) = (copy.from, copy.to);
                encoder.copy_buffer_to_buffer(from, from_at + at, to, to_at + at, bytes);
                at += bytes;
                recorded += bytes;
            }
        }
        if recorded > most / 8 {
            let many = std::mem::replace(&mut encoder, self.device.encoder(label)?);
            self.submit(many)?.done(&self.device, waiting).await?;
        }
        Ok(encoder)
    }

    /// Submits what was recorded, errors of which come back.
    pub(super) fn submit(&self, commands: wgpu::CommandEncoder) -> Result<Completion> {
        self.device.scoped("commands", 0, || self.device.submit(commands))
    }

    /// Maps what inputs and results pass through, once `last`, which used it last, is done.
    pub(super) async fn map_staging(&mut self, last: Completion, waiting: Waiting) -> Result<()> {
        let upload = self.upload.buffers.iter().map(|b| (b, wgpu::MapMode::Write));
        let download = self.download.buffers.iter().map(|b| (b, wgpu::MapMode::Read));
        let mut mapped = Vec::new();
        for (buffer, mode) in upload.chain(download) {
            let (done, result) = oneshot::channel();
            self.device.scoped("staging", 0, || {
                buffer.map_async(mode, .., move |mapped| {
                    // Nobody listens only if waiting has failed already.
                    let _ = done.send(mapped);
                });
            })?;
            mapped.push(result);
        }
        last.done(&self.device, waiting).await?;
        for result in mapped {
            let result = self.device.called_back(result, waiting).await?;
            result.map_err(|e| unmappable(&self.device, "staging", e))?;
        }
        self.upload.mapped = true;
        self.download.mapped = true;
        Ok(())
    }

    /// Records and submits steps, as much at a time as the budget allows. Two submissions are in
    /// flight, so that the device never waits for the host.
    pub(super) async fn submit_steps(
        &mut self,
        steps: Range<usize>,
        first: Option<wgpu::CommandEncoder>,
        waiting: Waiting,
        control: &Control,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<()> {
        let total: u64 = self.steps[steps.clone()].iter().map(|s| s.flops).sum();
        let budget = self.device.submission_budget();
        let mut done = Done { flops: 0.0, at: Instant::now() };
        let mut in_flight: Option<Flight> = None;
        let mut encoder = first;
        let mut at = Position::at(steps.start);
        self.submissions.clear();
        loop {
            let mut parts = Vec::new();
            let works = &self.works;
            let probe = self.pacer.next(works, &mut at, steps.end, budget, &mut parts);
            if parts.is_empty() && encoder.is_none() {
                break;
            }
            let mut commands = match encoder.take() {
                Some(begun) => begun,
                None => self.device.encoder("steps")?,
            };
            self.record_parts(&parts, &mut commands)?;
            let submitted = Instant::now();
            let completion = self.submit(commands)?;
            let flight = Flight { completion, submitted, parts };
            if let Some(before) = in_flight.replace(flight) {
                self.land(before, budget, &mut done, waiting).await?;
                progress(done.flops as u64, total);
            }
            if probe && let Some(now) = in_flight.take() {
                self.land(now, budget, &mut done, waiting).await?;
                progress(done.flops as u64, total);
            }
            if control.is_cancelled() {
                break;
            }
        }
        if let Some(last) = in_flight {
            self.land(last, budget, &mut done, waiting).await?;
        }
        self.remember_factors();
        if at.step < steps.end {
            return Err(Error::Cancelled);
        }
        progress(total, total);
        Ok(())
    }

    /// Has later sessions begin with what was learned of each class.
    pub(super) fn remember_factors(&self) {
        let mut known = lock(&self.device.inner.factors);
        for (class, variant) in self.classes.variants().enumerate() {
            if let Some(factor) = self.pacer.factor(class) {
                known.insert(*variant, factor);
            }
        }
    }

    /// A compute pass with these parts, if there are any.
    pub(super) fn record_parts(
        &mut self,
        parts: &[Part],
        commands: &mut wgpu::CommandEncoder,
    ) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let device = self.device.clone();
        device.scoped("steps", 0, || {
            let mut pass = commands.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            parts.iter().for_each(|part| self.record_part(part, &mut pass));
        })
    }

    /// The dispatch of a part.
    pub(super) fn record_part(&mut self, part: &Part, pass: &mut wgpu::ComputePass<'_>) {
        let offset = self.bases.offset(&self.device, part.first);
        let (step, work) = (&self.steps[part.step], &self.works[part.step]);
        pass.set_pipeline(&step.pipeline.pipeline);
        pass.set_bind_group(0, &step.bind_group, &[]);
        pass.set_bind_group(1, &self.bases.bind_group, &[offset]);
        let [x, y] = part.grid(work);
        pass.dispatch_workgroups(x, y, 1);
    }

    /// What a submission had.
    pub(super) fn ran(&self, parts: &[Part]) -> Vec<Ran> {
        let ran = parts.iter().map(|part| Ran {
            node: part.step,
            first_workgroup: part.first,
            workgroups: part.groups,
            of: self.works[part.step].groups,
        });
        ran.collect()
    }

    /// Waits for a submission and notes how long it took.
    async fn land(
        &mut self,
        flight: Flight,
        budget: SubmissionBudget,
        done: &mut Done,
        waiting: Waiting,
    ) -> Result<()> {
        flight.completion.done(&self.device, waiting).await?;
        let now = Instant::now();
        let began = flight.submitted.max(done.at);
        let seconds = match self.device.stopwatch() {
            Some(stopwatch) => stopwatch(&self.ran(&flight.parts)),
            None => (now - began).as_secs_f64(),
        };
        done.at = now;
        for part in &flight.parts {
            let share = part.groups as f64 / self.works[part.step].groups as f64;
            done.flops += share * self.steps[part.step].flops as f64;
        }
        if !flight.parts.is_empty() {
            self.pacer.learn(&flight.parts, seconds, budget);
            self.submissions.push(Submission::new(&flight.parts, seconds));
        }
        Ok(())
    }
}

/// A copy on the device.
struct Copy<'a> {
    from: (&'a Buffer, u64),
    to: (&'a Buffer, u64),
    bytes: u64,
}

/// A submission that the device works on.
struct Flight {
    completion: Completion,
    submitted: Instant,
    parts: Vec<Part>,
}

/// How far a run has come.
struct Done {
    flops: f64,
    /// When the last submission was done.
    at: Instant,
}
