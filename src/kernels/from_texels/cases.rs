//! Rows for `from_texels`.

use super::FromTexels;
use crate::kernels::Row;
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    let picture = FromTexels {
        planes: 1,
        height: 5,
        width: 7,
        pixel: 4,
        line: 64,
        channels: 3,
        swapped: false,
        side: 1,
        first: 0,
        rows: 35,
        mapped: true,
        texels: Element::U8,
    };
    let frames = FromTexels { planes: 2, side: 3, ..picture };
    let buffer = FromTexels {
        height: 13,
        width: 1,
        pixel: 67,
        line: 67,
        channels: 67,
        rows: 13,
        mapped: false,
        texels: Element::F32,
        ..picture
    };
    [
        picture,
        frames,
        FromTexels { swapped: true, ..frames },
        FromTexels { first: 3, rows: 19, ..frames },
        FromTexels { pixel: 3, line: 21, ..frames },
        FromTexels { texels: Element::F16, ..frames },
        FromTexels { texels: Element::F32, swapped: true, ..picture },
        FromTexels { texels: Element::F16, mapped: false, channels: 4, ..picture },
        FromTexels { channels: 1, pixel: 1, line: 256, ..picture },
        FromTexels { height: 1, width: 1, rows: 1, ..frames },
        FromTexels { rows: 0, ..frames },
        FromTexels { height: 0, rows: 0, ..picture },
        buffer,
        FromTexels { texels: Element::F16, line: 68, ..buffer },
        FromTexels { channels: 64, ..buffer },
        // More than 65,535 workgroups.
        FromTexels { height: 2053, width: 2053, rows: 2053 * 2053, line: 8212, ..picture },
    ]
    .into_iter()
    .map(Row::of)
    .collect()
}
