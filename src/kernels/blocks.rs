//! Attention states on the CPU: which task computes which query rows, and where it writes.

use std::ops::Range;

#[cfg(feature = "cpu")]
use faer::MatRef;

use crate::parallel::*;

/// Query rows of one item and one set of keys: the work of one task.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) item: usize,
    pub(crate) split: usize,
    pub(crate) first_query: usize,
    pub(crate) rows: usize,
}

/// Sizes of the accumulators and statistics that an op writes, split by split, item by item.
pub(crate) struct States {
    pub(crate) splits: usize,
    pub(crate) batch: usize,
    pub(crate) queries: usize,
    /// Elements of a row of the accumulators, and of the statistics.
    pub(crate) row: [usize; 2],
}

impl States {
    /// Runs blocks of `tile` query rows on all threads: each gets what a thread keeps from block to
    /// block, its accumulators, and its statistics where there is an output for them.
    pub(crate) fn each_block<S: Default>(
        &self,
        tile: usize,
        outputs: &mut [&mut [f32]],
        run: impl Fn(&mut S, Block, &mut [f32], Option<&mut [f32]>) + Send + Sync,
    ) {
        let (acc, stats) = match outputs {
            [acc, stats] => (&mut **acc, Some(&mut **stats)),
            [acc] => (&mut **acc, None),
            _ => return,
        };
        let [acc_row, stats_row] = self.row;
        let acc: Vec<&mut [f32]> = self.divide(acc, acc_row, tile).collect();
        let mut stats: Vec<Option<&mut [f32]>> = match stats {
            Some(stats) => self.divide(stats, stats_row, tile).map(Some).collect(),
            None => acc.iter().map(|_| None).collect(),
        };
        let blocks_per_item = self.queries.div_ceil(tile);
        acc.into_par_iter().zip(stats.par_iter_mut()).enumerate().for_each_init(
            S::default,
            |scratch, (i, (acc, stats))| {
                let part = i / blocks_per_item;
                let first_query = i % blocks_per_item * tile;
                let block = Block {
                    item: part % self.batch,
                    split: part / self.batch,
                    first_query,
                    rows: tile.min(self.queries - first_query),
                };
                run(scratch, block, acc, stats.as_deref_mut());
            },
        );
    }

    /// The blocks of an array with this row length.
    fn divide<'a>(
        &self,
        array: &'a mut [f32],
        row: usize,
        tile: usize,
    ) -> impl Iterator<Item = &'a mut [f32]> {
        let item = self.queries * row;
        array[..self.splits * self.batch * item]
            .chunks_mut(item.max(1))
            .flat_map(move |item| item.chunks_mut((tile * row).max(1)))
    }
}

/// Part `i` of `n` elements that are divided into parts of `each`; what is left over may be nothing.
pub(crate) fn part(i: usize, each: usize, n: usize) -> Range<usize> {
    (i * each).min(n)..((i + 1) * each).min(n)
}

/// Rows of a larger array, from its first element on, as a matrix.
#[cfg(feature = "cpu")]
pub(crate) fn rows_of(array: &[f32], rows: usize, cols: usize, row: usize) -> MatRef<'_, f32> {
    let end = (rows - 1) * row + cols;
    MatRef::from_row_major_slice_with_stride(&array[..end], rows, cols, row)
}
