//! `transpose`: rows become columns.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::vocabulary::*;

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

impl Kernel for Transpose {
    const NAME: &'static str = "transpose";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("transpose/plain")];

    fn signature(&self) -> Signature {
        let y = Extent::new(self.batch, self.cols, self.rows);
        Signature {
            operands: vec![Operand::wide(
                "x",
                Extent::new(self.batch, self.rows, self.cols),
                Fill::Numbers,
            )],
            results: vec![Operand::result("y", Role::Wide, y)],
        }
    }

    fn cost(&self) -> Cost {
        Cost::moving(8 * self.batch * self.rows * self.cols)
    }

    fn describe(&self) -> Vec<String> {
        vec![format!("{}×{}×{}", self.batch, self.rows, self.cols)]
    }

    /// One invocation per vector of four results; neighbours read neighbouring columns.
    fn variants() -> Vec<Variant> {
        vec![Variant::plain("transpose", "transpose/plain", "vectors")]
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.batch * args.cols * vectors(args.rows);
        elementwise(total, move |row_invocations| {
            vec![
                word(args.rows),
                word(args.cols.max(1)),
                word(4 * vectors(args.cols)),
                word(vectors(args.rows).max(1)),
                word(total),
                row_invocations,
            ]
        })
    }
}
