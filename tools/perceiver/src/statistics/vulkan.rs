//! Compute pipelines on a Vulkan device of its own, made for what the driver tells of them: nothing runs.
//!
//! The device has what wgpu opens for the engine as far as it concerns compilers: SPIR-V of the same version, robust
//! access to buffers, subgroups of any size.

#![expect(
    unsafe_code,
    reason = "Vulkan is a C interface, and wgpu neither has statistics captured nor reads them"
)]

use std::ffi::{CStr, CString, c_char};

use ash::{khr, vk};
use perceiver::Result;
use perceiver::internals::gpu::Adapter;
use perceiver::internals::kernels::Variant;
use serde_json::{Value, json};

use super::{Executable, unavailable};
use crate::translation::{Shader, Version};

/// An open device.
pub(super) struct Compiler {
    device: ash::Device,
    reader: khr::pipeline_executable_properties::Device,
    version: Version,
    stage: vk::PipelineShaderStageCreateFlags,
    /// Dropped after the device.
    _instance: Instance,
}

/// An instance that is destroyed when it is dropped, with the library that it comes from.
struct Instance(ash::Instance, #[expect(dead_code, reason = "kept loaded")] ash::Entry);

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: whatever was made of it is gone, and nobody else has it.
        unsafe { self.0.destroy_instance(None) }
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // SAFETY: whatever was made of it is gone, nothing was submitted, and nobody else has it.
        unsafe { self.device.destroy_device(None) }
    }
}

/// What one compilation makes, all of it destroyed when it is dropped; what has not been made is null.
struct Made<'a> {
    device: &'a ash::Device,
    module: vk::ShaderModule,
    sets: Vec<vk::DescriptorSetLayout>,
    layout: vk::PipelineLayout,
    pipeline: vk::Pipeline,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // SAFETY: all are the device's own or null, used by nothing any more, and destroyed once.
        unsafe {
            self.device.destroy_pipeline(self.pipeline, None);
            self.device.destroy_pipeline_layout(self.layout, None);
            for &set in &self.sets {
                self.device.destroy_descriptor_set_layout(set, None);
            }
            self.device.destroy_shader_module(self.module, None);
        }
    }
}

impl Compiler {
    /// Opens the adapter once more, beside wgpu.
    ///
    /// # Errors
    /// [`perceiver::Error::Device`] where Vulkan or the extension is missing, or the driver refuses.
    pub(super) fn new(adapter: &Adapter) -> Result<Self> {
        let missing = |what: &str| Err(unavailable(&adapter.name, what.to_owned()));
        let failed = |what: &str, e: vk::Result| unavailable(&adapter.name, format!("{what}: {e}"));
        if adapter.backend != "vulkan" {
            return missing(&format!("is an adapter of {}, not of Vulkan", adapter.backend));
        }
        // SAFETY: it is the system's own Vulkan library that is loaded, as by wgpu.
        let entry = unsafe { ash::Entry::load() }
            .map_err(|e| unavailable(&adapter.name, format!("has no Vulkan library: {e}")))?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: the structures live until the call returns, and ask for no extension or layer.
        let instance = unsafe { entry.create_instance(&create, None) }
            .map_err(|e| failed("has no Vulkan instance", e))?;
        let instance = Instance(instance, entry);
        let vulkan = &instance.0;
        // SAFETY: the instance is valid.
        let devices = unsafe { vulkan.enumerate_physical_devices() }
            .map_err(|e| failed("cannot be listed", e))?;
        let found = devices.into_iter().find_map(|physical| {
            // SAFETY: the handle is one of the instance's own.
            let properties = unsafe { vulkan.get_physical_device_properties(physical) };
            let same = text(&properties.device_name) == adapter.name;
            same.then_some((physical, properties.api_version))
        });
        let Some((physical, api)) = found else {
            return missing("is not among the devices of Vulkan");
        };
        if api < vk::API_VERSION_1_2 {
            return missing("has an older Vulkan than 1.2");
        }
        // SAFETY: the handle is the instance's own, here and in the calls below.
        let extensions = unsafe { vulkan.enumerate_device_extension_properties(physical) }
            .map_err(|e| failed("does not list its extensions", e))?;
        let has = |name: &CStr| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
        if !has(khr::pipeline_executable_properties::NAME) {
            return missing("has no VK_KHR_pipeline_executable_properties");
        }

        // What it has.
        let mut has_11 = vk::PhysicalDeviceVulkan11Features::default();
        let mut has_12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut has_13 = vk::PhysicalDeviceVulkan13Features::default();
        let mut has_info = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        let mut has_robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut all = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut has_11)
            .push_next(&mut has_12)
            .push_next(&mut has_info);
        let newest = api >= vk::API_VERSION_1_3;
        let robust = has(ash::ext::robustness2::NAME);
        if newest {
            all = all.push_next(&mut has_13);
        }
        if robust {
            all = all.push_next(&mut has_robust);
        }
        // SAFETY: the chain has structures only that a device of this version and with these extensions knows.
        unsafe { vulkan.get_physical_device_features2(physical, &mut all) };
        let core = vk::PhysicalDeviceFeatures::default()
            .robust_buffer_access(all.features.robust_buffer_access == vk::TRUE);
        if has_info.pipeline_executable_info != vk::TRUE {
            return missing("cannot tell of its pipelines");
        }

        // What of it compilers see, as wgpu asks for it.
        let cooperative = adapter.cooperative().is_some();
        let mut names = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
        let mut wants_11 = vk::PhysicalDeviceVulkan11Features::default()
            .storage_buffer16_bit_access(has_11.storage_buffer16_bit_access == vk::TRUE);
        let mut wants_12 = vk::PhysicalDeviceVulkan12Features::default()
            .shader_float16(has_12.shader_float16 == vk::TRUE)
            .vulkan_memory_model(cooperative && has_12.vulkan_memory_model == vk::TRUE);
        let varying = has_13.subgroup_size_control == vk::TRUE;
        let mut wants_13 =
            vk::PhysicalDeviceVulkan13Features::default().subgroup_size_control(varying);
        let mut wants_info = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let mut wants_robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default()
            .robust_buffer_access2(has_robust.robust_buffer_access2 == vk::TRUE);
        let mut wants_matrices =
            vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
        // SAFETY: as above.
        let families = unsafe { vulkan.get_physical_device_queue_family_properties(physical) };
        let computes =
            families.iter().position(|f| f.queue_flags.contains(vk::QueueFlags::COMPUTE));
        let Some(family) = computes else {
            return missing("has no queue for compute shaders");
        };
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(family as u32)
            .queue_priorities(&[1.0])];
        if robust {
            names.push(ash::ext::robustness2::NAME.as_ptr());
        }
        if cooperative {
            names.push(khr::cooperative_matrix::NAME.as_ptr());
        }
        let mut create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .enabled_features(&core)
            .push_next(&mut wants_11)
            .push_next(&mut wants_12)
            .push_next(&mut wants_info);
        if newest {
            create = create.push_next(&mut wants_13);
        }
        if robust {
            create = create.push_next(&mut wants_robust);
        }
        if cooperative {
            create = create.push_next(&mut wants_matrices);
        }
        // SAFETY: it has the extensions and features asked for, and everything pointed to is alive.
        let device = unsafe { vulkan.create_device(physical, &create, None) }
            .map_err(|e| failed("cannot be opened", e))?;
        let subgroups = adapter.traits().subgroups.is_some();
        Ok(Compiler {
            reader: khr::pipeline_executable_properties::Device::new(vulkan, &device),
            device,
            version: if newest { (1, 6) } else { (1, 5) },
            stage: match varying && subgroups {
                true => vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE,
                false => vk::PipelineShaderStageCreateFlags::empty(),
            },
            _instance: instance,
        })
    }

    /// Compiles a variant that the adapter's traits allow: the inner error is the driver's.
    ///
    /// # Errors
    /// [`perceiver::Error::Shader`] when the shader is wrong.
    pub(super) fn compile(&self, variant: Variant) -> Result<Result<Vec<Executable>, String>> {
        let shader = Shader::new(variant)?;
        let words = shader.spirv(self.version)?;
        Ok(self.told(&shader, &words).map_err(|e| e.to_string()))
    }

    fn told(&self, shader: &Shader, words: &[u32]) -> Result<Vec<Executable>, vk::Result> {
        let mut made = Made {
            device: &self.device,
            module: vk::ShaderModule::null(),
            sets: Vec::new(),
            layout: vk::PipelineLayout::null(),
            pipeline: vk::Pipeline::null(),
        };
        let create = vk::ShaderModuleCreateInfo::default().code(words);
        // SAFETY: naga validated the module and wrote SPIR-V of a version that the device knows, with no capability
        // beyond those of a variant that the device's traits allow.
        made.module = unsafe { self.device.create_shader_module(&create, None)? };
        let bindings = shader.bindings();
        let groups = bindings.iter().map(|(b, _)| b.group + 1).max().unwrap_or(0);
        for group in 0..groups {
            let entries: Vec<vk::DescriptorSetLayoutBinding<'_>> = bindings
                .iter()
                .filter(|(b, _)| b.group == group)
                .map(|(b, space)| {
                    vk::DescriptorSetLayoutBinding::default()
                        .binding(b.binding)
                        .descriptor_type(match space {
                            naga::AddressSpace::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
                            _ => vk::DescriptorType::STORAGE_BUFFER,
                        })
                        .descriptor_count(1)
                        .stage_flags(vk::ShaderStageFlags::COMPUTE)
                })
                .collect();
            let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&entries);
            // SAFETY: each binding occurs once, which naga has checked.
            made.sets.push(unsafe { self.device.create_descriptor_set_layout(&create, None)? });
        }
        let create = vk::PipelineLayoutCreateInfo::default().set_layouts(&made.sets);
        // SAFETY: the layouts are the device's own; the sets and buffers are few (`tests/suite/shaders.rs`).
        made.layout = unsafe { self.device.create_pipeline_layout(&create, None)? };
        let entry = CString::new(shader.variant.entry).unwrap_or_default();
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .flags(self.stage)
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(made.module)
            .name(&entry);
        let create = vk::ComputePipelineCreateInfo::default()
            .stage(stage)
            .layout(made.layout)
            .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR);
        let none = vk::PipelineCache::null();
        // SAFETY: module, entry point and layout belong together, and statistics may be captured, since the feature
        // is on.
        let pipelines = unsafe { self.device.create_compute_pipelines(none, &[create], None) };
        let pipelines = pipelines.map_err(|(_, e)| e)?;
        made.pipeline = pipelines.first().copied().unwrap_or_default();
        let of = vk::PipelineInfoKHR::default().pipeline(made.pipeline);
        // SAFETY: the pipeline is valid, and the feature is on.
        let list = unsafe { self.reader.get_pipeline_executable_properties(&of)? };
        let executables = list.iter().enumerate().map(|(i, properties)| {
            let of = vk::PipelineExecutableInfoKHR::default()
                .pipeline(made.pipeline)
                .executable_index(i as u32);
            // SAFETY: the pipeline has so many executables, and statistics were captured.
            let figures = unsafe { self.reader.get_pipeline_executable_statistics(&of)? };
            Ok(Executable {
                name: text(&properties.name),
                subgroup_size: properties.subgroup_size,
                statistics: figures.iter().map(|f| (text(&f.name), value(f))).collect(),
            })
        });
        executables.collect()
    }
}

/// A number or truth value that a driver gave.
fn value(figure: &vk::PipelineExecutableStatisticKHR<'_>) -> Value {
    use vk::PipelineExecutableStatisticFormatKHR as Format;
    let union = figure.value;
    // SAFETY: the driver wrote the member that the format names; any bits are a number of these types.
    unsafe {
        match figure.format {
            Format::BOOL32 => json!(union.b32 == vk::TRUE),
            Format::INT64 => json!(union.i64),
            Format::FLOAT64 => json!(union.f64),
            _ => json!(union.u64),
        }
    }
}

/// A text of a fixed field, up to its zero byte.
fn text(field: &[c_char]) -> String {
    let bytes: Vec<u8> = field.iter().map(|&c| c as u8).take_while(|&b| b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
