//! Arrays beyond what a device can bind: whole models on devices with limits of a few hundred KiB, and
//! the pass that divides their graphs.

use std::sync::Arc;

use crate::common::runner::{self, RunnerOptions};
use perceiver::checkpoint::read_tensors;
use perceiver::internals::cpu::CpuExecutor;
use perceiver::internals::gpu::{Device, ShaderChecks, adapters};
use perceiver::internals::graph::passes::limit_arrays;
use perceiver::internals::graph::{Executor, Graph, Placement, Plan};
use perceiver::internals::perceiver::Request;
use perceiver::internals::weights::{ParameterStore, RandomTensors};
use perceiver::stream::Queries;
use perceiver::{
    Architecture, Engine, Error, MemorySize, NamedTensors, PerceiverConfig, RunOptions, Sizes,
    Tensor,
};
use proptest::prelude::*;

use crate::common;

/// An engine on a host app's device that was asked for no more than this of one buffer.
fn engine(bytes: u64) -> Engine {
    let all = adapters();
    let software = all.iter().find(|a| a.kind.rank().is_none());
    let adapter = software.or(all.first()).expect(common::INSTALL);
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: bytes,
        max_buffer_size: bytes,
        ..wgpu::Limits::default()
    };
    let opened = Device::open_with(adapter, limits, ShaderChecks::Trusted).expect("a device");
    Engine::from_wgpu(opened.wgpu_device().clone(), opened.wgpu_queue().clone())
}

fn error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(expected);
    let difference: f64 = pairs.map(|(f, e)| square(f64::from(f - e))).sum();
    let size: f64 = expected.iter().map(|&e| square(f64::from(e))).sum();
    (difference / size.max(f64::MIN_POSITIVE)).sqrt()
}

/// Recorded models, whose weights have up to 414 KiB.
#[test]
fn recorded_models_run_within_lowered_limits() {
    let cases = [
        ("mlm-v0-s0", 128),
        ("mlm-v3-s0", 96),
        ("img-fourier-v2-s0", 128),
        ("img-learned-v2-s0", 128),
        ("flow-v0-s0", 200),
        ("flow-v2-s0", 200),
        ("multimodal-v1-s0", 200),
    ];
    for (case, limit) in cases {
        let folder = common::fixtures().join("golden").join(case);
        let inputs = read_tensors(folder.join("inputs.safetensors")).expect("inputs");
        let expected = read_tensors(folder.join("outputs.safetensors")).expect("outputs");
        let engine = engine(limit << 10);
        for folded in [true, false] {
            let mut model = engine.load(&folder).expect("a model");
            model.set_folded(folded);
            let mut inputs = inputs.clone();
            inputs.remove("raw.tiled_frames");
            let found = runner::run(&model, &inputs, &RunnerOptions::default(), &mut |_, _| {});
            let found = found.unwrap_or_else(|e| panic!("{case} folded {folded}: {e}"));
            for (name, tensor) in &found {
                let expected = expected[name].as_f32().expect("floats");
                let error = error(tensor.as_f32().expect("floats"), expected);
                assert!(error < 1e-5, "{case} {name} folded {folded}: {error:e}");
            }
            // With one session kept, what is allocated is what its plan says.
            model.set_memory_budget(Some(MemorySize(1 << 30)));
            runner::run(&model, &inputs, &RunnerOptions::default(), &mut |_, _| {}).expect(case);
            let report = model.last_report().expect("a session");
            assert_eq!(report.peak_bytes, model.allocated_bytes(), "{case}");
        }
    }
}

/// More than one buffer each: the input array, latents, hidden rows, weights, states and results.
#[test]
fn wide_models_run_within_lowered_limits() {
    let mut text = PerceiverConfig::new(Architecture::MaskedLm);
    (text.num_latents, text.d_latents, text.d_model) = (150, 320, 264);
    (text.num_self_attends_per_block, text.num_self_attention_heads) = (2, 8);
    (text.num_cross_attention_heads, text.max_position_embeddings) = (8, 700);
    let ids = (0..2 * 700).map(|i| i * 31 % 262).collect();
    let mask = (0..2 * 700).map(|i| i64::from(i % 700 < 650)).collect();
    let text_inputs = NamedTensors::from([
        ("input_ids".to_owned(), Tensor::i64(vec![2, 700], ids).expect("ids")),
        ("attention_mask".to_owned(), Tensor::i64(vec![2, 700], mask).expect("mask")),
    ]);
    let mut flow = PerceiverConfig::new(Architecture::OpticalFlow);
    (flow.num_latents, flow.d_latents, flow.num_self_attends_per_block) = (100, 64, 1);
    (flow.num_self_attention_heads, flow.num_cross_attention_heads) = (4, 1);
    flow.train_size = [40, 50];
    let data = (0..54 * 2000).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0);
    let patches = Tensor::f32(vec![1, 2, 27, 40, 50], data.collect()).expect("patches");
    let flow_inputs = NamedTensors::from([("patches".to_owned(), patches)]);
    for (config, inputs) in [(text, text_inputs), (flow, flow_inputs)] {
        let tensors = config.tensors().expect("tensors");
        let weights = Arc::new(RandomTensors::new(tensors, 3));
        let name = config.architecture.name();
        let expected = Engine::cpu().load_from(config.clone(), weights.clone());
        let expected = expected.expect("a model").run(&inputs, &mut |_, _| {}).expect("a run");
        let expected = expected["logits"].as_f32().expect("floats");
        let engine = engine(256 << 10);
        for folded in [true, false] {
            let mut model = engine.load_from(config.clone(), weights.clone()).expect("a model");
            model.set_folded(folded);
            for _ in 0..2 {
                let found = model.run(&inputs, &mut |_, _| {});
                let found = found.unwrap_or_else(|e| panic!("{name} folded {folded}: {e}"));
                let error = error(found["logits"].as_f32().expect("floats"), expected);
                assert!(error < 1e-5, "{name} folded {folded}: {error:e}");
            }
        }
    }
}

/// Streams too: state, latents and tables of several buffers.
#[test]
fn streams_run_within_lowered_limits() {
    let mut config = PerceiverConfig::new(Architecture::OpticalFlow);
    (config.num_latents, config.d_latents, config.num_self_attends_per_block) = (300, 64, 1);
    (config.num_self_attention_heads, config.num_cross_attention_heads) = (4, 1);
    config.train_size = [30, 40];
    let weights = Arc::new(RandomTensors::new(config.tensors().expect("tensors"), 4));
    let data = (0..54 * 1200).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0);
    let patches = Tensor::f32(vec![1, 2, 27, 30, 40], data.collect()).expect("patches");
    let inputs = NamedTensors::from([("patches".to_owned(), patches)]);
    let cpu = Engine::cpu().load_from(config.clone(), weights.clone()).expect("a model");
    let expected = cpu.run(&inputs, &mut |_, _| {}).expect("a run");
    let expected = expected["logits"].as_f32().expect("floats");
    let engine = engine(256 << 10);
    for folded in [true, false] {
        let mut model = engine.load_from(config.clone(), weights.clone()).expect("a model");
        model.set_folded(folded);
        let (sizes, rows) = model.input_rows(&inputs, RunOptions::default()).expect("rows");
        let rows = &rows["frame"];
        let mut encoder = model.encoder(&sizes).expect("an encoder");
        let data = rows.as_f32().expect("floats");
        for first in [700, 0] {
            let last = if first == 0 { 700 } else { 1200 };
            let part = data[first * 54..last * 54].to_vec();
            let part = Tensor::f32(vec![last - first, 54], part).expect("rows");
            encoder.push("frame", first, &part).expect("a chunk");
        }
        let latents = encoder.finish().expect("latents");
        let mut decoder = model.decoder(&sizes, &latents).expect("a decoder");
        let flow = decoder.decode("logits", &Queries::Range(0..1200), Some(rows));
        let error = error(flow.expect("flow").as_f32().expect("floats"), expected);
        assert!(error < 1e-5, "folded {folded}: {error:e}");
    }
}

#[test]
fn what_cannot_be_divided_is_refused() {
    let mut config = PerceiverConfig::new(Architecture::ImageConvolution);
    (config.num_latents, config.d_latents, config.num_self_attends_per_block) = (4, 16, 1);
    config.num_cross_attention_heads = 1;
    let weights = Arc::new(RandomTensors::new(config.tensors().expect("tensors"), 4));
    let model = engine(256 << 10).load_from(config, weights).expect("a model");
    let pixels = Tensor::f32(vec![1, 3, 224, 224], vec![0.5; 3 * 224 * 224]).expect("pixels");
    let inputs = NamedTensors::from([("pixel_values".to_owned(), pixels)]);
    let refusal = model.run(&inputs, &mut |_, _| {}).expect_err("a refusal");
    let text = refusal.to_string();
    assert!(
        matches!(refusal, Error::Limit { .. }) && text.contains("the limit is 262144 bytes"),
        "{text}"
    );
}

/// The outputs of a graph in float64 on the CPU, on inputs that follow from their names.
fn run(graph: Graph, weights: Arc<RandomTensors>) -> Vec<(String, Vec<f32>)> {
    let plan = Plan::new(graph).expect("a plan");
    let mut sizes: Vec<(String, usize)> = Vec::new();
    for (name, _, extent) in plan.graph().inputs() {
        match sizes.iter_mut().find(|(known, _)| known == name) {
            Some((_, size)) => *size += extent.len(),
            None => sizes.push((name.to_owned(), extent.len())),
        }
    }
    let outputs: Vec<String> = plan.graph().outputs.iter().map(|o| o.name.clone()).collect();
    let store = ParameterStore::<f64>::new(weights);
    let mut session = CpuExecutor::new(plan, &store).expect("a session");
    for (name, size) in sizes {
        let value = |i: usize| match name.as_str() {
            "input_ids" => (i * 31 % 262) as f32,
            "attention_mask" => f32::from(u8::from(i % 11 < 9)),
            _ => (i * 7919 % 1009) as f32 / 504.0 - 1.0,
        };
        let data: Vec<f32> = (0..size).map(value).collect();
        session.write(&name, &data).expect("an input");
    }
    session.run(&mut |_, _| {}).expect("a run");
    outputs
        .into_iter()
        .map(|name| {
            let tensor = session.read(&name).expect("an output");
            (name, tensor.as_f32().expect("floats").to_vec())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Divided graphs compute the same, and no array of theirs is beyond the limit.
    #[test]
    fn divided_graphs_compute_the_same(
        latents in 1usize..90,
        heads in 1usize..4,
        layers in 1usize..3,
        side in 1usize..16,
        limit in 6_000u64..200_000,
        window in 1usize..400_000,
        kind in 0usize..4,
        intermediates: bool,
        folded: bool,
    ) {
        let architecture = [
            Architecture::MaskedLm,
            Architecture::OpticalFlow,
            Architecture::ImageFourier,
            Architecture::ImageLearned,
        ][kind];
        let config = PerceiverConfig {
            num_latents: latents,
            d_latents: 20 * heads,
            d_model: 16 * heads,
            num_self_attends_per_block: layers,
            num_self_attention_heads: heads,
            num_cross_attention_heads: 1,
            max_position_embeddings: side * 40,
            image_size: 3 * side,
            train_size: [2 * side, 3 * side],
            ..PerceiverConfig::new(architecture)
        };
        config.validate("test").expect("valid");
        let image = [3 * side, 3 * side];
        let sizes = Sizes { length: side * 37, image, ..Sizes::default() };
        let request = Request { batch: 1, sizes, window_bytes: window, intermediates, folded };
        let weights = RandomTensors::new(config.tensors().expect("tensors"), 5);
        let weights = Arc::new(weights);
        let graph = perceiver::internals::model::graph(&config, &request).expect("a graph");
        let divided = match limit_arrays(graph.clone(), limit) {
            Ok(divided) => divided,
            // What cannot be divided says so.
            Err(e) => {
                prop_assert!(matches!(e, Error::Limit { .. }), "{e}");
                return Ok(());
            }
        };
        let plan = Plan::new(divided.clone()).expect("a plan");
        for (value, place) in plan.graph().values.iter().zip(plan.placements()) {
            let bytes = 4 * value.extent.padded_len() as u64;
            prop_assert!(*place == Placement::Unused || bytes <= limit, "{}", value.label);
        }
        for view in plan.graph().nodes.iter().flat_map(|n| &n.inputs) {
            prop_assert!((view.first_row * view.extent.stride()).is_multiple_of(64));
        }
        let (found, expected) = (run(divided, weights.clone()), run(graph, weights));
        prop_assert_eq!(found.len(), expected.len());
        for ((name, found), (other, expected)) in found.iter().zip(&expected) {
            prop_assert_eq!(name, other);
            let error = error(found, expected);
            prop_assert!(error < 1e-6, "{}: {:e}", name, error);
        }
    }
}
