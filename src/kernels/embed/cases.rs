//! Rows for `embed`.

use super::Embed;
use crate::kernels::Row;

pub(crate) fn rows() -> Vec<Row> {
    [
        (1, 1, 1, 1),
        (2, 0, 5, 8),
        (3, 7, 262, 13),
        (2, 2048, 262, 768),
        // More than 65,535 workgroups.
        (1, 300_000, 3, 55),
    ]
    .into_iter()
    .map(|(batch, length, vocabulary, cols)| Row::of(Embed { batch, length, vocabulary, cols }))
    .collect()
}
