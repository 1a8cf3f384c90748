//! `attention_merge`: exact merge of attention states of disjoint key sets, in a fixed order.

use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};
use crate::tensor::Element;

/// Arguments of `attention_merge`.
///
/// Inputs: accumulators `[parts·batch, queries, heads·pad(d_v)]` and statistics
/// `[parts·batch, queries, 2·heads]`, part-major. Outputs: the result
/// `[batch, queries, heads·pad(d_v)]` if `finish`, else the merged accumulators and statistics.
/// Parts are added in rising order, so that the same plan gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttentionMerge {
    /// States to merge.
    pub parts: usize,
    /// Items.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Query rows of one item.
    pub queries: usize,
    /// Value channels of one head.
    pub d_v: usize,
    /// Normalise and store the result rather than the state.
    pub finish: bool,
    /// How the result lies in memory. States are f32.
    pub result: Element,
}

impl AttentionMerge {
    /// Columns of one head.
    #[must_use]
    pub const fn v_stride(&self) -> usize {
        self.d_v.next_multiple_of(4)
    }

    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let row = (self.heads * self.d_v) as u64;
        Cost {
            flops: 0,
            bytes: 4 * (self.batch * self.queries) as u64 * row * (self.parts as u64 + 1),
        }
    }
}

/// acc, stats; y, y_stats.
pub const BINDINGS: Bindings = Bindings {
    reads: 2,
    writes: 2,
};

/// One invocation per vector of four results.
const ROWS: Variant = Variant {
    kernel: "attention_merge",
    source: "attention_merge/plain",
    name: "rows",
    mode: Mode::PLAIN,
    halves: &[],
    entry: "rows",
    constants: &[],
    invocations: ELEMENTWISE,
    workgroup_bytes: 0,
    matrices: None,
    subgroups: false,
    software: false,
};

/// All variants: the result as f32 or as halves.
pub const VARIANTS: &[Variant] = &[ROWS, ROWS.halving(&["y"])];

impl AttentionMerge {
    /// The variant that stores what is wanted.
    #[must_use]
    pub fn candidates(&self) -> Vec<Variant> {
        let halves = self.finish && self.result == Element::F16;
        vec![VARIANTS[usize::from(halves)]]
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let args = *self;
        let row = args.heads * args.v_stride() / 4;
        let total = args.batch * args.queries * row;
        let words = move |groups_x: u32| {
            vec![
                word(args.parts),
                word(args.batch * args.queries),
                word(row),
                word(args.v_stride() / 4),
                word(4 * vectors(2 * args.heads)),
                u32::from(args.finish),
                word(total),
                groups_x * ELEMENTWISE,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }
}
