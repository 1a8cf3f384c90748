//! Runs in slices that an app records into its own command encoders, between its own textures and buffers.
//!
//! Nothing here waits. What a slice took is read from timestamps around its pass, where the device has them. Without
//! them, and on llvmpipe, whose timestamps leave out the last dispatch before them, it is known from polls of the
//! device between which times it began and ended: the prediction then moves into these bounds, no further.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use web_time::Instant;

use super::super::adapter::AdapterKind;
use super::super::bases::ENTRIES;
use super::super::clock::Clock;
use super::super::device::{Device, lock};
use super::super::pacing::{Part, Position, SubmissionBudget};
use super::super::store::with_bytes;
use super::GpuExecutor;
use super::transfer::padded;
use crate::error::{Error, Result};
use crate::graph::{Waiting, input_parts};

/// An app's texture or buffer.
#[derive(Debug, Clone)]
pub enum Place {
    /// From this byte on.
    Buffer(wgpu::Buffer, u64),
    /// A part of a texture, from the origin in `.1` on.
    Texture(wgpu::Texture, wgpu::Origin3d, u32),
}

/// What passes between an app's memory and an array of a session.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// The input or output.
    pub name: String,
    /// The app's memory.
    pub place: Place,
    /// Width and height of a picture; the bytes of a row of a buffer, and the rows.
    pub size: [u32; 2],
    /// Bytes from one line of the array to the next.
    pub line: u32,
    /// The array's byte that the transfer begins at.
    pub offset: u64,
}

/// What an app has bound to a session.
#[derive(Debug, Clone, Default)]
pub struct Bound {
    /// Copied before the first dispatch of a run.
    pub inputs: Vec<Transfer>,
    /// Copied after the last one.
    pub outputs: Vec<Transfer>,
    /// Whether the host writes inputs at once, rather than through memory that is copied in every run.
    pub resident: bool,
}

/// What is known of slices that have been recorded.
#[derive(Default)]
pub(super) struct Slices {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    ended: Vec<Ended>,
    /// Clocks that no slice uses, and how many there are in all.
    clocks: Vec<Clock>,
    made: usize,
    /// Slices whose end has not been seen.
    open: usize,
    /// When the device was polled last and had not ended those.
    polled: Option<Instant>,
    /// When the slice before ended: earliest and latest.
    last: Option<[Instant; 2]>,
}

/// A slice that the device is done with.
struct Ended {
    parts: Vec<Part>,
    /// Seconds that it took, at least and at most.
    seconds: [f64; 2],
}

/// A slice that has been recorded, until it is done or its commands are dropped.
struct Open {
    shared: Arc<Mutex<Shared>>,
    parts: Vec<Part>,
    recorded: Instant,
    clock: Option<Clock>,
}

impl Open {
    fn done(&mut self) {
        let exact = self.clock.as_ref().and_then(Clock::seconds);
        let now = Instant::now();
        let mut shared = lock(&self.shared);
        let [earliest, latest] = shared.last.unwrap_or([self.recorded; 2]);
        let began = [earliest, latest].map(|before| before.max(self.recorded));
        let ended = [shared.polled.map_or(began[0], |polled| polled.max(began[0])), now];
        shared.last = Some(ended);
        let between = |to: Instant, from: Instant| to.saturating_duration_since(from).as_secs_f64();
        let bounds = [between(ended[0], began[1]), between(ended[1], began[0])];
        let seconds = exact.map_or(bounds, |exact| [exact; 2]);
        let parts = std::mem::take(&mut self.parts);
        shared.ended.push(Ended { parts, seconds });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.open -= 1;
        shared.clocks.extend(self.clock.take());
    }
}

/// Slices at most whose end has not been seen: each may need an entry of the table of first workgroups.
const OPEN: usize = ENTRIES / 2;
/// Slices at most that are timed at once.
const CLOCKS: usize = 8;

/// How far a run in slices has come.
#[derive(Debug, Clone, Copy)]
pub struct Sliced {
    at: Position,
    flops: f64,
}

/// What a slice has recorded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slice {
    /// Floating-point operations of the run up to its end, and of the whole run.
    pub done: [u64; 2],
    /// How long it is expected to keep the device busy.
    pub predicted: Duration,
    /// Whether it ends the run.
    pub last: bool,
}

impl GpuExecutor {
    /// A run from its beginning.
    pub fn begin(&self) -> Sliced {
        Sliced { at: Position::at(self.plan.once()), flops: 0.0 }
    }

    /// Records what fits this time into the app's encoder. It records nothing while too many slices before it
    /// have not been seen to end.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], or [`Error::Device`] for what wgpu refuses.
    pub fn slice(
        &mut self,
        run: &mut Sliced,
        budget: SubmissionBudget,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<Slice> {
        self.device.alive()?;
        let (first, end) = (self.plan.once(), self.steps.len());
        let begins = run.at.step == first && run.flops == 0.0;
        // What a lost device is asked to record is a panic where the app finishes its encoder.
        self.device.look_again()?;
        let (ended, open) = {
            let mut shared = lock(&self.slices.shared);
            shared.polled = Some(Instant::now());
            (std::mem::take(&mut shared.ended), shared.open)
        };
        for Ended { parts, seconds: [least, most] } in ended {
            let expected = self.pacer.predicted(&parts);
            let seconds = match self.device.stopwatch() {
                Some(stopwatch) => stopwatch(&self.ran(&parts)),
                None => expected.max(least).min(most),
            };
            self.pacer.learn(&parts, seconds, budget);
        }
        let mut parts = Vec::new();
        if open < OPEN {
            self.pacer.next(&self.works, &mut run.at, end, budget, &mut parts);
        }
        if begins && (open < OPEN || end == first) {
            self.record_inputs(encoder)?;
        }
        if !parts.is_empty() {
            self.record_slice(&parts, encoder)?;
        }
        for part in &parts {
            let share = part.groups as f64 / self.works[part.step].groups as f64;
            run.flops += share * self.steps[part.step].flops as f64;
        }
        let last = run.at.step >= end;
        if last {
            self.record_outputs(encoder)?;
            self.remember_factors();
        }
        let total: u64 = self.steps[first..].iter().map(|s| s.flops).sum();
        let done = if last { total } else { (run.flops as u64).min(total) };
        let predicted: f64 = parts.iter().map(|p| p.predicted).sum();
        let predicted = Duration::try_from_secs_f64(predicted).unwrap_or(Duration::MAX);
        Ok(Slice { done: [done, total], predicted, last })
    }

    /// A pass with a clock, and a callback that reads it.
    fn record_slice(&mut self, parts: &[Part], encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let device = self.device.clone();
        let clock = self.clock()?;
        device.scoped("steps", 0, || {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some("perceiver"),
                timestamp_writes: clock.as_ref().map(|c| c.writes(0)),
            });
            parts.iter().for_each(|part| self.record_part(part, &mut pass));
            drop(pass);
            if let Some(clock) = &clock {
                clock.resolve(1, encoder);
                clock.map_on_submit(encoder);
            }
        })?;
        let shared = self.slices.shared.clone();
        lock(&shared).open += 1;
        let mut open = Open { shared, parts: parts.to_vec(), recorded: Instant::now(), clock };
        encoder.on_submitted_work_done(move || open.done());
        Ok(())
    }

    fn clock(&self) -> Result<Option<Clock>> {
        if self.device.kind() == AdapterKind::Software {
            return Ok(None);
        }
        let mut shared = lock(&self.slices.shared);
        if let Some(clock) = shared.clocks.pop() {
            return Ok(Some(clock));
        }
        if shared.made == CLOCKS {
            return Ok(None);
        }
        shared.made += 1;
        drop(shared);
        Clock::of(&self.device, 1)
    }

    /// Copies of what the app has bound to inputs.
    pub(super) fn record_inputs(&self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        for transfer in &self.bound.inputs {
            let inputs = self.plan.graph().inputs();
            let array = inputs.filter(|(name, ..)| *name == transfer.name);
            for (_, id, _) in array {
                let Some(array) = &self.buffers[id.index()] else { continue };
                copy_in(&self.device, transfer, array, encoder)?;
            }
        }
        Ok(())
    }

    /// Copies into what the app has bound to outputs.
    pub(super) fn record_outputs(&self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let graph = self.plan.graph();
        for transfer in &self.bound.outputs {
            let output = graph.outputs.iter().find(|o| o.name == transfer.name);
            let mut first = 0;
            for piece in output.map_or(&[][..], |o| &o.pieces) {
                let node = graph.nodes.iter().find(|n| n.outputs.contains(piece));
                let rows = node.map_or(0, |n| n.op.signature().operands[0].extent.all_rows());
                if let Some(array) = &self.buffers[piece.index()] {
                    copy_out(&self.device, transfer, [first, rows as u32], array, encoder)?;
                }
                first += rows as u32;
            }
        }
        Ok(())
    }

    /// Sets an input at once: what is submitted from now on reads it.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no such input or the size is wrong.
    pub fn write_now(&self, name: &str, data: &[f32]) -> Result<()> {
        for (id, extent, elements) in input_parts(&self.plan, name, data.len())? {
            let Some(buffer) = &self.buffers[id.index()] else { continue };
            let padded = padded(extent, &data[elements]);
            let element = self.plan.graph().value(id).element;
            with_bytes(name, &padded, element, |bytes| self.device.write(name, buffer, 0, bytes))?;
        }
        Ok(())
    }

    /// Has results read what the device has computed by now.
    ///
    /// # Errors
    /// As a run.
    pub async fn fetch(&mut self, waiting: Waiting) -> Result<()> {
        self.device.alive()?;
        self.upload.unmap(&self.device)?;
        self.download.unmap(&self.device)?;
        let encoder = self.copy_outputs(waiting).await?;
        let last = self.submit(encoder)?;
        self.map_staging(last, waiting).await
    }
}

/// What wgpu says of copies between an app's memory and an array, said without the app's encoder.
///
/// # Errors
/// [`Error::Input`] where it refuses them: another device's memory, say.
pub fn try_transfer(device: &Device, transfer: &Transfer, bytes: u64, output: bool) -> Result<()> {
    let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let array = device.buffer(&transfer.name, bytes, usage, false)?;
    let tried = device.scoped("binding", 0, || {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("binding") };
        let mut encoder = device.wgpu_device().create_command_encoder(&descriptor);
        let [width, height] = transfer.size;
        let copied = match (output, &transfer.place) {
            (false, _) => copy_in(device, transfer, &array, &mut encoder),
            (true, Place::Buffer(..)) => {
                copy_out(device, transfer, [0, height], &array, &mut encoder)
            }
            (true, Place::Texture(..)) => {
                copy_out(device, transfer, [0, width * height], &array, &mut encoder)
            }
        };
        // Errors of an encoder come when it is finished.
        drop(encoder.finish());
        copied
    });
    let refused = |e: &Error| match std::error::Error::source(e) {
        Some(cause) => cause.to_string(),
        None => e.to_string(),
    };
    let expected = "memory of this engine's device, with the usages for copies";
    tried.flatten().map_err(|e| match e {
        e @ (Error::DeviceLost { .. } | Error::OutOfMemory { .. }) => e,
        e => Error::input(&transfer.name, format!("cannot be bound: {}", refused(&e)), expected),
    })
}

fn copy_in(
    device: &Device,
    transfer: &Transfer,
    array: &wgpu::Buffer,
    encoder: &mut wgpu::CommandEncoder,
) -> Result<()> {
    let [width, height] = transfer.size;
    device.scoped(&transfer.name, 0, || match &transfer.place {
        Place::Buffer(buffer, from) => {
            let bytes = (u64::from(width) * u64::from(height)).next_multiple_of(4);
            encoder.copy_buffer_to_buffer(buffer, *from, array, transfer.offset, bytes);
        }
        Place::Texture(texture, origin, mip_level) => encoder.copy_texture_to_buffer(
            texels(texture, *origin, *mip_level),
            lines(array, transfer.offset, transfer.line, height),
            wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        ),
    })
}

/// Copies the pixels, or rows, that an array has of an output: how many, from which on.
fn copy_out(
    device: &Device,
    transfer: &Transfer,
    [first, rows]: [u32; 2],
    array: &wgpu::Buffer,
    encoder: &mut wgpu::CommandEncoder,
) -> Result<()> {
    let [width, _] = transfer.size;
    device.scoped(&transfer.name, 0, || match &transfer.place {
        Place::Buffer(buffer, to) => {
            let each = u64::from(width);
            let bytes = (u64::from(rows) * each).next_multiple_of(4);
            encoder.copy_buffer_to_buffer(array, 0, buffer, to + u64::from(first) * each, bytes);
        }
        Place::Texture(texture, origin, mip_level) => {
            // A line that begins or ends elsewhere is a rectangle of its own.
            let mut at = first;
            while at < first + rows {
                let (x, y) = (at % width, at / width);
                let left = first + rows - at;
                let [w, h] = if x > 0 || left < width {
                    [(width - x).min(left), 1]
                } else {
                    [width, left / width]
                };
                let origin = wgpu::Origin3d { x: origin.x + x, y: origin.y + y, z: origin.z };
                let texel = texture.format().block_copy_size(None).unwrap_or(4);
                let from = transfer.line * (y - first / width) + x * texel;
                encoder.copy_buffer_to_texture(
                    lines(array, u64::from(from), transfer.line, h),
                    texels(texture, origin, *mip_level),
                    wgpu::Extent3d { width: w, height: h, depth_or_array_layers: 1 },
                );
                at += w * h;
            }
        }
    })
}

fn texels(
    texture: &wgpu::Texture,
    origin: wgpu::Origin3d,
    mip_level: u32,
) -> wgpu::TexelCopyTextureInfo<'_> {
    wgpu::TexelCopyTextureInfo { texture, mip_level, origin, aspect: wgpu::TextureAspect::All }
}

fn lines(
    buffer: &wgpu::Buffer,
    offset: u64,
    line: u32,
    height: u32,
) -> wgpu::TexelCopyBufferInfo<'_> {
    let layout = wgpu::TexelCopyBufferLayout {
        offset,
        bytes_per_row: Some(line),
        rows_per_image: Some(height),
    };
    wgpu::TexelCopyBufferInfo { buffer, layout }
}
