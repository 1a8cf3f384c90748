//! What plans promise: costs of the official models, memory, and runs that create no GPU object.

use std::sync::Arc;

use perceiver::blueprint::{FourierPositions, Spacing};
use perceiver::internals::gpu::{Device, ShaderChecks, adapters};
use perceiver::internals::graph::{Placement, Plan};
use perceiver::internals::kernels::Op;
use perceiver::internals::kernels::factored_attention::{FactoredAttention, Factors};
use perceiver::internals::kernels::{DeviceTraits, SOFTWARE_LOOP_ITERATIONS};
use perceiver::internals::model::{plan as model_plan, splits as attention_splits};
use perceiver::internals::perceiver::{Request, Sizes};
use perceiver::internals::weights::RandomTensors;
use perceiver::internals::weights::positions::fourier_tables;
use perceiver::{
    Architecture, Engine, Error, Model, NamedTensors, PerceiverConfig, Precision, RunOptions,
    Tensor,
};
use proptest::prelude::*;

use crate::common::{self, published::published};

fn random_model(engine: &Engine, config: PerceiverConfig) -> Model {
    let weights = RandomTensors::new(config.tensors().expect("tensors"), 3);
    engine.load_from(config, Arc::new(weights)).expect("model")
}

fn small() -> PerceiverConfig {
    PerceiverConfig {
        num_latents: 9,
        d_latents: 24,
        d_model: 16,
        num_self_attends_per_block: 2,
        num_self_attention_heads: 4,
        num_cross_attention_heads: 2,
        max_position_embeddings: 40,
        ..PerceiverConfig::new(Architecture::MaskedLm)
    }
}

fn ids(batch: usize, length: usize) -> NamedTensors {
    let ids = (0..batch * length).map(|i| (i % 262) as i64).collect();
    let ids = Tensor::i64(vec![batch, length], ids).expect("ids");
    NamedTensors::from([("input_ids".to_owned(), ids)])
}

/// Parameters and operations of the published models, within one per cent.
#[test]
fn costs_are_those_of_the_published_models() {
    // Preprocess, encode, process, decode, postprocess in GFLOP; parameters.
    let cases = [
        (published(Architecture::MaskedLm), [0.0, 9.13, 101.20, 9.80, 0.82], 120.95, 201_108_230),
        (
            published(Architecture::OpticalFlow),
            [1.26, 560.68, 360.78, 964.03, 0.0],
            1886.75,
            41_057_134,
        ),
        (
            PerceiverConfig {
                architecture: Architecture::SequenceClassification,
                ..published(Architecture::MaskedLm)
            },
            [0.0, 9.13, 101.20, 1.69, 0.0],
            112.02,
            206_098_690,
        ),
        (
            published(Architecture::ImageLearned),
            [6.65, 108.45, 360.78, 2.16, 0.0],
            478.04,
            62_255_848,
        ),
        (
            published(Architecture::ImageFourier),
            [0.0, 43.19, 360.78, 2.16, 0.0],
            406.12,
            48_440_627,
        ),
        (
            published(Architecture::ImageConvolution),
            [0.236, 6.07, 360.78, 2.16, 0.0],
            369.25,
            // With the running mean and variance, which are counted as buffers elsewhere.
            48_646_522 + 128,
        ),
        (
            published(Architecture::Multimodal),
            [0.0, 220.25, 29.80, 57.21, 0.02],
            307.28,
            // Without two masks and a padding that have no effect.
            19_858_855 - 2 * 704 - 4,
        ),
    ];
    for (config, stages, total, parameters) in cases {
        let mut model = random_model(&Engine::cpu(), config.clone());
        model.set_folded(false);
        let report = model.report(1, Sizes::usual(&config), RunOptions::default()).expect("report");
        let near = |found: u64, wanted: f64, what: &str| {
            let found = found as f64 / 1e9;
            assert!((found - wanted).abs() <= 0.01 * wanted, "{what}: {found}, not {wanted}");
        };
        near(report.total_flops, total, "total");
        for stage in &report.stages {
            let at = ["preprocess", "encode", "process", "decode", "postprocess"]
                .iter()
                .position(|n| *n == stage.name)
                .expect("a known stage");
            let wanted = stages[at];
            // The published figure has two digits.
            if wanted > 0.1 {
                near(stage.flops, wanted, stage.name);
            }
        }
        assert_eq!(report.parameters, parameters);
    }
}

/// A device like an H200: 132 multiprocessors, two workgroups each.
fn large_gpu() -> DeviceTraits {
    DeviceTraits { workgroup_bytes: 48 * 1024, invocations: 1024, ..DeviceTraits::webgpu_default() }
}

/// Query, key and value projection with its LayerNorm, attention (and the merge of split keys), output
/// projection with its residual, MLP with its LayerNorm, activation and residual.
#[test]
fn a_latent_layer_takes_at_most_six_dispatches() {
    let devices = [large_gpu(), DeviceTraits::webgpu_default()];
    for config in [
        published(Architecture::MaskedLm),
        published(Architecture::OpticalFlow),
        published(Architecture::ImageLearned),
        published(Architecture::ImageFourier),
        published(Architecture::ImageConvolution),
        published(Architecture::Multimodal),
    ] {
        for device in &devices {
            let request = Request {
                batch: 1,
                sizes: Sizes::usual(&config),
                window_bytes: 32 << 20,
                intermediates: false,
                folded: true,
            };
            let plan = model_plan(&config, &request, Some(device)).expect("plan");
            let report = plan.report();
            let layers = config.num_blocks * config.num_self_attends_per_block;
            assert_eq!(report.layers, layers as u64);
            let stage = report.stages.iter().find(|s| s.name == "process");
            let dispatches = stage.expect("a tower").dispatches;
            assert!(dispatches <= 6 * report.layers, "{dispatches} for {layers}");
            assert!(report.dispatches_per_layer <= 6);
            // No LayerNorm is left that a product could have taken in.
            let norms = plan.graph().nodes.iter().filter(|n| n.op.kernel() == "layer_norm");
            assert_eq!(norms.count(), 0);
        }
    }
}

/// Few rows that meet a long inner dimension are divided along it, with the same operations in all.
#[test]
fn products_of_few_rows_are_divided() {
    let config = published(Architecture::ImageFourier);
    let request = Request {
        batch: 1,
        sizes: Sizes::usual(&config),
        window_bytes: 32 << 20,
        intermediates: false,
        folded: false,
    };
    let plan = |device: Option<&DeviceTraits>| model_plan(&config, &request, device).expect("plan");
    let (divided, whole) = (plan(Some(&large_gpu())), plan(None));
    let merges = |p: &Plan| {
        let nodes = p.graph().nodes.iter();
        nodes.filter(|n| n.op.kernel() == "gemm_merge").count()
    };
    assert!(merges(&divided) > 0);
    assert_eq!(merges(&whole), 0);
    assert_eq!(divided.report().total_flops, whole.report().total_flops);
    no_two_tenants_at_once(&divided);
}

/// In f16 weights, hidden rows and inputs take half the memory; the plan says so.
#[test]
fn f16_takes_half_the_memory() {
    let device = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    for config in [published(Architecture::MaskedLm), published(Architecture::OpticalFlow)] {
        let mut model = random_model(&Engine::on(device.clone()), config.clone());
        let mut report = |precision| {
            model.set_precision(precision).expect("a GPU stores f16");
            let sizes = Sizes::usual(&config);
            model.report(1, sizes, RunOptions::default()).expect("report")
        };
        let (full, half) = (report(Precision::F32), report(Precision::F16));
        let share = |a: u64, b: u64| a as f64 / b as f64;
        assert_eq!(half.total_flops, full.total_flops);
        assert_eq!(half.dispatches, full.dispatches);
        let parameters = share(half.parameter_bytes, full.parameter_bytes);
        assert!(parameters < 0.62, "{parameters}");
        assert!(share(half.peak_bytes, full.peak_bytes) < 0.7);
        // States of attentions, and what merges them, are f32 in both.
        let states = ["factored_attention", "attention_merge"];
        let bytes = |r: &perceiver::internals::graph::PlanReport| {
            let nodes = r.nodes.iter().filter(|n| !states.contains(&n.kernel));
            nodes.map(|n| n.bytes).sum()
        };
        assert!(share(bytes(&half), bytes(&full)) < 0.75);
    }
}

/// Nobody gets another precision than was asked for.
#[test]
fn the_cpu_refuses_f16() {
    for engine in [Engine::cpu(), Engine::reference()] {
        let mut model = random_model(&engine, small());
        let error = model.set_precision(Precision::F16).expect_err("refused");
        assert!(error.to_string().contains("or a GPU"), "{error}");
        assert_eq!(model.precision(), Precision::F32);
    }
}

/// Inputs that f16 cannot hold are refused, not clipped.
#[test]
fn numbers_beyond_f16_are_refused() {
    let device = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    let config = PerceiverConfig {
        train_size: [20, 30],
        num_self_attention_heads: 8,
        num_latents: 40,
        d_latents: 64,
        num_cross_attention_heads: 1,
        num_self_attends_per_block: 1,
        ..PerceiverConfig::new(Architecture::OpticalFlow)
    };
    let mut model = random_model(&Engine::on(device), config);
    model.set_precision(Precision::F16).expect("a GPU");
    let patches = Tensor::f32(vec![1, 2, 27, 20, 30], vec![7e4; 54 * 600]).expect("patches");
    let inputs = NamedTensors::from([("patches".to_owned(), patches)]);
    let error = model.run(&inputs, &mut |_, _| {}).expect_err("refused");
    assert!(error.to_string().contains("f16 cannot hold"), "{error}");
}

#[test]
fn predicted_memory_is_what_sessions_allocate() {
    let adapter = Engine::on(common::device(ShaderChecks::Trusted).expect(common::INSTALL));
    for engine in [Engine::cpu(), adapter] {
        for config in [
            small(),
            PerceiverConfig {
                train_size: [20, 30],
                num_self_attention_heads: 8,
                num_latents: 40,
                d_latents: 64,
                num_cross_attention_heads: 1,
                num_self_attends_per_block: 2,
                ..PerceiverConfig::new(Architecture::OpticalFlow)
            },
        ] {
            let inputs = match config.architecture {
                Architecture::MaskedLm => ids(2, 33),
                _ => {
                    let data = vec![0.25; 54 * 600];
                    let patches = Tensor::f32(vec![1, 2, 27, 20, 30], data).expect("patches");
                    NamedTensors::from([("patches".to_owned(), patches)])
                }
            };
            let mut model = random_model(&engine, config);
            for precision in [Precision::F32, Precision::F16] {
                if precision == Precision::F16 && engine.device().is_none() {
                    continue;
                }
                model.set_precision(precision).expect("precision");
                model.run(&inputs, &mut |_, _| {}).expect("run");
                let report = model.last_report().expect("a session");
                let allocated = model.allocated_bytes();
                assert!(report.peak_bytes > 0);
                // Transfers and uniforms, which a GPU needs, are known as well.
                assert_eq!(report.transfer_bytes > 0, engine.device().is_some());
                assert_eq!(report.transfer_bytes, model.staging_bytes());
                let place = engine.device_name();
                assert_eq!(allocated, report.peak_bytes, "on {place} in {precision}");
            }
        }
    }
}

/// In the steady state a run makes no buffer, bind group, pipeline or shader module.
#[test]
fn later_runs_create_no_gpu_object() {
    let device = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    let wgpu_device = device.wgpu_device().clone();
    let model = random_model(&Engine::on(device), small());
    let objects = || {
        let hal = wgpu_device.get_internal_counters().hal;
        [
            hal.buffers.read(),
            hal.bind_groups.read(),
            hal.bind_group_layouts.read(),
            hal.compute_pipelines.read(),
            hal.shader_modules.read(),
            hal.buffer_memory.read(),
        ]
    };
    let run = || model.run(&ids(1, 40), &mut |_, _| {}).expect("run");
    let first = run();
    let before = objects();
    assert!(before[0] > 0, "the counters count");
    for _ in 0..5 {
        assert_eq!(run(), first, "the same bits in every run");
    }
    assert_eq!(objects(), before);
}

/// A host app's device works with the limits that the app asked for, WebGPU's defaults.
#[test]
fn an_adopted_device_with_default_limits_runs_models() {
    let all = adapters();
    let adapter = all.first().expect(common::INSTALL);
    let opened = Device::open_with(adapter, wgpu::Limits::default(), ShaderChecks::Trusted)
        .expect("default limits");
    let (device, queue) = (opened.wgpu_device().clone(), opened.wgpu_queue().clone());
    let adopted = random_model(&Engine::from_wgpu(device, queue), small());
    let reference = random_model(&Engine::reference(), small());
    let run = |m: &Model| m.run(&ids(1, 40), &mut |_, _| {}).expect("run");
    let (found, expected) = (run(&adopted), run(&reference));
    let (found, expected) = (found["logits"].as_f32(), expected["logits"].as_f32());
    let pairs = found.expect("floats").iter().zip(expected.expect("floats"));
    for (f, e) in pairs {
        assert!((f - e).abs() < 1e-3, "{f} for {e}");
    }
}

#[test]
fn a_lost_device_is_an_error() {
    let device = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    let model = random_model(&Engine::on(device.clone()), small());
    model.run(&ids(1, 40), &mut |_, _| {}).expect("run");
    device.wgpu_device().destroy();
    let error = model.run(&ids(1, 40), &mut |_, _| {}).expect_err("the device is gone");
    assert!(matches!(error, Error::DeviceLost { .. } | Error::Device { .. }), "{error}");
}

#[test]
fn arrays_beyond_the_limits_are_refused() {
    let all = adapters();
    let adapter = all.first().expect(common::INSTALL);
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: 4096,
        max_buffer_size: 8192,
        ..wgpu::Limits::default()
    };
    let device = Device::open_with(adapter, limits, ShaderChecks::Trusted).expect("open");
    let model = random_model(&Engine::on(device), small());
    let error = model.run(&ids(1, 40), &mut |_, _| {}).expect_err("too large");
    let text = error.to_string();
    assert!(text.contains("bytes, the limit is 4096 bytes"), "{text}");
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let model = random_model(&Engine::cpu(), small());
    let message = |inputs: &NamedTensors| {
        let result = model.run(inputs, &mut |_, _| {});
        result.expect_err("must be refused").to_string()
    };
    assert_eq!(
        message(&NamedTensors::new()),
        "input `input_ids`: is missing; expected `input_ids`, `attention_mask` (optional)"
    );
    let mut unknown = ids(1, 4);
    unknown.insert("patches".to_owned(), Tensor::f32(vec![0], vec![]).expect("t"));
    assert_eq!(
        message(&unknown),
        "input `patches`: is unknown to this model; expected `input_ids`, `attention_mask` (optional)"
    );
    assert_eq!(
        message(&ids(1, 41)),
        "input `input_ids`: has shape [1, 41]; expected i64 [batch, length], length 1 to 40"
    );
    let bad = Tensor::i64(vec![1, 2], vec![5, 262]).expect("t");
    assert_eq!(
        message(&NamedTensors::from([("input_ids".to_owned(), bad)])),
        "input `input_ids`: has 262 at [0, 1]; expected 0 to 261"
    );
    let mut masked = ids(1, 4);
    let mask = Tensor::i64(vec![1, 4], vec![1, 1, 2, 1]).expect("t");
    masked.insert("attention_mask".to_owned(), mask);
    assert_eq!(
        message(&masked),
        "input `attention_mask`: has 2 at [0, 2]; expected 0 (padding) or 1"
    );
}

/// Values that live at the same time, and a node's results and operands, never share memory.
fn no_two_tenants_at_once(plan: &Plan) {
    let graph = &plan.graph();
    let slot = |id: perceiver::internals::graph::ValueId| match plan.placements()[id.index()] {
        Placement::Slot(slot) => Some(slot),
        _ => None,
    };
    // Who holds each slot: what is read later must still be there.
    let mut holder = vec![None; plan.slots().len()];
    for node in &graph.nodes {
        for view in &node.inputs {
            if let Some(s) = slot(view.value) {
                assert_eq!(holder[s.0], Some(view.value), "{} reads what is gone", node.label);
            }
        }
        for &output in &node.outputs {
            if let Some(s) = slot(output) {
                assert!(plan.slots()[s.0] >= graph.value(output).words());
                assert!(node.inputs.iter().all(|v| slot(v.value) != Some(s)));
                holder[s.0] = Some(output);
            }
        }
    }
    for piece in graph.outputs.iter().flat_map(|o| &o.pieces) {
        if let Some(s) = slot(*piece) {
            assert_eq!(holder[s.0], Some(*piece), "a result was overwritten");
        }
    }
}

/// An axis whose sums alone take more loop iterations than a software adapter grants goes to another
/// variant, not into parts of a few keys.
#[test]
fn long_axes_are_not_divided_into_crumbs() {
    let device = DeviceTraits {
        software: true,
        busy_workgroups: 2,
        loop_iterations: SOFTWARE_LOOP_ITERATIONS,
        ..DeviceTraits::webgpu_default()
    };
    for length in [700, 20_011, 60_013] {
        let factors = Factors { content: 16, dimensions: 1, axes: [length, 1, 1] };
        let mut args = FactoredAttention::new(3, length, factors);
        args.splits = attention_splits(&Op::FactoredAttention(args), &device);
        let part = length / args.splits;
        assert!(args.splits <= 2 || part >= 4096, "{length}: {part} keys a part");
        let left = Op::FactoredAttention(args).candidates(&device);
        assert!(!left.is_empty(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn plans_never_lose_a_value(
        latents in 1usize..40,
        heads in 1usize..4,
        layers in 1usize..4,
        blocks in 1usize..3,
        side in 1usize..40,
        window in 1usize..400_000,
        batch in 1usize..3,
        intermediates: bool,
        is_flow: bool,
        folded: bool,
        gpu: bool,
    ) {
        let architecture = if is_flow { Architecture::OpticalFlow } else { Architecture::MaskedLm };
        let config = PerceiverConfig {
            num_latents: latents,
            d_latents: 12 * heads,
            d_model: 8 * heads,
            num_blocks: blocks,
            num_self_attends_per_block: layers,
            num_self_attention_heads: heads,
            num_cross_attention_heads: 1,
            max_position_embeddings: side * 3,
            train_size: [side, side + 3],
            ..PerceiverConfig::new(architecture)
        };
        config.validate("test").expect("valid");
        let sizes = Sizes { length: side, ..Sizes::default() };
        let request = Request { batch, sizes, window_bytes: window, intermediates, folded };
        let device = gpu.then(large_gpu);
        let plan = model_plan(&config, &request, device.as_ref()).expect("plan");
        no_two_tenants_at_once(&plan);
        let report = plan.report();
        let most = report.stages.iter().map(|s| s.peak_bytes).max().unwrap_or(0);
        prop_assert!(most <= report.peak_bytes);
    }
}

#[test]
fn tables_of_positions_reach_from_end_to_end() {
    let (axes, max_resolution) = (vec![3], vec![8]);
    let table = fourier_tables(&FourierPositions {
        axes,
        max_resolution,
        bands: 2,
        spacing: Spacing::Ends,
    });
    let table = table.expect("a table");
    assert_eq!(table.len(), 3 * 5);
    assert_eq!([table[0], table[5], table[10]], [-1.0, 0.0, 1.0]);
}
