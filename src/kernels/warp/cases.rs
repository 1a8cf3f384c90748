//! Rows for `warp`.

use super::Warp;
use crate::kernels::Row;
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    let frames = Warp {
        planes: 2,
        plane: 1,
        height: 5,
        width: 7,
        pixel: 4,
        line: 64,
        swapped: false,
        first: 0,
        rows: 35,
        cols: 2,
        into_line: 64,
        into_swapped: false,
        texels: Element::U8,
    };
    let large = Warp { height: 61, width: 83, rows: 61 * 83, line: 384, into_line: 384, ..frames };
    // Vectors of up to 1.5 pixels, times the spread.
    let vectors = |op: Warp, spread| Row { spread, ..Row::of(op) };
    let mut list = vec![
        Row::of(frames),
        vectors(Warp { swapped: true, ..frames }, 2.0),
        Row::of(Warp { into_swapped: true, first: 3, rows: 19, ..frames }),
        Row::of(Warp { swapped: true, into_swapped: true, first: 9, rows: 3, ..frames }),
        Row::of(Warp { planes: 1, plane: 0, pixel: 3, line: 21, into_line: 28, ..frames }),
        Row::of(Warp { height: 1, width: 1, rows: 1, cols: 3, ..frames }),
        Row::of(Warp { rows: 0, ..frames }),
        vectors(large, 20.0),
        vectors(Warp { first: 83 * 7 + 5, rows: 1001, ..large }, 20.0),
    ];
    for texels in [Element::F16, Element::F32] {
        list.push(Row::of(Warp { texels, ..frames }));
        list.push(Row::of(Warp { texels, swapped: true, first: 3, rows: 17, ..frames }));
        list.push(vectors(Warp { texels, cols: 5, ..large }, 20.0));
    }
    // More than 65,535 workgroups.
    let side = 2053;
    let (rows, line) = (side * side, 8256);
    list.push(Row::of(Warp { height: side, width: side, rows, line, into_line: line, ..frames }));
    list
}
