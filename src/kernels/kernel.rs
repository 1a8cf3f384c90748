//! What every kernel says of itself, in one place: [`Kernel`], and the [`Signature`] of an op.
//!
//! Bindings, roles, extents, the order of operands and the sizes of arrays are all derived from the
//! signature, and nowhere else written down.

use std::fmt::Debug;

use super::{DeviceTraits, ELEMENTWISE, Variant};
use crate::tensor::{Element, Extent};

/// A kernel: the argument struct of its op implements this.
///
/// `pub(crate)` in effect: it is not implemented outside of the crate.
pub trait Kernel: Copy + Debug + PartialEq {
    /// Name of the kernel: that of its two folders, `src/kernels/NAME` and `shaders/NAME`.
    const NAME: &'static str;

    /// Its shaders: path below `shaders/` without extension, and text.
    const SHADERS: &'static [(&'static str, &'static str)];

    /// Operands and results, present or not, in the order of the shader's bindings.
    fn signature(&self) -> Signature;

    /// How what has this role is stored; `None` where the op knows no such role, which is f32 then.
    fn element_mut(&mut self, _role: Role) -> Option<&mut Element> {
        None
    }

    /// What one execution costs.
    fn cost(&self) -> Cost;

    /// Numbers that are added up for one element of the result: the tolerance grows with it.
    fn terms(&self) -> usize {
        1
    }

    /// Why these arguments would have a shader leave its arrays, if they would: what the extents of
    /// the signature do not say.
    fn defect(&self) -> Option<&'static str> {
        None
    }

    /// Shape and options in words; empty ones do not count.
    fn describe(&self) -> Vec<String>;

    /// All variants, for any arguments.
    fn variants() -> Vec<Variant>;

    /// The variants that can run these arguments, the one to choose first: all that store what these
    /// arguments store as f16, where nothing else is to be chosen.
    fn candidates(&self, _device: &DeviceTraits) -> Vec<Variant> {
        let f16 = self.f16_arrays();
        Self::variants().into_iter().filter(|v| v.f16 == f16).collect()
    }

    /// Names of the arrays that are stored as f16, in the order of the bindings.
    fn f16_arrays(&self) -> Vec<&'static str> {
        let mut args = *self;
        let mut is_f16 = |o: &Operand| args.element_mut(o.role).is_some_and(|e| e.is_f16());
        let Signature { operands, results } = self.signature();
        operands.iter().chain(&results).filter(|o| is_f16(o)).map(|o| o.name).collect()
    }

    /// Which of these sets of arrays are those that are stored as f16.
    fn f16_set(&self, sets: &[&'static [&'static str]]) -> Option<&'static [&'static str]> {
        let f16 = self.f16_arrays();
        sets.iter().copied().find(|set| *set == f16)
    }

    /// The array of each of `N` operands, empty where it is absent.
    fn arrays<'a, T, const N: usize>(&self, inputs: &[&'a [T]]) -> [&'a [T]; N] {
        let mut there = inputs.iter().copied();
        let mut arrays: [&[T]; N] = [&[]; N];
        for (array, operand) in arrays.iter_mut().zip(self.signature().operands) {
            if operand.present {
                *array = there.next().unwrap_or(&[]);
            }
        }
        arrays
    }

    /// Constants of all tiles that its tiled shader can have.
    fn tile_space() -> Vec<[u32; 6]> {
        Vec::new()
    }

    /// The plain variant with such a tile, if there is one.
    fn tile(_sizes: [u32; 6]) -> Option<Variant> {
        None
    }

    /// Loop iterations of one invocation, all its loops together; 0 where it has none.
    fn iterations(&self, _variant: &Variant) -> u64 {
        0
    }

    /// Workgroups in all, and the words of the uniform buffer once it is known how many workgroups
    /// there are to a row of the dispatch; they are filled up to whole vectors with zeros.
    fn geometry(&self, variant: &Variant) -> Geometry;

    /// An op of the same kind and options that is small, with odd sizes: for a check of a variant
    /// before it is used.
    fn small(self) -> Self {
        self
    }
}

/// Path and text of a shader.
macro_rules! shader_text {
    ($path:literal) => {
        ($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path, ".wgsl")))
    };
}
pub(crate) use shader_text;

/// Workgroups in all, and the uniform words once the workgroups per grid row are known.
pub(crate) type Geometry = (u64, Box<dyn Fn(u32) -> Vec<u32>>);

/// The geometry of element-wise kernels: an invocation for each of `total` results, and the words once
/// the invocations per grid row are known.
pub(crate) fn elementwise(total: usize, words: impl Fn(u32) -> Vec<u32> + 'static) -> Geometry {
    let groups = total.div_ceil(ELEMENTWISE as usize) as u64;
    (groups, Box::new(move |groups_x| words(groups_x * ELEMENTWISE)))
}

/// These words where they are true, none otherwise.
pub(crate) fn when(true_of: bool, words: impl Into<String>) -> String {
    if true_of { words.into() } else { String::new() }
}

/// What one execution of an op costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of matrix products, two for a multiply-add. Element-wise work is
    /// not counted, as in the paper.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
}

impl Cost {
    /// What reads and writes so many bytes and has no matrix product.
    pub(super) fn moving(bytes: usize) -> Self {
        Cost { flops: 0, bytes: bytes as u64 }
    }
}

/// Operands and results of an op.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// What it reads, in the order of the shader's bindings.
    pub operands: Vec<Operand>,
    /// What it writes, in the order of the bindings that follow.
    pub results: Vec<Operand>,
}

impl Signature {
    /// How many storage buffers the shader binds.
    pub fn bindings(&self) -> Bindings {
        Bindings { reads: self.operands.len(), writes: self.results.len() }
    }

    /// The operands that there are.
    pub fn present_operands(&self) -> impl Iterator<Item = &Operand> {
        self.operands.iter().filter(|o| o.present)
    }

    /// The results that there are.
    pub fn present_results(&self) -> impl Iterator<Item = &Operand> {
        self.results.iter().filter(|o| o.present)
    }

    /// Extents of the results that there are.
    pub fn result_extents(&self) -> Vec<Extent> {
        self.present_results().map(|r| r.extent).collect()
    }
}

/// How many storage buffers a kernel binds after its uniform buffer: reads, then writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bindings {
    /// Read-only storage buffers.
    pub reads: usize,
    /// Writable storage buffers.
    pub writes: usize,
}

/// One array that an op reads or writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operand {
    /// The shader's name for it.
    pub name: &'static str,
    /// What it is to the op, as far as its storage goes.
    pub role: Role,
    /// Its shape; a larger array will do.
    pub extent: Extent,
    /// What the kernel table fills it with.
    pub fill: Fill,
    /// Whether the op has it; one that it does without is bound to a small buffer.
    pub present: bool,
}

impl Operand {
    /// An operand that is always there.
    pub const fn new(name: &'static str, role: Role, extent: Extent, fill: Fill) -> Self {
        Operand { name, role, extent, fill, present: true }
    }

    /// An operand that is always there and always f32.
    pub const fn wide(name: &'static str, extent: Extent, fill: Fill) -> Self {
        Self::new(name, Role::Wide, extent, fill)
    }

    /// A result.
    pub const fn result(name: &'static str, role: Role, extent: Extent) -> Self {
        Self::new(name, role, extent, Fill::Numbers)
    }

    /// The same where this holds, absent where not.
    pub const fn when(mut self, present: bool) -> Self {
        self.present = present;
        self
    }
}

/// Results of an attention: the normalised result, if that has a role, or the accumulators and
/// statistics of each of `splits` sets of keys.
pub(crate) fn state(
    finished: Option<Role>,
    result: Extent,
    splits: usize,
    [acc, stats]: [Extent; 2],
) -> Vec<Operand> {
    let each = |extent: Extent| Extent::new(splits * extent.batch, extent.rows, extent.cols);
    let y = match finished {
        Some(role) => Operand::result("y", role, result),
        None => Operand::result("y", Role::Wide, each(acc)),
    };
    let stats = Operand::result("y_stats", Role::Wide, each(stats));
    vec![y, stats.when(finished.is_none())]
}

/// What an operand or result is to its op, as far as its storage goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Always f32: states, statistics, masks, positions, biases, residuals.
    Wide,
    /// Rows that are multiplied, normalised or copied.
    Rows,
    /// The weight of a product.
    Weight,
    /// Keys of an attention: f32 at least where queries and values are.
    Keys,
    /// The result.
    Result,
    /// Texels of a texture, or rows of an app's buffer, of the type that these have.
    Texels,
}

impl Role {
    /// All that a plan in f16 may store as f16.
    pub const NARROW: [Role; 4] = [Role::Rows, Role::Weight, Role::Keys, Role::Result];

    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Wide => "wide",
            Role::Rows => "rows",
            Role::Weight => "weight",
            Role::Keys => "keys",
            Role::Result => "result",
            Role::Texels => "texels",
        }
    }
}

/// What an operand is filled with in the kernel table.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Fill {
    /// Uniform in ±spread.
    Numbers,
    /// Uniform in ±1, whatever the spread: weights and biases.
    Weights,
    /// As `Numbers`, each row about a number of its own that is up to 1,000 times as large.
    Shifted,
    /// As `Weights` in this many rows, each column of which sums to zero; zero beyond.
    Centred(usize),
    /// As `Numbers`, in heads of this width that are padded with zeros to four each, from this column on.
    Heads(usize, usize),
    /// As `Heads`, uniform in ±1.
    WeightHeads(usize, usize),
    /// Whole numbers below this.
    Ids(usize),
    /// Zero with probability one quarter, else one; the second item is all zeros.
    Mask,
    /// Pairs of maximum and sum of an attention state.
    Statistics,
    /// Positive numbers about one.
    Scales,
    /// Folded queries with this many content channels: the smaller the more there are.
    Factors(usize),
    /// Axes below this, frequencies, and what a column is: the table of `waves`.
    Waves(usize),
    /// Pairs of the sum and the sum of squares of this many numbers.
    Moments(usize),
    /// As `Numbers`, but a few: infinities, NaN, the largest and the smallest that there are.
    Odd,
}
