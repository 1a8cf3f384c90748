//! Rows for `gemm_merge`.

use super::GemmMerge;
use crate::kernels::Row;
use crate::kernels::gemm::Activation;
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    [
        (1, 1, 1, false, Activation::None, 0),
        (3, 0, 5, true, Activation::None, 0),
        (2, 7, 13, true, Activation::GeluErf, 7),
        (8, 5, 66, false, Activation::GeluTanh, 1),
        (5, 12, 261, true, Activation::None, 6),
        (4, 33, 4, false, Activation::None, 0),
        // More than 65,535 workgroups.
        (1, 1_048_600, 13, true, Activation::None, 1),
    ]
    .into_iter()
    .map(|(parts, rows, cols, bias, activation, residual_rows)| Row {
        terms: parts + 2,
        ..Row::of(GemmMerge { parts, rows, cols, bias, activation, residual_rows, y: Element::F32 })
    })
    .collect()
}
