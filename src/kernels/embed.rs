//! `embed`: token embedding plus learned position, row by row.

use super::Cost;

/// Arguments of `embed`.
///
/// Inputs: ids `[batch, 1, length]` (whole numbers below `vocabulary`, held as floats), table
/// `[vocabulary, cols]`, positions `[length or more, cols]`. Output `[batch, length, cols]`: row t is
/// table[id(t)] + positions[t].
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

impl Embed {
    /// No matrix product.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 0,
            bytes: 12 * (self.batch * self.length * self.cols) as u64,
        }
    }
}
