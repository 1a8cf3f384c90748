//! Timestamps of compute passes, for profiles.
//!
//! They are written when a pass begins and ends, so a profile gives every dispatch a pass of its own.
//! Passes cost a little themselves, and nothing overlaps across them: the sum of a profile is somewhat
//! more than the time of a run.

use futures_channel::oneshot;

use super::buffer::Buffer;
use super::device::{Device, REBUILD};
use crate::error::{Cause, Error, Result};
use crate::graph::{Waiting, blocking};

/// Most passes of one [`Clock`]: WebGPU allows 4096 queries in a set.
pub(super) const PASSES: u32 = 2048;

/// Two timestamps for each of some passes.
pub(super) struct Clock {
    queries: wgpu::QuerySet,
    resolved: Buffer,
    readable: Buffer,
    /// Nanoseconds of a tick.
    period: f64,
}

impl Clock {
    /// A clock of as many passes as there may be; `None` where the device has no timestamps.
    pub(super) fn new(device: &Device) -> Result<Option<Self>> {
        Self::of(device, PASSES)
    }

    /// A clock of so many passes.
    pub(super) fn of(device: &Device, passes: u32) -> Result<Option<Self>> {
        let wgpu_device = device.wgpu_device();
        let features = wgpu_device.features();
        if !features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let queries = device.scoped("timestamps", 0, || {
            wgpu_device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * passes,
            })
        })?;
        let bytes = 16 * u64::from(passes);
        let resolve = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let read = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Ok(Some(Clock {
            queries,
            resolved: device.buffer("timestamps", bytes, resolve, false)?,
            readable: device.buffer("timestamps read", bytes, read, false)?,
            period: f64::from(device.wgpu_queue().get_timestamp_period()),
        }))
    }

    /// What makes pass number `pass` write its timestamps.
    pub(super) fn writes(&self, pass: u32) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * pass),
            end_of_pass_write_index: Some(2 * pass + 1),
        }
    }

    /// Records the reading of the first `passes` passes.
    pub(super) fn resolve(&self, passes: u32, commands: &mut wgpu::CommandEncoder) {
        if passes > 0 {
            let bytes = 16 * u64::from(passes);
            commands.resolve_query_set(&self.queries, 0..2 * passes, &self.resolved, 0);
            commands.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, bytes);
        }
    }

    /// Has the first pass be readable, by [`Clock::seconds`], once the commands are done.
    pub(super) fn map_on_submit(&self, commands: &wgpu::CommandEncoder) {
        commands.map_buffer_on_submit(&self.readable, wgpu::MapMode::Read, ..16, |_| {});
    }

    /// What the first pass took, where it is readable.
    pub(super) fn seconds(&self) -> Option<f64> {
        let ticks: Vec<u64> = {
            let bytes = self.readable.get_mapped_range(..16).ok()?;
            bytemuck::pod_collect_to_vec(&bytes)
        };
        self.readable.unmap();
        Some(ticks[1].saturating_sub(ticks[0]) as f64 * self.period * 1e-9)
    }

    /// Beginning and end of each pass in seconds, once the submission is done.
    pub(super) fn read(&self, passes: u32, device: &Device) -> Result<Vec<[f64; 2]>> {
        if passes == 0 {
            return Ok(Vec::new());
        }
        let (sender, result) = oneshot::channel();
        let range = ..16 * u64::from(passes);
        device.scoped("timestamps", 0, || {
            self.readable.map_async(wgpu::MapMode::Read, range, move |mapped| {
                // Nobody listens only if waiting has failed already.
                let _ = sender.send(mapped);
            });
        })?;
        let failed = |cause: Cause| {
            device.judged(Error::device(device.name(), "cannot read timestamps", cause, REBUILD))
        };
        let mapped = blocking(device.called_back(result, Waiting::Block))?;
        mapped.map_err(|e| failed(e.into()))?;
        let ticks: Vec<u64> = {
            let bytes = self.readable.get_mapped_range(range).map_err(|e| failed(e.into()))?;
            bytemuck::pod_collect_to_vec(&bytes)
        };
        device.unmap("timestamps", &self.readable)?;
        let seconds = |ticks: u64| ticks as f64 * self.period * 1e-9;
        let pairs = ticks.chunks_exact(2);
        Ok(pairs.map(|p| [seconds(p[0]), seconds(p[1])]).collect())
    }
}
