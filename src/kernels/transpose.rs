//! `transpose`: rows become columns.

use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};

/// Arguments of `transpose`.
///
/// Input X `[batch, rows, cols]`, output `[batch, cols, rows]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transpose {
    /// Items.
    pub batch: usize,
    /// Rows of X.
    pub rows: usize,
    /// Columns of X.
    pub cols: usize,
}

impl Transpose {
    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: 8 * (self.batch * self.rows * self.cols) as u64,
        }
    }
}

/// x; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 1,
    writes: 1,
};

/// One invocation per vector of four results; neighbours read neighbouring columns.
pub const VARIANTS: &[Variant] = &[Variant {
    kernel: "transpose",
    source: "transpose/plain",
    name: "vectors",
    mode: Mode::PLAIN,
    halves: &[],
    entry: "vectors",
    constants: &[],
    invocations: ELEMENTWISE,
    workgroup_bytes: 0,
    matrices: None,
    subgroups: false,
    software: false,
}];

impl Transpose {
    pub(crate) fn geometry(&self) -> Geometry {
        let args = *self;
        let total = args.batch * args.cols * vectors(args.rows);
        let words = move |groups_x: u32| {
            vec![
                word(args.rows),
                word(args.cols.max(1)),
                word(4 * vectors(args.cols)),
                word(vectors(args.rows).max(1)),
                word(total),
                groups_x * ELEMENTWISE,
                0,
                0,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }
}
