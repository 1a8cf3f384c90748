//! Variants in the languages of the back ends, as wgpu hands them to drivers.
//!
//! The variants are the crate's own, so the engine has wgpu translate them without run-time checks of indices,
//! loops and divisions, and without zeroed workgroup memory; with [`Shader::checked`] they are there. Tests of
//! the library translate every variant by this file.

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ResourceBinding, ShaderStage, StorageAccess};
use perceiver::internals::gpu::shader;
use perceiver::internals::kernels::{DeviceTraits, Variant};
use perceiver::{Error, Result};

/// A version of a language, major and minor.
pub(crate) type Version = (u8, u8);

/// A variant, parsed and validated.
pub(crate) struct Shader {
    pub(crate) variant: Variant,
    /// Whether it is translated with run-time checks; not so unless it is set.
    pub(crate) checked: bool,
    pub(crate) module: Module,
    pub(crate) info: ModuleInfo,
}

/// A text as naga sees it; it may use no more than it says that it needs.
///
/// # Errors
/// [`Error::Shader`] with naga's message.
pub(crate) fn validate(text: &str, label: &str) -> Result<(Module, ModuleInfo)> {
    let module =
        naga::front::wgsl::parse_str(text).map_err(|e| defect(label, e.emit_to_string(text)))?;
    // Only shaders that say so may use more than WebGPU's core.
    let mut capabilities = if text.contains("\nenable wgpu_cooperative_matrix;") {
        Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP
    } else if text.contains("@builtin(subgroup_size)") || text.contains("subgroupBroadcast(") {
        // naga has no `enable subgroups` yet.
        Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16_IN_FLOAT32
    } else {
        // pack2x16float is in the core; naga has a flag for browsers that lack it.
        Capabilities::SHADER_FLOAT16_IN_FLOAT32
    };
    // What software adapters get.
    capabilities.set(Capabilities::SHADER_INT64, text.contains("vec2<u64>"));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .validate(&module)
        .map_err(|e| defect(label, format!("{e:?}")))?;
    Ok((module, info))
}

fn defect(label: &str, message: String) -> Error {
    Error::Shader { label: label.to_owned(), message }
}

impl Shader {
    /// # Errors
    /// [`Error::Shader`] when the variant's shader is wrong.
    pub(crate) fn new(variant: Variant) -> Result<Self> {
        let text = shader::source(&variant, &DeviceTraits::webgpu_default())?;
        let (module, info) = validate(&text, &label(&variant))?;
        Ok(Shader { variant, checked: false, module, info })
    }

    /// SPIR-V of a version; Vulkan 1.0, 1.1, 1.2 and 1.3 take up to 1.0, 1.3, 1.5 and 1.6.
    ///
    /// # Errors
    /// [`Error::Shader`] with naga's message, as for the other languages.
    pub(crate) fn spirv(&self, version: Version) -> Result<Vec<u32>> {
        // Bind groups and bindings keep their numbers.
        let binding_map = self.bindings().into_iter().map(|(binding, _)| {
            let info = spv::BindingInfo {
                descriptor_set: binding.group,
                binding: binding.binding,
                binding_array_size: None,
            };
            (binding, info)
        });
        let options = spv::Options {
            lang_version: version,
            binding_map: binding_map.collect(),
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            fake_missing_bindings: false,
            bounds_check_policies: self.bounds(),
            zero_initialize_workgroup_memory: match self.checked {
                true => spv::ZeroInitializeWorkgroupMemoryMode::Polyfill,
                false => spv::ZeroInitializeWorkgroupMemoryMode::None,
            },
            force_loop_bounding: self.checked,
            emit_int_div_checks: self.checked,
            ..spv::Options::default()
        };
        let entry = spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: self.variant.entry.to_owned(),
        };
        spv::write_vec(&self.module, &self.info, &options, Some(&entry))
            .map_err(|e| defect(&label(&self.variant), e.to_string()))
    }

    /// The Metal Shading Language, in the least version that has what the variant needs. `None` for cooperative
    /// matrices of another shape than Metal's 8×8.
    pub(crate) fn msl(&self) -> Option<Result<String>> {
        if self.variant.cooperative.is_some_and(|side| side != 8) {
            return None;
        }
        // One counter for all buffers, and behind them the buffer with their sizes.
        let bindings = self.bindings();
        let mut resources = msl::EntryPointResources {
            sizes_buffer: Some(bindings.len() as u8),
            ..msl::EntryPointResources::default()
        };
        for (slot, (binding, space)) in bindings.into_iter().enumerate() {
            let target = msl::BindTarget {
                buffer: Some(slot as u8),
                mutable: writable(space),
                ..msl::BindTarget::default()
            };
            resources.resources.insert(binding, target);
        }
        let options = msl::Options {
            lang_version: if self.variant.subgroups { (2, 3) } else { (1, 0) },
            per_entry_point_map: [(self.variant.entry.to_owned(), resources)].into(),
            fake_missing_bindings: false,
            bounds_check_policies: self.bounds(),
            zero_initialize_workgroup_memory: self.checked,
            force_loop_bounding: self.checked,
            emit_int_div_checks: self.checked,
            ..msl::Options::default()
        };
        let entry = msl::PipelineOptions { entry_point: Some(self.entry()), ..Default::default() };
        let written = msl::write_string(&self.module, &self.info, &options, &entry);
        let written = written.map(|(text, _)| text);
        Some(written.map_err(|e| defect(&label(&self.variant), e.to_string())))
    }

    /// HLSL, in the least shader model that has what the variant needs. `None` for cooperative matrices, of which
    /// naga writes none and DX12 lists none.
    pub(crate) fn hlsl(&self) -> Option<Result<String>> {
        if self.variant.cooperative.is_some() {
            return None;
        }
        // One counter for each kind of register.
        let mut counters = [0; 3];
        let mut options = hlsl::Options {
            shader_model: match self.variant.subgroups {
                true => hlsl::ShaderModel::V6_0,
                false => hlsl::ShaderModel::V5_1,
            },
            fake_missing_bindings: false,
            zero_initialize_workgroup_memory: self.checked,
            restrict_indexing: self.checked,
            force_loop_bounding: self.checked,
            ..hlsl::Options::default()
        };
        for (binding, space) in self.bindings() {
            let kind = match space {
                AddressSpace::Uniform => 0,
                space => 1 + usize::from(writable(space)),
            };
            let target = hlsl::BindTarget {
                register: counters[kind],
                restrict_indexing: self.checked,
                ..hlsl::BindTarget::default()
            };
            options.binding_map.insert(binding, target);
            counters[kind] += 1;
        }
        let entry = hlsl::PipelineOptions { entry_point: Some(self.entry()) };
        let mut text = String::new();
        let written =
            hlsl::Writer::new(&mut text, &options, &entry).write(&self.module, &self.info, None);
        let written = written.map(|_| ());
        Some(written.map(|()| text).map_err(|e| defect(&label(&self.variant), e.to_string())))
    }

    fn bounds(&self) -> BoundsCheckPolicies {
        let policy = match self.checked {
            true => BoundsCheckPolicy::Restrict,
            false => BoundsCheckPolicy::Unchecked,
        };
        BoundsCheckPolicies {
            index: policy,
            buffer: policy,
            image_load: policy,
            binding_array: policy,
        }
    }

    fn entry(&self) -> (ShaderStage, String) {
        (ShaderStage::Compute, self.variant.entry.to_owned())
    }

    /// All buffers, in the order of their groups and bindings.
    pub(crate) fn bindings(&self) -> Vec<(ResourceBinding, AddressSpace)> {
        let variables = self.module.global_variables.iter();
        let mut list: Vec<_> = variables.filter_map(|(_, v)| Some((v.binding?, v.space))).collect();
        list.sort_by_key(|(binding, _)| (binding.group, binding.binding));
        list
    }
}

/// KERNEL/TITLE.
pub(crate) fn label(variant: &Variant) -> String {
    format!("{}/{}", variant.kernel, variant.title())
}

fn writable(space: AddressSpace) -> bool {
    matches!(space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE))
}
