//! Rows for `factored_attention`: no axis to three, with and without content, several modalities in
//! one state, masks, carried states, splits.

use super::{FactoredAttention, Factors};
use crate::kernels::{Op, Row};

/// Factors over these axes.
pub(crate) fn factors(content: usize, lengths: &[usize]) -> Factors {
    let mut axes = [1; 3];
    axes[..lengths.len()].copy_from_slice(lengths);
    Factors { content, dimensions: lengths.len(), axes }
}

pub(crate) fn rows() -> Vec<Row> {
    let plain = |queries, keys, first_key, factors: Factors| FactoredAttention {
        first_key,
        ..FactoredAttention::new(queries, keys, factors)
    };
    let mut list = vec![
        plain(1, 1, 0, factors(1, &[])),
        plain(5, 0, 0, factors(3, &[4])),
        plain(0, 7, 0, factors(3, &[7])),
        plain(17, 65, 0, factors(13, &[])),
        plain(16, 64, 0, factors(32, &[64])),
        plain(33, 131, 0, factors(0, &[131])),
        plain(7, 200, 0, factors(3, &[10, 20])),
        plain(35, 143, 27, factors(64, &[13, 17])),
        plain(9, 300, 11, factors(48, &[7, 8, 9])),
        plain(3, 60, 0, factors(5, &[3, 4, 5])),
        plain(2, 5, 0, factors(0, &[])),
        plain(130, 1000, 0, factors(3, &[25, 40])),
        plain(4, 700, 0, factors(261, &[700])),
        plain(3, 60_013, 0, factors(16, &[60_013])),
        // More content than one part of workgroup memory holds; lines longer than a tile.
        plain(70, 2000, 45, factors(100, &[30, 70])),
        plain(65, 900, 7, factors(200, &[5, 9, 37])),
        plain(129, 4096, 0, factors(64, &[32, 128])),
    ];
    let base = plain(19, 150, 3, factors(11, &[12, 14]));
    let options = |batch, masked, carry, finish, splits| FactoredAttention {
        batch,
        masked,
        carry,
        finish,
        splits,
        ..base
    };
    list.extend([
        options(3, false, false, true, 1),
        options(3, true, false, true, 1),
        options(2, true, true, true, 1),
        options(1, false, true, true, 1),
        options(1, false, false, false, 1),
        options(3, true, true, false, 1),
        options(1, false, false, true, 4),
        options(2, true, true, true, 3),
        options(2, true, true, false, 5),
        // More splits than keys fill: the last are empty.
        options(1, false, false, true, 140),
    ]);
    // Content that cooperative matrices multiply.
    let wider = |args: FactoredAttention, content| {
        let factors = Factors { content, ..args.factors };
        FactoredAttention { factors, columns: factors.columns(), ..args }
    };
    let wide = [
        wider(options(2, true, true, true, 1), 16),
        wider(options(3, true, true, false, 5), 40),
        wider(options(1, false, true, true, 140), 21),
    ];
    list.extend(wide);
    // Content of which invocations keep their own keys: of two axes, tiles of four lines; one axis and three.
    let narrow = [
        wider(options(2, true, true, true, 3), 3),
        wider(options(3, true, false, false, 5), 2),
        wider(options(2, false, true, false, 1), 3),
    ];
    list.extend(narrow);
    let three = factors(3, &[5, 3, 37]);
    for args in [plain(33, 500, 40, three), plain(5, 300, 7, factors(3, &[310]))] {
        list.push(FactoredAttention { masked: true, splits: 2, ..args });
    }
    let columns = wide[0].columns + 60;
    list.push(FactoredAttention { columns, first_column: 44, masked: false, ..wide[0] });
    // Parts that begin and end in the middle of lines, and lines longer than parts.
    for (content, lengths, splits) in [(3, [9, 67], 4), (70, [2, 300], 5)] {
        let factors = factors(content, &lengths);
        let keys = lengths.iter().product::<usize>() - 3;
        list.push(FactoredAttention { splits, ..plain(67, keys, 3, factors) });
    }
    // The second of three modalities.
    let columns = 40 + base.factors.columns() + 16;
    let second = FactoredAttention { columns, first_column: 40, carry: true, ..base };
    list.extend([FactoredAttention { finish: false, ..second }, second]);
    let mut rows: Vec<Row> = list.iter().map(|&a| row(a, 1.0)).collect();
    // Sharp softmax: scores far apart, exponentials that underflow, references that move.
    rows.push(row(base, 30.0));
    rows.push(row(options(2, true, true, true, 3), 30.0));
    rows.extend(narrow.map(|args| row(args, 30.0)));
    // Less sharp, since content of f16 is left out where errors of scores become large.
    rows.extend(wide.map(|args| row(args, 8.0)));
    rows
}

fn row(args: FactoredAttention, spread: f32) -> Row {
    let f = args.factors;
    Row {
        op: Op::FactoredAttention(args),
        spread,
        // Errors of a score become relative errors of its weight.
        terms: args.keys
            + (f.content + f.dimensions + 1) * (4.0 * spread * spread).max(1.0) as usize,
    }
}
