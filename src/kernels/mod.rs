//! All kernels, a room each, and [`Op`], which is one of them with its arguments.
//!
//! `src/kernels/NAME` has everything of a kernel on the Rust side: the argument struct and its
//! [`Signature`], variants and launch geometry (`mod.rs`), the reference and the fast CPU twin
//! (`cpu.rs`), rows of the kernel table (`cases.rs`). `shaders/NAME` has its shaders. A kernel joins by one line in the list below.
//!
//! Nothing here touches a GPU: a variant is data, and a launch is a workgroup count and the words of
//! a uniform buffer, so that both can be tested without a device.

#[cfg_attr(not(feature = "cpu"), allow(dead_code, reason = "what `Op::fast` is made of"))]
mod blocks;
mod kernel;
#[cfg_attr(not(feature = "cpu"), allow(dead_code, reason = "what `Op::fast` is made of"))]
pub mod math;
mod real;
#[cfg(feature = "cpu")]
pub mod simd;
mod table;
mod tiles;
mod variant;

pub use kernel::{Bindings, Cost, Fill, Kernel, Operand, Role, Signature};
pub(crate) use kernel::{Geometry, shader_text, state, when};
pub use real::Real;
pub use table::{Outcome, Problem, Row, Worst, random_operands, table};
pub use variant::{DeviceTraits, Launch, Mode, SOFTWARE_LOOP_ITERATIONS, Variant};
pub(crate) use variant::{constant, named};

/// What a kernel's room speaks of.
mod vocabulary {
    pub(super) use super::kernel::{
        Cost, Fill, Geometry, Kernel, Operand, Role, Signature, elementwise, shader_text, when,
    };
    pub(super) use super::{Variant, vectors, word};
    pub(super) use crate::tensor::{Element, Extent};
}

use self::factored_attention::FactoredAttention;
use crate::error::{Error, Result};
use crate::tensor::{Element, Extent};

/// Makes modules, [`Op`] and its dispatch of a list of `folder: ArgumentStruct`.
macro_rules! register {
    ($($folder:ident: $kernel:ident,)*) => {
        $(
            #[cfg_attr(not(feature = "cpu"), allow(dead_code, reason = "what `Op::fast` is made of"))]
            pub mod $folder;
        )*

        /// One operation of a graph: a kernel with its arguments.
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum Op {
            $(#[doc = concat!("The kernel `", stringify!($folder), "`.")] $kernel($folder::$kernel),)*
        }

        $(impl From<$folder::$kernel> for Op {
            fn from(args: $folder::$kernel) -> Self {
                Op::$kernel(args)
            }
        })*

        /// Names of all kernels.
        pub const NAMES: &[&str] = &[$(<$folder::$kernel>::NAME),*];

        /// Every variant of every kernel, for checks and translation tests.
        pub fn variants() -> Vec<Variant> {
            [$(<$folder::$kernel>::variants()),*].concat()
        }

        /// The tile of a kernel's space with this name.
        fn tile_named(kernel: &str, name: &str) -> Option<Variant> {
            let sizes = tiles::named_sizes(name)?;
            $(if kernel == <$folder::$kernel>::NAME {
                return <$folder::$kernel>::tile(sizes);
            })*
            None
        }

        /// Shaders of all kernels: path below `shaders/` without extension, and text.
        pub(crate) fn shaders() -> Vec<(&'static str, &'static str)> {
            [$(<$folder::$kernel>::SHADERS),*].concat()
        }

        /// Rows of all kernels, in f32.
        fn cases() -> Vec<Row> {
            [$($folder::cases::rows()),*].concat()
        }

        impl Op {
            /// The kernel's name.
            pub fn kernel(&self) -> &'static str {
                match self { $(Op::$kernel(_) => <$folder::$kernel>::NAME,)* }
            }

            /// Operands and results.
            pub fn signature(&self) -> Signature {
                match self { $(Op::$kernel(a) => a.signature(),)* }
            }

            /// What one execution costs.
            pub fn cost(&self) -> Cost {
                match self { $(Op::$kernel(a) => a.cost(),)* }
            }

            /// Numbers that are added up for one element of the result.
            pub fn terms(&self) -> usize {
                match self { $(Op::$kernel(a) => a.terms(),)* }
            }

            /// Why these arguments make no sense, if they do not.
            fn defect(&self) -> Option<&'static str> {
                match self { $(Op::$kernel(a) => a.defect(),)* }
            }

            /// An op of the same kind and options that is small, with odd sizes.
            pub fn small(&self) -> Op {
                match *self { $(Op::$kernel(a) => Op::$kernel(a.small()),)* }
            }

            fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
                match self { $(Op::$kernel(a) => a.element_mut(role),)* }
            }

            fn words(&self) -> Vec<String> {
                match self { $(Op::$kernel(a) => a.describe(),)* }
            }

            fn all_candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
                match self { $(Op::$kernel(a) => a.candidates(device),)* }
            }

            fn tile_space(&self) -> Vec<[u32; 6]> {
                match self { $(Op::$kernel(_) => <$folder::$kernel>::tile_space(),)* }
            }

            fn tile(&self, sizes: [u32; 6]) -> Option<Variant> {
                match self { $(Op::$kernel(_) => <$folder::$kernel>::tile(sizes),)* }
            }

            fn iterations(&self, variant: &Variant) -> u64 {
                match self { $(Op::$kernel(a) => a.iterations(variant),)* }
            }

            fn geometry(&self, variant: &Variant) -> Geometry {
                match self { $(Op::$kernel(a) => a.geometry(variant),)* }
            }

            /// Runs the op by plain loops. `inputs` and `outputs` are the arrays that there are, in the
            /// order of the signature, with rows padded to four elements. Results overwrite `outputs`,
            /// padding included.
            pub fn reference<T: Real>(&self, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
                match self { $(Op::$kernel(a) => $folder::cpu::reference(a, inputs, outputs),)* }
            }

            /// Runs the op the fast way, on all threads of rayon's current pool; in plain loops without the
            /// feature `cpu`.
            pub fn fast(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
                #[cfg(feature = "cpu")]
                match self { $(Op::$kernel(a) => $folder::cpu::fast(a, inputs, outputs),)* }
                #[cfg(not(feature = "cpu"))]
                self.reference(inputs, outputs);
            }
        }
    };
}

register! {
    gemm: Gemm,
    gemm_merge: GemmMerge,
    layer_norm: LayerNorm,
    attention: Attention,
    attention_merge: AttentionMerge,
    embed: Embed,
    assemble: Assemble,
    convolution: Convolution,
    max_pool: MaxPool,
    factored_attention: FactoredAttention,
    row_scale: RowScale,
    transpose: Transpose,
    join: Join,
    from_texels: FromTexels,
    to_texels: ToTexels,
    warp: Warp,
    combine: Combine,
    waves: Waves,
    rotary: Rotary,
    finite: Finite,
}

impl Variant {
    /// Whether it is one of the crate's own, which alone are trusted to run without run-time checks.
    pub fn is_own(&self) -> bool {
        let all = variants();
        // A tile of a space does in each mode what the named tiles do in it.
        let as_tile = || {
            let tile = tile_named(self.kernel, self.name)?;
            let like =
                |v: &&Variant| v.source == self.source && v.mode == self.mode && v.f16 == self.f16;
            let like = all.iter().find(like)?;
            Some(tile.with(like.mode).storing_f16(like.f16) == *self)
        };
        all.contains(self) || as_tile().unwrap_or(false)
    }
}

impl Op {
    /// Refuses arguments that would have a shader leave its arrays.
    pub(crate) fn check(&self, label: &str) -> Result<()> {
        match self.defect() {
            Some(why) => Err(Error::graph(label, format!("{}: {why}", self.describe()))),
            None => Ok(()),
        }
    }

    /// The same with the first key this many grid positions further on, for ops that have keys on a grid.
    pub(crate) fn moved_by(&self, first: usize) -> Option<Op> {
        match *self {
            Op::FactoredAttention(a) => Some(Op::FactoredAttention(FactoredAttention {
                first_key: a.first_key + first,
                ..a
            })),
            _ => None,
        }
    }

    /// How what has this role is stored.
    pub fn element(&self, role: Role) -> Element {
        let mut copy = *self;
        copy.element_mut(role).map_or(Element::F32, |e| *e)
    }

    /// Says how what has this role is stored; nothing happens where the op knows no such role.
    pub fn set_element(&mut self, role: Role, element: Element) {
        if let Some(e) = self.element_mut(role) {
            *e = element;
        }
    }

    /// Roles of the operands that there are, in their order.
    pub fn operand_roles(&self) -> Vec<Role> {
        let signature = self.signature();
        signature.present_operands().map(|o| o.role).collect()
    }

    /// Roles of the results that there are, in their order.
    pub fn result_roles(&self) -> Vec<Role> {
        let signature = self.signature();
        signature.present_results().map(|o| o.role).collect()
    }

    /// Shape and options in words.
    pub fn describe(&self) -> String {
        let mut words = self.words();
        for role in Role::NARROW {
            if self.element(role) == Element::F16 {
                words.push(format!("f16 {}", role.name()));
            }
        }
        words.retain(|w| !w.is_empty());
        words.join(" ")
    }

    /// Workgroups of the op with a variant.
    pub(crate) fn workgroups(&self, variant: &Variant) -> u64 {
        self.geometry(variant).0
    }

    /// The variants that can run the op, the one to choose first.
    pub fn candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        let mut list = self.all_candidates(device);
        list.retain(|v| device.allows(v) && self.iterations(v) <= device.loop_iterations);
        list
    }

    /// The tile of the kernel's space that has this name, as a variant for this op, if a device can run it: what a
    /// file of tuned choices may name beside the candidates.
    pub fn tile_candidate(&self, name: &str, device: &DeviceTraits) -> Option<Variant> {
        let sizes = tiles::named_sizes(name)?;
        self.tile_of(sizes, device)
    }

    /// All tiles of the kernel's space that a device can run the op with.
    pub fn tile_candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        self.tile_space().into_iter().filter_map(|sizes| self.tile_of(sizes, device)).collect()
    }

    fn tile_of(&self, sizes: [u32; 6], device: &DeviceTraits) -> Option<Variant> {
        // What the op decides is as in the named tiles.
        let like = self.all_candidates(device).into_iter().find(|v| v.entry == "tiled")?;
        let tile = self.tile(sizes)?.with(like.mode).storing_f16(like.f16);
        let holds = match self {
            Op::FactoredAttention(op) => op.factors.content <= tiles::width(&tile),
            _ => true,
        };
        let within = self.iterations(&tile) <= device.loop_iterations;
        (holds && within && device.allows(&tile)).then_some(tile)
    }

    /// The launch of the op with a variant.
    ///
    /// # Errors
    /// [`Error::Graph`] when the variant cannot run the op on the device: one of another kernel, for
    /// aligned sizes that these are not, or beyond the device's limits. [`Error::Limit`] when the op
    /// needs more workgroups than the device can count.
    pub fn launch(&self, variant: Variant, device: &DeviceTraits) -> Result<Launch> {
        // What a foreign variant does is for the run-time checks to say that it is compiled with.
        let fits = self.candidates(device).contains(&variant)
            || self.tile_candidate(variant.name, device) == Some(variant);
        if variant.kernel != self.kernel() || (!fits && variant.is_own()) {
            let message = format!(
                "variant {}/{} cannot run {} {} on this device",
                variant.kernel,
                variant.title(),
                self.kernel(),
                self.describe()
            );
            return Err(Error::graph(self.kernel(), message));
        }
        self.check(self.kernel())?;
        let (total, words) = self.geometry(&variant);
        let workgroups = variant::fold(total, device)?;
        let mut params = words(workgroups[0]);
        params.resize(params.len().next_multiple_of(4), 0);
        Ok(Launch { variant, workgroups, params, bindings: self.signature().bindings() })
    }
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

/// Appends the rows of a padded array without their padding.
pub(crate) fn unpad<T: Real>(extent: Extent, padded: &[T], data: &mut Vec<f32>) {
    if extent.is_empty() {
        return;
    }
    data.reserve(extent.len());
    for row in padded.chunks_exact(extent.stride()).take(extent.all_rows()) {
        data.extend(row[..extent.cols].iter().map(|&x| x.to_f32()));
    }
}
