//! `join`: two arrays side by side, and a residual added to the whole.
//!
//! A weight that is larger than a device can bind is divided by columns; this puts the products of the
//! parts together (`crate::graph::passes::limit_arrays`).

mod cases;
mod cpu;

use crate::kernels::{
    Cost, DeviceTraits, ELEMENTWISE, Fill, Geometry, Kernel, Mode, Operand, Real, Role, Row,
    Signature, Variant, shader_text, vectors, word,
};
use crate::tensor::{Element, Extent};

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
}

/// One invocation per vector of four results.
const VARIANTS: &[Variant] = &[Variant {
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

impl Kernel for Join {
    const NAME: &'static str = "join";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("join/plain")];

    fn signature(&self) -> Signature {
        let rows = |cols| Extent::new(1, self.rows, cols);
        Signature {
            operands: vec![
                Operand::new("a", Role::Wide, rows(self.left), Fill::Numbers),
                Operand::new("b", Role::Wide, rows(self.right), Fill::Numbers),
                Operand::new("residual", Role::Wide, rows(self.cols()), Fill::Numbers)
                    .when(self.residual),
            ],
            results: vec![Operand::result("y", Role::Wide, rows(self.cols()))],
        }
    }

    fn element_mut(&mut self, _: Role) -> Option<&mut Element> {
        None
    }

    /// No matrix product.
    fn cost(&self) -> Cost {
        let arrays = 2 + u64::from(self.residual);
        Cost { flops: 0, bytes: 4 * arrays * (self.rows * self.cols()) as u64 }
    }

    fn terms(&self) -> usize {
        1
    }

    fn defect(&self) -> Option<&'static str> {
        (!self.left.is_multiple_of(4))
            .then_some("the second array does not begin at a multiple of four")
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{}×({}+{})", self.rows, self.left, self.right),
            if self.residual { "residual" } else { "" }.to_owned(),
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

    fn reference<T: Real>(&self, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        cpu::reference(self, inputs, outputs[0]);
    }

    fn fast(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        cpu::fast(self, inputs, outputs[0]);
    }

    fn cases() -> Vec<Row> {
        cases::rows()
    }
}
