//! `row_scale`: the LayerNorm scale 1/σ of rows that are given as factors.
//!
//! Mean and variance of a row follow from those of its parts; those of the tables and of the constant
//! are sums that are made when a model is loaded.

use super::factored_attention::Factors;
use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};
use crate::tensor::Element;

/// Arguments of `row_scale`.
///
/// Inputs: content `[batch, rows, content]` unless there is none; sums `[Σ axes + 1, 2]`: for each
/// table row, axis after axis, and at last for the constant, the sum of its elements and of their
/// squares; points `[1, rows, 1]` if `indexed`. Output `[batch, 1, rows]`: 1/√(variance + 10⁻⁵). Row
/// r is at grid position `first_row + r`, or `points[r]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowScale {
    /// Items.
    pub batch: usize,
    /// Rows of one item.
    pub rows: usize,
    /// Grid position of row 0.
    pub first_row: usize,
    /// What a row is made of.
    pub factors: Factors,
    /// Channels of a table row.
    pub features: usize,
    /// Channels of the constant.
    pub constant: usize,
    /// Whether grid positions are given row by row.
    pub indexed: bool,
    /// How content lies in memory. Everything else is f32.
    pub content: Element,
}

impl RowScale {
    /// Channels of a row.
    #[must_use]
    pub const fn channels(&self) -> usize {
        self.factors.content + self.factors.dimensions * self.features + self.constant
    }

    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: 4 * (self.batch * self.rows * (self.factors.content + 1)) as u64,
        }
    }
}

/// content, sums, points; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 3,
    writes: 1,
};

/// One invocation per row.
const PLAIN: Variant = Variant {
    kernel: "row_scale",
    source: "row_scale/plain",
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

/// All variants: content as f32 or as halves.
pub const VARIANTS: &[Variant] = &[PLAIN, PLAIN.halving(&["content"])];

impl RowScale {
    /// The variant that reads what is wanted.
    #[must_use]
    pub fn candidates(&self) -> Vec<Variant> {
        vec![VARIANTS[usize::from(self.content == Element::F16)]]
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let args = *self;
        // Padding of the result is written too.
        let row = args.rows.next_multiple_of(4);
        let total = args.batch * row;
        let words = move |groups_x: u32| {
            let [a, b, c] = args.factors.axes.map(|n| word(n.max(1)));
            vec![
                word(args.rows),
                word(row),
                word(args.first_row),
                word(vectors(args.factors.content)),
                word(args.factors.content),
                word(args.factors.dimensions),
                word(args.features),
                word(args.constant),
                a,
                b,
                c,
                word(args.channels()),
                word(total),
                groups_x * ELEMENTWISE,
                u32::from(args.indexed),
                0,
            ]
        };
        (total.div_ceil(ELEMENTWISE as usize) as u64, Box::new(words))
    }
}
