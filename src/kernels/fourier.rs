//! `fourier`: input rows made of content and Fourier position features.
//!
//! The features of a position are a concatenation of per-axis features, so the kernel reads one
//! short table per axis. The tables are made on the CPU ([`crate::perceiver::positions`]): WGSL
//! guarantees `sin` and `cos` to 2⁻¹¹ only.

use super::Cost;

/// Arguments of `fourier`.
///
/// Inputs: content `[batch, rows, content]` unless `content == 0`, tables `[Σ axes, 1 + 2·bands]`
/// with rows `[position, sines, cosines]`, axis after axis. Output `[batch, rows, cols()]`: content,
/// positions of all axes, sines of all axes, cosines of all axes. Row r is grid position
/// `first_row + r`, the last axis fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fourier {
    /// Items.
    pub batch: usize,
    /// Rows of one item.
    pub rows: usize,
    /// Grid position of row 0.
    pub first_row: usize,
    /// Content channels.
    pub content: usize,
    /// Number of axes, 1 to 3.
    pub dimensions: usize,
    /// Lengths of the axes; unused ones are 1.
    pub axes: [usize; 3],
    /// Frequency bands per axis.
    pub bands: usize,
}

impl Fourier {
    /// Output channels.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.content + self.dimensions * (1 + 2 * self.bands)
    }

    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: 4 * (self.batch * self.rows * (self.content + self.cols())) as u64,
        }
    }
}
