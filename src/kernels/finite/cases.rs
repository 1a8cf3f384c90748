//! Rows for `finite`.

use super::Finite;
use crate::kernels::Row;
use crate::tensor::Extent;

pub(crate) fn rows() -> Vec<Row> {
    // One flag, two, none, many; more workgroups than a dispatch of the tests' devices has in a row.
    let sizes =
        [[1, 1, 1], [1, 64, 4], [1, 65, 4], [1, 0, 8], [3, 67, 5], [2, 511, 33], [1, 1031, 16_000]];
    let rows = sizes.map(|[batch, rows, cols]| Finite { extent: Extent::new(batch, rows, cols) });
    rows.map(Row::of).to_vec()
}
