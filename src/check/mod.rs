//! The kernel table: every kernel in many shapes, compared with the f64 twin.
//!
//! `tests/kernels.rs` and `perceiver check` run the same rows. Operands are fresh random numbers,
//! outputs are poisoned before each run, and the padding of every row must come out as zero. The
//! reference is `crate::cpu::reference` in f64: plain loops that share no code with any kernel.

mod assemble;
mod attention;
mod attention_merge;
mod convolution;
mod embed;
mod factored_attention;
mod gemm;
mod gemm_merge;
mod join;
mod layer_norm;
mod max_pool;
mod operands;
mod row_scale;
mod transpose;

use serde::Serialize;

pub use operands::Fill;

use crate::cpu;
use crate::error::Result;
use crate::gpu::{Device, Parameters, Session};
use crate::graph::{Graph, Node, Op, Plan, Role, Source, Stage, Value, ValueId};
use crate::kernels::{self, Variant};
use crate::random::Random;
use crate::tensor::{Element, Extent, NamedTensors};

/// Names of the kernels that have rows.
pub const NAMES: [&str; 13] = [
    "gemm",
    "gemm_merge",
    "layer_norm",
    "attention",
    "attention_merge",
    "embed",
    "assemble",
    "convolution",
    "max_pool",
    "factored_attention",
    "row_scale",
    "transpose",
    "join",
];

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
    #[must_use]
    pub fn of(op: Op) -> Self {
        let terms = match &op {
            Op::Gemm(a) => a.inner,
            Op::LayerNorm(a) => a.cols,
            Op::Attention(a) => a.keys + a.d_qk,
            Op::AttentionMerge(a) => a.parts + 1,
            Op::GemmMerge(a) => a.parts + 1,
            Op::Convolution(a) => a.side * a.side * a.inner + 1,
            Op::FactoredAttention(a) => a.keys + a.factors.content + 1,
            Op::RowScale(a) => a.channels(),
            Op::Embed(_) | Op::Assemble(_) | Op::MaxPool(_) | Op::Transpose(_) | Op::Join(_) => 1,
        };
        Row {
            op,
            spread: 1.0,
            terms,
        }
    }

    /// Shape and options in words.
    #[must_use]
    pub fn shape(&self) -> String {
        let mut text = operands::describe(&self.op);
        if self.spread != 1.0 {
            text.push_str(&format!(" spread {}", self.spread));
        }
        text
    }

    /// Whether an array is stored as halves.
    #[must_use]
    pub fn has_halves(&self) -> bool {
        let narrow = |&role: &Role| self.op.element(role) == Element::F16;
        Role::NARROW.iter().any(narrow)
    }

    /// The largest relative L2 error that counts as right in f32: rounding errors of `terms`
    /// additions that do not conspire, ε·√terms, with room for other orders of summation and the
    /// elementary functions. Results that are stored as halves
    /// are rounded once more.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        let sums = f64::from(f32::EPSILON) * (6.0 + 2.0 * (self.terms as f64).sqrt());
        let halves = self.op.result_roles().contains(&Role::Result)
            && self.op.element(Role::Result) == Element::F16;
        // Half a unit in the last of eleven places, should all roundings conspire.
        if halves { sums + 1.0 / 2048.0 } else { sums }
    }
}

/// All rows.
#[must_use]
pub fn table() -> Vec<Row> {
    let mut rows = [
        gemm::rows(),
        gemm_merge::rows(),
        layer_norm::rows(),
        attention::rows(),
        attention_merge::rows(),
        embed::rows(),
        assemble::rows(),
        convolution::rows(),
        max_pool::rows(),
        factored_attention::rows(),
        row_scale::rows(),
        transpose::rows(),
        join::rows(),
    ]
    .concat();
    rows.extend(with_halves(&rows));
    rows
}

/// Rows again with arrays of halves, as plans in f16 have them. Those with very many elements are about
/// counting workgroups, which is the same; of products and attentions every sixth is enough, as their
/// shaders take seconds to compile.
fn with_halves(rows: &[Row]) -> Vec<Row> {
    let mut list = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let mut roles = [row.op.operand_roles(), row.op.result_roles()].concat();
        roles.retain(|r| Role::NARROW.contains(r));
        let elements: usize = operands::results(&row.op).iter().map(Extent::len).sum();
        let few = matches!(row.op, Op::Gemm(_) | Op::Attention(_)) && i % 6 != 0;
        if roles.is_empty() || few || elements > 300_000 || row.terms > 50_000 {
            continue;
        }
        // All of them; f32 rows, as the residual stream's; an f32 result, as goes into it.
        let wide = [None, Some(Role::Rows), Some(Role::Result)][list.len() % 3];
        let mut row = row.clone();
        for role in [Role::Rows, Role::Weight, Role::Keys, Role::Result] {
            // Keys are f32 at least where queries are, and where queries are factors.
            let factored = matches!(&row.op, Op::Attention(a) if a.factors.is_some());
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

/// An op of the same kind and options that is small, with odd sizes: for a check of one variant before it
/// is used. Kernels that have one variant come back as they are.
#[must_use]
pub fn small(op: &Op) -> Op {
    let mut op = *op;
    match &mut op {
        Op::Gemm(a) => {
            // Whole tiles stay whole: they may have a path of their own.
            let fewer = |n: usize, odd: usize| match n.is_multiple_of(128) {
                true => n.min(128),
                false => n.min(odd),
            };
            a.rows = fewer(a.rows, 67);
            a.inner = fewer(a.inner, 75);
            a.cols = fewer(a.cols, 53);
            a.residual_rows = a.residual_rows.min(a.rows);
        }
        Op::LayerNorm(a) => a.rows = a.rows.min(37),
        Op::Attention(a) => {
            a.batch = a.batch.min(2);
            a.queries = a.queries.min(41);
            a.keys = a.keys.min(83);
            a.splits = a.splits.min(3);
        }
        Op::FactoredAttention(a) => {
            a.batch = a.batch.min(2);
            a.queries = a.queries.min(21);
            a.keys = a.keys.min(131);
            a.splits = a.splits.min(3);
        }
        _ => {}
    }
    op
}

/// A plan of one op: its operands are the inputs `operand 0`, `operand 1` and so on, its results the
/// outputs `result 0` and so on.
///
/// # Errors
/// None for ops whose arguments make sense.
pub fn single(op: &Op) -> Result<Plan> {
    let mut graph = Graph::default();
    let value = |graph: &mut Graph, label: String, extent: Extent, role: Role, source: Source| {
        let id = ValueId(graph.values.len() as u32);
        graph.values.push(Value {
            label,
            extent,
            element: op.element(role),
            source,
        });
        id
    };
    let mut inputs = Vec::new();
    let operands = operands::operands(op).into_iter().zip(op.operand_roles());
    for (i, ((extent, _), role)) in operands.enumerate() {
        let name = format!("operand {i}");
        let id = value(&mut graph, name.clone(), extent, role, Source::Input(name));
        inputs.push(graph.view(id));
    }
    let mut outputs = Vec::new();
    let results = operands::results(op).into_iter().zip(op.result_roles());
    for (i, (extent, role)) in results.enumerate() {
        let name = format!("result {i}");
        let id = value(&mut graph, name.clone(), extent, role, Source::Node);
        let shape = vec![extent.batch, extent.rows, extent.cols];
        graph.output(&name, vec![id], shape);
        outputs.push(id);
    }
    graph.nodes.push(Node {
        label: operands::describe(op),
        stage: Stage::Process,
        op: *op,
        inputs,
        outputs,
    });
    Plan::new(graph)
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
    /// Draws operands and computes the reference.
    #[must_use]
    pub fn new(row: &Row, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let extents: Vec<Extent> = operands::operands(&row.op).iter().map(|o| o.0).collect();
        let operands: Vec<Vec<f32>> = operands::operands(&row.op)
            .into_iter()
            .zip(row.op.operand_roles())
            .map(|((extent, fill), role)| {
                let mut array = operands::draw(extent, fill, row.spread, &mut random);
                if row.op.element(role) == Element::F16 {
                    round_to_halves(&mut array);
                }
                array
            })
            .collect();
        let results = operands::results(&row.op);
        let wide: Vec<Vec<f64>> = operands
            .iter()
            .map(|o| o.iter().map(|&x| f64::from(x)).collect())
            .collect();
        let inputs: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
        let mut expected: Vec<Vec<f64>> = results
            .iter()
            .map(|e| vec![f64::NAN; e.padded_len()])
            .collect();
        let mut outputs: Vec<&mut [f64]> = expected.iter_mut().map(Vec::as_mut_slice).collect();
        cpu::reference(&row.op, &inputs, &mut outputs);
        Problem {
            row: row.clone(),
            extents,
            results,
            operands,
            expected,
        }
    }

    /// The operands, dense, in the order of [`single`]'s inputs.
    fn dense_operands(&self) -> Vec<Vec<f32>> {
        dense(&self.extents, &self.operands)
    }

    /// Runs the row on the fast CPU twin.
    #[must_use]
    pub fn on_cpu(&self) -> Outcome {
        let inputs: Vec<&[f32]> = self.operands.iter().map(Vec::as_slice).collect();
        let mut found: Vec<Vec<f32>> = self
            .results
            .iter()
            .map(|e| vec![f32::NAN; e.padded_len()])
            .collect();
        let mut outputs: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
        cpu::fast(&self.row.op, &inputs, &mut outputs);
        self.compare("cpu", &found)
    }

    /// Runs the row on a device with one variant.
    #[must_use]
    pub fn on_gpu(&self, device: &Device, variant: Variant) -> Outcome {
        match self.run_gpu(device, variant) {
            Ok(found) => self.compare(&variant.title(), &found),
            Err(e) => self.failed(&variant.title(), e.to_string()),
        }
    }

    fn run_gpu(&self, device: &Device, variant: Variant) -> Result<Vec<Vec<f32>>> {
        let plan = single(&self.row.op)?;
        let nothing = std::sync::Arc::new(NamedTensors::new());
        let parameters = Parameters::new(device.clone(), nothing);
        let mut session = Session::with_variants(plan, &parameters, &|_| Some(variant))?;
        for (i, operand) in self.dense_operands().iter().enumerate() {
            session.write(&format!("operand {i}"), operand)?;
        }
        session.poison();
        session.run(&mut |_, _| {})?;
        (0..self.results.len())
            .map(|i| session.read_padded(&format!("result {i}")))
            .collect()
    }

    fn failed(&self, variant: &str, why: String) -> Outcome {
        Outcome {
            kernel: self.row.op.kernel(),
            shape: self.row.shape(),
            variant: variant.to_owned(),
            error: f64::NAN,
            tolerance: self.row.tolerance(),
            worst: None,
            passed: false,
            failure: Some(why),
        }
    }

    fn compare(&self, variant: &str, found: &[Vec<f32>]) -> Outcome {
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

/// The numbers that halves can hold.
fn round_to_halves(array: &mut [f32]) {
    for x in array {
        *x = half::f16::from_f32(*x).to_f32();
    }
}

/// Random operands for an op, dense, in the order of [`single`]'s inputs, without a reference.
#[must_use]
pub fn random_operands(op: &Op, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random::new(seed);
    let (extents, arrays): (Vec<Extent>, Vec<Vec<f32>>) = operands::operands(op)
        .into_iter()
        .map(|(extent, fill)| (extent, operands::draw(extent, fill, 1.0, &mut random)))
        .unzip();
    dense(&extents, &arrays)
}

fn dense(extents: &[Extent], arrays: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let unpadded = extents.iter().zip(arrays).map(|(&extent, array)| {
        let mut dense = Vec::new();
        cpu::unpad(extent, array, &mut dense);
        dense
    });
    unpadded.collect()
}

/// The variants of a row that a device can run, the preferred one first.
#[must_use]
pub fn variants(row: &Row, device: &Device) -> Vec<Variant> {
    kernels::candidates(&row.op, device.traits())
}
