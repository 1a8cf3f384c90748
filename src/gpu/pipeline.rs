//! Compute pipelines, compiled when first needed and shared by all sessions of a device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use super::device::{BROWSER, Breaks, Device, ShaderChecks, lock};
use super::pipeline_cache::PipelineCache;
use super::shader;
use crate::error::{Error, Result};
use crate::graph::Waiting;
use crate::kernels::{Bindings, Variant};

/// Pipelines by variant.
pub(super) type Pipelines = HashMap<Variant, Arc<Pipeline>>;

/// A compiled variant.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Device {
    /// The pipeline of a variant, compiled now if it is new.
    pub(super) fn pipeline(&self, variant: &Variant, bindings: Bindings) -> Result<Arc<Pipeline>> {
        if let Some(pipeline) = lock(&self.inner.pipelines).get(variant) {
            return Ok(pipeline.clone());
        }
        // Not under the lock: others may compile meanwhile.
        let pipeline = Arc::new(self.compile(variant, bindings)?);
        let mut known = lock(&self.inner.pipelines);
        Ok(known.entry(*variant).or_insert(pipeline).clone())
    }

    /// Compiles those of these variants that are new, on several threads, or on this one with breaks. `progress`
    /// hears how many of them are done.
    pub(super) async fn compile_all(
        &self,
        variants: &[(Variant, Bindings)],
        breaks: &mut Breaks,
        mut progress: impl FnMut(usize),
    ) -> Result<()> {
        let new: Vec<(Variant, Bindings)> = {
            let known = lock(&self.inner.pipelines);
            let missing = variants.iter().filter(|(v, _)| !known.contains_key(v));
            missing.copied().collect()
        };
        let mut done = variants.len() - new.len();
        progress(done);
        if new.is_empty() {
            return Ok(());
        }
        if breaks.waiting() == Waiting::Block && !BROWSER {
            self.compile_on_threads(&new, |new| progress(done + new))?;
        } else {
            for (variant, bindings) in &new {
                self.pipeline(variant, *bindings)?;
                breaks.pause().await?;
                done += 1;
                progress(done);
            }
        }
        if let Some(cache) = self.pipeline_cache() {
            cache.save();
        }
        Ok(())
    }

    fn compile_on_threads(
        &self,
        new: &[(Variant, Bindings)],
        mut progress: impl FnMut(usize),
    ) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let next = AtomicUsize::new(0);
        let (sender, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..threads.min(new.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some((variant, bindings)) =
                        new.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        // The receiver is gone when another has failed.
                        if sender.send(self.pipeline(variant, *bindings).map(|_| ())).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for (done, result) in results.into_iter().enumerate() {
                result?;
                progress(done + 1);
            }
            Ok(())
        })
    }

    fn compile(&self, variant: &Variant, bindings: Bindings) -> Result<Pipeline> {
        let label = format!("{}/{}", variant.kernel, variant.title());
        self.within_limits(&label, bindings)?;
        let bases_layout = self.bases_layout()?;
        let source = shader::source(variant, self.traits())?;
        let cache = self.pipeline_cache();
        let checked = self.inner.checks == ShaderChecks::Checked || !variant.is_own();
        let compiled = self.scoped(&label, 0, || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            };
            let device = self.wgpu_device();
            let module = if checked {
                device.create_shader_module(descriptor)
            } else {
                trusted(device, descriptor)
            };
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(&label),
                entries: &entries(bindings),
            });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout), Some(bases_layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(variant.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Every kernel writes its workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: checked,
                    ..Default::default()
                },
                cache: cache.as_deref().map(PipelineCache::handle),
            });
            Pipeline { pipeline, layout }
        });
        if let (Ok(_), Some(cache)) = (&compiled, &cache) {
            cache.made_one();
        }
        compiled.map_err(|e| match e {
            Error::Device { what, .. } => Error::Shader { label, message: what },
            other => other,
        })
    }
}

impl Device {
    /// An error that names the limit which a kernel with these bindings is beyond. There is one kernel or another that
    /// takes as many in every model, so no variant is a way round.
    fn within_limits(&self, label: &str, bindings: Bindings) -> Result<()> {
        let (limits, storage) = (self.limits(), (bindings.reads + bindings.writes) as u32);
        // The arguments and, in a bind group of their own and at an offset, the first workgroups are uniforms.
        let needs = [
            ("max_bind_groups", 2, limits.max_bind_groups),
            ("max_bindings_per_bind_group", storage + 1, limits.max_bindings_per_bind_group),
            (
                "max_storage_buffers_per_shader_stage",
                storage,
                limits.max_storage_buffers_per_shader_stage,
            ),
            (
                "max_uniform_buffers_per_shader_stage",
                2,
                limits.max_uniform_buffers_per_shader_stage,
            ),
            (
                "max_dynamic_uniform_buffers_per_pipeline_layout",
                1,
                limits.max_dynamic_uniform_buffers_per_pipeline_layout,
            ),
        ];
        match needs.into_iter().find(|(_, needed, limit)| needed > limit) {
            None => Ok(()),
            Some((name, needed, limit)) => Err(Error::Limit {
                what: format!("kernel `{label}` on `{}`", self.name()),
                needed: format!("{needed} of `{name}`"),
                limit: limit.to_string(),
                hint: "open the device with what its adapter has, or use another one or the CPU executor"
                    .to_owned(),
            }),
        }
    }
}

/// A module without run-time checks.
#[allow(
    unsafe_code,
    reason = "index clamps and loop counters cost more than the products they guard"
)]
fn trusted(
    device: &wgpu::Device,
    descriptor: wgpu::ShaderModuleDescriptor<'_>,
) -> wgpu::ShaderModule {
    // SAFETY: the text is one of this crate's own variants (`Variant::is_own`). Its indices are bounded by
    // the sizes in the uniform buffer, which `Op::launch` makes of the op's arguments for variants that can
    // run them and no others; `Plan::new` has compared these arguments with the arrays that are bound, and
    // a plan cannot change. Indices that are data (token ids, points) are clamped in the shaders.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

/// A uniform buffer, then storage buffers.
fn entries(bindings: Bindings) -> Vec<wgpu::BindGroupLayoutEntry> {
    let entry = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
    let mut list = vec![entry(0, wgpu::BufferBindingType::Uniform)];
    for i in 0..bindings.reads {
        list.push(entry(1 + i, storage(true)));
    }
    for i in 0..bindings.writes {
        list.push(entry(1 + bindings.reads + i, storage(false)));
    }
    list
}
