//! Makes a session: memory, uniform words, pipelines, bind groups.

use super::super::bases::Bases;
use super::super::device::{Breaks, Device, lock};
use super::super::pacing::{Classes, Pacer, Work};
use super::super::staging::Staging;
use super::super::store::{Parameters, write_mapped};
use super::resident::Slices;
use super::{Bound, GpuExecutor, Step};
use crate::error::{Error, Result};
use crate::graph::{Control, Placement, Plan, Source, ValueId, View, Waiting, blocking};
use crate::kernels::{Bindings, Launch, Op, Variant};

/// How the session picks a variant for an op.
pub type Choice<'a> = &'a dyn Fn(&Op) -> Option<Variant>;

impl GpuExecutor {
    /// Allocates the plan's memory, compiles what it needs and runs the part that runs once.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Limit`], [`Error::Shader`], [`Error::DeviceLost`], or what
    /// reading a parameter gives.
    pub fn new(plan: Plan, parameters: &Parameters) -> Result<Self> {
        blocking(Self::with_bound(plan, parameters, Bound::default(), Waiting::Block, |_, _| {}))
    }

    /// As [`GpuExecutor::new`], between textures and buffers of an app, in either way to wait. `progress` hears how
    /// many of how many kernels have been compiled and parameters uploaded.
    ///
    /// # Errors
    /// As [`GpuExecutor::new`].
    pub(crate) async fn with_bound(
        plan: Plan,
        parameters: &Parameters,
        bound: Bound,
        waiting: Waiting,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        let device = parameters.device();
        let mut breaks = Breaks::new(&device, waiting);
        let mut launches: Vec<Launch> = Vec::with_capacity(plan.graph().nodes.len());
        for node in &plan.graph().nodes {
            // Layers are alike.
            let mut before = plan.graph().nodes.iter().zip(&launches);
            let same = before.find(|(before, _)| before.op == node.op);
            launches.push(match same.map(|(_, launch)| launch.clone()) {
                Some(launch) => launch,
                None => {
                    let variant = device.chosen(&node.op, waiting).await?;
                    node.op.launch(variant, device.traits())?
                }
            });
            breaks.pause().await?;
        }
        Self::make(plan, parameters, launches, bound, breaks, progress).await
    }

    /// As [`GpuExecutor::new`], with a variant for each op from `choice`.
    ///
    /// # Errors
    /// As [`GpuExecutor::new`].
    pub fn with_variants(plan: Plan, parameters: &Parameters, choice: Choice<'_>) -> Result<Self> {
        let choice = |op: &Op| choice(op).ok_or_else(|| parameters.device().no_variant(op));
        let launches = launches(&plan, &parameters.device(), &choice)?;
        let breaks = Breaks::new(&parameters.device(), Waiting::Block);
        blocking(Self::make(plan, parameters, launches, Bound::default(), breaks, |_, _| {}))
    }

    /// A session of an op by one variant, in either way to wait.
    pub(crate) async fn of_variant(
        plan: Plan,
        parameters: &Parameters,
        variant: Variant,
        waiting: Waiting,
    ) -> Result<Self> {
        let launches = launches(&plan, &parameters.device(), &|_| Ok(variant))?;
        let breaks = Breaks::new(&parameters.device(), waiting);
        Self::make(plan, parameters, launches, Bound::default(), breaks, |_, _| {}).await
    }

    async fn make(
        plan: Plan,
        parameters: &Parameters,
        launches: Vec<Launch>,
        bound: Bound,
        mut breaks: Breaks,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        let device = parameters.device();
        device.alive()?;
        let mut variants: Vec<(Variant, Bindings)> = Vec::new();
        for launch in &launches {
            if !variants.iter().any(|(known, _)| *known == launch.variant) {
                variants.push((launch.variant, launch.bindings));
            }
        }
        let uploads = plan.placements().iter();
        let uploads = uploads.filter(|p| **p == Placement::Parameter).count();
        let total = (uploads + variants.len()) as u64;
        device.compile_all(&variants, &mut breaks, |done| progress(done as u64, total)).await?;
        let (mut done, waiting) = (variants.len() as u64, breaks.waiting());
        let copied = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let storage = wgpu::BufferUsages::STORAGE | copied;
        let (mut own_bytes, mut parameter_bytes) = (0, 0);
        let allocate =
            |label: &str, words: usize| device.buffer(label, 4 * words as u64, storage, false);
        let slots = plan.slots().iter().zip(0..);
        let slots = slots.map(|(&words, i)| allocate(&format!("slot {i}"), words));
        let slots = slots.collect::<Result<Vec<_>>>()?;
        own_bytes += slots.iter().map(|slot| slot.size()).sum::<u64>();
        let mut buffers = Vec::with_capacity(plan.graph().values.len());
        for (value, place) in plan.graph().values.iter().zip(plan.placements()) {
            buffers.push(match (place, &value.source) {
                (Placement::Slot(slot), _) => Some(slots[slot.0].clone()),
                (Placement::Own, _) => {
                    let buffer = allocate(&value.label, value.words())?;
                    own_bytes += buffer.size();
                    Some(buffer)
                }
                (Placement::Parameter, Source::Parameter(recipe)) => {
                    let get =
                        parameters.get(&device, &value.label, recipe, value.element, &mut breaks);
                    let buffer = get.await?;
                    breaks.pause().await?;
                    parameter_bytes += buffer.size();
                    done += 1;
                    progress(done, total);
                    Some(buffer)
                }
                _ => None,
            });
        }
        parameters.forget_cut();
        let staged = plan.graph().inputs().filter(|_| !bound.resident);
        let inputs: Vec<ValueId> = staged.map(|(_, id, _)| id).collect();
        let read = |name: &str| bound.outputs.iter().all(|bound| bound.name != name);
        let outputs = plan.graph().outputs.iter().filter(|o| read(&o.name));
        let outputs: Vec<ValueId> = outputs.flat_map(|o| o.pieces.iter().copied()).collect();
        let write = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let upload = Staging::new(&device, &plan, "upload", &inputs, write)?;
        let read = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let download = Staging::new(&device, &plan, "download", &outputs, read)?;
        let nothing = |label| device.buffer(label, 16, wgpu::BufferUsages::STORAGE, false);
        let nothing = [nothing("nothing to read")?, nothing("nothing to write")?];
        own_bytes += upload.size() + download.size() + 32;

        let mut session = GpuExecutor {
            plan,
            buffers,
            steps: Vec::new(),
            works: Vec::new(),
            classes: Classes::default(),
            pacer: Pacer::new(1, []),
            bases: Bases::new(&device)?,
            submissions: Vec::new(),
            bound,
            slices: Slices::default(),
            device,
            uniforms: Vec::new(),
            nothing,
            upload,
            download,
            own_bytes,
            parameter_bytes,
        };
        session.build_steps(launches, breaks).await?;
        let once = session.plan.once();
        let control = Control::new();
        session.submit_steps(0..once, None, waiting, &control, |_, _| {}).await?;
        Ok(session)
    }

    /// Fills the uniform buffer, makes all bind groups.
    async fn build_steps(&mut self, launches: Vec<Launch>, mut breaks: Breaks) -> Result<()> {
        let align = u64::from(self.device.limits().min_uniform_buffer_offset_alignment.max(16));
        // As many buffers as the limit of one asks for.
        let most = self.device.limits().max_buffer_size;
        let mut words: Vec<Vec<u32>> = vec![Vec::new()];
        let mut places = Vec::with_capacity(launches.len());
        for launch in &launches {
            let padded = (4 * launch.params.len() as u64).next_multiple_of(align);
            if 4 * words[words.len() - 1].len() as u64 + padded > most {
                words.push(Vec::new());
            }
            let buffer = words.len() - 1;
            let words = &mut words[buffer];
            places.push((buffer, 4 * words.len() as u64));
            let end = words.len() + padded as usize / 4;
            words.extend(&launch.params);
            words.resize(end, 0);
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let mut uniforms = Vec::with_capacity(words.len());
        for words in &words {
            let bytes: &[u8] = bytemuck::cast_slice(words);
            let size = bytes.len() as u64;
            let buffer = self.device.buffer("uniforms", size, usage, true)?;
            if !bytes.is_empty() {
                write_mapped(&self.device, "uniforms", &buffer, bytes)?;
            }
            self.device.unmap("uniforms", &buffer)?;
            self.own_bytes += buffer.size();
            uniforms.push(buffer);
        }

        let [nothing_read, nothing_written] = &self.nothing;
        for (i, launch) in launches.into_iter().enumerate() {
            let pipeline = self.device.pipeline(&launch.variant, launch.bindings)?;
            breaks.pause().await?;
            let node = &self.plan.graph().nodes[i];
            let whole = |buffer| wgpu::BufferBinding { buffer, offset: 0, size: None };
            let mut bound = vec![wgpu::BufferBinding {
                buffer: &uniforms[places[i].0],
                offset: places[i].1,
                size: wgpu::BufferSize::new(4 * launch.params.len() as u64),
            }];
            // Absent operands are bound to something, so that one layout serves all ops of the kernel.
            let signature = node.op.signature();
            let results = node.outputs.iter().map(|&o| self.plan.graph().view(o));
            let (mut inputs, mut outputs) = (node.inputs.iter().copied(), results);
            for operand in &signature.operands {
                let view = if operand.present { inputs.next() } else { None };
                bound.push(match view {
                    Some(view) => self.binding(view).ok_or_else(|| {
                        Error::graph(&node.label, "reads an array that is nowhere")
                    })?,
                    None => whole(nothing_read),
                });
            }
            for result in &signature.results {
                let view = if result.present { outputs.next() } else { None };
                let buffer = view.and_then(|view| self.binding(view));
                bound.push(buffer.unwrap_or_else(|| whole(nothing_written)));
            }
            let bound = bound.into_iter().map(wgpu::BindingResource::Buffer);
            let bindings: Vec<wgpu::BindGroupEntry<'_>> = bound
                .zip(0..)
                .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
                .collect();
            let label =
                format!("{}/{}/{}", launch.variant.kernel, launch.variant.title(), node.label);
            let bind_group = self.device.scoped(&label, 0, || {
                self.device.wgpu_device().create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(&label),
                    layout: &pipeline.layout,
                    entries: &bindings,
                })
            })?;
            let kind = self.device.kind();
            self.works.push(Work::new(&node.op, &launch, &mut self.classes, kind));
            self.steps.push(Step {
                pipeline,
                bind_group,
                flops: node.op.cost().flops,
                variant: launch.variant,
                words_at: places[i],
            });
        }
        self.uniforms = uniforms;
        let known = lock(&self.device.inner.factors);
        let factors: Vec<Option<f64>> =
            self.classes.variants().map(|variant| known.get(variant).copied()).collect();
        drop(known);
        self.pacer = Pacer::new(u64::from(self.device.traits().busy_workgroups), factors);
        Ok(())
    }

    fn binding(&self, view: View) -> Option<wgpu::BufferBinding<'_>> {
        let buffer = self.buffers[view.value.index()].as_ref()?;
        let element = self.plan.graph().value(view.value).element;
        let offset = 4 * element.words(view.first_row * view.extent.stride()) as u64;
        let bytes = 4 * element.words(view.extent.padded_len()) as u64;
        Some(wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(bytes.max(16)) })
    }
}

/// How every node is run, with a variant from `choice`.
fn launches(
    plan: &Plan,
    device: &Device,
    choice: &dyn Fn(&Op) -> Result<Variant>,
) -> Result<Vec<Launch>> {
    let nodes = plan.graph().nodes.iter();
    nodes.map(|node| node.op.launch(choice(&node.op)?, device.traits())).collect()
}
