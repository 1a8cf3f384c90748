//! Rows for `attention_merge`.

use super::AttentionMerge;
use crate::kernels::{Op, Row};
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (parts, batch, heads, queries, d_v) in [
        (1, 1, 1, 1, 1),
        (2, 1, 1, 0, 8),
        (2, 1, 1, 7, 8),
        (3, 2, 3, 5, 13),
        (17, 1, 1, 33, 322),
        (5, 3, 8, 9, 160),
        // More than 65,535 workgroups.
        (1, 1, 1, 140_001, 120),
    ] {
        for (finish, spread) in [(true, 1.0), (false, 1.0), (true, 60.0)] {
            if queries > 1000 && !(finish && spread == 1.0) {
                continue;
            }
            let result = Element::F32;
            let args = AttentionMerge { parts, batch, heads, queries, d_v, finish, result };
            // e^x of a rounded x has the absolute error of x as its relative one.
            let terms = parts + (spread * spread) as usize;
            rows.push(Row { op: Op::AttentionMerge(args), spread, terms });
        }
    }
    rows
}
