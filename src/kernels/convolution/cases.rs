//! Rows for `convolution`.

use super::Convolution;
use crate::kernels::Row;

pub(crate) fn rows() -> Vec<Row> {
    // batch, height, width, inner, cols, side, stride, padding, relu
    [
        (1, 1, 1, 1, 1, 1, 1, 0, false),
        (1, 0, 5, 3, 4, 3, 1, 0, false),
        (2, 7, 5, 3, 6, 3, 1, 1, true),
        (1, 32, 36, 3, 64, 7, 2, 3, true),
        (3, 13, 17, 5, 67, 5, 3, 2, false),
        (1, 4, 4, 2, 3, 7, 2, 3, true),
        (1, 2, 2, 2, 3, 7, 1, 0, true),
        // More than 65,535 workgroups.
        (1, 513, 515, 3, 64, 3, 1, 1, false),
    ]
    .into_iter()
    .map(|(batch, height, width, inner, cols, side, stride, padding, relu)| {
        Row::of(Convolution { batch, height, width, inner, cols, side, stride, padding, relu })
    })
    .collect()
}
