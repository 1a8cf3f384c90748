//! Rows for `layer_norm`.

use super::LayerNorm;
use crate::kernels::Row;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (count, cols) in [
        (1, 1),
        (0, 8),
        (1, 4),
        (3, 5),
        (7, 261),
        (2, 322),
        (5, 704),
        (9, 1280),
        (2, 4099),
        // More than 65,535 workgroups.
        (65_541, 6),
    ] {
        for spread in [1.0, 1000.0] {
            // With one column the variance is zero and the result is the bias.
            rows.push(Row { spread, ..Row::of(LayerNorm::new(count, cols)) });
        }
    }
    for (count, cols, heads) in [(7, 15, 3), (11, 96, 4), (5, 130, 26), (3, 77, 7)] {
        for centred in [false, true] {
            rows.push(Row::of(LayerNorm { heads, centred, ..LayerNorm::new(count, cols) }));
        }
    }
    for (count, cols) in [(9, 1), (4, 6), (3, 261), (2, 4099)] {
        let eps = 1e-3;
        rows.push(Row::of(LayerNorm { eps, centred: false, ..LayerNorm::new(count, cols) }));
    }
    rows
}
