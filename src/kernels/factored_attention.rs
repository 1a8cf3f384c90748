//! `factored_attention`: softmax attention of a few queries over very many input rows that are given
//! as factors, so that neither the rows nor their keys and values exist.
//!
//! An input row is a sum of simple parts: content c, one table row per axis of its grid position, and
//! a constant u. Projections, LayerNorm gain and mean are folded into the queries when a model is
//! loaded, so with the row's LayerNorm scale r the score is
//!
//! ```text
//! S[n,m] = r[m]·(g_c[n]·c[m] + Σ_a g_a[n, i_a(m)] + g_u[n])
//! ```
//!
//! and all that the values need are softmax-weighted sums of r·c, of r along each axis (marginals)
//! and of r. They are the columns of the result, in the same layout as those of the queries.
//!
//! The state is that of `attention` (max, Σp, accumulators), so `attention_merge` merges it, and
//! modalities follow each other by carrying it: each has columns of its own.

use super::{Bindings, Cost, DeviceTraits, Geometry, Mode, Variant, word};
use crate::tensor::Element;

/// The columns of one modality: content, one per position of each axis, and a block of four for the
/// constant. Each part starts at a multiple of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Factors {
    /// Content channels.
    pub content: usize,
    /// Number of axes, 0 to 3.
    pub dimensions: usize,
    /// Lengths of the axes, slowest first; unused ones are 1.
    pub axes: [usize; 3],
}

impl Factors {
    /// First column of an axis.
    #[must_use]
    pub fn axis_column(&self, axis: usize) -> usize {
        let before = self.axes[..axis].iter().map(|n| n.next_multiple_of(4));
        self.content.next_multiple_of(4) + before.sum::<usize>()
    }

    /// Column of the constant. In a decoder's tables the one after it is the score that a key has
    /// whatever the query.
    #[must_use]
    pub fn constant_column(&self) -> usize {
        self.axis_column(self.dimensions)
    }

    /// All columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.constant_column() + 4
    }

    /// Index on each axis of a grid position, the last axis fastest.
    #[must_use]
    pub fn indices(&self, mut position: usize) -> [usize; 3] {
        let mut indices = [0; 3];
        for axis in (0..self.dimensions).rev() {
            indices[axis] = position % self.axes[axis];
            position /= self.axes[axis];
        }
        indices
    }
}

/// Arguments of `factored_attention`.
///
/// Inputs: content `[batch, keys, content]` unless there is none, folded queries
/// `[1, queries, columns]` (shared by the batch), row scales `[batch, 1, keys]`, mask
/// `[batch, 1, keys]` if `masked` (non-zero keeps), and if `carry` the state so far. Outputs: if
/// `finish` and one split, the normalised sums `[batch, queries, columns]`; otherwise accumulators
/// `[splits·batch, queries, columns]` and statistics `[splits·batch, queries, 2]`. Key m is at grid
/// position `first_key + m`. The modality has columns `first_column ..`; others are carried along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FactoredAttention {
    /// Items that do not see each other.
    pub batch: usize,
    /// Query rows, heads counted as rows of their own.
    pub queries: usize,
    /// Input rows of one item.
    pub keys: usize,
    /// Grid position of the first row.
    pub first_key: usize,
    /// What a row is made of.
    pub factors: Factors,
    /// Columns of all modalities, a multiple of four.
    pub columns: usize,
    /// First column of this one, a multiple of four.
    pub first_column: usize,
    /// A key mask is given.
    pub masked: bool,
    /// A state so far is given.
    pub carry: bool,
    /// Normalise and store the result rather than the state.
    pub finish: bool,
    /// Parts that the keys are divided into, merged afterwards by `attention_merge`.
    pub splits: usize,
    /// How content lies in memory. Everything else is f32.
    pub content: Element,
}

impl FactoredAttention {
    /// Keys of one split (the last may have fewer).
    #[must_use]
    pub fn split_keys(&self) -> usize {
        self.keys.div_ceil(self.splits.max(1)).max(1)
    }

    /// True when the result is stored rather than the state.
    #[must_use]
    pub const fn stores_result(&self) -> bool {
        self.finish && self.splits == 1
    }

    /// Scores and sums of the content, two for each multiply-add.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let pairs = (self.batch * self.queries) as u64 * self.keys as u64;
        let rows = (self.batch * self.keys * (self.factors.content + 1)) as u64;
        let state = (self.batch * self.queries * self.columns) as u64;
        Cost {
            flops: 4 * pairs * self.factors.content as u64,
            bytes: 4 * (rows + 3 * state),
        }
    }
}

/// content, queries, scale, mask, carry, carry_stats; y, y_stats.
pub const BINDINGS: Bindings = Bindings {
    reads: 6,
    writes: 2,
};

/// Queries of a workgroup.
const QUERIES: usize = 16;
/// Keys of a tile.
const KEYS: usize = 64;

/// One variant: 16 queries × 64 keys a tile, 8 KiB. The sums live in y, which the workgroup owns.
const PLAIN: Variant = Variant {
    kernel: "factored_attention",
    source: "factored_attention",
    name: "tiled-16x64",
    mode: Mode::PLAIN,
    halves: &[],
    entry: "tiled",
    constants: &[],
    invocations: 128,
    workgroup_bytes: 14 * 1024,
    matrices: None,
    subgroups: false,
    software: false,
};

/// All variants: content as f32 or as halves.
pub const VARIANTS: &[Variant] = &[PLAIN, PLAIN.halving(&["content"])];

impl FactoredAttention {
    /// Loop iterations of one invocation.
    pub(super) fn iterations(&self) -> u64 {
        let tile = 2 * self.factors.content.div_ceil(4) + 80;
        (self.split_keys().div_ceil(KEYS) * tile + 2 * self.columns / 4) as u64
    }

    /// The fewest splits, from `wanted` upwards, with which the kernel can run on a device.
    #[must_use]
    pub fn feasible_splits(mut self, wanted: usize, device: &DeviceTraits) -> usize {
        self.splits = wanted.clamp(1, self.keys.max(1));
        while self.iterations() > device.loop_iterations && self.splits < self.keys {
            self.splits += 1;
        }
        self.splits
    }

    /// Workgroups of one split.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.batch * self.queries.div_ceil(QUERIES)
    }

    /// The variant that reads what is wanted.
    #[must_use]
    pub fn candidates(&self) -> Vec<Variant> {
        vec![VARIANTS[usize::from(self.content == Element::F16)]]
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let args = *self;
        let groups = args.groups() * args.splits;
        let words = move |groups_x: u32| {
            let flags = u32::from(args.masked)
                | u32::from(args.carry) << 1
                | u32::from(args.stores_result()) << 2;
            let f = args.factors;
            let axis = |a: usize| word(args.first_column + f.axis_column(a));
            let used = |a: usize| if a < f.dimensions { axis(a) } else { 0 };
            vec![
                word(args.queries),
                word(args.keys),
                word(args.batch),
                word(args.first_key),
                word(f.content.div_ceil(4)),
                word(args.columns),
                word(args.first_column),
                word(f.dimensions),
                word(f.axes[0].max(1)),
                word(f.axes[1].max(1)),
                word(f.axes[2].max(1)),
                word(args.first_column + f.constant_column()),
                used(0),
                used(1),
                used(2),
                word(args.keys.next_multiple_of(4)),
                word(args.split_keys()),
                flags,
                word(args.queries.div_ceil(QUERIES)),
                groups_x,
                word(groups),
                0,
                0,
                0,
            ]
        };
        (groups as u64, Box::new(words))
    }
}
