//! Replays a [`Plan`] on a device.
//!
//! Everything is made when the session is: buffers, uniform words, bind groups, staging memory
//! (`build`). A run maps, copies and dispatches what is there (`run`); inputs and outputs pass
//! through mapped memory (`transfer`).

mod build;
mod forecast;
mod profile;
mod run;
mod transfer;

use std::sync::Arc;

use super::bases::Bases;
use super::device::Device;
use super::pacing::{Classes, Pacer, Submission, Work};
use super::pipeline::Pipeline;
use super::staging::Staging;
use crate::error::Result;
use crate::graph::{Placement, Plan};
use crate::kernels::Variant;

pub use build::Choice;
pub use profile::{Span, Spans};

/// A plan with its memory and bind groups, ready to run any number of times.
pub struct Session {
    plan: Plan,
    device: Device,
    /// Memory of each value; `None` where nothing reads it.
    buffers: Vec<Option<wgpu::Buffer>>,
    steps: Vec<Step>,
    /// The steps as the pacer sees them.
    works: Vec<Work>,
    classes: Classes,
    pacer: Pacer,
    bases: Bases,
    /// Submissions of the last run.
    submissions: Vec<Submission>,
    /// Words of all steps' arguments, as the shaders read them.
    uniforms: Vec<wgpu::Buffer>,
    /// All inputs, one after the other; mapped for writing between runs.
    upload: Staging,
    /// All outputs, one after the other; mapped for reading between runs.
    download: Staging,
    /// Bytes of buffers that belong to this session alone, staging included.
    own_bytes: u64,
    /// Bytes of the parameters that this plan uses.
    parameter_bytes: u64,
    /// The parameters, so that their store knows that they are in use.
    _held: Vec<Arc<wgpu::Buffer>>,
}

/// One dispatch.
struct Step {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    flops: u64,
    variant: Variant,
    /// Where its words are: which of the uniform buffers, and the offset in bytes.
    words_at: (usize, u64),
}

impl Session {
    /// The plan that this session runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The variant of every node, in order.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.steps.iter().map(|step| &step.variant)
    }

    /// Bytes allocated on the device: parameters, arrays, staging memory, uniforms.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.own_bytes + self.bases.bytes() + self.parameter_bytes
    }

    /// The submissions of the last run, in order.
    #[must_use]
    pub fn submissions(&self) -> &[Submission] {
        &self.submissions
    }

    /// The part of [`Session::allocated_bytes`] that holds transfers and uniforms.
    #[must_use]
    pub fn staging_bytes(&self) -> u64 {
        let arrays = 4 * (self.plan.own_words() + self.plan.slot_words()) as u64;
        let own_bytes = self.own_bytes + self.bases.bytes();
        own_bytes - arrays.min(own_bytes)
    }

    /// Grid position of the first key of all factored attentions.
    ///
    /// # Errors
    /// [`crate::Error::Graph`] when keys would lie beyond the grid.
    pub fn set_first_key(&mut self, first: usize) -> Result<()> {
        let traits = *self.device.traits();
        for (node, step) in self.plan.graph().nodes.iter().zip(&self.steps) {
            if let Some(op) = node.op.from_key(first) {
                let launch = op.launch(step.variant, &traits)?;
                let words: &[u8] = bytemuck::cast_slice(&launch.params);
                let (buffer, offset) = step.words_at;
                let queue = self.device.wgpu_queue();
                queue.write_buffer(&self.uniforms[buffer], offset, words);
            }
        }
        Ok(())
    }

    /// Fills all shared memory with a pattern that no kernel may leave behind.
    pub(crate) fn poison(&self) {
        // A quiet NaN with a payload: it survives any arithmetic and is easy to recognise.
        let pattern = 0x7fc0_dead_u32.to_le_bytes();
        for (place, buffer) in self.plan.placements().iter().zip(&self.buffers) {
            if let (Placement::Slot(_), Some(buffer)) = (place, buffer) {
                let bytes = pattern.repeat(buffer.size() as usize / 4);
                self.device.wgpu_queue().write_buffer(buffer, 0, &bytes);
            }
        }
    }
}
