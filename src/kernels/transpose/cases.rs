//! Rows for `transpose`.

use super::Transpose;
use crate::kernels::Row;

pub(crate) fn rows() -> Vec<Row> {
    [
        (1, 1, 1),
        (1, 0, 5),
        (1, 5, 0),
        (3, 7, 13),
        (2, 64, 67),
        (1, 129, 932),
        // More than 65,535 workgroups.
        (1, 17, 1_048_583),
    ]
    .into_iter()
    .map(|(batch, rows, cols)| Row::of(Transpose { batch, rows, cols }))
    .collect()
}
