//! Rows for `assemble`.

use super::Assemble;
use crate::kernels::Row;
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    [
        (1, 1, 0, 0, vec![1], 1, (0, 0), false),
        (1, 0, 0, 3, vec![5], 2, (0, 0), false),
        (1, 12, 0, 0, vec![3, 4], 2, (0, 0), false),
        (2, 12, 0, 5, vec![3, 4], 3, (0, 0), false),
        (3, 7, 9, 3, vec![2, 3, 4], 5, (6, 1), false),
        (1, 100, 64, 64, vec![12, 17], 64, (0, 0), false),
        (2, 6, 0, 1, vec![2, 3], 0, (0, 0), false),
        // Content and a tail of rows only: columns side by side.
        (1, 13, 0, 5, vec![], 0, (7, 13), false),
        (3, 5, 0, 2, vec![], 0, (3, 1), false),
        (2, 11, 0, 0, vec![], 0, (9, 11), false),
        // Chosen points.
        (1, 17, 0, 0, vec![19], 4, (2, 1), true),
        (2, 9, 0, 4, vec![2, 5, 3], 3, (1, 1), true),
        (1, 0, 0, 0, vec![4, 4], 2, (3, 1), true),
        // More than 65,535 workgroups.
        (1, 65_100, 0, 64, vec![255, 256], 64, (0, 0), false),
    ]
    .into_iter()
    .map(|(batch, rows, first_row, content, lengths, bands, (tail, tail_rows), indexed)| {
        let mut axes = [1; 3];
        axes[..lengths.len()].copy_from_slice(&lengths);
        Row::of(Assemble {
            batch,
            rows,
            first_row,
            content,
            dimensions: lengths.len(),
            axes,
            bands,
            tail,
            tail_rows,
            indexed,
            content_rows: Element::F32,
            y: Element::F32,
        })
    })
    .collect()
}
