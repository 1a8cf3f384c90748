//! `layer_norm`: LayerNorm over the channels of each row, with gain and bias.

use super::Cost;

/// The eps of every LayerNorm in Hugging Face's Perceiver (`config.layer_norm_eps` is not used there).
pub const EPS: f32 = 1e-5;

/// Arguments of `layer_norm`: Y = (X − μ)/√(σ² + eps) ⊙ g + b, with the biased variance.
///
/// Inputs: X `[rows, cols]`, g `[1, cols]`, b `[1, cols]`. Output: Y `[rows, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerNorm {
    /// Rows, all batch items together.
    pub rows: usize,
    /// Channels.
    pub cols: usize,
}

impl LayerNorm {
    /// No matrix product; two passes over X at least count as one read and one write.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: 8 * self.rows as u64 * self.cols as u64,
        }
    }
}
