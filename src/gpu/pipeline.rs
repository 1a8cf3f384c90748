//! Compute pipelines, compiled when first needed and shared by all sessions of a device.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use super::device::{Device, ShaderChecks};
use super::shader;
use crate::error::{Error, Result};
use crate::kernels::{Bindings, Variant, bindings};

/// Pipelines by variant.
pub(super) type Pipelines = HashMap<Variant, Arc<Pipeline>>;

/// A compiled variant.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) bindings: Bindings,
}

impl Device {
    /// The pipeline of a variant, compiled now if it is new.
    ///
    /// # Errors
    /// [`Error::Shader`] when the driver rejects it.
    pub(super) fn pipeline(&self, variant: &Variant) -> Result<Arc<Pipeline>> {
        let mut known = self
            .pipelines()
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = known.get(variant) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.compile(variant)?);
        known.insert(*variant, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, variant: &Variant) -> Result<Pipeline> {
        let label = format!("{}/{}", variant.kernel, variant.title());
        let source = shader::source(variant)?;
        let bindings = bindings(variant.kernel).ok_or_else(|| Error::Shader {
            label: label.clone(),
            message: "has no bindings".to_owned(),
        })?;
        let compiled = self.scoped(&label, 0, || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            };
            let device = self.wgpu_device();
            let module = match self.checks() {
                ShaderChecks::Checked => device.create_shader_module(descriptor),
                ShaderChecks::Trusted => trusted(device, descriptor),
            };
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(&label),
                entries: &entries(bindings),
            });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout), Some(self.bases_layout())],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(variant.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Every kernel writes its workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: self.checks() == ShaderChecks::Checked,
                    ..Default::default()
                },
                cache: None,
            });
            Pipeline {
                pipeline,
                layout,
                bindings,
            }
        });
        compiled.map_err(|e| match e {
            Error::Device { what, .. } => Error::Shader {
                label,
                message: what,
            },
            other => other,
        })
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
    // SAFETY: the text comes from this crate's own shaders, whose indices are bounded by the sizes in
    // their uniform buffer; the executor makes those from the same extents as the buffers. The whole
    // kernel table also passes with checks on.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

/// A uniform buffer, then storage buffers.
fn entries(bindings: Bindings) -> Vec<wgpu::BindGroupLayoutEntry> {
    let entry = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: None,
        },
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
