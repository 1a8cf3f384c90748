//! Shapes and random contents of the operands of every op.

use crate::graph::{Op, Role, attention_outputs, factored_outputs, merge_outputs};
use crate::kernels::attention::Attention;
use crate::kernels::gemm::Activation;
use crate::random::Random;
use crate::tensor::{Element, Extent};

/// What an operand is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Fill {
    /// Uniform in ±spread.
    Numbers,
    /// Uniform in ±1, whatever the spread: weights and biases.
    Weights,
    /// As `Numbers`, each row about a number of its own that is up to 1,000 times as large.
    Shifted,
    /// As `Weights` in this many rows, each column of which sums to zero; zero beyond.
    Centred(usize),
    /// As `Numbers`, in heads of this width that are padded with zeros to four each.
    Heads(usize),
    /// As `Heads`, uniform in ±1.
    WeightHeads(usize),
    /// Whole numbers below this.
    Ids(usize),
    /// Zero with probability one quarter, else one; the second item is all zeros.
    Mask,
    /// Pairs of maximum and sum of an attention state.
    Statistics,
    /// Positive numbers about one.
    Scales,
    /// Folded queries with this many content channels: the smaller the more there are.
    Factors(usize),
    /// Pairs of the sum and the sum of squares of this many numbers.
    Moments(usize),
}

/// Extents and contents of an op's operands, in the order that it documents.
pub(super) fn operands(op: &Op) -> Vec<(Extent, Fill)> {
    let rows = |rows, cols| Extent::new(1, rows, cols);
    let mut list = Vec::new();
    match op {
        Op::Gemm(a) => {
            let x = if a.normalise {
                Fill::Shifted
            } else {
                Fill::Numbers
            };
            list.push((rows(a.rows, a.inner), x));
            let weight = rows(a.inner.next_multiple_of(4), a.cols);
            let fill = if a.normalise {
                Fill::Centred(a.inner)
            } else {
                Fill::Weights
            };
            list.push((weight, fill));
            if a.bias {
                list.push((rows(1, a.cols), Fill::Weights));
            }
            if a.residual_rows > 0 {
                list.push((rows(a.residual_rows, a.cols), Fill::Numbers));
            }
        }
        Op::GemmMerge(a) => {
            list.push((Extent::new(a.parts, a.rows, a.cols), Fill::Numbers));
            if a.bias {
                list.push((rows(1, a.cols), Fill::Weights));
            }
            if a.residual_rows > 0 {
                list.push((rows(a.residual_rows, a.cols), Fill::Numbers));
            }
        }
        Op::LayerNorm(a) => {
            list.push((rows(a.rows, a.cols), Fill::Numbers));
            list.push((rows(1, a.cols), Fill::Weights));
            list.push((rows(1, a.cols), Fill::Weights));
        }
        Op::Attention(Attention {
            factors: Some(f), ..
        }) => {
            let Op::Attention(a) = op else { return list };
            let of_keys = |row| Extent::new(a.batch, a.keys, row);
            let items = if a.shared_queries { 1 } else { a.batch };
            if a.d_qk > 0 {
                let queries = Extent::new(items, a.queries, a.q_row);
                list.push((queries, Fill::Heads(a.d_qk)));
                list.push((of_keys(a.k_row), Fill::WeightHeads(a.d_qk)));
            }
            list.push((of_keys(a.v_row), Fill::WeightHeads(a.d_v)));
            list.push((Extent::new(items, 1, a.queries), Fill::Scales));
            list.push((Extent::new(a.batch, f.columns, a.keys), Fill::Numbers));
            if f.indexed {
                let grid = f.factors.axes[..f.factors.dimensions].iter().product();
                list.push((rows(a.queries, 1), Fill::Ids(grid)));
            }
        }
        Op::Attention(a) => {
            let items = if a.shared_queries { 1 } else { a.batch };
            list.push((Extent::new(items, a.queries, a.q_row), Fill::Heads(a.d_qk)));
            let keys = |row| Extent::new(a.batch, a.keys, row);
            list.push((keys(a.k_row), Fill::WeightHeads(a.d_qk)));
            list.push((keys(a.v_row), Fill::WeightHeads(a.d_v)));
            if a.masked {
                list.push((Extent::new(a.batch, 1, a.keys), Fill::Mask));
            }
            if a.carry {
                let acc = a.heads * a.v_stride();
                let acc = Extent::new(a.batch, a.queries, acc);
                list.push((acc, Fill::WeightHeads(a.d_v)));
                let stats = Extent::new(a.batch, a.queries, 2 * a.heads);
                list.push((stats, Fill::Statistics));
            }
        }
        Op::AttentionMerge(a) => {
            let acc = a.heads * a.v_stride();
            let parts = a.parts * a.batch;
            let acc = Extent::new(parts, a.queries, acc);
            list.push((acc, Fill::Heads(a.d_v)));
            list.push((Extent::new(parts, a.queries, 2 * a.heads), Fill::Statistics));
        }
        Op::Embed(a) => {
            list.push((Extent::new(a.batch, 1, a.length), Fill::Ids(a.vocabulary)));
            list.push((rows(a.vocabulary, a.cols), Fill::Numbers));
            list.push((rows(a.length, a.cols), Fill::Numbers));
        }
        Op::Assemble(a) => {
            if a.content > 0 {
                list.push((Extent::new(a.batch, a.rows, a.content), Fill::Numbers));
            }
            let positions: usize = a.axes[..a.dimensions].iter().sum();
            if a.dimensions > 0 {
                list.push((rows(positions, 1 + 2 * a.bands), Fill::Numbers));
            }
            if a.tail > 0 {
                list.push((rows(a.tail_rows, a.tail), Fill::Numbers));
            }
            if a.indexed {
                let grid = a.axes[..a.dimensions].iter().product();
                list.push((rows(a.rows, 1), Fill::Ids(grid)));
            }
        }
        Op::Convolution(a) => {
            let pixels = a.height * a.width;
            let window = (a.side * a.side * a.inner).next_multiple_of(4);
            list.push((Extent::new(a.batch, pixels, a.inner), Fill::Numbers));
            list.push((rows(window, a.cols), Fill::Weights));
            list.push((rows(1, a.cols), Fill::Weights));
        }
        Op::FactoredAttention(a) => {
            let keys = Extent::new(a.batch, 1, a.keys);
            if a.factors.content > 0 {
                let content = Extent::new(a.batch, a.keys, a.factors.content);
                list.push((content, Fill::Weights));
            }
            // Padding between the parts is zero in a fold; here it must not matter.
            list.push((rows(a.queries, a.columns), Fill::Factors(a.factors.content)));
            list.push((keys, Fill::Scales));
            if a.masked {
                list.push((keys, Fill::Mask));
            }
            if a.carry {
                let acc = Extent::new(a.batch, a.queries, a.columns);
                list.push((acc, Fill::Weights));
                list.push((Extent::new(a.batch, a.queries, 2), Fill::Statistics));
            }
        }
        Op::RowScale(a) => {
            let f = a.factors;
            if f.content > 0 {
                let content = Extent::new(a.batch, a.rows, f.content);
                list.push((content, Fill::Numbers));
            }
            let axes = &f.axes[..f.dimensions];
            let entries = axes.iter().sum::<usize>() + 1;
            list.push((rows(entries, 2), Fill::Moments(a.features.max(a.constant))));
            if a.indexed {
                list.push((rows(a.rows, 1), Fill::Ids(axes.iter().product())));
            }
        }
        Op::Transpose(a) => {
            list.push((Extent::new(a.batch, a.rows, a.cols), Fill::Numbers));
        }
        Op::Join(a) => {
            list.push((rows(a.rows, a.left), Fill::Numbers));
            list.push((rows(a.rows, a.right), Fill::Numbers));
            if a.residual {
                list.push((rows(a.rows, a.cols()), Fill::Numbers));
            }
        }
        Op::MaxPool(a) => {
            let pixels = a.height * a.width;
            list.push((Extent::new(a.batch, pixels, a.cols), Fill::Numbers));
        }
    }
    list
}

/// Extents of an op's results.
pub(super) fn results(op: &Op) -> Vec<Extent> {
    match op {
        Op::Gemm(a) => vec![Extent::new(a.splits.max(1), a.rows, a.cols)],
        Op::GemmMerge(a) => vec![Extent::new(1, a.rows, a.cols)],
        Op::LayerNorm(a) => vec![Extent::new(1, a.rows, a.cols)],
        Op::Attention(a) => attention_outputs(a),
        Op::AttentionMerge(a) => merge_outputs(a),
        Op::Embed(a) => vec![Extent::new(a.batch, a.length, a.cols)],
        Op::Assemble(a) => vec![Extent::new(a.batch, a.rows, a.cols())],
        Op::Convolution(a) => vec![Extent::new(a.batch, a.output_pixels(), a.cols)],
        Op::MaxPool(a) => vec![Extent::new(a.batch, a.output_pixels(), a.cols)],
        Op::FactoredAttention(a) => factored_outputs(a),
        Op::RowScale(a) => vec![Extent::new(a.batch, 1, a.rows)],
        Op::Transpose(a) => vec![Extent::new(a.batch, a.cols, a.rows)],
        Op::Join(a) => vec![Extent::new(1, a.rows, a.cols())],
    }
}

/// A padded array of this content.
pub(super) fn draw(extent: Extent, fill: Fill, spread: f32, random: &mut Random) -> Vec<f32> {
    let mut array = vec![0.0; extent.padded_len()];
    if extent.is_empty() {
        return array;
    }
    for (r, row) in array.chunks_exact_mut(extent.stride()).enumerate() {
        let shift = match r % 3 {
            _ if fill != Fill::Shifted => 0.0,
            0 => 0.0,
            1 => spread * random.signed(),
            _ => 1000.0 * spread * random.signed(),
        };
        for (c, x) in row[..extent.cols].iter_mut().enumerate() {
            *x = match fill {
                Fill::Shifted => shift + spread * random.signed(),
                Fill::Numbers => spread * random.signed(),
                Fill::Centred(n) if r >= n => 0.0,
                Fill::Weights | Fill::Centred(_) => random.signed(),
                Fill::Heads(w) | Fill::WeightHeads(w) if c % w.next_multiple_of(4) >= w => 0.0,
                Fill::Heads(_) => spread * random.signed(),
                Fill::WeightHeads(_) => random.signed(),
                Fill::Ids(n) => random.below(n) as f32,
                Fill::Mask => f32::from(u8::from(r != 1 && random.below(4) > 0)),
                Fill::Statistics if c % 2 == 0 => spread * random.signed(),
                Fill::Statistics => 1.0 + random.unit(),
                Fill::Scales => 0.5 + random.unit(),
                Fill::Factors(n) => spread * random.signed() / (n.max(1) as f32).sqrt(),
                Fill::Moments(n) if c % 2 == 0 => random.signed() * (n as f32).sqrt(),
                Fill::Moments(n) => n as f32 * (1.0 + random.unit()),
            };
        }
    }
    if let Fill::Centred(n) = fill {
        centre(&mut array, extent, n);
    }
    array
}

/// Makes each column of the first `rows` rows sum to zero.
fn centre(array: &mut [f32], extent: Extent, rows: usize) {
    for c in 0..extent.cols {
        let at = |r: usize| r * extent.stride() + c;
        let sum: f64 = (0..rows).map(|r| f64::from(array[at(r)])).sum();
        for r in 0..rows {
            array[at(r)] = (f64::from(array[at(r)]) - sum / rows as f64) as f32;
        }
    }
}

/// An op in words.
pub(super) fn describe(op: &Op) -> String {
    let mut words = match op {
        Op::Gemm(a) => {
            let mut words = vec![format!("{}×{}×{}", a.rows, a.inner, a.cols)];
            if a.normalise {
                words.push("norm".to_owned());
            }
            if a.bias {
                words.push("bias".to_owned());
            }
            match a.activation {
                Activation::None => {}
                Activation::GeluErf => words.push("gelu-erf".to_owned()),
                Activation::GeluTanh => words.push("gelu-tanh".to_owned()),
            }
            if a.residual_rows > 0 {
                words.push(format!("residual {}", a.residual_rows));
            }
            if a.splits > 1 {
                words.push(format!("splits {}", a.splits));
            }
            words
        }
        Op::GemmMerge(a) => {
            let mut words = vec![format!("{} parts {}×{}", a.parts, a.rows, a.cols)];
            if a.bias {
                words.push("bias".to_owned());
            }
            words.push(format!("{:?}", a.activation).to_lowercase());
            if a.residual_rows > 0 {
                words.push(format!("residual {}", a.residual_rows));
            }
            words
        }
        Op::LayerNorm(a) => vec![format!("{}×{}", a.rows, a.cols)],
        Op::Attention(a) => {
            let mut words = vec![
                format!("{}×{}", a.queries, a.keys),
                format!("heads {}×{}/{}", a.heads, a.d_qk, a.d_v),
                format!("batch {}", a.batch),
            ];
            if a.splits > 1 {
                words.push(format!("splits {}", a.splits));
            }
            let flags = [
                (a.masked, "mask"),
                (a.carry, "carry"),
                (!a.finish, "state"),
                (a.shared_queries, "shared queries"),
                (a.k_column > 0, "columns"),
                (a.factors.is_some_and(|f| f.indexed), "points"),
            ];
            words.extend(flags.iter().filter(|f| f.0).map(|f| f.1.to_owned()));
            if let Some(f) = a.factors {
                let axes = &f.factors.axes[..f.factors.dimensions];
                words.push(format!("query axes {axes:?} from {}", f.first_query));
            }
            words
        }
        Op::AttentionMerge(a) => vec![
            format!("{} parts", a.parts),
            format!("{}×{}", a.batch, a.queries),
            format!("heads {}×{}", a.heads, a.d_v),
            if a.finish { "result" } else { "state" }.to_owned(),
        ],
        Op::Embed(a) => vec![
            format!("{}×{}×{}", a.batch, a.length, a.cols),
            format!("vocabulary {}", a.vocabulary),
        ],
        Op::Assemble(a) => vec![
            format!("{}×{}", a.batch, a.rows),
            format!("content {}", a.content),
            format!("axes {:?}", &a.axes[..a.dimensions]),
            format!("bands {} from {}", a.bands, a.first_row),
            if a.tail > 0 {
                format!("tail {}×{}", a.tail_rows, a.tail)
            } else {
                String::new()
            },
            if a.indexed { "points" } else { "" }.to_owned(),
        ],
        Op::Convolution(a) => vec![
            format!("{}×{}×{}×{}", a.batch, a.height, a.width, a.inner),
            format!("to {}", a.cols),
            format!("side {} stride {} padding {}", a.side, a.stride, a.padding),
            if a.relu { "relu" } else { "" }.to_owned(),
        ],
        Op::FactoredAttention(a) => {
            let axes = &a.factors.axes[..a.factors.dimensions];
            let mut words = vec![
                format!("{}×{}", a.queries, a.keys),
                format!("content {} axes {axes:?}", a.factors.content),
                format!("from {} batch {}", a.first_key, a.batch),
            ];
            if a.splits > 1 {
                words.push(format!("splits {}", a.splits));
            }
            let flags = [
                (a.masked, "mask"),
                (a.carry, "carry"),
                (!a.finish, "state"),
                (a.first_column > 0, "columns"),
            ];
            words.extend(flags.iter().filter(|f| f.0).map(|f| f.1.to_owned()));
            words
        }
        Op::RowScale(a) => {
            let axes = &a.factors.axes[..a.factors.dimensions];
            vec![
                format!("{}×{}", a.batch, a.rows),
                format!("content {} axes {axes:?}", a.factors.content),
                format!("features {} constant {}", a.features, a.constant),
                if a.indexed { "points" } else { "" }.to_owned(),
            ]
        }
        Op::Transpose(a) => vec![format!("{}×{}×{}", a.batch, a.rows, a.cols)],
        Op::Join(a) => vec![
            format!("{}×({}+{})", a.rows, a.left, a.right),
            if a.residual { "residual" } else { "" }.to_owned(),
        ],
        Op::MaxPool(a) => vec![
            format!("{}×{}×{}×{}", a.batch, a.height, a.width, a.cols),
            format!("side {} stride {}", a.side, a.stride),
        ],
    };
    let halves = [
        (Role::Rows, "rows"),
        (Role::Weight, "weight"),
        (Role::Keys, "keys"),
        (Role::Result, "result"),
    ];
    for (role, name) in halves {
        if op.element(role) == Element::F16 {
            words.push(format!("f16 {name}"));
        }
    }
    words.retain(|w| !w.is_empty());
    words.join(" ")
}
