//! Replays a [`Plan`] on a device.
//!
//! Everything is made when the session is: buffers, uniform words, bind groups, staging memory. A
//! run maps, copies and dispatches what is there. Work is cut into submissions of bounded cost, so
//! that a desktop stays smooth and no driver watchdog fires, and so that progress can be told.

use std::sync::Arc;
use std::sync::mpsc;

use super::adapter::AdapterKind;
use super::device::Device;
use super::pipeline::Pipeline;
use super::staging::Staging;
use super::store::{Parameters, write_mapped};
use crate::cpu::{input_of, no_output, repeat_to, unpad};
use crate::error::{Error, Result};
use crate::graph::{Op, Placement, Plan, Source, ValueId, View};
use crate::kernels::{self, Launch, Variant};
use crate::tensor::Tensor;

/// A plan with its memory and bind groups, ready to run any number of times.
pub struct Session {
    plan: Plan,
    device: Device,
    /// Memory of each value; `None` where nothing reads it.
    buffers: Vec<Option<wgpu::Buffer>>,
    steps: Vec<Step>,
    /// Words of all steps' arguments, as the shaders read them.
    uniforms: Option<wgpu::Buffer>,
    /// All inputs, one after the other; mapped for writing between runs.
    upload: Staging,
    /// All outputs, one after the other; mapped for reading between runs.
    download: Staging,
    /// Bytes of buffers that belong to this session alone, staging included.
    own_bytes: u64,
    /// Bytes of the parameters that this plan uses.
    parameter_bytes: u64,
    budget: u64,
}

/// One dispatch.
struct Step {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    workgroups: [u32; 2],
    flops: u64,
    variant: Variant,
    /// Where its words are among the uniforms, in bytes.
    words_at: u64,
}

/// Floating-point operations per submission: about 50 ms on a weak device of each kind.
fn submission_budget(kind: AdapterKind) -> u64 {
    match kind {
        AdapterKind::Discrete | AdapterKind::Virtual => 100_000_000_000,
        AdapterKind::Integrated | AdapterKind::Other => 10_000_000_000,
        AdapterKind::Software => 1_000_000_000,
    }
}

/// How the session picks a variant for an op.
pub type Choice<'a> = &'a dyn Fn(&crate::graph::Op) -> Option<Variant>;

impl Session {
    /// Allocates the plan's memory, compiles what it needs and runs the part that runs once.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Limit`], [`Error::Shader`], [`Error::DeviceLost`], or what
    /// reading a parameter gives.
    pub fn new(plan: Plan, parameters: &Parameters) -> Result<Self> {
        let traits = *parameters.device().traits();
        Self::with_variants(plan, parameters, &move |op| {
            kernels::candidates(op, &traits).into_iter().next()
        })
    }

    /// As [`Session::new`], with a variant for each op from `choice`.
    pub fn with_variants(plan: Plan, parameters: &Parameters, choice: Choice<'_>) -> Result<Self> {
        let device = parameters.device().clone();
        device.alive()?;
        let storage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let mut own_bytes = 0;
        let mut parameter_bytes = 0;
        let mut allocate = |label: &str, elements: usize| {
            let buffer = device.buffer(label, 4 * elements as u64, storage, false)?;
            own_bytes += buffer.size();
            Ok::<_, Error>(buffer)
        };
        let slots = plan
            .slots
            .iter()
            .enumerate()
            .map(|(i, &n)| allocate(&format!("slot {i}"), n))
            .collect::<Result<Vec<_>>>()?;
        let mut buffers = Vec::with_capacity(plan.graph.values.len());
        for (value, place) in plan.graph.values.iter().zip(&plan.placements) {
            buffers.push(match (place, &value.source) {
                (Placement::Slot(slot), _) => Some(slots[slot.0].clone()),
                (Placement::Own, _) => Some(allocate(&value.label, value.extent.padded_len())?),
                (Placement::Parameter, Source::Parameter(recipe)) => {
                    let buffer = parameters.get(&value.label, recipe)?;
                    parameter_bytes += buffer.size();
                    Some(buffer)
                }
                _ => None,
            });
        }
        let inputs: Vec<ValueId> = plan.graph.inputs().map(|(_, id, _)| id).collect();
        let outputs: Vec<ValueId> = plan
            .graph
            .outputs
            .iter()
            .flat_map(|o| o.pieces.iter().copied())
            .collect();
        let write = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let upload = Staging::new(&device, &plan, "upload", &inputs, write)?;
        let read = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let download = Staging::new(&device, &plan, "download", &outputs, read)?;
        own_bytes += upload.buffer.size() + download.buffer.size();

        let mut session = Session {
            budget: submission_budget(device.kind()),
            plan,
            device,
            buffers,
            steps: Vec::new(),
            uniforms: None,
            upload,
            download,
            own_bytes,
            parameter_bytes,
        };
        session.build_steps(choice)?;
        let once = session.plan.once;
        session.submit_steps(0..once, None, &mut |_, _| {})?;
        session.device.wait(None)?;
        Ok(session)
    }

    /// Chooses variants, fills the uniform buffer, makes all bind groups.
    fn build_steps(&mut self, choice: Choice<'_>) -> Result<()> {
        let traits = *self.device.traits();
        let mut launches: Vec<Launch> = Vec::with_capacity(self.plan.graph.nodes.len());
        for node in &self.plan.graph.nodes {
            let variant = choice(&node.op).ok_or_else(|| Error::Limit {
                what: format!("kernel `{}`", node.op.kernel()),
                needed: "a workgroup that no variant can do without".to_owned(),
                limit: format!(
                    "{} invocations and {} bytes on `{}`",
                    traits.invocations,
                    traits.workgroup_bytes,
                    self.device.name()
                ),
                hint: "use another device or the CPU executor (--device cpu)".to_owned(),
            })?;
            launches.push(kernels::launch(&node.op, variant, &traits)?);
        }
        let align = u64::from(
            self.device
                .limits()
                .min_uniform_buffer_offset_alignment
                .max(16),
        );
        let mut words: Vec<u32> = Vec::new();
        let mut offsets = Vec::with_capacity(launches.len());
        for launch in &launches {
            offsets.push(4 * words.len() as u64);
            words.extend(&launch.params);
            let padded = (4 * words.len() as u64).next_multiple_of(align) / 4;
            words.resize(padded as usize, 0);
        }
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniforms = self
            .device
            .buffer("uniforms", bytes.len() as u64, usage, true)?;
        if !bytes.is_empty() {
            write_mapped(&self.device, "uniforms", &uniforms, bytes)?;
        }
        uniforms.unmap();
        self.own_bytes += uniforms.size();

        // What operands that an op does without are bound to.
        let storage = wgpu::BufferUsages::STORAGE;
        let nothing_read = self.device.buffer("nothing to read", 16, storage, false)?;
        let nothing_written = self.device.buffer("nothing to write", 16, storage, false)?;
        self.own_bytes += 32;
        for (i, launch) in launches.into_iter().enumerate() {
            let pipeline = self.device.pipeline(&launch.variant)?;
            let node = &self.plan.graph.nodes[i];
            let whole = |buffer: &wgpu::Buffer| Bound {
                buffer: buffer.clone(),
                offset: 0,
                size: None,
            };
            let mut bound = vec![Bound {
                buffer: uniforms.clone(),
                offset: offsets[i],
                size: wgpu::BufferSize::new(4 * launch.params.len() as u64),
            }];
            for operand in operands(&node.op, &node.inputs) {
                bound.push(match operand {
                    Some(view) => self.binding(view).ok_or_else(|| {
                        Error::graph(&node.label, "reads an array that is nowhere")
                    })?,
                    None => whole(&nothing_read),
                });
            }
            for k in 0..pipeline.bindings.writes {
                let output = node.outputs.get(k).map(|&o| self.plan.graph.view(o));
                bound.push(
                    output
                        .and_then(|view| self.binding(view))
                        .unwrap_or_else(|| whole(&nothing_written)),
                );
            }
            let bindings: Vec<wgpu::BindGroupEntry<'_>> = bound
                .iter()
                .enumerate()
                .map(|(k, b)| wgpu::BindGroupEntry {
                    binding: k as u32,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &b.buffer,
                        offset: b.offset,
                        size: b.size,
                    }),
                })
                .collect();
            let label = format!(
                "{}/{}/{}",
                launch.variant.kernel, launch.variant.name, node.label
            );
            let bind_group = self.device.scoped(&label, 0, || {
                self.device
                    .wgpu_device()
                    .create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(&label),
                        layout: &pipeline.layout,
                        entries: &bindings,
                    })
            })?;
            self.steps.push(Step {
                pipeline,
                bind_group,
                workgroups: launch.workgroups,
                flops: node.op.cost().flops,
                variant: launch.variant,
                words_at: offsets[i],
            });
        }
        self.uniforms = Some(uniforms);
        Ok(())
    }

    fn binding(&self, view: View) -> Option<Bound> {
        let buffer = self.buffers[view.value.index()].clone()?;
        let offset = 4 * (view.first_row * view.extent.stride()) as u64;
        let bytes = 4 * view.extent.padded_len() as u64;
        Some(Bound {
            buffer,
            offset,
            size: wgpu::BufferSize::new(bytes.max(16)),
        })
    }

    /// The plan that this session runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes allocated on the device: parameters, arrays, staging memory, uniforms.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.own_bytes + self.parameter_bytes
    }

    /// The part of [`Session::allocated_bytes`] that holds transfers and uniforms.
    #[must_use]
    pub fn staging_bytes(&self) -> u64 {
        let arrays = 4 * (self.plan.own_elements() + self.plan.slot_elements()) as u64;
        self.own_bytes - arrays.min(self.own_bytes)
    }

    /// Sets an input: `data` is dense, batch × rows × columns.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no such input or the size is wrong.
    pub fn write(&mut self, name: &str, data: &[f32]) -> Result<()> {
        let (id, extent) = input_of(&self.plan, name, data.len())?;
        self.device.alive()?;
        let Some((offset, bytes)) = self.upload.part(id).filter(|p| p.1 > 0) else {
            return Ok(());
        };
        let mut range = self
            .upload
            .buffer
            .get_mapped_range_mut(offset..offset + bytes)
            .map_err(|e| self.unmappable(name, &e))?;
        if extent.cols == extent.stride() {
            range.copy_from_slice(bytemuck::cast_slice(data));
            return Ok(());
        }
        // Some rows at a time, so that padding needs no second copy of everything.
        let rows = (16_384 / extent.stride()).max(1);
        let mut padded = vec![0.0f32; rows * extent.stride()];
        let mut at = 0;
        for chunk in data.chunks(rows * extent.cols) {
            let n = chunk.len() / extent.cols;
            for (to, from) in padded
                .chunks_exact_mut(extent.stride())
                .zip(chunk.chunks_exact(extent.cols))
            {
                to[..extent.cols].copy_from_slice(from);
            }
            let part: &[u8] = bytemuck::cast_slice(&padded[..n * extent.stride()]);
            range.slice(at..at + part.len()).copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn unmappable(&self, name: &str, why: &dyn std::fmt::Display) -> Error {
        Error::Device {
            device: self.device.name().to_owned(),
            what: format!("cannot map `{name}`: {why}"),
            hint: "build a new Engine, or use the CPU executor".to_owned(),
        }
    }

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

    /// Grid position of the first key of all factored attentions.
    ///
    /// # Errors
    /// None in practice: other words fit where the first ones did.
    pub fn set_first_key(&mut self, first: usize) -> Result<()> {
        let traits = *self.device.traits();
        for (node, step) in self.plan.graph.nodes.iter_mut().zip(&self.steps) {
            if let Op::FactoredAttention(args) = &mut node.op {
                args.first_key = first;
                let launch = kernels::launch(&node.op, step.variant, &traits)?;
                if let Some(uniforms) = &self.uniforms {
                    let words: &[u8] = bytemuck::cast_slice(&launch.params);
                    let queue = self.device.wgpu_queue();
                    queue.write_buffer(uniforms, step.words_at, words);
                }
            }
        }
        Ok(())
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
    fn submit_steps(
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

    /// Fills all shared memory with a pattern that no kernel may leave behind.
    pub(crate) fn poison(&self) {
        // A quiet NaN with a payload: it survives any arithmetic and is easy to recognise.
        let pattern = 0x7fc0_dead_u32.to_le_bytes();
        for (place, buffer) in self.plan.placements.iter().zip(&self.buffers) {
            if let (Placement::Slot(_), Some(buffer)) = (place, buffer) {
                let bytes = pattern.repeat(buffer.size() as usize / 4);
                self.device.wgpu_queue().write_buffer(buffer, 0, &bytes);
            }
        }
    }

    /// The first array of result `name` as it lies in memory, padding included.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub(crate) fn read_padded(&self, name: &str) -> Result<Vec<f32>> {
        let output = self.plan.graph.outputs.iter().find(|o| o.name == name);
        let piece = output.and_then(|o| o.pieces.first());
        let piece = piece.ok_or_else(|| no_output(&self.plan, name))?;
        let Some((offset, bytes)) = self.download.part(*piece).filter(|p| p.1 > 0) else {
            return Ok(Vec::new());
        };
        let range = self
            .download
            .buffer
            .get_mapped_range(offset..offset + bytes)
            .map_err(|e| self.unmappable(name, &e))?;
        Ok(bytemuck::pod_collect_to_vec::<u8, f32>(&range))
    }

    /// The result `name` of the last run, dense.
    ///
    /// # Errors
    /// [`Error::Input`] when the plan has no such output or has not run.
    pub fn read(&self, name: &str) -> Result<Tensor> {
        let output = self
            .plan
            .graph
            .outputs
            .iter()
            .find(|o| o.name == name)
            .ok_or_else(|| no_output(&self.plan, name))?;
        let mut data: Vec<f32> = Vec::new();
        for &piece in &output.pieces {
            let Some((offset, bytes)) = self.download.part(piece).filter(|p| p.1 > 0) else {
                continue;
            };
            let range = self
                .download
                .buffer
                .get_mapped_range(offset..offset + bytes)
                .map_err(|e| self.unmappable(name, &e))?;
            let extent = self.plan.graph.extent(piece);
            match bytemuck::try_cast_slice::<u8, f32>(&range) {
                Ok(padded) => unpad(extent, padded, &mut data),
                // Mapped memory is aligned on every driver known; a copy is right on all others.
                Err(_) => unpad(
                    extent,
                    &bytemuck::pod_collect_to_vec::<u8, f32>(&range),
                    &mut data,
                ),
            }
        }
        let elements = output.shape.iter().product();
        Tensor::f32(output.shape.clone(), repeat_to(elements, data))
    }
}

/// A buffer range that a bind group will hold.
struct Bound {
    buffer: wgpu::Buffer,
    offset: u64,
    size: Option<wgpu::BufferSize>,
}

/// The operands of an op by binding; `None` where it does without one.
fn operands(op: &crate::graph::Op, inputs: &[View]) -> Vec<Option<View>> {
    use crate::kernels::attention::Attention;
    let mut rest = inputs.iter().copied();
    let wanted: Vec<bool> = match op {
        Op::Gemm(a) => vec![true, true, a.bias, a.residual_rows > 0],
        Op::Attention(Attention {
            factors: Some(f),
            d_qk,
            ..
        }) => vec![*d_qk > 0, *d_qk > 0, true, true, true, f.indexed],
        Op::Attention(a) => vec![true, true, true, a.masked, a.carry, a.carry],
        Op::Assemble(a) => vec![a.content > 0, a.dimensions > 0, a.tail > 0, a.indexed],
        Op::LayerNorm(_) | Op::Embed(_) | Op::Convolution(_) => vec![true; 3],
        Op::AttentionMerge(_) => vec![true; 2],
        Op::MaxPool(_) | Op::Transpose(_) => vec![true],
        Op::RowScale(a) => vec![a.factors.content > 0, true, a.indexed],
        Op::FactoredAttention(a) => {
            vec![
                a.factors.content > 0,
                true,
                true,
                a.masked,
                a.carry,
                a.carry,
            ]
        }
    };
    wanted
        .into_iter()
        .map(|there| if there { rest.next() } else { None })
        .collect()
}
