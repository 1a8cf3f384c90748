//! The adapters of this machine and what matters about them.

use serde::Serialize;

use super::tuning::Tuning;
use crate::graph::blocking;
use crate::kernels::DeviceTraits;

/// What an adapter is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AdapterKind {
    /// A graphics card.
    Discrete,
    /// A GPU that shares memory with the processor.
    Integrated,
    /// A GPU behind a hypervisor.
    Virtual,
    /// A CPU that poses as a GPU: llvmpipe, SwiftShader, WARP.
    Software,
    /// The driver does not say.
    Other,
}

impl AdapterKind {
    pub(crate) fn of(kind: wgpu::DeviceType) -> Self {
        match kind {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Other,
        }
    }

    /// Lower is preferred by automatic choice; `None` is never chosen by itself.
    #[doc(hidden)]
    pub const fn rank(self) -> Option<u8> {
        match self {
            AdapterKind::Discrete => Some(0),
            AdapterKind::Integrated => Some(1),
            AdapterKind::Virtual => Some(2),
            AdapterKind::Other => Some(3),
            AdapterKind::Software => None,
        }
    }

    /// Lower-case name.
    #[doc(hidden)]
    pub const fn name(self) -> &'static str {
        match self {
            AdapterKind::Discrete => "discrete",
            AdapterKind::Integrated => "integrated",
            AdapterKind::Virtual => "virtual",
            AdapterKind::Software => "software",
            AdapterKind::Other => "other",
        }
    }
}

/// One adapter.
#[derive(Debug, Clone, Serialize)]
pub struct Adapter {
    /// Position in the list, which `--device INDEX` takes.
    pub index: usize,
    /// Name as the driver gives it.
    pub name: String,
    /// "vulkan", "metal", "dx12".
    pub backend: String,
    /// What it is made of.
    pub kind: AdapterKind,
    /// Driver name and version.
    pub driver: String,
    /// Features that kernels can make use of.
    pub features: Vec<&'static str>,
    /// Most bytes of one storage binding.
    pub max_binding_bytes: u64,
    /// Most bytes of one buffer.
    pub max_buffer_bytes: u64,
    /// Most bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Most invocations of a workgroup.
    pub invocations: u32,
    /// Smallest and largest subgroup.
    pub subgroup_sizes: [u32; 2],
    #[serde(skip)]
    pub(crate) handle: wgpu::Adapter,
}

impl Adapter {
    /// Side of the cooperative matrices of f16 that it multiplies with sums in f32, if it lists any that
    /// kernels are written for.
    #[doc(hidden)]
    pub fn cooperative(&self) -> Option<u32> {
        let wanted = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
        if !self.handle.features().contains(wanted) {
            return None;
        }
        let listed = self.handle.cooperative_matrix_properties();
        [16, 8].into_iter().find(|side| {
            listed.iter().any(|p| {
                [p.m_size, p.n_size, p.k_size] == [*side; 3]
                    && p.ab_type == wgpu::CooperativeScalarType::F16
                    && p.cr_type == wgpu::CooperativeScalarType::F32
            })
        })
    }

    /// The limits that it can be opened with.
    #[doc(hidden)]
    #[must_use]
    pub fn limits(&self) -> wgpu::Limits {
        self.handle.limits()
    }

    /// What variant choice depends on, if it is opened with all that it has; nothing is opened here.
    #[doc(hidden)]
    #[must_use]
    pub fn traits(&self) -> DeviceTraits {
        let info = self.handle.get_info();
        super::device::traits(&info, &self.limits(), self.handle.features(), self.cooperative())
    }

    /// What is found out about this adapter begins as this.
    #[doc(hidden)]
    pub fn untuned(&self) -> Tuning {
        Tuning::new(&self.handle.get_info())
    }
}

/// Features worth telling a user about.
const FEATURES: [(wgpu::Features, &str); 6] = [
    (wgpu::Features::SHADER_F16, "f16"),
    (wgpu::Features::SUBGROUP, "subgroups"),
    (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
    (wgpu::Features::PIPELINE_CACHE, "pipeline-cache"),
    (wgpu::Features::IMMEDIATES, "immediates"),
    (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative-matrix"),
];

/// All adapters, in the order of the driver loader: the same from call to call on one machine.
///
/// Which drivers are looked at can be narrowed by wgpu's own `WGPU_BACKEND`.
pub fn adapters() -> Vec<Adapter> {
    blocking(async { Ok(adapters_async().await) }).unwrap_or_default()
}

/// As [`adapters`], awaited, as it has to be in a browser.
pub async fn adapters_async() -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY.with_env(),
        // Validation layers are for development of the engine; their absence is not an error.
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let handles = instance.enumerate_adapters(wgpu::Backends::all()).await;
    handles.into_iter().enumerate().map(|(index, handle)| describe(index, handle)).collect()
}

/// An adapter's name; browsers seldom tell it.
pub(super) fn name_of(info: &wgpu::AdapterInfo) -> String {
    if info.name.is_empty() { "WebGPU".to_owned() } else { info.name.clone() }
}

fn describe(index: usize, handle: wgpu::Adapter) -> Adapter {
    let (info, limits, has) = (handle.get_info(), handle.limits(), handle.features());
    let features = FEATURES.iter().filter(|(f, _)| has.contains(*f)).map(|(_, name)| *name);
    Adapter {
        index,
        name: name_of(&info),
        backend: info.backend.to_str().to_owned(),
        kind: AdapterKind::of(info.device_type),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        features: features.collect(),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup,
        subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
        handle,
    }
}
