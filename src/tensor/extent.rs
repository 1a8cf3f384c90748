//! The shape of an array inside a plan: batch × rows × columns, rows padded to four elements.
//!
//! Invariant: columns `cols..stride()` of every row hold zeros, so that kernels may read whole
//! vectors of four and multiply padding with padding.

use std::fmt;

/// Batch × rows × columns of a planned array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Items that do not see each other.
    pub batch: usize,
    /// Rows of one item: input elements, latents or queries.
    pub rows: usize,
    /// Channels of one row.
    pub cols: usize,
}

impl Extent {
    /// An extent of `batch` × `rows` × `cols`.
    pub const fn new(batch: usize, rows: usize, cols: usize) -> Self {
        Extent { batch, rows, cols }
    }

    /// Elements from one row to the next: `cols` rounded up to a multiple of four.
    pub const fn stride(&self) -> usize {
        self.cols.next_multiple_of(4)
    }

    /// Rows of all items together.
    pub const fn all_rows(&self) -> usize {
        self.batch * self.rows
    }

    /// Elements in memory, padding included.
    pub const fn padded_len(&self) -> usize {
        self.batch * self.rows * self.stride()
    }

    /// Elements without padding.
    pub const fn len(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    /// True when there is no element.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.batch, self.rows, self.cols)
    }
}
