//! Host side of every kernel: its arguments, its cost, its variants and dispatch geometry.
//!
//! One kernel is a folder and three files of one name: `shaders/NAME/`, `src/kernels/NAME.rs` (this folder),
//! `src/cpu/NAME.rs` (the twin with the same argument struct) and rows in the table that
//! `src/check/NAME.rs` holds. A test keeps the four sets of names equal.
//!
//! Nothing here touches a GPU: a variant is data, and a launch is a workgroup count and the words of
//! a uniform buffer, so that both can be tested without a device.

pub mod assemble;
pub mod attention;
pub mod attention_merge;
pub mod convolution;
pub mod embed;
pub mod factored_attention;
pub mod gemm;
pub mod gemm_merge;
pub mod join;
pub mod layer_norm;
pub mod max_pool;
pub mod row_scale;
pub mod transpose;

use crate::error::{Error, Result};
use crate::graph::Op;

/// Names of all kernels, in the order of the documentation.
pub const NAMES: [&str; 13] = [
    "gemm",
    "gemm_merge",
    "layer_norm",
    "attention",
    "attention_merge",
    "embed",
    "assemble",
    "convolution",
    "max_pool",
    "factored_attention",
    "row_scale",
    "transpose",
    "join",
];

/// What one execution of an op costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of matrix products, two for a multiply-add. Element-wise work is
    /// not counted, as in the paper.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
}

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
    pub const PLAIN: Mode = Mode {
        name: "",
        constants: &[],
    };
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
        self.all_constants()
            .find_map(|(n, value)| (n == name).then_some(value))
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
}

/// How many storage buffers a kernel binds after its uniform buffer: reads, then writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bindings {
    /// Read-only storage buffers.
    pub reads: usize,
    /// Writable storage buffers.
    pub writes: usize,
}

/// Bindings of a kernel.
#[must_use]
pub fn bindings(kernel: &str) -> Option<Bindings> {
    Some(match kernel {
        "gemm" => gemm::BINDINGS,
        "gemm_merge" => gemm_merge::BINDINGS,
        "layer_norm" => layer_norm::BINDINGS,
        "attention" => attention::BINDINGS,
        "attention_merge" => attention_merge::BINDINGS,
        "embed" => embed::BINDINGS,
        "assemble" => assemble::BINDINGS,
        "convolution" => convolution::BINDINGS,
        "max_pool" => max_pool::BINDINGS,
        "factored_attention" => factored_attention::BINDINGS,
        "row_scale" => row_scale::BINDINGS,
        "transpose" => transpose::BINDINGS,
        "join" => join::BINDINGS,
        _ => return None,
    })
}

/// Every variant of every kernel, for checks and translation tests.
#[must_use]
pub fn variants() -> Vec<Variant> {
    [
        &gemm::variants(),
        gemm_merge::VARIANTS,
        &layer_norm::variants(),
        &attention::variants(),
        attention_merge::VARIANTS,
        embed::VARIANTS,
        assemble::VARIANTS,
        convolution::VARIANTS,
        max_pool::VARIANTS,
        &factored_attention::variants(),
        row_scale::VARIANTS,
        transpose::VARIANTS,
        join::VARIANTS,
    ]
    .concat()
}

/// The variants that can run this op, the one to choose first.
#[must_use]
pub fn candidates(op: &Op, device: &DeviceTraits) -> Vec<Variant> {
    let mut list: Vec<Variant> = match op {
        Op::Gemm(a) => a.candidates(device),
        Op::GemmMerge(a) => a.candidates(),
        Op::LayerNorm(a) => a.candidates(device),
        Op::Attention(a) => a.candidates(device),
        Op::AttentionMerge(a) => a.candidates(),
        Op::Embed(_) => embed::VARIANTS.to_vec(),
        Op::Assemble(a) => a.candidates(),
        Op::Convolution(_) => convolution::VARIANTS.to_vec(),
        Op::MaxPool(_) => max_pool::VARIANTS.to_vec(),
        Op::FactoredAttention(a) => a.candidates(device),
        Op::RowScale(a) => a.candidates(),
        Op::Transpose(_) => transpose::VARIANTS.to_vec(),
        Op::Join(_) => join::VARIANTS.to_vec(),
    };
    list.retain(|v| device.allows(v) && iterations(op, v) <= device.loop_iterations);
    list
}

/// Loop iterations of one invocation, all its loops together.
fn iterations(op: &Op, variant: &Variant) -> u64 {
    match op {
        Op::Gemm(a) => a.split_vectors() as u64,
        Op::GemmMerge(a) => a.parts as u64,
        Op::LayerNorm(a) => 3 * vectors(a.cols) as u64,
        Op::Attention(a) => a.iterations(variant),
        Op::AttentionMerge(a) => 2 * a.parts as u64,
        Op::Convolution(a) => (a.side * a.side * a.inner) as u64,
        Op::MaxPool(a) => (a.side * a.side) as u64,
        Op::FactoredAttention(a) => a.iterations(variant),
        Op::RowScale(a) => 2 * vectors(a.factors.content) as u64,
        Op::Embed(_) | Op::Assemble(_) | Op::Transpose(_) | Op::Join(_) => 0,
    }
}

/// The launch of an op with a variant.
///
/// # Errors
/// [`Error::Limit`] when the op needs more workgroups than the device can count.
pub fn launch(op: &Op, variant: Variant, device: &DeviceTraits) -> Result<Launch> {
    let (total, words) = match op {
        Op::Gemm(a) => a.geometry(&variant),
        Op::GemmMerge(a) => a.geometry(),
        Op::LayerNorm(a) => a.geometry(&variant),
        Op::Attention(a) => a.geometry(&variant),
        Op::AttentionMerge(a) => a.geometry(),
        Op::Embed(a) => a.geometry(),
        Op::Assemble(a) => a.geometry(),
        Op::Convolution(a) => a.geometry(),
        Op::MaxPool(a) => a.geometry(),
        Op::FactoredAttention(a) => a.geometry(&variant),
        Op::RowScale(a) => a.geometry(),
        Op::Transpose(a) => a.geometry(),
        Op::Join(a) => a.geometry(),
    };
    let workgroups = fold(total, device)?;
    let params = words(workgroups[0]);
    debug_assert!(params.len().is_multiple_of(4));
    Ok(Launch {
        variant,
        workgroups,
        params,
    })
}

/// Workgroups in all, and the uniform words once the workgroups per grid row are known.
pub(crate) type Geometry = (u64, Box<dyn Fn(u32) -> Vec<u32>>);

/// Folds a linear workgroup count into two dimensions. Kernels compute `y·groups_x + x` and ignore
/// what is beyond their total.
fn fold(total: u64, device: &DeviceTraits) -> Result<[u32; 2]> {
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

/// Invocations of the workgroups of element-wise kernels.
pub(crate) const ELEMENTWISE: u32 = 64;

/// A size as a shader word. Sizes beyond 2³² cannot be allocated, so saturation is never seen.
pub(crate) fn word(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Vectors of four in a padded row.
pub(crate) const fn vectors(cols: usize) -> usize {
    cols.div_ceil(4)
}
