//! `transpose`: rows become columns.

mod cases;
mod cpu;

use crate::kernels::{
    Cost, DeviceTraits, ELEMENTWISE, Fill, Geometry, Kernel, Mode, Operand, Real, Role, Row,
    Signature, Variant, shader_text, vectors, word,
};
use crate::tensor::{Element, Extent};

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

/// One invocation per vector of four results; neighbours read neighbouring columns.
const VARIANTS: &[Variant] = &[Variant {
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

impl Kernel for Transpose {
    const NAME: &'static str = "transpose";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("transpose/plain")];

    fn signature(&self) -> Signature {
        Signature {
            operands: vec![Operand::new(
                "x",
                Role::Wide,
                Extent::new(self.batch, self.rows, self.cols),
                Fill::Numbers,
            )],
            results: vec![Operand::result(
                "y",
                Role::Wide,
                Extent::new(self.batch, self.cols, self.rows),
            )],
        }
    }

    fn element_mut(&mut self, _: Role) -> Option<&mut Element> {
        None
    }

    /// No matrix product.
    fn cost(&self) -> Cost {
        Cost { flops: 0, bytes: 8 * (self.batch * self.rows * self.cols) as u64 }
    }

    fn terms(&self) -> usize {
        1
    }

    fn describe(&self) -> Vec<String> {
        vec![format!("{}×{}×{}", self.batch, self.rows, self.cols)]
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

    fn reference<T: Real>(&self, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        cpu::reference(self, inputs[0], outputs[0]);
    }

    fn fast(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        cpu::fast(self, inputs[0], outputs[0]);
    }

    fn cases() -> Vec<Row> {
        cases::rows()
    }
}
