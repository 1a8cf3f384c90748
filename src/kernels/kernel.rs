//! What every kernel says of itself, in one place: [`Kernel`], and the [`Signature`] of an op.
//!
//! Bindings, roles, extents, the order of operands and the sizes of arrays are all derived from the
//! signature, and nowhere else written down.

use std::fmt::Debug;

use super::{DeviceTraits, Real, Row, Variant};
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
    fn element_mut(&mut self, role: Role) -> Option<&mut Element>;

    /// What one execution costs.
    fn cost(&self) -> Cost;

    /// Numbers that are added up for one element of the result: the tolerance grows with it.
    fn terms(&self) -> usize;

    /// Why these arguments would have a shader leave its arrays, if they would: what the extents of
    /// the signature do not say.
    fn defect(&self) -> Option<&'static str> {
        None
    }

    /// Shape and options in words.
    fn describe(&self) -> Vec<String>;

    /// All variants, for any arguments.
    fn variants() -> Vec<Variant>;

    /// The variants that can run these arguments, the one to choose first.
    fn candidates(&self, device: &DeviceTraits) -> Vec<Variant>;

    /// Loop iterations of one invocation, all its loops together.
    fn iterations(&self, variant: &Variant) -> u64;

    /// Workgroups in all, and the words of the uniform buffer once it is known how many workgroups
    /// there are to a row of the dispatch.
    fn geometry(&self, variant: &Variant) -> Geometry;

    /// An op of the same kind and options that is small, with odd sizes: for a check of a variant
    /// before it is used.
    fn small(self) -> Self {
        self
    }

    /// The reference twin: plain loops. Operands that are absent are left out of `inputs`; rows are
    /// padded to four elements, and the padding of results is written.
    fn reference<T: Real>(&self, inputs: &[&[T]], outputs: &mut [&mut [T]]);

    /// The fast twin, on all threads of rayon's current pool.
    fn fast(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]);

    /// Rows of the kernel table.
    fn cases() -> Vec<Row>;
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

/// What one execution of an op costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of matrix products, two for a multiply-add. Element-wise work is
    /// not counted, as in the paper.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
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
    #[must_use]
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
    #[must_use]
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
    #[must_use]
    pub const fn new(name: &'static str, role: Role, extent: Extent, fill: Fill) -> Self {
        Operand { name, role, extent, fill, present: true }
    }

    /// A result.
    #[must_use]
    pub const fn result(name: &'static str, role: Role, extent: Extent) -> Self {
        Self::new(name, role, extent, Fill::Numbers)
    }

    /// The same where this holds, absent where not.
    #[must_use]
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
}

impl Role {
    /// All that may be stored as f16.
    pub const NARROW: [Role; 4] = [Role::Rows, Role::Weight, Role::Keys, Role::Result];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Wide => "wide",
            Role::Rows => "rows",
            Role::Weight => "weight",
            Role::Keys => "keys",
            Role::Result => "result",
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
    /// As `Numbers`, in heads of this width that are padded with zeros to four each.
    Heads(usize),
    /// As `Heads`, uniform in ±1.
    WeightHeads(usize),
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
    /// Pairs of the sum and the sum of squares of this many numbers.
    Moments(usize),
}
