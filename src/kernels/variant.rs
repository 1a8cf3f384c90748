//! Variants of kernels, what they need of a device, and launches.

use super::Bindings;
use crate::error::{Error, Result};

/// What a variant does beside its plain work, the same for all shapes of tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mode {
    /// Short name; empty for the plain mode.
    pub name: &'static str,
    /// Constants of the shader that it sets.
    pub constants: &'static [(&'static str, u32)],
}

impl Mode {
    /// Nothing special.
    pub const PLAIN: Mode = Mode { name: "", constants: &[] };
}

/// One specialisation of a shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The kernel.
    pub kernel: &'static str,
    /// The shader's path below `shaders/`: KERNEL/TECHNIQUE.
    pub source: &'static str,
    /// Short name, unique among the variants of the kernel that can run one op.
    pub name: &'static str,
    /// What else it does; decided by the op alone.
    pub mode: Mode,
    /// Names of the arrays that it reads or writes as halves; decided by the op alone.
    pub halves: &'static [&'static str],
    /// Entry point of the shader.
    pub entry: &'static str,
    /// Constants of the shader that this variant sets.
    pub constants: &'static [(&'static str, u32)],
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Whether it leans on subgroups, of any size.
    pub subgroups: bool,
    /// Side of the matrices of halves that the device has to multiply; subgroups have 32 invocations
    /// then. `None` where nothing of the kind is needed.
    pub matrices: Option<u32>,
    /// Made for software adapters: no workgroup memory, loads at uniform addresses.
    pub software: bool,
}

impl Variant {
    /// Name, mode and arrays of halves: unique within the kernel.
    #[must_use]
    pub fn title(&self) -> String {
        let mut title = self.name.to_owned();
        if !self.mode.name.is_empty() {
            title.push_str(&format!(" {}", self.mode.name));
        }
        if !self.halves.is_empty() {
            title.push_str(&format!(" f16({})", self.halves.join(",")));
        }
        title
    }

    /// The same tiles in another mode.
    #[must_use]
    pub const fn with(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same tiles with these arrays as halves.
    #[must_use]
    pub const fn halving(mut self, halves: &'static [&'static str]) -> Self {
        self.halves = halves;
        self
    }

    /// All constants that it sets.
    pub fn all_constants(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.constants.iter().chain(self.mode.constants).copied()
    }

    /// The value of a constant, if it sets it.
    #[must_use]
    pub fn constant(&self, name: &str) -> Option<u32> {
        self.all_constants().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// The value of a constant as a size; one where it sets none.
    #[must_use]
    pub fn size(&self, name: &str) -> usize {
        self.constant(name).unwrap_or(1) as usize
    }

    /// Whether it leans on more than plain shaders, which drivers get wrong now and then: it is checked
    /// on a device before it is used there first.
    #[must_use]
    pub const fn accelerated(&self) -> bool {
        self.matrices.is_some() || self.subgroups || !self.halves.is_empty()
    }
}

/// What variant choice and dispatch geometry need to know about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTraits {
    /// The "GPU" is a CPU (llvmpipe, SwiftShader, WARP).
    pub software: bool,
    /// Most workgroups along one dimension of a dispatch.
    pub workgroups_per_dimension: u32,
    /// Most invocations of a workgroup.
    pub invocations: u32,
    /// Most bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Workgroups that keep the device busy.
    pub busy_workgroups: u32,
    /// Most loop iterations of one invocation, all its loops together. llvmpipe ends every loop after
    /// 65,535 of them, without a word; real GPUs have no such limit.
    pub loop_iterations: u64,
    /// Smallest and largest subgroup, where shaders may use subgroups.
    pub subgroups: Option<[u32; 2]>,
    /// Side of the square matrices of halves that the device multiplies with sums in f32, where it
    /// does: 16 on Vulkan, 8 on Metal.
    pub matrices: Option<u32>,
    /// Most bytes of one array: of a buffer, and of what a shader can bind of it.
    pub array_bytes: u64,
}

/// What [`DeviceTraits::loop_iterations`] is on software adapters: llvmpipe's limit, with room for
/// the few iterations that are not counted.
pub const SOFTWARE_LOOP_ITERATIONS: u64 = 65_000;

impl DeviceTraits {
    /// The default limits of WebGPU, which every adapter must offer.
    #[must_use]
    pub const fn webgpu_default() -> Self {
        DeviceTraits {
            software: false,
            workgroups_per_dimension: 65_535,
            invocations: 256,
            workgroup_bytes: 16_384,
            busy_workgroups: 256,
            loop_iterations: u64::MAX,
            subgroups: None,
            matrices: None,
            array_bytes: 128 << 20,
        }
    }

    /// True when a variant can be compiled within the limits.
    #[must_use]
    pub const fn allows(&self, variant: &Variant) -> bool {
        let fits = variant.invocations <= self.invocations
            && variant.workgroup_bytes <= self.workgroup_bytes;
        let multiplies = match (variant.matrices, self.matrices, self.subgroups) {
            (None, ..) => true,
            (Some(side), Some(device), Some([32, 32])) => side == device,
            _ => false,
        };
        fits && multiplies && (!variant.subgroups || self.subgroups.is_some())
    }
}

/// One dispatch: which shader, how many workgroups, and the words of its uniform buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The shader.
    pub variant: Variant,
    /// Workgroups in x and y.
    pub workgroups: [u32; 2],
    /// Uniform words, a multiple of four.
    pub params: Vec<u32>,
    /// Storage buffers of the shader.
    pub bindings: Bindings,
}

/// Folds a linear workgroup count into two dimensions. Kernels compute `y·groups_x + x` and ignore
/// what is beyond their total.
pub(super) fn fold(total: u64, device: &DeviceTraits) -> Result<[u32; 2]> {
    let most = u64::from(device.workgroups_per_dimension.max(1));
    let x = total.min(most);
    let y = if x == 0 { 0 } else { total.div_ceil(x) };
    if y > most || total > u64::from(u32::MAX) {
        return Err(Error::Limit {
            what: "a dispatch".to_owned(),
            needed: format!("{total} workgroups"),
            limit: format!("{most} in each of two dimensions"),
            hint: "use a smaller batch or smaller windows".to_owned(),
        });
    }
    Ok([x as u32, y as u32])
}
