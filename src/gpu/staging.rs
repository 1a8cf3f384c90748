//! Host-visible memory through which inputs and outputs pass.

use super::device::Device;
use crate::error::Result;
use crate::graph::{Plan, ValueId};

/// Host-visible memory that is mapped except while a run uses it.
pub(super) struct Staging {
    pub(super) buffer: wgpu::Buffer,
    /// Value, offset in bytes, bytes.
    pub(super) parts: Vec<(ValueId, u64, u64)>,
    pub(super) mapped: bool,
}

impl Staging {
    pub(super) fn new(
        device: &Device,
        plan: &Plan,
        label: &str,
        values: &[ValueId],
        usage: wgpu::BufferUsages,
    ) -> Result<Self> {
        let mut parts: Vec<(ValueId, u64, u64)> = Vec::new();
        let mut end = 0;
        for &id in values {
            if parts.iter().any(|(known, ..)| *known == id) {
                continue;
            }
            let bytes = plan.graph.value(id).bytes();
            parts.push((id, end, bytes));
            end += bytes;
        }
        let write = usage.contains(wgpu::BufferUsages::MAP_WRITE);
        Ok(Staging {
            buffer: device.buffer(label, end, usage, write)?,
            parts,
            mapped: write,
        })
    }

    pub(super) fn part(&self, id: ValueId) -> Option<(u64, u64)> {
        self.parts
            .iter()
            .find(|(known, ..)| *known == id)
            .map(|&(_, offset, bytes)| (offset, bytes))
    }

    pub(super) fn unmap(&mut self) {
        if self.mapped {
            self.buffer.unmap();
            self.mapped = false;
        }
    }
}
