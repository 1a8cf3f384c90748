//! Rows for `join`.

use super::Join;
use crate::kernels::Row;

pub(crate) fn rows() -> Vec<Row> {
    [
        (1, 4, 1),
        (0, 4, 4),
        (3, 0, 5),
        (5, 8, 0),
        (7, 4, 13),
        (64, 64, 67),
        (129, 932, 3),
        // More than 65,535 workgroups.
        (1_048_583, 4, 13),
    ]
    .into_iter()
    .flat_map(|(rows, left, right)| {
        [false, true].map(|residual| Row {
            terms: 1 + usize::from(residual),
            ..Row::of(Join { rows, left, right, residual })
        })
    })
    .collect()
}
