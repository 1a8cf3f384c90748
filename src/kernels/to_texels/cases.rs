//! Rows for `to_texels`.

use super::ToTexels;
use crate::kernels::Row;
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    let flow = ToTexels {
        width: 7,
        first: 0,
        rows: 35,
        cols: 2,
        line: 32,
        channels: 2,
        swapped: false,
        wheel: false,
        texels: Element::F32,
    };
    let picture = ToTexels { cols: 3, channels: 4, line: 64, texels: Element::U8, ..flow };
    [
        flow,
        ToTexels { texels: Element::F16, ..flow },
        ToTexels { first: 3, rows: 17, ..flow },
        ToTexels { first: 9, rows: 3, texels: Element::F16, ..flow },
        ToTexels { rows: 0, ..flow },
        picture,
        ToTexels { swapped: true, first: 5, rows: 11, ..picture },
        ToTexels { wheel: true, cols: 2, ..picture },
        ToTexels { wheel: true, cols: 2, swapped: true, width: 1, rows: 1, ..picture },
        ToTexels { width: 1, rows: 13, cols: 67, line: 67, channels: 67, ..flow },
        ToTexels {
            width: 1,
            rows: 13,
            cols: 67,
            line: 80,
            channels: 67,
            texels: Element::F16,
            ..flow
        },
        // More than 65,535 workgroups.
        ToTexels { width: 2053, rows: 2053 * 2053, line: 8256, ..picture },
    ]
    .into_iter()
    .map(Row::of)
    .collect()
}
