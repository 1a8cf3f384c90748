//! Any Perceiver: blueprints as JSON and from the builder, run by all executors on both routes.

use std::sync::Arc;

use perceiver::blueprint::{Blueprint, Positions, Step};
use perceiver::blueprint::{Modality, Output, PerceiverBuilder, Sharing};
use perceiver::internals::gpu::ShaderChecks;
use perceiver::internals::weights::{RandomTensors, TensorSource};
use perceiver::{
    Architecture, Engine, Model, NamedTensors, PerceiverConfig, RunOptions, Sizes, Tensor,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::common;
mod arrays;
mod presets;
mod random;
mod refusals;
mod varying;

fn weights(blueprint: &Blueprint) -> RandomTensors {
    RandomTensors::new(blueprint.tensors().expect("tensors"), 5)
}

fn model(engine: &Engine, blueprint: &Blueprint, folded: bool) -> Model {
    let mut model =
        engine.load_blueprint(blueprint.clone(), Arc::new(weights(blueprint))).expect("model");
    model.set_folded(folded);
    model
}

fn run(model: &Model, inputs: &NamedTensors) -> NamedTensors {
    model.run(inputs, &mut |_, _| {}).expect("run")
}

/// Relative L2 error over all of an output.
fn error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    let (found, expected) = (found.as_f32().expect("f32"), expected.as_f32().expect("f32"));
    let (mut difference, mut size) = (0.0, 0.0);
    for (&f, &e) in found.iter().zip(expected) {
        assert!(f.is_finite() && e.is_finite());
        difference += (f64::from(f) - f64::from(e)).powi(2);
        size += f64::from(e).powi(2);
    }
    (difference / size.max(f64::MIN_POSITIVE)).sqrt()
}

fn assert_close(found: &NamedTensors, expected: &NamedTensors, what: &str) {
    assert!(found.keys().eq(expected.keys()), "{what}");
    for (name, tensor) in found {
        let error = error(tensor, &expected[name]);
        assert!(error < 1e-5, "{what}: `{name}` is off by {error:.1e}");
    }
}

/// Weights whose elements are moved to a neighbouring number or stay, another way for each seed.
struct Nudged {
    weights: RandomTensors,
    seed: u32,
}

impl TensorSource for Nudged {
    fn read_f32(&self, name: &str) -> perceiver::Result<Vec<f32>> {
        let mut data = self.weights.read_f32(name)?;
        let start = name
            .bytes()
            .fold(self.seed, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        for (i, x) in data.iter_mut().enumerate() {
            let mixed = (start ^ i as u32).wrapping_mul(0x9e37_79b9);
            *x = match (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b) >> 30 {
                0 => x.next_up(),
                1 => x.next_down(),
                _ => *x,
            };
        }
        Ok(data)
    }
}

/// How far the exact result moves when weights move by one place of f32, at the most of eight ways.
/// Where that is much, as behind a LayerNorm of two nearly equal channels or where a result nearly
/// cancels, no arithmetic in f32 can meet a bound relative to the result.
fn sensitivity(blueprint: &Blueprint, inputs: &NamedTensors, expected: &NamedTensors) -> f64 {
    let moved = (0..8).map(|seed| {
        let weights = Nudged { weights: weights(blueprint), seed };
        let model =
            Engine::reference().load_blueprint(blueprint.clone(), Arc::new(weights)).expect("load");
        let outputs = run(&model, inputs);
        let errors = outputs.iter().map(|(name, t)| error(t, &expected[name]));
        errors.fold(0.0, f64::max)
    });
    moved.fold(0.0, f64::max)
}

/// Cases that move more than this, a tenth of the bound, are drawn again: arithmetic in f32 rounds more
/// often than once per weight.
const SENSITIVE: f64 = 1e-6;

/// Two modalities, repeated cross-attends, three kinds of queries.
fn example() -> PerceiverBuilder {
    PerceiverBuilder::new(6, 16)
        .input(Modality::given("sound", 90, 4).fourier(&[90], 3).mask())
        .input(Modality::linear("sensors", 7, 3, 5).trainable_positions(4))
        .repeated(3, 2, (1, 4), Sharing::AfterFirst)
        .output(Output::new("class", Modality::learned("class", 1, 8)).linear(5).shape(&[5]))
        .output(
            Output::new("pixels", Modality::bare("grid", 9).fourier(&[6, 5], 2).points()).linear(3),
        )
        .output(Output::new("asked", Modality::given("asked", 4, 6)).linear(6).linear(2))
}

#[test]
fn official_models_can_be_written_out() {
    for architecture in Architecture::ALL {
        let config = common::published::published(architecture);
        config.validate("test").expect("a configuration");
        let blueprint = config.blueprint(&Sizes::usual(&config));
        let text = blueprint.to_json();
        let read = Blueprint::from_json(&text, "written").expect("read");
        assert_eq!(read, blueprint);
        assert_eq!(
            blueprint.tensors().expect("tensors"),
            config.tensors().expect("tensors"),
            "{}",
            architecture.name()
        );
    }
}

/// docs/blueprints.md names every key that a file can have.
#[test]
fn every_key_is_documented() {
    fn keys(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    found.insert(key.clone());
                    keys(value, found);
                }
            }
            serde_json::Value::Array(list) => list.iter().for_each(|v| keys(v, found)),
            _ => {}
        }
    }
    let official = Architecture::ALL.into_iter().map(|architecture| {
        let config = PerceiverConfig::new(architecture);
        config.blueprint(&Sizes::usual(&config))
    });
    let size = perceiver::blueprint::presets::Size {
        latents: 4,
        channels: 8,
        layers: 1,
        times: 1,
        heads: 2,
    };
    let flow = perceiver::blueprint::presets::convolution_flow(size, [32, 32]).expect("good");
    let built = [example().build().expect("good"), flow];
    let mut found = std::collections::BTreeSet::new();
    for blueprint in official.chain(built) {
        let file = serde_json::from_str(&blueprint.to_json()).expect("JSON");
        keys(&file, &mut found);
    }
    assert!(found.len() > 50, "{found:?}");
    let docs = include_str!("../../docs/blueprints.md");
    for key in found {
        let named = docs.contains(&format!("`{key}`")) || docs.contains(&format!("\"{key}\""));
        assert!(named, "{key} is not in docs/blueprints.md");
    }
}

/// An official model and the same as a blueprint give the same bits.
#[test]
fn a_written_out_model_is_the_model() {
    let config = PerceiverConfig {
        num_latents: 9,
        d_latents: 24,
        d_model: 16,
        num_self_attends_per_block: 2,
        num_self_attention_heads: 4,
        num_cross_attention_heads: 2,
        max_position_embeddings: 40,
        ..PerceiverConfig::new(Architecture::MaskedLm)
    };
    let weights = Arc::new(RandomTensors::new(config.tensors().expect("tensors"), 3));
    let blueprint = config.blueprint(&Sizes::usual(&config));
    let engine = Engine::cpu();
    let official = engine.load_from(config, weights.clone()).expect("model");
    let written = engine.load_blueprint(blueprint, weights).expect("model");
    let ids = (0..80).map(|i| i * 5 % 262).collect();
    let ids = Tensor::i64(vec![2, 40], ids).expect("ids");
    let inputs = NamedTensors::from([("input_ids".to_owned(), ids)]);
    assert_eq!(run(&official, &inputs), run(&written, &inputs));
}

#[test]
fn a_built_model_runs_everywhere_alike() {
    let blueprint = example().build().expect("a blueprint");
    assert_eq!(blueprint.channels, 11);
    let crosses = blueprint.steps.iter().filter_map(|s| match s {
        Step::Cross(layer) => Some(layer.prefix.as_str()),
        _ => None,
    });
    assert!(crosses.eq(["cross.0", "cross.1", "cross.1"]));
    let inputs = blueprint.sample_inputs(2, 1).expect("inputs");
    let expected = run(&model(&Engine::reference(), &blueprint, false), &inputs);
    let shapes = expected.iter().map(|(n, t)| (n.as_str(), t.shape()));
    let wanted: [(&str, &[usize]); 3] =
        [("asked", &[2, 4, 2]), ("class", &[2, 5]), ("pixels", &[2, 9, 3])];
    assert!(shapes.eq(wanted));
    let adapter = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    for engine in [Engine::cpu(), Engine::reference(), Engine::on(adapter)] {
        for folded in [false, true] {
            let model = model(&engine, &blueprint, folded);
            let what = format!("{}, folded {folded}", engine.device_name());
            assert_close(&run(&model, &inputs), &expected, &what);
        }
    }
    // Items do not see each other: alone, an item has the same result.
    let each = |tensors: &NamedTensors| -> NamedTensors {
        let first = |(name, t): (&String, &Tensor)| {
            if name.starts_with("points") {
                return (name.clone(), t.clone());
            }
            let shape = [&[1], &t.shape()[1..]].concat();
            let n = shape.iter().product();
            let tensor = match (t.as_f32(), t.as_i64()) {
                (Some(data), _) => Tensor::f32(shape, data[..n].to_vec()),
                (_, data) => Tensor::i64(shape, data.expect("i64")[..n].to_vec()),
            };
            (name.clone(), tensor.expect("a tensor"))
        };
        tensors.iter().map(first).collect()
    };
    let alone = run(&model(&Engine::cpu(), &blueprint, true), &each(&inputs));
    assert_close(&alone, &each(&expected), "alone");
}

#[test]
fn masked_rows_change_nothing() {
    let blueprint = example().build().expect("a blueprint");
    let model = model(&Engine::cpu(), &blueprint, true);
    let mut inputs = blueprint.sample_inputs(1, 3).expect("inputs");
    let keep: Vec<i64> = (0..90).map(|i| i64::from(i % 3 > 0)).collect();
    let mask = Tensor::i64(vec![1, 90], keep.clone()).expect("mask");
    inputs.insert("sound.mask".to_owned(), mask);
    let before = run(&model, &inputs);
    let mut sound = inputs["sound"].as_f32().expect("f32").to_vec();
    for (row, keep) in sound.chunks_exact_mut(4).zip(&keep) {
        if *keep == 0 {
            row.fill(9.0);
        }
    }
    let sound = Tensor::f32(vec![1, 90, 4], sound).expect("sound");
    inputs.insert("sound".to_owned(), sound);
    assert_eq!(run(&model, &inputs), before);
    inputs.remove("sound.mask");
    assert!(run(&model, &inputs) != before);
}

#[test]
fn intermediates_of_a_blueprint() {
    let blueprint = example().build().expect("a blueprint");
    let inputs = blueprint.sample_inputs(1, 1).expect("inputs");
    let options = RunOptions { intermediates: true, ..RunOptions::default() };
    for folded in [false, true] {
        let model = model(&Engine::cpu(), &blueprint, folded);
        let found = model.run_with(&inputs, options, &mut |_, _| {}).expect("run");
        assert_eq!(found["encoder_input"].shape(), [1, 97, 11]);
        assert_eq!(found["last_latents"].shape(), [1, 6, 16]);
        assert_eq!(found["decoder_output"].shape(), [1, 14, 10]);
    }
}

/// A folder with `config.json` and `model.safetensors`, as a user would make it.
fn folder(blueprint: &Blueprint) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    blueprint.write(folder.path()).expect("written");
    let shapes = blueprint.tensors().expect("tensors");
    let source = RandomTensors::new(shapes.clone(), 5);
    let tensors: NamedTensors = shapes
        .into_iter()
        .map(|(name, shape)| {
            let data = source.read_f32(&name).expect("data");
            (name, Tensor::f32(shape, data).expect("tensor"))
        })
        .collect();
    let path = folder.path().join("model.safetensors");
    perceiver::checkpoint::write_tensors(path, &tensors).expect("written");
    folder
}

#[test]
fn a_folder_is_a_model() {
    let blueprint = example().build().expect("a blueprint");
    let folder = folder(&blueprint);
    let inputs = blueprint.sample_inputs(2, 1).expect("inputs");
    let engine = Engine::cpu();
    let loaded = engine.load(folder.path()).expect("model");
    assert_eq!(loaded.architecture(), None);
    let expected = run(&model(&engine, &blueprint, true), &inputs);
    assert_eq!(run(&loaded, &inputs), expected);
}

/// Positions that are learned and padding stand together, on both routes.
#[test]
fn trainable_positions_are_padded() {
    let blueprint = PerceiverBuilder::new(5, 8)
        .input(Modality::given("a", 30, 2).trainable_positions(3))
        .channels(12)
        .cross("cross", 1)
        .output(Output::per_row("each", "a"))
        .build()
        .expect("a blueprint");
    assert!(matches!(blueprint.inputs[0].positions, Positions::Table { .. }));
    assert_eq!(blueprint.inputs[0].constant, [("inputs.a.padding".to_owned(), 7)]);
    let inputs = blueprint.sample_inputs(1, 1).expect("inputs");
    let all = RunOptions { intermediates: true, ..RunOptions::default() };
    let model = model(&Engine::cpu(), &blueprint, true);
    let found = model.run_with(&inputs, all, &mut |_, _| {}).expect("run");
    let source = RandomTensors::new(blueprint.tensors().expect("tensors"), 5);
    let positions = source.read_f32("inputs.a.positions").expect("positions");
    let padding = source.read_f32("inputs.a.padding").expect("padding");
    let content = inputs["a"].as_f32().expect("f32");
    let rows = found["encoder_input"].as_f32().expect("f32");
    for (i, row) in rows.chunks_exact(12).enumerate() {
        let own = [&content[2 * i..][..2], &positions[3 * i..][..3], &padding].concat();
        assert_eq!(row, own);
    }
}

/// What the random cases are worth: both routes are taken, on both sides.
#[test]
fn random_cases_are_folded() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut encoders, mut decoders) = (0, 0);
    for _ in 0..100 {
        let tree = random::case().new_tree(&mut runner).expect("a case");
        let blueprint = tree.current().builder().build().expect("a blueprint");
        let model = model(&Engine::cpu(), &blueprint, true);
        let report = model.report(1, Sizes::default(), RunOptions::default());
        let report = report.expect("report");
        let has = |label: &str| report.nodes.iter().any(|n| n.label.ends_with(label));
        encoders += usize::from(has("folded queries"));
        decoders += usize::from(has("folded keys"));
    }
    assert!(
        (20..=80).contains(&encoders) && (20..=80).contains(&decoders),
        "{encoders} encoders and {decoders} decoders of 100 are folded"
    );
}

/// Learned queries, which all items share, on the folded route of a batch.
#[test]
fn shared_queries_of_a_batch_are_folded() {
    let blueprint = PerceiverBuilder::new(4, 32)
        .input(Modality::given("sound", 50, 4).fourier(&[50], 6))
        .cross("cross", 1)
        .output(Output::new("learned", Modality::learned("learned", 70, 5).fourier(&[70], 9)))
        .decoder(1, false)
        .output(Output::new("positions", Modality::bare("positions", 60).fourier(&[6, 10], 9)))
        .build()
        .expect("a blueprint");
    let inputs = blueprint.sample_inputs(3, 1).expect("inputs");
    let expected = run(&model(&Engine::reference(), &blueprint, false), &inputs);
    let adapter = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    for engine in [Engine::cpu(), Engine::reference(), Engine::on(adapter)] {
        let model = model(&engine, &blueprint, true);
        assert_close(&run(&model, &inputs), &expected, engine.device_name());
        let report = model.last_report().expect("a session");
        assert_eq!(report.batch, 3);
        let keys = report.nodes.iter().filter(|n| n.label.ends_with("folded keys"));
        assert_eq!(keys.count(), 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn folded_is_plain(case in random::case()) {
        let blueprint = case.builder().build().expect("a blueprint");
        let inputs = blueprint.sample_inputs(case.batch, case.seed).expect("inputs");
        let expected = run(&model(&Engine::reference(), &blueprint, false), &inputs);
        prop_assume!(sensitivity(&blueprint, &inputs, &expected) < SENSITIVE);
        for (engine, folded) in [
            (Engine::reference(), true),
            (Engine::cpu(), false),
            (Engine::cpu(), true),
        ] {
            let mut model = model(&engine, &blueprint, folded);
            model.set_window_bytes(case.window_bytes);
            let what = format!("{}, folded {folded}", engine.device_name());
            assert_close(&run(&model, &inputs), &expected, &what);
        }
    }

    #[test]
    fn blueprints_survive_json(case in random::case()) {
        let blueprint = case.builder().build().expect("a blueprint");
        prop_assert_eq!(Blueprint::from_json(&blueprint.to_json(), "written").expect("read"), blueprint);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn folded_is_plain_on_an_adapter(case in random::case()) {
        let blueprint = case.builder().build().expect("a blueprint");
        let inputs = blueprint.sample_inputs(case.batch, case.seed).expect("inputs");
        let expected = run(&model(&Engine::reference(), &blueprint, false), &inputs);
        prop_assume!(sensitivity(&blueprint, &inputs, &expected) < SENSITIVE);
        let engine = Engine::on(common::device(ShaderChecks::Trusted).expect(common::INSTALL));
        for folded in [false, true] {
            let model = model(&engine, &blueprint, folded);
            assert_close(&run(&model, &inputs), &expected, &format!("folded {folded}"));
        }
    }
}
