//! Rows for `gemm`: tile edges, primes, empty and long sides, every epilogue, normalised rows.

use super::{Activation, Gemm};
use crate::kernels::Row;

pub(crate) fn rows() -> Vec<Row> {
    let mut list = vec![];
    for (m, k, n) in [
        (1, 1, 1),
        (0, 5, 7),
        (3, 0, 5),
        (2, 3, 0),
        (1, 1024, 3),
        (16, 16, 64),
        (17, 5, 65),
        (64, 64, 64),
        (65, 63, 67),
        (127, 129, 131),
        (128, 256, 128),
        (31, 322, 261),
        (5, 704, 37),
        (7, 2053, 11),
        (257, 37, 9),
    ] {
        list.push(Gemm::new(m, k, n));
    }
    // More than 65,535 workgroups in one column of tiles of the smallest variants, and in all of them more than the
    // 1000 that tests let a dimension have.
    list.push(Gemm::new(1_048_600, 1, 1));
    for activation in [Activation::None, Activation::GeluErf, Activation::GeluTanh] {
        for (m, residual_rows) in [(66, 0), (66, 66), (66, 33), (130, 1)] {
            let bias = residual_rows != 33;
            list.push(Gemm { bias, activation, residual_rows, ..Gemm::new(m, 29, 70) });
        }
    }
    // Whole tiles of every size, and slices of 32.
    list.push(Gemm::new(256, 96, 256));
    for (m, k, n) in [
        (1, 1, 1),
        (3, 2, 5),
        (17, 5, 65),
        (65, 63, 67),
        (33, 322, 70),
        (128, 256, 128),
        (9, 1282, 33),
        (130, 40, 9),
    ] {
        list.push(Gemm { normalise: true, ..Gemm::new(m, k, n) });
    }
    let activation = Activation::GeluErf;
    let all = Gemm { bias: true, activation, residual_rows: 35, ..Gemm::new(70, 100, 66) };
    list.push(Gemm { normalise: true, ..all });
    // Divided inner dimensions; with more parts than there are slices the last are empty.
    for (m, k, n, splits) in
        [(1, 1024, 70, 4), (17, 300, 65, 3), (33, 288, 40, 3), (3, 67, 5, 8), (2, 0, 4, 2)]
    {
        list.push(Gemm { splits, ..Gemm::new(m, k, n) });
    }
    // An inner dimension of zero leaves the epilogue.
    list.push(Gemm { bias: true, activation, residual_rows: 9, ..Gemm::new(9, 0, 10) });
    let mut rows: Vec<Row> = list.into_iter().map(Row::of).collect();
    // Arguments that the GELUs clamp.
    for activation in [
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ] {
        let args = Gemm { activation, ..Gemm::new(33, 8, 40) };
        rows.push(Row { spread: 30.0, ..Row::of(args) });
    }
    rows
}
