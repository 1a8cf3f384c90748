//! The kernel table: every kernel in many shapes, compared with the f64 twin.
//!
//! `tests/kernels.rs` and `perceiver check` run the same rows. Operands are fresh random numbers,
//! outputs are poisoned before each run, and the padding of every row must come out as zero. The
//! reference is [`Op::reference`] in f64: plain loops that share no code with any kernel.

use serde::Serialize;

use super::{Fill, Op, Role, Variant, cases};
use crate::random::Random;
use crate::tensor::{Element, Extent};

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The op with its shapes.
    pub op: Op,
    /// Factor of the random operands: large ones make softmax sharp.
    pub spread: f32,
    /// Numbers added up for one element of the result, which the tolerance grows with.
    pub terms: usize,
}

impl Row {
    /// A row of an op with operands of ordinary size.
    pub fn of(op: impl Into<Op>) -> Self {
        let op = op.into();
        Row { op, spread: 1.0, terms: op.terms() }
    }

    /// Shape and options in words.
    pub fn shape(&self) -> String {
        let mut text = self.op.describe();
        if self.spread != 1.0 {
            text.push_str(&format!(" spread {}", self.spread));
        }
        text
    }

    /// Whether an array is stored as f16.
    pub fn has_f16(&self) -> bool {
        let narrow = |&role: &Role| self.op.element(role) == Element::F16;
        Role::NARROW.iter().any(narrow)
    }

    /// The largest relative L2 error that counts as right in f32: rounding errors of `terms`
    /// additions that do not conspire, ε·√terms, with room for other orders of summation and the
    /// elementary functions. Results that are stored as f16 are rounded once more, and so are the
    /// left operands of cooperative matrices: normalised rows and softmax's exponentials.
    pub fn tolerance(&self, variant: Option<&Variant>) -> f64 {
        let sums = f64::from(f32::EPSILON) * (6.0 + 2.0 * (self.terms as f64).sqrt());
        let f16 = self.op.result_roles().contains(&Role::Result)
            && self.op.element(Role::Result) == Element::F16;
        let rounded = variant.is_some_and(|v| v.cooperative.is_some());
        // Half a unit in the last of eleven places, should all roundings conspire.
        // Bytes and f16 of textures are rounded too.
        let texels = match self.op.result_roles().contains(&Role::Texels) {
            // Bytes that are mixed in whole numbers are exact.
            true if matches!(&self.op, Op::Warp(w) if w.texels == Element::U8) => 0.0,
            true => [0.0, 1.0 / 2048.0, 1.0 / 510.0][self.op.element(Role::Texels) as usize],
            false => 0.0,
        };
        // Columns that summed to zero do not quite once they are f16, and the kernel takes another number off its rows.
        let centred = match &self.op {
            Op::Gemm(a) if a.normalise && a.weight.is_f16() => 1.0 / 8192.0,
            _ => 0.0,
        };
        sums + texels + centred + f64::from(u8::from(f16) + u8::from(rounded)) / 2048.0
    }
}

/// All rows.
pub fn table() -> Vec<Row> {
    let mut rows = cases();
    rows.extend(with_f16(&rows));
    rows
}

/// Rows again with arrays of f16, as plans in f16 have them. Those with very many elements are about
/// counting workgroups, which is the same; of products and attentions every sixth is enough, as their
/// shaders take seconds to compile, every second with factored queries, and all with large operands.
fn with_f16(rows: &[Row]) -> Vec<Row> {
    let mut list = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let mut roles = [row.op.operand_roles(), row.op.result_roles()].concat();
        roles.retain(|r| Role::NARROW.contains(r));
        let elements: usize = row.op.signature().result_extents().iter().map(Extent::len).sum();
        let factored = matches!(&row.op, Op::Attention(a) if a.factors.is_some());
        let every = if factored { 2 } else { 6 };
        let few = matches!(row.op, Op::Gemm(_) | Op::Attention(_)) && i % every != 0;
        if roles.is_empty() || few && row.spread == 1.0 || elements > 300_000 || row.terms > 50_000
        {
            continue;
        }
        // All of them; f32 rows, as the residual stream's; an f32 result, as goes into it.
        let wide = [None, Some(Role::Rows), Some(Role::Result)][list.len() % 3];
        let mut row = row.clone();
        for role in [Role::Rows, Role::Weight, Role::Keys, Role::Result] {
            // Keys are f32 at least where queries are, and where queries are factors.
            let keys = role == Role::Keys && (wide == Some(Role::Rows) || factored);
            if wide != Some(role) && !keys {
                row.op.set_element(role, Element::F16);
            }
        }
        list.push(row);
    }
    list
}

/// The element that is farthest off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worst {
    /// Which result, for kernels with several.
    pub output: usize,
    /// Batch item, row, column; a column beyond the last is padding.
    pub at: [usize; 3],
    /// What the reference says.
    pub expected: f64,
    /// What came out.
    pub found: f32,
}

/// The result of one row with one variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The kernel.
    pub kernel: &'static str,
    /// Shape and options.
    pub shape: String,
    /// The variant, or "cpu".
    pub variant: String,
    /// Relative L2 error.
    pub error: f64,
    /// What it may be.
    pub tolerance: f64,
    /// The element that is farthest off, if any differs.
    pub worst: Option<Worst>,
    /// Whether the row passed.
    pub passed: bool,
    /// Why it could not be run, if it could not.
    pub failure: Option<String>,
}

/// Random operands of a row and what the reference makes of them.
pub struct Problem {
    row: Row,
    extents: Vec<Extent>,
    results: Vec<Extent>,
    operands: Vec<Vec<f32>>,
    expected: Vec<Vec<f64>>,
}

impl Problem {
    /// Draws operands and computes the reference. Few results may nearly cancel, so that their rounding is large
    /// beside them: of four draws the one with the largest results counts.
    pub fn new(row: &Row, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let elements: usize = row.op.signature().result_extents().iter().map(Extent::len).sum();
        let draws = if elements <= 64 { 4 } else { 1 };
        let size = |p: &Problem| p.expected.iter().flatten().map(|x| x * x).sum::<f64>();
        let larger =
            |one: Problem, other: Problem| if size(&other) > size(&one) { other } else { one };
        let first = Problem::drawn(row, &mut random);
        (1..draws).fold(first, |largest, _| larger(largest, Problem::drawn(row, &mut random)))
    }

    fn drawn(row: &Row, random: &mut Random) -> Self {
        let signature = row.op.signature();
        let extents: Vec<Extent> = signature.present_operands().map(|o| o.extent).collect();
        let operands: Vec<Vec<f32>> = signature
            .present_operands()
            .map(|operand| {
                let mut array = draw(operand.extent, operand.fill, row.spread, random);
                if row.op.element(operand.role) == Element::F16 {
                    round_to_f16(&mut array);
                }
                array
            })
            .collect();
        let results = signature.result_extents();
        let wide: Vec<Vec<f64>> =
            operands.iter().map(|o| o.iter().map(|&x| f64::from(x)).collect()).collect();
        let inputs: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
        let mut expected: Vec<Vec<f64>> =
            results.iter().map(|e| vec![f64::NAN; e.padded_len()]).collect();
        let mut outputs: Vec<&mut [f64]> = expected.iter_mut().map(Vec::as_mut_slice).collect();
        row.op.reference(&inputs, &mut outputs);
        Problem { row: row.clone(), extents, results, operands, expected }
    }

    /// The op.
    pub fn op(&self) -> &Op {
        &self.row.op
    }

    /// The operands, dense, in the order of `single`'s inputs.
    pub fn dense_operands(&self) -> Vec<Vec<f32>> {
        dense(&self.extents, &self.operands)
    }

    /// Runs the row on the fast CPU twin.
    pub fn on_cpu(&self) -> Outcome {
        let inputs: Vec<&[f32]> = self.operands.iter().map(Vec::as_slice).collect();
        let mut found: Vec<Vec<f32>> =
            self.results.iter().map(|e| vec![f32::NAN; e.padded_len()]).collect();
        let mut outputs: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
        self.row.op.fast(&inputs, &mut outputs);
        self.compare(None, &found)
    }

    /// The outcome of a run that failed.
    pub fn failed(&self, variant: Option<&Variant>, why: String) -> Outcome {
        Outcome {
            kernel: self.row.op.kernel(),
            shape: self.row.shape(),
            variant: variant.map_or_else(|| "cpu".to_owned(), Variant::title),
            error: f64::NAN,
            tolerance: self.row.tolerance(variant),
            worst: None,
            passed: false,
            failure: Some(why),
        }
    }

    /// The outcome of a run that gave these arrays, padding included.
    pub fn compare(&self, variant: Option<&Variant>, found: &[Vec<f32>]) -> Outcome {
        let mut outcome = self.failed(variant, String::new());
        outcome.failure = None;
        outcome.error = 0.0;
        outcome.passed = true;
        for (output, extent) in self.results.iter().enumerate() {
            let (mut difference, mut norm) = (0.0f64, 0.0f64);
            let mut farthest = -1.0;
            for (i, (&e, &f)) in self.expected[output].iter().zip(&found[output]).enumerate() {
                let stride = extent.stride();
                let (column, row) = (i % stride, i / stride);
                let d = (f64::from(f) - e).abs();
                difference += d * d;
                norm += e * e;
                let padding = column >= extent.cols;
                if (padding && f != 0.0) || !d.is_finite() {
                    outcome.passed = false;
                }
                // NaN counts as farthest.
                let distance = if d.is_nan() { f64::INFINITY } else { d };
                if distance > farthest && (distance > 0.0 || f != 0.0 && padding) {
                    farthest = distance;
                    outcome.worst = Some(Worst {
                        output,
                        at: [row / extent.rows.max(1), row % extent.rows.max(1), column],
                        expected: e,
                        found: f,
                    });
                }
            }
            let error = if difference == 0.0 {
                0.0
            } else {
                (difference / norm.max(f64::MIN_POSITIVE)).sqrt()
            };
            // A NaN must not be lost in a maximum.
            if error.is_nan() || error > outcome.error {
                outcome.error = error;
            }
            // One element far off must not hide among many that are right.
            let rms = (norm / extent.len().max(1) as f64).sqrt();
            if farthest > 100.0 * outcome.tolerance * rms {
                outcome.passed = false;
            }
        }
        outcome.passed &= outcome.error <= outcome.tolerance;
        outcome
    }
}

/// The numbers that f16 can hold.
fn round_to_f16(array: &mut [f32]) {
    for x in array {
        *x = half::f16::from_f32(*x).to_f32();
    }
}

/// Random operands for an op, dense, in the order of its inputs, without a reference.
pub fn random_operands(op: &Op, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed);
    let (extents, arrays): (Vec<Extent>, Vec<Vec<f32>>) = op
        .signature()
        .present_operands()
        .map(|o| (o.extent, draw(o.extent, o.fill, 1.0, &mut random)))
        .unzip();
    dense(&extents, &arrays)
}

fn dense(extents: &[Extent], arrays: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let unpadded = extents.iter().zip(arrays).map(|(&extent, array)| {
        let mut dense = Vec::new();
        super::unpad(extent, array, &mut dense);
        dense
    });
    unpadded.collect()
}

/// A padded array of this content.
fn draw(extent: Extent, fill: Fill, spread: f32, random: &mut Random) -> Vec<f32> {
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
                Fill::Heads(w, first) | Fill::WeightHeads(w, first) if pads(c, w, first) => 0.0,
                Fill::Heads(..) => spread * random.signed(),
                Fill::WeightHeads(..) => random.signed(),
                Fill::Ids(n) => random.below(n) as f32,
                Fill::Mask => f32::from(u8::from(r != 1 && random.below(4) > 0)),
                Fill::Statistics if c % 2 == 0 => spread * random.signed(),
                Fill::Statistics => 1.0 + random.unit(),
                Fill::Scales => 0.5 + random.unit(),
                Fill::Factors(n) => spread * random.signed() / (n.max(1) as f32).sqrt(),
                Fill::Waves(n) if r == 0 => random.below(n) as f32,
                Fill::Waves(_) if r == 1 => {
                    (2000.0 * random.signed()).round() * [0.015_625, 0.25, 4.0][random.below(3)]
                }
                Fill::Waves(_) if r == 2 => (2000.0 * random.signed()).round() / 1_048_576.0,
                Fill::Waves(_) if r == 3 => random.signed() / (1 << 20) as f32,
                Fill::Waves(_) => random.below(3) as f32,
                Fill::Odd if random.below(128) > 0 => spread * random.signed(),
                Fill::Odd => {
                    let odd = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 1e-45, -0.0];
                    odd[random.below(odd.len())]
                }
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

/// Whether a column pads a head of this width to a multiple of four, the heads beginning at column `first`.
fn pads(column: usize, width: usize, first: usize) -> bool {
    let stride = width.next_multiple_of(4).max(1);
    (column + stride - first % stride) % stride >= width
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
