//! Replays a [`Plan`] on a device.
//!
//! Everything is made when the session is: buffers, uniform words, bind groups, staging memory
//! (`build`). A run maps, copies and dispatches what is there (`run`); inputs and outputs pass
//! through mapped memory (`transfer`).

mod build;
mod forecast;
mod profile;
mod resident;
mod run;
mod transfer;

use std::sync::Arc;

use super::bases::Bases;
use super::buffer::Buffer;
use super::device::Device;
use super::pacing::{Classes, Pacer, Submission, Work};
use super::pipeline::Pipeline;
use super::staging::Staging;
use crate::error::Result;
use crate::graph::{
    Control, Executor, Placement, Plan, Running, Spans, Waiting, blocking, input_parts, sealed,
};
use crate::kernels::Variant;
use crate::tensor::Tensor;

pub use build::Choice;
pub use resident::{Bound, Place, Slice, Sliced, Transfer, try_transfer};

/// A plan with its memory and bind groups, ready to run any number of times.
pub struct GpuExecutor {
    plan: Plan,
    device: Device,
    /// Memory of each value; `None` where nothing reads it.
    buffers: Vec<Option<Buffer>>,
    steps: Vec<Step>,
    /// The steps as the pacer sees them.
    works: Vec<Work>,
    classes: Classes,
    pacer: Pacer,
    bases: Bases,
    /// Submissions of the last run.
    submissions: Vec<Submission>,
    /// What an app has bound to inputs and outputs.
    bound: Bound,
    slices: resident::Slices,
    /// Words of all steps' arguments, as the shaders read them.
    uniforms: Vec<Buffer>,
    /// What operands that an op does without are bound to.
    nothing: [Buffer; 2],
    /// All inputs, one after the other; mapped for writing between runs.
    upload: Staging,
    /// All outputs, one after the other; mapped for reading between runs.
    download: Staging,
    /// Bytes of buffers that belong to this session alone, staging included.
    own_bytes: u64,
    /// Bytes of the parameters that this plan uses.
    parameter_bytes: u64,
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

impl GpuExecutor {
    /// The variant of every node, in order.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.steps.iter().map(|step| &step.variant)
    }

    /// The submissions of the last run, in order.
    pub fn submissions(&self) -> &[Submission] {
        &self.submissions
    }

    /// Fills all shared memory with a pattern that no kernel may leave behind.
    pub(crate) fn poison(&self) -> Result<()> {
        // A quiet NaN with a payload: it survives any arithmetic and is easy to recognise.
        let pattern = 0x7fc0_dead_u32.to_le_bytes();
        for (place, buffer) in self.plan.placements().iter().zip(&self.buffers) {
            if let (Placement::Slot(_), Some(buffer)) = (place, buffer) {
                let bytes = pattern.repeat(buffer.size() as usize / 4);
                self.device.write("poison", buffer, 0, &bytes)?;
            }
        }
        Ok(())
    }
}

impl sealed::Sealed for GpuExecutor {}

impl Executor for GpuExecutor {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn write(&mut self, name: &str, data: &[f32]) -> Result<()> {
        let parts = input_parts(&self.plan, name, data.len())?;
        self.device.alive()?;
        for (id, extent, elements) in parts {
            self.write_part(name, id, extent, &data[elements])?;
        }
        Ok(())
    }

    fn run_with(&mut self, control: &Control, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        blocking(self.whole_run(Waiting::Block, control, progress))
    }

    fn run_async<'a>(
        &'a mut self,
        control: &'a Control,
        progress: &'a mut (dyn FnMut(u64, u64) + Send),
    ) -> Running<'a> {
        Box::pin(self.whole_run(Waiting::Await, control, progress))
    }

    fn compute(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.device.alive()?;
        let steps = self.plan.once()..self.steps.len();
        let control = Control::new();
        blocking(self.submit_steps(steps, None, Waiting::Block, &control, progress))
    }

    fn read(&self, name: &str) -> Result<Tensor> {
        self.read_output(name)
    }

    fn prepare(&mut self) -> Result<()> {
        blocking(self.run_once(Waiting::Block))
    }

    fn prepare_async(&mut self) -> Running<'_> {
        Box::pin(self.run_once(Waiting::Await))
    }

    fn set_first_key(&mut self, first: usize) -> Result<()> {
        let traits = *self.device.traits();
        for (node, step) in self.plan.graph().nodes.iter().zip(&self.steps) {
            if let Some(op) = node.op.moved_by(first) {
                let launch = op.launch(step.variant, &traits)?;
                let words: &[u8] = bytemuck::cast_slice(&launch.params);
                let (buffer, offset) = step.words_at;
                self.device.write("uniforms", &self.uniforms[buffer], offset, words)?;
            }
        }
        Ok(())
    }

    fn is_lost(&self) -> bool {
        self.device.alive().is_err()
    }

    fn allocated_bytes(&self) -> u64 {
        self.own_bytes + self.bases.bytes() + self.parameter_bytes
    }

    fn staging_bytes(&self) -> u64 {
        let arrays = 4 * (self.plan.own_words() + self.plan.slot_words()) as u64;
        (self.own_bytes + self.bases.bytes()).saturating_sub(arrays)
    }

    fn profile(&mut self) -> Result<Spans> {
        self.timed()
    }

    fn variant_names(&self) -> Vec<&'static str> {
        self.variants().map(|v| v.name).collect()
    }
}
