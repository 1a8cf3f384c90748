//! `gemm`: a linear layer with its epilogue, Y = act(X·W + b) + R.

use super::Cost;

/// What happens to X·W + b before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// The exact GELU, x/2·(1 + erf(x/√2)), which Hugging Face's checkpoints run with.
    GeluErf,
    /// The tanh approximation of GELU, which DeepMind's JAX code uses.
    GeluTanh,
}

/// Arguments of `gemm`.
///
/// Inputs: X `[rows, inner]`, W `[inner, cols]` (already transposed from Hugging Face's
/// `[out, in]`), b `[1, cols]` if `bias`, R `[residual_rows, cols]` if `residual_rows > 0`.
/// Output: Y `[rows, cols]`. Row r of Y gets row `r % residual_rows` of R, so that one latent array
/// serves a whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Rows of X and Y, all batch items together.
    pub rows: usize,
    /// Columns of X, rows of W.
    pub inner: usize,
    /// Columns of W and Y.
    pub cols: usize,
    /// Whether b is given.
    pub bias: bool,
    /// Applied to X·W + b.
    pub activation: Activation,
    /// Rows of R; 0 when there is none.
    pub residual_rows: usize,
}

impl Gemm {
    /// Cost with unpadded sizes.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let (m, k, n) = (self.rows as u64, self.inner as u64, self.cols as u64);
        let residual = if self.residual_rows > 0 { m * n } else { 0 };
        Cost {
            flops: 2 * m * k * n,
            bytes: 4 * (m * k + k * n + m * n + residual),
        }
    }
}
