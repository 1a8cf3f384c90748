//! `embed`: token embedding plus learned position, row by row.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::vocabulary::*;

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

impl Kernel for Embed {
    const NAME: &'static str = "embed";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("embed/plain")];

    fn signature(&self) -> Signature {
        let (rows, ids) = (|rows| Extent::new(1, rows, self.cols), Fill::Ids(self.vocabulary));
        let y = Extent::new(self.batch, self.length, self.cols);
        Signature {
            operands: vec![
                Operand::wide("ids", Extent::new(self.batch, 1, self.length), ids),
                Operand::wide("table", rows(self.vocabulary), Fill::Numbers),
                Operand::wide("positions", rows(self.length), Fill::Numbers),
            ],
            results: vec![Operand::result("y", Role::Wide, y)],
        }
    }

    fn cost(&self) -> Cost {
        Cost::moving(12 * self.batch * self.length * self.cols)
    }

    fn defect(&self) -> Option<&'static str> {
        (self.vocabulary == 0 && self.batch * self.length > 0).then_some("the table has no rows")
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{}×{}×{}", self.batch, self.length, self.cols),
            format!("vocabulary {}", self.vocabulary),
        ]
    }

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        vec![Variant::plain("embed", "embed/plain", "rows")]
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.batch * args.length * vectors(args.cols);
        elementwise(total, move |row_invocations| {
            vec![
                word(args.length),
                word(4 * vectors(args.length)),
                word(args.vocabulary),
                word(vectors(args.cols)),
                word(total),
                row_invocations,
            ]
        })
    }
}
