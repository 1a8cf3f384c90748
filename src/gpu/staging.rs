//! Host-visible memory through which inputs and outputs pass.

use super::buffer::Buffer;
use super::device::Device;
use crate::error::Result;
use crate::graph::{Plan, ValueId};

/// Host-visible memory that is mapped except while a run uses it: as many buffers as the device's
/// limit of one asks for.
pub(super) struct Staging {
    pub(super) buffers: Vec<Buffer>,
    pub(super) parts: Vec<Part>,
    pub(super) mapped: bool,
}

/// Where a value is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) id: ValueId,
    /// Which buffer.
    pub(super) buffer: usize,
    /// Offset in it, in bytes.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Staging {
    pub(super) fn new(
        device: &Device,
        plan: &Plan,
        label: &str,
        values: &[ValueId],
        usage: wgpu::BufferUsages,
    ) -> Result<Self> {
        let most = device.limits().max_buffer_size;
        let mut parts: Vec<Part> = Vec::new();
        let mut sizes = vec![0];
        for &id in values {
            if parts.iter().any(|known| known.id == id) {
                continue;
            }
            let bytes = plan.graph().value(id).bytes();
            if sizes[sizes.len() - 1] + bytes > most {
                sizes.push(0);
            }
            let buffer = sizes.len() - 1;
            parts.push(Part { id, buffer, offset: sizes[buffer], bytes });
            // Mapped ranges begin at multiples of eight bytes.
            sizes[buffer] += bytes.next_multiple_of(wgpu::MAP_ALIGNMENT);
        }
        let write = usage.contains(wgpu::BufferUsages::MAP_WRITE);
        let buffers = sizes.into_iter().map(|size| device.buffer(label, size, usage, write));
        Ok(Staging { buffers: buffers.collect::<Result<_>>()?, parts, mapped: write })
    }

    /// Bytes of all buffers.
    pub(super) fn size(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.size()).sum()
    }

    /// The buffer that a value passes through, its offset there and its bytes; `None` for empty ones.
    pub(super) fn part(&self, id: ValueId) -> Option<(&Buffer, u64, u64)> {
        let part = self.parts.iter().find(|part| part.id == id)?;
        (part.bytes > 0).then(|| (&self.buffers[part.buffer], part.offset, part.bytes))
    }

    pub(super) fn unmap(&mut self, device: &Device) -> Result<()> {
        if std::mem::take(&mut self.mapped) {
            for buffer in &self.buffers {
                device.unmap("staging", buffer)?;
            }
        }
        Ok(())
    }
}
