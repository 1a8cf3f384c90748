//! Variants of kernels, what they need of a device, and launches.

use super::{Bindings, ELEMENTWISE};
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
    /// Names of the arrays that it reads or writes as f16; decided by the op alone.
    pub f16: &'static [&'static str],
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
    /// Side of the cooperative matrices of f16 that the device has to multiply, in subgroups of `LANES`. `None` where
    /// nothing of the kind is needed.
    pub cooperative: Option<u32>,
    /// Made for software adapters: no workgroup memory.
    pub software: bool,
}

impl Variant {
    /// The plain mode of a shader in f32 for any device, in workgroups of 64 without workgroup memory.
    /// Variant and entry point have one name.
    pub(crate) const fn plain(
        kernel: &'static str,
        source: &'static str,
        entry: &'static str,
    ) -> Self {
        Variant {
            kernel,
            source,
            name: entry,
            mode: Mode::PLAIN,
            f16: &[],
            entry,
            constants: &[],
            invocations: ELEMENTWISE,
            workgroup_bytes: 0,
            subgroups: false,
            cooperative: None,
            software: false,
        }
    }

    /// The same under another name, with these constants, in workgroups of another size.
    pub(crate) const fn sized(
        mut self,
        name: &'static str,
        constants: &'static [(&'static str, u32)],
        invocations: u32,
        workgroup_bytes: u32,
    ) -> Self {
        self.name = name;
        self.constants = constants;
        self.invocations = invocations;
        self.workgroup_bytes = workgroup_bytes;
        self
    }

    /// The same for software adapters: `LANES` lanes (eight), which are slots of one CPU vector, without workgroup
    /// memory; where `subgroups`, they lie in one subgroup and hand each other what they load.
    pub(crate) const fn direct(
        self,
        name: &'static str,
        constants: &'static [(&'static str, u32)],
        subgroups: bool,
    ) -> Self {
        let lanes = constant(constants, "LANES", 8);
        Variant { subgroups, software: true, ..self.sized(name, constants, lanes, 0) }
    }

    /// The same with cooperative matrices of this side, which need subgroups.
    pub(crate) const fn with_cooperative(mut self, side: u32) -> Self {
        self.cooperative = Some(side);
        self.subgroups = true;
        self
    }

    /// Name, mode and arrays of f16: unique within the kernel.
    pub fn title(&self) -> String {
        let mut title = self.name.to_owned();
        if !self.mode.name.is_empty() {
            title.push_str(&format!(" {}", self.mode.name));
        }
        if !self.f16.is_empty() {
            title.push_str(&format!(" f16({})", self.f16.join(",")));
        }
        title
    }

    /// The same tiles in another mode.
    pub const fn with(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same tiles with these arrays as f16.
    pub const fn storing_f16(mut self, f16: &'static [&'static str]) -> Self {
        self.f16 = f16;
        self
    }

    /// The same with each of these sets of arrays as f16.
    pub(crate) fn with_f16(self, sets: &[&'static [&'static str]]) -> Vec<Self> {
        sets.iter().map(|f16| self.storing_f16(f16)).collect()
    }

    /// All constants that it sets.
    pub fn all_constants(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.constants.iter().chain(self.mode.constants).copied()
    }

    /// The value of a constant, if it sets it.
    pub fn constant(&self, name: &str) -> Option<u32> {
        self.all_constants().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// The value of a constant as a size; one where it sets none.
    pub fn size(&self, name: &str) -> usize {
        self.constant(name).unwrap_or(1) as usize
    }

    /// Whether it passes tiles through workgroup memory.
    pub const fn tiled(&self) -> bool {
        self.workgroup_bytes > 1024
    }

    /// Whether it leans on more than the plainest shaders, which drivers get wrong now and then: it is checked
    /// on a device before it is used there first. What passes nothing from one invocation to another, and unpacks
    /// nothing, is what the next one falls back to.
    pub const fn accelerated(&self) -> bool {
        let shares = self.workgroup_bytes > 0 || self.subgroups || self.cooperative.is_some();
        shares || !self.f16.is_empty()
    }
}

/// The value of a constant where these set it, and what it is otherwise.
pub(crate) const fn constant(constants: &[(&str, u32)], name: &str, otherwise: u32) -> u32 {
    let mut i = 0;
    while i < constants.len() {
        if same(constants[i].0.as_bytes(), name.as_bytes()) {
            return constants[i].1;
        }
        i += 1;
    }
    otherwise
}

/// Whether names are equal, which a constant cannot ask `==`.
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// The constants of tiles by name, one list a tile.
pub(crate) const fn named<const C: usize, const N: usize>(
    names: [&'static str; C],
    tiles: [(&'static str, [u32; C]); N],
) -> [[(&'static str, u32); C]; N] {
    let mut all = [[("", 0); C]; N];
    let mut i = 0;
    while i < N * C {
        all[i / C][i % C] = (names[i % C], tiles[i / C].1[i % C]);
        i += 1;
    }
    all
}

/// What variant choice and dispatch geometry need to know about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTraits {
    /// The "GPU" is a CPU (llvmpipe, SwiftShader, WARP).
    pub software: bool,
    /// Shaders may use 64-bit integers.
    pub int64: bool,
    /// Sources are changed as llvmpipe's compiler needs them: on software adapters, but for browsers, which would no longer
    /// see what is uniform.
    pub rewritten: bool,
    /// Variants that pass tiles through workgroup memory are run: not on software adapters, whose compilers take up
    /// to fifteen seconds for one, and gigabytes in SwiftShader.
    pub tiles: bool,
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
    /// Side of the cooperative matrices of f16 that the device multiplies with sums in f32, where it
    /// does: 16 on Vulkan, 8 on Metal.
    pub cooperative: Option<u32>,
    /// Most bytes of one array: of a buffer, and of what a shader can bind of it.
    pub array_bytes: u64,
}

/// What [`DeviceTraits::loop_iterations`] is on software adapters: llvmpipe's limit, with room for
/// the few iterations that are not counted.
pub const SOFTWARE_LOOP_ITERATIONS: u64 = 65_000;

impl DeviceTraits {
    /// The default limits of WebGPU, which every adapter must offer.
    pub const fn webgpu_default() -> Self {
        DeviceTraits {
            software: false,
            int64: false,
            rewritten: false,
            tiles: true,
            workgroups_per_dimension: 65_535,
            invocations: 256,
            workgroup_bytes: 16_384,
            busy_workgroups: 256,
            loop_iterations: u64::MAX,
            subgroups: None,
            cooperative: None,
            array_bytes: 128 << 20,
        }
    }

    /// The share of the device that some workgroups of this many invocations keep busy: each multiprocessor wants
    /// one workgroup, and 128 invocations are what hides the waits of two.
    #[must_use]
    pub(crate) fn busy(&self, workgroups: usize, invocations: u32) -> f64 {
        let busy = f64::from(self.busy_workgroups);
        let some = 2.0 * workgroups as f64 / busy;
        let many = workgroups as f64 * f64::from(invocations) / (128.0 * busy);
        (some.min(1.0) * many.min(1.0)).max(1e-9)
    }

    /// Lanes of the subgroups that drivers give shaders with cooperative matrices: the most there are, but for Metal,
    /// whose matrices have a side of eight and whose subgroups have 32.
    const fn lanes(&self) -> Option<u32> {
        match (self.subgroups, self.cooperative) {
            (Some([_, most]), Some(8)) if most > 32 => Some(32),
            (Some([_, most]), _) => Some(most),
            (None, _) => None,
        }
    }

    /// True when a variant can be compiled within the limits.
    pub const fn allows(&self, variant: &Variant) -> bool {
        let fits = variant.invocations <= self.invocations
            && variant.workgroup_bytes <= self.workgroup_bytes;
        let multiplies = match (variant.cooperative, self.cooperative, self.lanes()) {
            (None, ..) => true,
            (Some(side), Some(device), Some(lanes)) => {
                side == device && constant(variant.constants, "LANES", 32) == lanes
            }
            _ => false,
        };
        let tiled = variant.tiled() && variant.cooperative.is_none();
        // The lanes of direct variants lie in one subgroup.
        let within = match self.subgroups {
            Some([least, _]) => !variant.software || variant.invocations <= least,
            None => false,
        };
        fits && multiplies && (self.tiles || !tiled) && (!variant.subgroups || within)
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
