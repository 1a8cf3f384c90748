//! Runs what a session has ready.
//!
//! Work is cut into submissions of bounded cost, so that a desktop stays smooth and no driver
//! watchdog fires, and so that progress can be told.

use std::ops::Range;
use std::sync::mpsc;
use std::time::Instant;

use super::super::device::lock;
use super::super::pacing::{Part, Position, Ran, Submission, SubmissionBudget, copy_bytes};
use super::super::store::unmappable;
use super::GpuExecutor;
use crate::error::Result;

impl GpuExecutor {
    /// Copies inputs to the device and runs some steps.
    pub(super) fn run_steps(
        &mut self,
        steps: Range<usize>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        self.device.alive()?;
        self.upload.unmap();
        self.download.unmap();
        let encoder = self.copy_inputs()?;
        self.submit_steps(steps, Some(encoder), progress)
    }

    /// Copies inputs to where kernels read them. What crosses in a small part of the budget is left to
    /// the first submission; more goes ahead in submissions of its own.
    fn copy_inputs(&self) -> Result<wgpu::CommandEncoder> {
        let copies = self.upload.parts.iter().filter_map(|part| {
            let buffer = self.buffers[part.id.index()].as_ref()?;
            let staged = (&self.upload.buffers[part.buffer], part.offset);
            Some(Copy { from: staged, to: (buffer, 0), bytes: part.bytes })
        });
        self.copies("inputs", copies)
    }

    pub(super) fn copy_outputs(&self) -> Result<wgpu::CommandEncoder> {
        let copies = self.download.parts.iter().filter_map(|part| {
            let buffer = self.buffers[part.id.index()].as_ref()?;
            let staged = (&self.download.buffers[part.buffer], part.offset);
            Some(Copy { from: (buffer, 0), to: staged, bytes: part.bytes })
        });
        self.copies("outputs", copies)
    }

    /// Makes copies, a bounded number of bytes at a time, but for a few that are left to what is
    /// recorded next.
    fn copies<'a>(
        &self,
        label: &str,
        copies: impl Iterator<Item = Copy<'a>>,
    ) -> Result<wgpu::CommandEncoder> {
        let most = copy_bytes(self.device.submission_budget());
        let (mut encoder, mut recorded) = (self.encoder(label), 0);
        for copy in copies {
            let mut at = 0;
            while at < copy.bytes {
                if recorded == most {
                    let full = std::mem::replace(&mut encoder, self.encoder(label));
                    self.submit_and_wait(full)?;
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
            let many = std::mem::replace(&mut encoder, self.encoder(label));
            self.submit_and_wait(many)?;
        }
        Ok(encoder)
    }

    /// Nothing else runs meanwhile, so that the next submission's time is its own.
    fn submit_and_wait(&self, commands: wgpu::CommandEncoder) -> Result<()> {
        let index = self.device.wgpu_queue().submit([commands.finish()]);
        self.device.wait(Some(index))
    }

    pub(super) fn map_staging(&mut self) -> Result<()> {
        let (done, results) = mpsc::channel();
        let upload = self.upload.buffers.iter().map(|b| (b, wgpu::MapMode::Write));
        let download = self.download.buffers.iter().map(|b| (b, wgpu::MapMode::Read));
        let mut mapped = 0;
        for (buffer, mode) in upload.chain(download) {
            let done = done.clone();
            buffer.map_async(mode, .., move |result| {
                // The receiver is gone only if waiting has failed already.
                let _ = done.send(result);
            });
            mapped += 1;
        }
        self.device.wait(None)?;
        for _ in 0..mapped {
            let mapped = results.recv().map_err(|e| unmappable(&self.device, "staging", e))?;
            mapped.map_err(|e| unmappable(&self.device, "staging", e))?;
        }
        self.upload.mapped = true;
        self.download.mapped = true;
        Ok(())
    }

    /// Records and submits steps, as much at a time as the budget allows. Two submissions are in
    /// flight, so that the device never waits for the host.
    pub(super) fn submit_steps(
        &mut self,
        steps: Range<usize>,
        first: Option<wgpu::CommandEncoder>,
        progress: &mut dyn FnMut(u64, u64),
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
            let mut commands = encoder.take().unwrap_or_else(|| self.encoder("steps"));
            if !parts.is_empty() {
                let mut pass = commands.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                parts.iter().for_each(|part| self.record_part(part, &mut pass));
            }
            let submitted = Instant::now();
            let index = self.device.wgpu_queue().submit([commands.finish()]);
            let flight = Flight { index, submitted, parts };
            if let Some(before) = in_flight.replace(flight) {
                self.land(before, budget, &mut done)?;
                progress(done.flops as u64, total);
            }
            if probe && let Some(now) = in_flight.take() {
                self.land(now, budget, &mut done)?;
                progress(done.flops as u64, total);
            }
        }
        if let Some(last) = in_flight {
            self.land(last, budget, &mut done)?;
        }
        progress(total, total);
        let mut known = lock(&self.device.inner.factors);
        for (class, variant) in self.classes.variants().enumerate() {
            if let Some(factor) = self.pacer.factor(class) {
                known.insert(*variant, factor);
            }
        }
        Ok(())
    }

    pub(super) fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some(label) };
        self.device.wgpu_device().create_command_encoder(&descriptor)
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
    fn ran(&self, parts: &[Part]) -> Vec<Ran> {
        let ran = parts.iter().map(|part| Ran {
            node: part.step,
            first_workgroup: part.first,
            workgroups: part.groups,
            of: self.works[part.step].groups,
        });
        ran.collect()
    }

    /// Waits for a submission and notes how long it took.
    fn land(&mut self, flight: Flight, budget: SubmissionBudget, done: &mut Done) -> Result<()> {
        self.device.wait(Some(flight.index))?;
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
    from: (&'a wgpu::Buffer, u64),
    to: (&'a wgpu::Buffer, u64),
    bytes: u64,
}

/// A submission that the device works on.
struct Flight {
    index: wgpu::SubmissionIndex,
    submitted: Instant,
    parts: Vec<Part>,
}

/// How far a run has come.
struct Done {
    flops: f64,
    /// When the last submission was done.
    at: Instant,
}
