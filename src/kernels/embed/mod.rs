//! `embed`: token embedding plus learned position, row by row.

mod cases;
mod cpu;

use crate::kernels::{
    Cost, DeviceTraits, ELEMENTWISE, Fill, Geometry, Kernel, Mode, Operand, Real, Role, Row,
    Signature, Variant, shader_text, vectors, word,
};
use crate::tensor::{Element, Extent};

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

/// One invocation per vector of four results.
const VARIANTS: &[Variant] = &[Variant {
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

impl Kernel for Embed {
    const NAME: &'static str = "embed";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("embed/plain")];

    fn signature(&self) -> Signature {
        Signature {
            operands: vec![
                Operand::new(
                    "ids",
                    Role::Wide,
                    Extent::new(self.batch, 1, self.length),
                    Fill::Ids(self.vocabulary),
                ),
                Operand::new(
                    "table",
                    Role::Wide,
                    Extent::new(1, self.vocabulary, self.cols),
                    Fill::Numbers,
                ),
                Operand::new(
                    "positions",
                    Role::Wide,
                    Extent::new(1, self.length, self.cols),
                    Fill::Numbers,
                ),
            ],
            results: vec![Operand::result(
                "y",
                Role::Wide,
                Extent::new(self.batch, self.length, self.cols),
            )],
        }
    }

    fn element_mut(&mut self, _: Role) -> Option<&mut Element> {
        None
    }

    /// No matrix product.
    fn cost(&self) -> Cost {
        Cost { flops: 0, bytes: 12 * (self.batch * self.length * self.cols) as u64 }
    }

    fn terms(&self) -> usize {
        1
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

    fn variants() -> Vec<Variant> {
        VARIANTS.to_vec()
    }

    fn candidates(&self, _: &DeviceTraits) -> Vec<Variant> {
        VARIANTS.to_vec()
    }

    fn iterations(&self, _: &Variant) -> u64 {
        0
    }

    fn geometry(&self, _: &Variant) -> Geometry {
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

    fn reference<T: Real>(&self, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        cpu::reference(self, inputs[0], inputs[1], inputs[2], outputs[0]);
    }

    fn fast(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        cpu::fast(self, inputs[0], inputs[1], inputs[2], outputs[0]);
    }

    fn cases() -> Vec<Row> {
        cases::rows()
    }
}
