//! The first workgroups of parts of dispatches, where shaders read them.
//!
//! A part begins at a workgroup that only the run knows. Every shader reads that number from a uniform
//! of its own, `first_group`, which is bound at an offset into one table of fixed size, so that what a
//! session allocates does not depend on how its work is cut. Zero is the first entry and stays; the
//! others keep the numbers used last, so that runs which cut where earlier ones did write nothing. An
//! entry is written in the queue's order: after work submitted before has read it.

use super::buffer::Buffer;
use super::device::Device;
use crate::error::Result;

/// Entries of a table. A submission has one part at most that begins elsewhere than at zero; more save
/// writes, and let an app record several slices of a run before it submits them.
pub(super) const ENTRIES: usize = 64;

fn stride(limits: &wgpu::Limits) -> u64 {
    u64::from(limits.min_uniform_buffer_offset_alignment.max(16))
}

/// Bytes of a table.
pub(super) fn bytes(limits: &wgpu::Limits) -> u64 {
    stride(limits) * ENTRIES as u64
}

/// The layout of bind group 1 of every pipeline.
pub(super) fn layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("first group"),
        entries: &[wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: true,
                min_binding_size: wgpu::BufferSize::new(4),
            },
            count: None,
        }],
    })
}

/// A table of first workgroups.
pub(super) struct Bases {
    /// Bytes from one entry to the next.
    stride: u64,
    buffer: Buffer,
    pub(super) bind_group: wgpu::BindGroup,
    /// The table as the device has it or will have it.
    firsts: [u64; ENTRIES],
    /// When each entry was used last, counted in uses.
    used: [u64; ENTRIES],
}

impl Bases {
    pub(super) fn new(device: &Device) -> Result<Self> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let size = bytes(device.limits());
        let buffer = device.buffer("first groups", size, usage, false)?;
        let zeros = vec![0; size as usize];
        device.write("first groups", &buffer, 0, &zeros)?;
        let layout = device.bases_layout()?;
        let bind_group = device.scoped("first groups", 0, || {
            let wgpu_device = device.wgpu_device();
            wgpu_device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("first groups"),
                layout,
                entries: &[wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &buffer,
                        offset: 0,
                        size: wgpu::BufferSize::new(16),
                    }),
                }],
            })
        })?;
        let stride = stride(device.limits());
        Ok(Bases { stride, buffer, bind_group, firsts: [0; ENTRIES], used: [0; ENTRIES] })
    }

    /// Where the entry of a number is, by the time the next submission runs.
    pub(super) fn offset(&mut self, device: &Device, first: u64) -> u32 {
        let known = self.firsts.iter().position(|&f| f == first);
        let entry = known.unwrap_or_else(|| {
            // What was used last may be in commands that are yet to be submitted.
            let oldest = (1..ENTRIES).min_by_key(|&entry| self.used[entry]);
            let entry = oldest.unwrap_or(ENTRIES - 1);
            self.firsts[entry] = first;
            let word = (first as u32).to_le_bytes();
            let at = entry as u64 * self.stride;
            device.wgpu_queue().write_buffer(&self.buffer, at, &word);
            entry
        });
        self.used[entry] = self.used.iter().max().map_or(1, |last| last + 1);
        (entry as u64 * self.stride) as u32
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> u64 {
        self.buffer.size()
    }
}
