//! Products of the CPU with weights in panels, which no GPU has, against plain loops in f64.

use perceiver::internals::kernels::gemm::{Activation, Gemm};
use perceiver::internals::kernels::{Problem, Row};

/// A last panel that is narrower, a last strip of some rows, an inner dimension in parts or none, every epilogue. Columns are
/// whole vectors, since the rows of a panel have no padding of their own for the table to leave at zero.
#[test]
fn products_in_panels_are_those_of_plain_loops() {
    let sizes =
        [(1, 1, 4), (17, 300, 64), (23, 40, 100), (139, 1600, 36), (257, 96, 256), (9, 0, 40)];
    let mut list: Vec<Gemm> = sizes.map(|(m, k, n)| Gemm::new(m, k, n)).into();
    list.extend((1..=13).map(|rows| Gemm::new(rows, 35, 68)));
    list.extend([Activation::GeluErf, Activation::Tanh].map(|activation| Gemm {
        bias: true,
        activation,
        residual_rows: 11,
        ..Gemm::new(66, 1588, 72)
    }));
    list.push(Gemm { splits: 3, ..Gemm::new(17, 300, 68) });
    for (seed, args) in list.into_iter().enumerate() {
        let outcome = Problem::new(&Row::of(Gemm { panels: true, ..args }), seed as u64).on_cpu();
        assert!(outcome.passed, "{outcome:#?}");
    }
}
