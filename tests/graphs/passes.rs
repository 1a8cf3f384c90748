//! A graph through the passes, and its plans run.

use std::collections::HashMap;
use std::sync::Arc;

use perceiver::blueprint::{Activation, Stage};
use perceiver::internals::cpu::CpuExecutor;
use perceiver::internals::gpu::{Device, GpuExecutor, Parameters};
use perceiver::internals::graph::passes::{fuse_norms, limit_arrays, split, store_f16};
use perceiver::internals::graph::{Executor, Graph, Placement, Plan, ValueId};
use perceiver::internals::kernels::{DeviceTraits, Op};
use perceiver::internals::model::{Precision, planned, splits};
use perceiver::internals::random::Random;
use perceiver::internals::weights::ParameterStore;
use perceiver::{Error, Result, TensorSource};

use super::{Tally, Weights, difference};

/// Relative differences that rounding may make, by precision. Results in f64 are rounded to f32 once.
const F64: f64 = 1e-6;
const F32: f64 = 1e-5;
const F16: f64 = 5e-3;

/// A graph with the values of its inputs.
pub(crate) struct Problem {
    pub(crate) graph: Graph,
    pub(crate) inputs: Vec<(String, Vec<f32>)>,
    pub(crate) weights: Weights,
}

/// Weights of which each is moved by up to so many parts, another way for each seed.
struct Moved {
    weights: Weights,
    seed: u64,
    by: f32,
}

impl TensorSource for Moved {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let hash =
            name.bytes().fold(self.seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0193));
        let mut data = self.weights.read_f32(name)?;
        moved(&mut data, hash, self.by);
        Ok(data)
    }
}

fn moved(data: &mut [f32], seed: u64, by: f32) {
    let mut random = Random::new(seed);
    data.iter_mut().for_each(|x| *x *= 1.0 + by * random.signed());
}

/// All outputs of a session.
fn outputs(session: &mut dyn Executor, problem: &Problem) -> Result<Vec<(String, Vec<f32>)>> {
    for (name, data) in &problem.inputs {
        session.write(name, data)?;
    }
    if !problem.graph.kept.is_empty() {
        session.prepare()?;
    }
    session.run(&mut |_, _| {})?;
    let names = problem.graph.outputs.iter().map(|o| o.name.clone());
    names
        .map(|name| {
            let tensor = session.read(&name)?;
            Ok((name, tensor.as_f32().expect("floats").to_vec()))
        })
        .collect()
}

impl Problem {
    /// In float64, with no pass.
    pub(crate) fn exact(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let store = ParameterStore::<f64>::new(self.weights.clone());
        let mut session = CpuExecutor::new(Plan::new(self.graph.clone())?, &store)?;
        outputs(&mut session, self)
    }

    /// The same where weights, inputs and the result of every op are moved by up to so many parts.
    fn moved(&self, seed: u64, by: f32) -> Result<Problem> {
        let weights = Arc::new(Moved { weights: self.weights.clone(), seed, by });
        let (mut graph, mut inputs) = (self.graph.clone(), self.inputs.clone());
        for (name, data) in &mut inputs {
            // Ids and masks are whole numbers.
            if name.starts_with('x') {
                moved(data, seed, by);
            }
        }
        let mut now: HashMap<ValueId, ValueId> = HashMap::new();
        for mut node in std::mem::take(&mut graph.nodes) {
            for view in &mut node.inputs {
                view.value = *now.get(&view.value).unwrap_or(&view.value);
            }
            let outputs = node.outputs.clone();
            graph.nodes.push(node);
            // The two arrays of a state belong together.
            if let [result] = outputs[..] {
                let extent = graph.extent(result);
                let name = format!("noise {}", result.index());
                let mut noise = vec![1.0; extent.len()];
                moved(&mut noise, seed ^ result.index() as u64, by);
                let factors = graph.input(&name, extent);
                inputs.push((name, noise));
                let operands = [(graph.view(result), 0), (graph.view(factors), 0)];
                let (none, cols) = (Activation::None, extent.cols);
                let id = graph.combine(Stage::Process, "noise", operands, cols, none, true)?;
                now.insert(result, id);
            }
        }
        for piece in graph.outputs.iter_mut().flat_map(|o| &mut o.pieces) {
            *piece = *now.get(piece).unwrap_or(piece);
        }
        Ok(Problem { graph, inputs, weights })
    }

    /// How far exact results move when everything does by so many parts, at the most of eight ways. Where that is much, as
    /// behind a LayerNorm of nearly equal channels, no arithmetic of that precision can meet a bound.
    fn sensitivity(&self, expected: &[(String, Vec<f32>)], by: f32) -> Result<f64> {
        let mut most = 0.0f64;
        for seed in 0..8 {
            let found = self.moved(seed, by)?.exact()?;
            let each = found.iter().zip(expected).map(|((_, f), (_, e))| difference(f, e));
            most = each.fold(most, f64::max);
        }
        Ok(most)
    }

    /// The largest number that any node makes.
    fn largest(&self) -> Result<f32> {
        let mut all = self.graph.clone();
        let made: Vec<_> = all.nodes.iter().flat_map(|n| n.outputs.clone()).collect();
        for id in made {
            let e = all.extent(id);
            let (name, shape) = (format!("value {}", id.index()), vec![e.batch, e.rows, e.cols]);
            all.output(&name, vec![id], shape);
        }
        let (inputs, weights) = (self.inputs.clone(), self.weights.clone());
        let found = Problem { graph: all, inputs, weights }.exact()?;
        let numbers = found.iter().flat_map(|(_, data)| data);
        Ok(numbers.fold(0.0, |most: f32, x| most.max(x.abs())))
    }

    /// What a session gives, compared with the exact results.
    fn compare(
        &self,
        what: &str,
        found: Result<Vec<(String, Vec<f32>)>>,
        expected: &[(String, Vec<f32>)],
        bound: f64,
        tally: &mut Tally,
    ) -> std::result::Result<(), String> {
        let found = found.map_err(|e| format!("{what}: {e}"))?;
        for ((name, found), (other, expected_one)) in found.iter().zip(expected) {
            assert_eq!(name, other);
            let off = difference(found, expected_one);
            if off <= bound {
                continue;
            }
            let narrow = bound == F16;
            let sensitivity = self.sensitivity(expected, if narrow { 5e-4 } else { 1.2e-7 });
            let sensitivity = sensitivity.map_err(|e| e.to_string())?;
            // Float64 has room for whatever a model has.
            let excused = if bound == F64 { 1e-2 } else { bound / 10.0 };
            if sensitivity > excused || narrow && self.largest().map_err(|e| e.to_string())? > 3e4 {
                tally.sensitive += 1;
                return Ok(());
            }
            let graph = &self.graph.nodes;
            let ops: Vec<String> =
                graph.iter().map(|n| format!("{} {:?} <- {:?}", n.label, n.op, n.inputs)).collect();
            return Err(format!(
                "{what}: `{name}` is off by {off:.1e}, bound {bound:.0e}, exact results move by \
                 {sensitivity:.1e}\n{}",
                ops.join("\n")
            ));
        }
        Ok(())
    }

    /// All ways to run it.
    pub(crate) fn check(
        &self,
        random: &mut Random,
        device: Option<&Device>,
    ) -> std::result::Result<Tally, String> {
        let mut tally = Tally::default();
        let said = |e: Error| e.to_string();
        let expected = self.exact().map_err(said)?;
        let in_f32 = |graph: Graph| {
            let store = ParameterStore::<f32>::new(self.weights.clone());
            let mut session = CpuExecutor::new(Plan::new(graph)?, &store)?;
            outputs(&mut session, self)
        };
        let in_f64 = |graph: Graph| {
            let store = ParameterStore::<f64>::new(self.weights.clone());
            let mut session = CpuExecutor::new(Plan::new(graph)?, &store)?;
            outputs(&mut session, self)
        };
        let graph = || self.graph.clone();
        self.compare("f32", in_f32(graph()), &expected, F32, &mut tally)?;
        let fused = fuse_norms(graph());
        self.compare("norms fused, f64", in_f64(fused.clone()), &expected, F64, &mut tally)?;
        let parts = 2 + random.below(3);
        let in_parts = |op: &Op| possible_parts(op, parts);
        let whole = split(fused, &in_parts);
        let what = format!("norms fused, {parts} parts, f64");
        self.compare(&what, in_f64(whole.clone()), &expected, F64, &mut tally)?;
        self.compare("norms fused, parts, f32", in_f32(whole), &expected, F32, &mut tally)?;
        tally.runs[0] += 5;
        for node in &self.graph.nodes {
            *tally.ops.entry(node.op.kernel()).or_default() += 1;
        }
        // From 32 rows of the widest array, which must fit, to the largest one.
        let extents = || self.graph.values.iter().map(|v| v.extent);
        let widest = extents().map(|e| e.stride()).max().unwrap_or(4);
        let most = extents().map(|e| e.padded_len()).max().unwrap_or(0).max(32 * widest + 1);
        let limit = 4 * (32 * widest + random.below(most - 32 * widest)) as u64;
        match limit_arrays(graph(), limit) {
            Ok(divided) => {
                tally.divided += usize::from(divided != self.graph);
                within(&divided, limit)?;
                let what = format!("arrays of {limit} bytes, f64");
                self.compare(&what, in_f64(divided.clone()), &expected, F64, &mut tally)?;
                let all = split(fuse_norms(divided), &in_parts);
                let what = format!("arrays of {limit} bytes, norms fused, parts, f32");
                self.compare(&what, in_f32(all), &expected, F32, &mut tally)?;
                tally.runs[0] += 2;
            }
            Err(Error::Limit { .. }) => tally.undivided += 1,
            Err(e) => return Err(format!("limit {limit}: {e}")),
        }
        let Some(device) = device else { return Ok(tally) };
        let lowered = DeviceTraits { array_bytes: limit, ..*device.traits() };
        for (traits, precision) in [
            (*device.traits(), Precision::F32),
            (*device.traits(), Precision::F16),
            (lowered, Precision::F32),
            (lowered, Precision::F16),
        ] {
            let bound = if precision == Precision::F16 { F16 } else { F32 };
            let what =
                format!("{}, {precision:?}, arrays of {}", device.name(), traits.array_bytes);
            let plan = match planned(graph(), Some(&traits), precision) {
                Ok(plan) => plan,
                Err(Error::Limit { .. }) => continue,
                Err(e) => return Err(format!("{what}: {e}")),
            };
            let parameters = Parameters::new(device.clone(), self.weights.clone());
            let found = GpuExecutor::new(plan, &parameters)
                .and_then(|mut session| outputs(&mut session, self));
            self.compare(&what, found, &expected, bound, &mut tally)?;
            tally.runs[1] += 1;
        }
        // Rounding of storage alone, which no device need be asked for.
        let stored = store_f16(split(fuse_norms(graph()), &|op| splits(op, device.traits())), true);
        Plan::new(stored).map_err(said)?;
        Ok(tally)
    }
}

/// So many parts, or fewer where there is less to divide.
fn possible_parts(op: &Op, parts: usize) -> usize {
    match op {
        Op::Attention(a) => parts.min(a.keys / 4).max(1),
        Op::Gemm(a) => parts.min(a.inner / 4).max(1),
        _ => 1,
    }
}

/// No array is beyond the limit, and views begin where devices want them to.
fn within(divided: &Graph, limit: u64) -> std::result::Result<(), String> {
    let plan = Plan::new(divided.clone()).map_err(|e| format!("limit {limit}: {e}"))?;
    for (value, place) in plan.graph().values.iter().zip(plan.placements()) {
        let bytes = 4 * value.extent.padded_len() as u64;
        if *place != Placement::Unused && bytes > limit {
            return Err(format!("limit {limit}: `{}` has {bytes} bytes", value.label));
        }
    }
    for view in plan.graph().nodes.iter().flat_map(|n| &n.inputs) {
        if !(view.first_row * view.extent.stride()).is_multiple_of(64) {
            return Err(format!("limit {limit}: a view at row {}", view.first_row));
        }
    }
    Ok(())
}
