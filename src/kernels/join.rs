//! `join`: two arrays side by side, and a residual added to the whole.
//!
//! A weight that is larger than a device can bind is divided by columns; this puts the products of the
//! parts together (`crate::graph::passes::limit_arrays`).

use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};

/// Arguments of `join`.
///
/// Inputs: A `[rows, left]`, B `[rows, right]`, R `[rows, left + right]` if `residual`. Output
/// `[rows, left + right]`: each row of A, then that of B, plus that of R. `left` is a multiple of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Join {
    /// Rows of all arrays.
    pub rows: usize,
    /// Columns of A.
    pub left: usize,
    /// Columns of B.
    pub right: usize,
    /// Whether R is given.
    pub residual: bool,
}

impl Join {
    /// Columns of the output.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.left + self.right
    }

    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let arrays = 2 + u64::from(self.residual);
        Cost {
            flops: 0,
            bytes: 4 * arrays * (self.rows * self.cols()) as u64,
        }
    }
}

/// a, b, r; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 3,
    writes: 1,
};

/// One invocation per vector of four results.
pub const VARIANTS: &[Variant] = &[Variant {
    kernel: "join",
    source: "join/plain",
    name: "vectors",
    entry: "vectors",
    constants: &[],
    invocations: ELEMENTWISE,
    workgroup_bytes: 0,
    software: false,
    mode: Mode::PLAIN,
    halves: &[],
    matrices: None,
    subgroups: false,
}];

impl Join {
    pub(crate) fn geometry(&self) -> Geometry {
        let args = *self;
        let total = args.rows * vectors(args.cols());
        let words = move |groups_x: u32| {
            vec![
                word(vectors(args.left)),
                word(vectors(args.right)),
                word(vectors(args.cols()).max(1)),
                u32::from(args.residual),
                word(total),
                groups_x * ELEMENTWISE,
                0,
                0,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }
}
