//! `join`: two arrays side by side, and a residual added to the whole.
//!
//! A weight that is larger than a device can bind is divided by columns; this puts the products of the
//! parts together (`crate::graph::passes::limit_arrays`).

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::vocabulary::*;

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
    pub const fn cols(&self) -> usize {
        self.left + self.right
    }
}

impl Kernel for Join {
    const NAME: &'static str = "join";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("join/plain")];

    fn signature(&self) -> Signature {
        let rows = |cols| Extent::new(1, self.rows, cols);
        Signature {
            operands: vec![
                Operand::wide("a", rows(self.left), Fill::Numbers),
                Operand::wide("b", rows(self.right), Fill::Numbers),
                Operand::wide("residual", rows(self.cols()), Fill::Numbers).when(self.residual),
            ],
            results: vec![Operand::result("y", Role::Wide, rows(self.cols()))],
        }
    }

    fn cost(&self) -> Cost {
        let arrays = 2 + usize::from(self.residual);
        Cost::moving(4 * arrays * self.rows * self.cols())
    }

    fn defect(&self) -> Option<&'static str> {
        (!self.left.is_multiple_of(4))
            .then_some("the second array does not begin at a multiple of four")
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{}×({}+{})", self.rows, self.left, self.right),
            when(self.residual, "residual"),
        ]
    }

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        vec![Variant::plain("join", "join/plain", "vectors")]
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.rows * vectors(args.cols());
        elementwise(total, move |row_invocations| {
            vec![
                word(vectors(args.left)),
                word(vectors(args.right)),
                word(vectors(args.cols()).max(1)),
                u32::from(args.residual),
                word(total),
                row_invocations,
            ]
        })
    }
}
