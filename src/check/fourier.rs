//! Rows for `fourier`.

use super::Row;
use crate::graph::Op;
use crate::kernels::fourier::Fourier;

pub(super) fn rows() -> Vec<Row> {
    [
        (1, 1, 0, 0, vec![1], 1),
        (1, 0, 0, 3, vec![5], 2),
        (1, 12, 0, 0, vec![3, 4], 2),
        (2, 12, 0, 5, vec![3, 4], 3),
        (3, 7, 9, 3, vec![2, 3, 4], 5),
        (1, 100, 64, 64, vec![12, 17], 64),
        (2, 6, 0, 1, vec![2, 3], 0),
        // More than 65,535 workgroups.
        (1, 65_100, 0, 64, vec![255, 256], 64),
    ]
    .into_iter()
    .map(|(batch, rows, first_row, content, lengths, bands)| {
        let mut axes = [1; 3];
        axes[..lengths.len()].copy_from_slice(&lengths);
        Row {
            op: Op::Fourier(Fourier {
                batch,
                rows,
                first_row,
                content,
                dimensions: lengths.len(),
                axes,
                bands,
            }),
            spread: 1.0,
            terms: 1,
        }
    })
    .collect()
}
