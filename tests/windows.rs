//! Inputs and queries in windows give what they give at once, and plans say what sessions allocate.

use std::sync::Arc;

use perceiver::gpu::ShaderChecks;
use perceiver::perceiver::parameters::RandomTensors;
use perceiver::{Architecture, Engine, Model, NamedTensors, PerceiverConfig, RunOptions, Tensor};

mod common;

/// A flow model of several windows' size: 40 × 50 pixels.
fn model(engine: &Engine) -> Model {
    let config = PerceiverConfig {
        num_latents: 37,
        d_latents: 24,
        num_self_attends_per_block: 2,
        num_self_attention_heads: 4,
        num_cross_attention_heads: 1,
        train_size: [40, 50],
        ..PerceiverConfig::new(Architecture::OpticalFlow)
    };
    let weights = RandomTensors::new(Model::tensors(&config).expect("tensors"), 5);
    engine.load_from(config, Arc::new(weights)).expect("model")
}

fn inputs() -> NamedTensors {
    let shape = vec![2, 2, 27, 40, 50];
    let data = (0..2 * 54 * 2000)
        .map(|i| ((i * 7919 % 1009) as f32) / 504.0 - 1.0)
        .collect();
    NamedTensors::from([(
        "patches".to_owned(),
        Tensor::f32(shape, data).expect("patches"),
    )])
}

fn run(model: &Model) -> NamedTensors {
    let options = RunOptions {
        intermediates: true,
        ..RunOptions::default()
    };
    model
        .run_with(&inputs(), options, &mut |_, _| {})
        .expect("run")
}

fn error(found: &NamedTensors, expected: &NamedTensors) -> f64 {
    let mut worst = 0.0f64;
    assert!(found.keys().eq(expected.keys()));
    for (name, e) in expected {
        let (f, e) = (found[name].as_f32(), e.as_f32());
        let (f, e) = (f.expect("floats"), e.expect("floats"));
        assert_eq!(f.len(), e.len(), "{name}");
        let square = |x: f64| x * x;
        let pairs = f.iter().zip(e);
        let d: f64 = pairs
            .map(|(&f, &e)| square(f64::from(f) - f64::from(e)))
            .sum();
        let n: f64 = e.iter().map(|&e| square(f64::from(e))).sum();
        worst = worst.max((d / n).sqrt());
    }
    worst
}

#[test]
fn windows_change_nothing() {
    let reference = run(&model(&Engine::reference()));
    let adapter = Engine::on(common::device(ShaderChecks::Trusted).expect(common::INSTALL));
    for engine in [Engine::cpu(), adapter] {
        // All 2000 rows at once; windows of 832, 192 and 64 rows, the last of them shorter.
        for bytes in [usize::MAX / 8, 2_200_000, 600_000, 1] {
            let mut model = model(&engine);
            model.set_window_bytes(bytes);
            let error = error(&run(&model), &reference);
            assert!(
                error < 1e-5,
                "{error:.1e} on {} at {bytes}",
                engine.device_name()
            );
        }
    }
}
