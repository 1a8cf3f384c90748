//! `embed`: token embedding plus learned position, row by row.

use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};

/// Arguments of `embed`.
///
/// Inputs: ids `[batch, 1, length]` (whole numbers below `vocabulary`, held as floats), table
/// `[vocabulary, cols]`, positions `[length or more, cols]`. Output `[batch, length, cols]`: row t is
/// `table[id(t)] + positions[t]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Embed {
    /// Items.
    pub batch: usize,
    /// Tokens of one item.
    pub length: usize,
    /// Rows of the table; ids are clamped to it.
    pub vocabulary: usize,
    /// Channels.
    pub cols: usize,
}

impl Embed {
    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: 12 * (self.batch * self.length * self.cols) as u64,
        }
    }
}

/// ids, table, positions; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 3,
    writes: 1,
};

/// One invocation per vector of four results.
pub const VARIANTS: &[Variant] = &[Variant {
    kernel: "embed",
    source: "embed/plain",
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
}];

impl Embed {
    pub(crate) fn geometry(&self) -> Geometry {
        let args = *self;
        let total = args.batch * args.length * vectors(args.cols);
        let words = move |groups_x: u32| {
            vec![
                word(args.length),
                word(4 * vectors(args.length)),
                word(args.vocabulary),
                word(vectors(args.cols)),
                word(total),
                groups_x * ELEMENTWISE,
                0,
                0,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }
}
