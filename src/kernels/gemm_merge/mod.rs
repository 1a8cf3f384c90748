//! `gemm_merge`: the sum of a divided product's parts, with the epilogue of `gemm`.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::gemm::Activation;
use crate::kernels::vocabulary::*;

/// Arguments of `gemm_merge`: Y = act(Σ parts + b) + R.
///
/// Inputs: parts `[parts, rows, cols]`, b `[1, cols]` if `bias`, R `[residual_rows, cols]` if
/// `residual_rows > 0`. Output: Y `[rows, cols]`. Row r of Y gets row `r % residual_rows` of R. Parts
/// are added in rising order, so that the same plan gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GemmMerge {
    /// Parts of the product.
    pub parts: usize,
    /// Rows of each part and of Y.
    pub rows: usize,
    /// Columns of each part and of Y.
    pub cols: usize,
    /// Whether b is given.
    pub bias: bool,
    /// Applied to Σ parts + b.
    pub activation: Activation,
    /// Rows of R; 0 when there is none.
    pub residual_rows: usize,
    /// How Y lies in memory. Everything else is f32.
    pub y: Element,
}

impl Kernel for GemmMerge {
    const NAME: &'static str = "gemm_merge";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("gemm_merge/plain")];

    fn signature(&self) -> Signature {
        let rows = |rows| Extent::new(1, rows, self.cols);
        let parts = Extent::new(self.parts, self.rows, self.cols);
        Signature {
            operands: vec![
                Operand::wide("parts", parts, Fill::Numbers),
                Operand::wide("bias", rows(1), Fill::Weights).when(self.bias),
                Operand::wide("residual", rows(self.residual_rows), Fill::Numbers)
                    .when(self.residual_rows > 0),
            ],
            results: vec![Operand::result("y", Role::Result, rows(self.rows))],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        (role == Role::Result).then_some(&mut self.y)
    }

    fn cost(&self) -> Cost {
        let read = self.parts + usize::from(self.residual_rows > 0);
        Cost::moving((4 * read + self.y.bytes()) * self.rows * self.cols)
    }

    fn terms(&self) -> usize {
        self.parts + 1
    }

    fn defect(&self) -> Option<&'static str> {
        (self.parts == 0).then_some("there are no parts")
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{} parts {}×{}", self.parts, self.rows, self.cols),
            when(self.bias, "bias"),
            format!("{:?}", self.activation).to_lowercase(),
            when(self.residual_rows > 0, format!("residual {}", self.residual_rows)),
        ]
    }

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        let plain = Variant::plain("gemm_merge", "gemm_merge/plain", "vectors");
        plain.with_f16(&[&[], &["y"]])
    }

    fn iterations(&self, _: &Variant) -> u64 {
        self.parts as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.rows * vectors(args.cols);
        elementwise(total, move |row_invocations| {
            vec![
                word(args.parts),
                word(total),
                word(vectors(args.cols)),
                word(args.residual_rows),
                args.activation.word(),
                u32::from(args.bias),
                word(total),
                row_invocations,
            ]
        })
    }
}
