//! Rows for `rotary`.

use super::Rotary;
use crate::kernels::Row;
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    let shapes = [
        (1, 1, 2, 1, 1),
        (0, 2, 4, 2, 1),
        (12, 3, 7, 2, 4),
        (35, 2, 64, 16, 35),
        (9, 4, 40, 20, 3),
        (5, 1, 9, 4, 5),
        (3, 1, 5, 0, 1),
        (1_048_583, 1, 4, 2, 7),
    ];
    let list = shapes.into_iter().flat_map(|(rows, heads, width, pairs, angle_rows)| {
        [[false, false], [true, false], [true, true]].map(|[neighbours, back]| {
            let (x, y) = (Element::F32, Element::F32);
            Row::of(Rotary { rows, heads, width, pairs, neighbours, back, angle_rows, x, y })
        })
    });
    list.collect()
}
