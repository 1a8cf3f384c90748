//! Rows for `attention`: head widths 8 to 1024 including odd ones, d_qk ≠ d_v, masks, carried
//! states, splits.

use super::{Attention, QueryFactors};
use crate::kernels::factored_attention::cases::factors;
use crate::kernels::{Op, Row};

pub(crate) fn rows() -> Vec<Row> {
    let mut list = Vec::new();
    for (queries, keys, heads, d_qk, d_v) in [
        (1, 1, 1, 8, 8),
        (0, 5, 1, 8, 8),
        (5, 0, 2, 8, 8),
        (32, 32, 1, 32, 64),
        (33, 31, 1, 13, 17),
        (31, 65, 3, 5, 7),
        (7, 97, 8, 32, 160),
        (65, 64, 2, 64, 64),
        (4, 67, 1, 261, 261),
        (35, 70, 1, 322, 322),
        (9, 40, 1, 704, 704),
        (3, 33, 1, 512, 512),
        (2, 35, 1, 1024, 1024),
        (3, 19, 1, 1, 1),
        (6, 300, 16, 32, 32),
        (2, 5003, 1, 9, 10),
    ] {
        list.push(Attention::new(queries, keys, heads, d_qk, d_v));
    }
    let base = Attention::new(37, 75, 2, 11, 14);
    let options = |batch, shared_queries, masked, carry, finish, splits| Attention {
        batch,
        shared_queries,
        masked,
        carry,
        finish,
        splits,
        ..base
    };
    list.extend([
        options(3, false, false, false, true, 1),
        options(3, true, false, false, true, 1),
        options(3, false, true, false, true, 1),
        options(2, true, true, false, true, 1),
        options(1, false, false, true, true, 1),
        options(2, false, true, true, true, 1),
        options(1, false, false, false, false, 1),
        options(3, false, true, true, false, 1),
        options(1, false, false, false, true, 4),
        options(2, false, true, true, true, 3),
        options(2, true, true, true, false, 5),
        Attention { causal: true, ..options(2, false, false, false, true, 1) },
        Attention { causal: true, ..options(2, false, true, true, true, 3) },
        Attention { causal: true, ..options(2, true, false, true, false, 1) },
        // More splits than keys fill: the last are empty.
        options(1, false, false, false, true, 60),
    ]);
    // Queries, keys and values side by side in one row, the second time with padding.
    for (d_qk, d_v) in [(12, 20), (5, 9)] {
        let mut columns = Attention::new(40, 40, 3, d_qk, d_v);
        columns.k_column = columns.q_row;
        columns.v_column = columns.q_row + columns.k_row;
        let row = columns.v_column + columns.v_row;
        (columns.q_row, columns.k_row, columns.v_row) = (row, row, row);
        list.push(columns);
    }
    // A wide carried state.
    list.push(Attention { carry: true, masked: true, ..Attention::new(33, 50, 1, 322, 322) });
    // More keys than llvmpipe's loops can count to in one split.
    list.push(Attention { splits: 5, ..Attention::new(3, 60_013, 1, 6, 6) });
    // Queries given as factors.
    for (queries, keys, d_qk, d_v, axes, before, points) in [
        (1, 1, 1, 1, vec![], 0, false),
        (33, 31, 13, 17, vec![], 8, false),
        (37, 75, 0, 14, vec![41], 0, false),
        (35, 70, 64, 322, vec![6, 7], 12, false),
        (40, 67, 0, 512, vec![3, 4, 5], 0, true),
        (70, 130, 5, 7, vec![9, 11], 4, true),
        (131, 260, 64, 66, vec![5, 30], 0, false),
    ] {
        let factors = factors(d_qk, &axes);
        list.push(Attention {
            scale: 1.0,
            factors: Some(QueryFactors {
                factors,
                first_column: before,
                columns: before + factors.columns() + 4,
                first_query: if points { 0 } else { 3 },
                indexed: points,
            }),
            ..Attention::new(queries, keys, 1, d_qk, d_v)
        });
    }
    let several = list.last().copied();
    list.extend(several.map(|a| Attention { batch: 3, ..a }));
    list.extend(several.map(|a| Attention { batch: 3, shared_queries: true, ..a }));
    list.extend(several.map(|a| Attention { splits: 4, ..a }));
    let mut rows: Vec<Row> = list.iter().map(|&a| row(a, 1.0)).collect();
    // Sharp softmax: scores far apart, exponentials that underflow.
    rows.push(row(base, 60.0));
    rows.push(row(options(2, false, true, true, true, 3), 60.0));
    rows.push(row(Attention::new(33, 150, 1, 12, 130), 60.0));
    rows
}

fn row(args: Attention, spread: f32) -> Row {
    Row {
        op: Op::Attention(args),
        spread,
        // Errors of a score, about ε·√d_qk of its size, become relative errors of its weight.
        terms: args.keys + args.d_qk * (spread * spread).max(1.0) as usize,
    }
}
