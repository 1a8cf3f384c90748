//! The first workgroups of parts of dispatches, where shaders read them.
//!
//! A part begins at a workgroup that only the run knows. Every shader reads that number from a uniform
//! of its own, `first_group`, which is bound at an offset into one table of fixed size, so that what a
//! session allocates does not depend on how its work is cut. Zero is the first entry and stays; the
//! others keep the numbers used last, so that runs which cut where earlier ones did write nothing. An
//! entry is written in the queue's order: after work submitted before has read it.

use super::device::Device;
use crate::error::Result;

/// Entries of a table. One would do beside zero, since a submission has one part at most that begins
/// elsewhere; more save writes.
const ENTRIES: usize = 64;

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
    buffer: wgpu::Buffer,
    pub(super) bind_group: wgpu::BindGroup,
    /// The table as the device has it or will have it.
    firsts: [u64; ENTRIES],
    /// The entry that is written next.
    next: usize,
}

impl Bases {
    pub(super) fn new(device: &Device) -> Result<Self> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let size = bytes(device.limits());
        let buffer = device.buffer("first groups", size, usage, false)?;
        let zeros = vec![0; size as usize];
        device.wgpu_queue().write_buffer(&buffer, 0, &zeros);
        let bind_group = device.scoped("first groups", 0, || {
            let wgpu_device = device.wgpu_device();
            wgpu_device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("first groups"),
                layout: &device.inner.bases_layout,
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
        Ok(Bases { stride, buffer, bind_group, firsts: [0; ENTRIES], next: 1 })
    }

    /// Where the entry of a number is, by the time the next submission runs.
    pub(super) fn offset(&mut self, device: &Device, first: u64) -> u32 {
        let known = self.firsts.iter().position(|&f| f == first);
        let entry = known.unwrap_or_else(|| {
            let entry = self.next;
            self.firsts[entry] = first;
            self.next = if entry + 1 < ENTRIES { entry + 1 } else { 1 };
            let word = (first as u32).to_le_bytes();
            let at = entry as u64 * self.stride;
            device.wgpu_queue().write_buffer(&self.buffer, at, &word);
            entry
        });
        (entry as u64 * self.stride) as u32
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> u64 {
        self.buffer.size()
    }
}
