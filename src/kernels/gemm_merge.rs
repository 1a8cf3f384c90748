//! `gemm_merge`: the sum of a divided product's parts, with the epilogue of `gemm`.

use super::gemm::Activation;
use super::{Bindings, Cost, ELEMENTWISE, Geometry, Mode, Variant, vectors, word};
use crate::tensor::Element;

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

impl GemmMerge {
    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let elements = (self.rows * self.cols) as u64;
        let residual = u64::from(self.residual_rows > 0);
        Cost {
            flops: 0,
            bytes: (4 * (self.parts as u64 + residual) + self.y.bytes() as u64) * elements,
        }
    }
}

/// parts, bias, residual; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 3,
    writes: 1,
};

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
pub const VARIANTS: &[Variant] = &[VECTORS, VECTORS.halving(&["y"])];

impl GemmMerge {
    /// The variant that stores what is wanted.
    #[must_use]
    pub fn candidates(&self) -> Vec<Variant> {
        vec![VARIANTS[usize::from(self.y == Element::F16)]]
    }

    pub(crate) fn geometry(&self) -> Geometry {
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
}
