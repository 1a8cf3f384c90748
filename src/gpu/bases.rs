//! The first workgroups of parts of dispatches, where shaders read them.
//!
//! A part begins at a workgroup that only the run knows. Every shader reads that number from a uniform
//! of its own, `first_group`, which is bound at an offset into one table: equal numbers share an entry,
//! and entries are never changed, since work in flight may read them. Zero is the first. Runs that cut
//! where earlier ones did find all their entries, and create nothing.

use std::collections::HashMap;

use super::device::Device;
use crate::error::Result;

/// Entries that a table has room for at first.
const ENTRIES: u64 = 64;

fn stride(limits: &wgpu::Limits) -> u64 {
    u64::from(limits.min_uniform_buffer_offset_alignment.max(16))
}

/// Bytes of a table before it grows.
pub(super) fn first_bytes(limits: &wgpu::Limits) -> u64 {
    stride(limits) * ENTRIES
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
    capacity: u64,
    buffer: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
    /// Entry of each number.
    known: HashMap<u64, u64>,
    /// The table as the device has it or will have it.
    words: Vec<u32>,
}

impl Bases {
    pub(super) fn new(device: &Device) -> Result<Self> {
        let stride = stride(device.limits());
        let (buffer, bind_group) = make(device, stride * ENTRIES)?;
        let mut bases = Bases {
            stride,
            capacity: ENTRIES,
            buffer,
            bind_group,
            known: HashMap::new(),
            words: Vec::new(),
        };
        bases.prepare(device, [0])?;
        Ok(bases)
    }

    /// Sees to it that all these numbers have entries by the time the next submission runs.
    pub(super) fn prepare(
        &mut self,
        device: &Device,
        firsts: impl IntoIterator<Item = u64>,
    ) -> Result<()> {
        let words = (self.stride / 4) as usize;
        let before = self.words.len();
        for first in firsts {
            if !self.known.contains_key(&first) {
                self.known.insert(first, self.known.len() as u64);
                let at = self.words.len();
                self.words.resize(at + words, 0);
                self.words[at] = first as u32;
            }
        }
        if self.words.len() == before {
            return Ok(());
        }
        let entries = self.known.len() as u64;
        let mut from = before;
        if entries > self.capacity {
            self.capacity = entries.next_power_of_two();
            (self.buffer, self.bind_group) = make(device, self.stride * self.capacity)?;
            from = 0;
        }
        let bytes: &[u8] = bytemuck::cast_slice(&self.words[from..]);
        device
            .wgpu_queue()
            .write_buffer(&self.buffer, 4 * from as u64, bytes);
        Ok(())
    }

    /// The bind group.
    pub(super) fn bind_group(&self) -> &wgpu::BindGroup {
        &self.bind_group
    }

    /// Where the entry of a number is that has been prepared.
    pub(super) fn offset(&self, first: u64) -> u32 {
        let entry = self.known.get(&first).copied().unwrap_or(0);
        (entry * self.stride) as u32
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> u64 {
        self.buffer.size()
    }
}

fn make(device: &Device, bytes: u64) -> Result<(wgpu::Buffer, wgpu::BindGroup)> {
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let buffer = device.buffer("first groups", bytes, usage, false)?;
    let bind_group = device.scoped("first groups", 0, || {
        let wgpu_device = device.wgpu_device();
        wgpu_device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("first groups"),
            layout: device.bases_layout(),
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
    Ok((buffer, bind_group))
}
