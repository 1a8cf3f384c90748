//! Rows for `row_scale`.

use super::RowScale;
use crate::kernels::Row;
use crate::kernels::factored_attention::cases::factors;
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    // batch, rows, first row, content, axes, features, constant, indexed
    [
        (1, 1, 0, 1, vec![], 0, 0, false),
        (1, 0, 0, 3, vec![5], 3, 0, false),
        (1, 13, 0, 5, vec![], 0, 7, false),
        (2, 12, 0, 3, vec![3, 4], 129, 0, false),
        (3, 7, 9, 17, vec![2, 3, 4], 65, 33, false),
        (1, 5, 0, 0, vec![5], 385, 303, false),
        (1, 1, 0, 0, vec![], 0, 704, false),
        (1, 100, 64, 64, vec![12, 17], 129, 0, false),
        (1, 19, 0, 0, vec![7, 11, 13], 65, 831, true),
        (1, 9, 0, 0, vec![30], 385, 641, true),
        // More than 65,535 workgroups.
        (1, 4_200_001, 5, 1, vec![2051, 2053], 5, 2, false),
    ]
    .into_iter()
    .map(|(batch, rows, first_row, content, axes, features, constant, indexed)| {
        Row::of(RowScale {
            batch,
            rows,
            first_row,
            factors: factors(content, &axes),
            features,
            constant,
            indexed,
            content: Element::F32,
        })
    })
    .collect()
}
