//! `gemm_merge`: the sum of a divided product's parts, with the epilogue of `gemm`.

mod cases;
mod cpu;

use crate::kernels::gemm::Activation;
use crate::kernels::{
    Cost, DeviceTraits, ELEMENTWISE, Fill, Geometry, Kernel, Mode, Operand, Real, Role, Row,
    Signature, Variant, shader_text, vectors, word,
};
use crate::tensor::{Element, Extent};

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

/// One invocation per vector of four results.
const VECTORS: Variant = Variant {
    kernel: "gemm_merge",
    source: "gemm_merge/plain",
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
};

/// All variants: Y as f32 or as halves.
const VARIANTS: &[Variant] = &[VECTORS, VECTORS.halving(&["y"])];

impl Kernel for GemmMerge {
    const NAME: &'static str = "gemm_merge";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("gemm_merge/plain")];

    fn signature(&self) -> Signature {
        let rows = |rows| Extent::new(1, rows, self.cols);
        Signature {
            operands: vec![
                Operand::new(
                    "parts",
                    Role::Wide,
                    Extent::new(self.parts, self.rows, self.cols),
                    Fill::Numbers,
                ),
                Operand::new("bias", Role::Wide, rows(1), Fill::Weights).when(self.bias),
                Operand::new("residual", Role::Wide, rows(self.residual_rows), Fill::Numbers)
                    .when(self.residual_rows > 0),
            ],
            results: vec![Operand::result("y", Role::Result, rows(self.rows))],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        match role {
            Role::Result => Some(&mut self.y),
            _ => None,
        }
    }

    /// No matrix product.
    fn cost(&self) -> Cost {
        let elements = (self.rows * self.cols) as u64;
        let residual = u64::from(self.residual_rows > 0);
        Cost {
            flops: 0,
            bytes: (4 * (self.parts as u64 + residual) + self.y.bytes() as u64) * elements,
        }
    }

    fn terms(&self) -> usize {
        self.parts + 1
    }

    fn defect(&self) -> Option<&'static str> {
        (self.parts == 0).then_some("there are no parts")
    }

    fn describe(&self) -> Vec<String> {
        let mut words = vec![format!("{} parts {}×{}", self.parts, self.rows, self.cols)];
        if self.bias {
            words.push("bias".to_owned());
        }
        words.push(format!("{:?}", self.activation).to_lowercase());
        if self.residual_rows > 0 {
            words.push(format!("residual {}", self.residual_rows));
        }
        words
    }

    fn variants() -> Vec<Variant> {
        VARIANTS.to_vec()
    }

    /// The variant that stores what is wanted.
    fn candidates(&self, _: &DeviceTraits) -> Vec<Variant> {
        vec![VARIANTS[usize::from(self.y == Element::F16)]]
    }

    fn iterations(&self, _: &Variant) -> u64 {
        self.parts as u64
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.rows * vectors(args.cols);
        let words = move |groups_x: u32| {
            vec![
                word(args.parts),
                word(total),
                word(vectors(args.cols)),
                word(args.residual_rows),
                args.activation.word(),
                u32::from(args.bias),
                word(total),
                groups_x * ELEMENTWISE,
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
