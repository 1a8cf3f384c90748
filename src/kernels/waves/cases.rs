//! Rows for `waves`.

use super::Waves;
use crate::kernels::Row;

pub(crate) fn rows() -> Vec<Row> {
    let shapes = [(1, 1, 1), (0, 3, 7), (37, 3, 51), (5, 2, 4), (129, 5, 83), (1_048_583, 1, 3)];
    let rows = shapes.into_iter().flat_map(|(rows, axes, cols)| {
        [1.0, 3.0].map(|spread| Row { spread, ..Row::of(Waves { rows, axes, cols }) })
    });
    rows.collect()
}
