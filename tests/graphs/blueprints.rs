//! Random blueprints by both routes, in windows and within budgets.

use std::sync::Arc;

use perceiver::blueprint::Blueprint;
use perceiver::internals::gpu::Device;
use perceiver::internals::random::Random;
use perceiver::internals::weights::RandomTensors;
use perceiver::{Engine, Error, MemorySize, Model, NamedTensors, Precision, TensorSource};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::blueprint::{self, Case};
use super::{Tally, difference};

/// The case of a seed.
fn drawn(seed: u64) -> Case {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    blueprint::case().new_tree(&mut runner).expect("a case").current()
}

/// Weights of which each is moved by up to so many parts, another way for each seed.
struct Moved {
    weights: RandomTensors,
    seed: u64,
    by: f32,
}

impl TensorSource for Moved {
    fn read_f32(&self, name: &str) -> perceiver::Result<Vec<f32>> {
        let hash =
            name.bytes().fold(self.seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0193));
        let mut random = Random::new(hash);
        let mut data = self.weights.read_f32(name)?;
        data.iter_mut().for_each(|x| *x *= 1.0 + self.by * random.signed());
        Ok(data)
    }
}

/// The largest difference among outputs.
fn off(found: &NamedTensors, expected: &NamedTensors) -> f64 {
    assert!(found.keys().eq(expected.keys()), "names of outputs");
    let floats = |t: &perceiver::Tensor| t.as_f32().expect("floats").to_vec();
    let each = found.iter().map(|(name, t)| difference(&floats(t), &floats(&expected[name])));
    each.fold(0.0, f64::max)
}

struct Checked<'b> {
    blueprint: &'b Blueprint,
    inputs: NamedTensors,
    expected: NamedTensors,
    tally: Tally,
}

impl Checked<'_> {
    fn weights(&self) -> RandomTensors {
        RandomTensors::new(self.blueprint.tensors().expect("tensors"), 5)
    }

    fn model(&self, engine: &Engine) -> Result<Model, Error> {
        engine.load_blueprint(self.blueprint.clone(), Arc::new(self.weights()))
    }

    /// How far exact results move with the weights, at the most of eight ways.
    fn sensitivity(&self, by: f32) -> Result<f64, Error> {
        let mut most = 0.0f64;
        for seed in 0..8 {
            let weights = Arc::new(Moved { weights: self.weights(), seed, by });
            let model = Engine::reference().load_blueprint(self.blueprint.clone(), weights)?;
            most = most.max(off(&model.run(&self.inputs, &mut |_, _| {})?, &self.expected));
        }
        Ok(most)
    }

    fn compare(&mut self, model: &Model, bound: f64, what: &str) -> Result<(), String> {
        let said = |e: Error| format!("{what}: {e}");
        let found = model.run(&self.inputs, &mut |_, _| {}).map_err(said)?;
        let off = off(&found, &self.expected);
        if off <= bound {
            return Ok(());
        }
        let by = if bound > 1e-4 { 5e-4 } else { 1.2e-7 };
        let sensitivity = self.sensitivity(by).map_err(said)?;
        if sensitivity > bound / 10.0 {
            self.tally.sensitive += 1;
            return Ok(());
        }
        Err(format!("{what}: off by {off:.1e}, exact results move by {sensitivity:.1e}"))
    }
}

pub(crate) fn case(seed: u64, device: Option<&Device>) -> Result<Tally, String> {
    let case = drawn(seed);
    let mut random = Random::new(seed);
    let said = |e: Error| format!("{case:?}: {e}");
    let blueprint = case.builder().build().map_err(said)?;
    let inputs = blueprint.sample_inputs(case.batch, case.seed).map_err(said)?;
    let expected = NamedTensors::new();
    let mut checked = Checked { blueprint: &blueprint, inputs, expected, tally: Tally::default() };
    let mut exact = checked.model(&Engine::reference()).map_err(said)?;
    exact.set_folded(false);
    checked.expected = exact.run(&checked.inputs, &mut |_, _| {}).map_err(said)?;
    let mut engines = vec![Engine::reference(), Engine::cpu()];
    engines.extend(device.map(|d| Engine::on(d.clone())));
    for (i, engine) in engines.iter().enumerate() {
        for folded in [false, true] {
            if i == 0 && !folded {
                continue;
            }
            let mut model = checked.model(engine).map_err(said)?;
            model.set_folded(folded);
            model.set_window_bytes(case.window_bytes);
            let on = engine.device_name().to_owned();
            let what = |how: &str| format!("{case:?}\n{on}, folded {folded}{how}");
            checked.compare(&model, 1e-5, &what(""))?;
            checked.tally.runs[usize::from(i == 2)] += 1;
            // Within the least memory that would do, and a little more.
            model.set_memory_budget(Some(MemorySize(1)));
            let refusal = match model.run(&checked.inputs, &mut |_, _| {}) {
                Ok(_) => return Err(what(" ran within one byte")),
                Err(e) => e.to_string(),
            };
            let least = refusal.split_once("at least ").and_then(|(_, rest)| rest.split_once(' '));
            let least = least.and_then(|(size, _)| size.parse::<MemorySize>().ok());
            let least = least.ok_or_else(|| what(&format!(" said: {refusal}")))?.0;
            let budget = least + random.below(1 << 12) as u64;
            model.set_memory_budget(Some(MemorySize(budget)));
            checked.compare(&model, 1e-5, &what(&format!(", within {budget} of {least} bytes")))?;
            let allocated = model.allocated_bytes();
            if allocated > budget {
                return Err(what(&format!(" took {allocated} of {budget} bytes")));
            }
            checked.tally.runs[usize::from(i == 2)] += 1;
            if i == 2 {
                model.set_memory_budget(None);
                model.set_precision(Precision::F16).map_err(said)?;
                checked.compare(&model, 5e-3, &what(", f16"))?;
                checked.tally.runs[1] += 1;
            }
        }
    }
    Ok(checked.tally)
}
