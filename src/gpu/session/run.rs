//! Runs what a session has ready.
//!
//! Work is cut into submissions of bounded cost, so that a desktop stays smooth and no driver
//! watchdog fires, and so that progress can be told.

use std::sync::mpsc;

use super::Session;
use crate::error::Result;

impl Session {
    /// Runs the part that runs once, again: for a graph with inputs that are kept, after they have
    /// been written.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn prepare(&mut self) -> Result<()> {
        self.device.alive()?;
        self.upload.unmap();
        self.download.unmap();
        let encoder = self.copy_inputs();
        self.submit_steps(0..self.plan.once, Some(encoder), &mut |_, _| {})?;
        self.map_staging()
    }

    fn copy_inputs(&self) -> wgpu::CommandEncoder {
        let mut encoder =
            self.device
                .wgpu_device()
                .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some("inputs"),
                });
        for &(id, offset, bytes) in &self.upload.parts {
            if let Some(buffer) = self.buffers[id.index()].as_ref().filter(|_| bytes > 0) {
                encoder.copy_buffer_to_buffer(&self.upload.buffer, offset, buffer, 0, bytes);
            }
        }
        encoder
    }

    /// Runs the plan and waits for it. `progress` hears how many of how many floating-point
    /// operations are done.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`].
    pub fn run(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.device.alive()?;
        self.upload.unmap();
        self.download.unmap();
        let encoder = self.copy_inputs();
        let steps = self.plan.once..self.steps.len();
        self.submit_steps(steps, Some(encoder), progress)?;
        let mut encoder =
            self.device
                .wgpu_device()
                .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                    label: Some("outputs"),
                });
        for &(id, offset, bytes) in &self.download.parts {
            if let Some(buffer) = self.buffers[id.index()].as_ref().filter(|_| bytes > 0) {
                encoder.copy_buffer_to_buffer(buffer, 0, &self.download.buffer, offset, bytes);
            }
        }
        self.device.wgpu_queue().submit([encoder.finish()]);
        self.map_staging()
    }

    /// Runs the steps alone, on what inputs are on the device, and leaves results there: for
    /// benchmarks, which want the kernels' time and not that of transfers.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn compute(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.device.alive()?;
        self.submit_steps(self.plan.once..self.steps.len(), None, progress)
    }

    fn map_staging(&mut self) -> Result<()> {
        let (done, results) = mpsc::channel();
        for (staging, mode) in [
            (&self.upload, wgpu::MapMode::Write),
            (&self.download, wgpu::MapMode::Read),
        ] {
            let done = done.clone();
            staging.buffer.map_async(mode, .., move |result| {
                // The receiver is gone only if waiting has failed already.
                let _ = done.send(result);
            });
        }
        self.device.wait(None)?;
        for _ in 0..2 {
            results
                .recv()
                .map_err(|e| self.unmappable("staging", &e))?
                .map_err(|e| self.unmappable("staging", &e))?;
        }
        self.upload.mapped = true;
        self.download.mapped = true;
        Ok(())
    }

    /// Records and submits steps, a bounded amount of work at a time. Two submissions are in flight,
    /// so that the device never waits for the host.
    pub(super) fn submit_steps(
        &self,
        steps: std::ops::Range<usize>,
        first: Option<wgpu::CommandEncoder>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let total: u64 = self.steps[steps.clone()].iter().map(|s| s.flops).sum();
        let mut done = 0;
        let mut in_flight: Option<(wgpu::SubmissionIndex, u64)> = None;
        let mut encoder = first;
        let mut at = steps.start;
        while at < steps.end || encoder.is_some() {
            let mut commands = encoder.take().unwrap_or_else(|| {
                self.device
                    .wgpu_device()
                    .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                        label: Some("steps"),
                    })
            });
            let mut flops = 0;
            {
                let mut pass = commands.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                while at < steps.end {
                    let step = &self.steps[at];
                    if flops > 0 && flops + step.flops > self.budget {
                        break;
                    }
                    flops += step.flops;
                    at += 1;
                    let [x, y] = step.workgroups;
                    if x == 0 || y == 0 {
                        continue;
                    }
                    pass.set_pipeline(&step.pipeline.pipeline);
                    pass.set_bind_group(0, &step.bind_group, &[]);
                    pass.dispatch_workgroups(x, y, 1);
                }
            }
            let submission = self.device.wgpu_queue().submit([commands.finish()]);
            if let Some((before, work)) = in_flight.replace((submission, flops)) {
                self.device.wait(Some(before))?;
                done += work;
                progress(done, total);
            }
        }
        if let Some((last, work)) = in_flight {
            self.device.wait(Some(last))?;
            progress(done + work, total);
        }
        Ok(())
    }
}
