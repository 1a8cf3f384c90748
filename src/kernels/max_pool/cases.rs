//! Rows for `max_pool`.

use super::MaxPool;
use crate::kernels::Row;

pub(crate) fn rows() -> Vec<Row> {
    // batch, height, width, cols, side, stride
    [
        (1, 1, 1, 1, 1, 1),
        (1, 2, 9, 5, 3, 2),
        (2, 9, 11, 7, 3, 2),
        (1, 16, 18, 64, 3, 2),
        (3, 5, 5, 67, 5, 1),
        (1, 17, 13, 3, 2, 3),
        // More than 65,535 workgroups.
        (1, 514, 517, 64, 2, 1),
    ]
    .into_iter()
    .map(|(batch, height, width, cols, side, stride)| {
        Row::of(MaxPool { batch, height, width, cols, side, stride })
    })
    .collect()
}
