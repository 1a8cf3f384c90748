//! Rows for `combine`.

use super::{Columns, Combine};
use crate::kernels::Row;
use crate::kernels::gemm::Activation;
use crate::tensor::Element;

pub(crate) fn rows() -> Vec<Row> {
    let mut list = Vec::new();
    let activations = [
        Activation::None,
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ];
    let shapes: [(usize, usize); 6] = [(1, 1), (0, 4), (5, 13), (37, 64), (3, 1283), (11, 7)];
    for (i, (rows, cols)) in shapes.into_iter().enumerate() {
        let width = cols.next_multiple_of(4);
        let x = Element::F32;
        let base = Combine {
            rows,
            cols,
            a: Columns { rows, first: 0, row: 2 * width, column: 0 },
            b: Some(Columns { rows, first: 0, row: 2 * width, column: width }),
            activation: activations[i],
            product: true,
            x,
            y: x,
        };
        list.push(base);
        list.push(Combine { product: false, activation: Activation::None, ..base });
        // Learned rows that all items share, and rows that are repeated.
        let few = Columns { rows: rows.div_ceil(3), first: 3, row: width, column: 0 };
        list.push(Combine { a: few, product: false, ..base });
        list.push(Combine { a: few, b: None, activation: activations[5 - i], ..base });
    }
    // More than 65,535 workgroups.
    let long = Columns { rows: 1_048_583, first: 0, row: 16, column: 0 };
    list.push(Combine {
        rows: long.rows,
        cols: 13,
        a: long,
        b: Some(Columns { rows: 7, ..long }),
        activation: Activation::None,
        product: false,
        x: Element::F32,
        y: Element::F32,
    });
    list.into_iter().map(|op| Row { terms: 8, ..Row::of(op) }).collect()
}
