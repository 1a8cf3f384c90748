//! Inputs and queries in windows give what they give at once, and plans say what sessions allocate.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use perceiver::internals::gpu::{Ran, ShaderChecks};
use perceiver::internals::weights::RandomTensors;
use perceiver::stream::Queries;
use perceiver::{
    Architecture, Engine, Error, MemorySize, Model, NamedTensors, PerceiverConfig, RunOptions,
    Sizes, Tensor,
};

use crate::common;

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
    let weights = RandomTensors::new(config.tensors().expect("tensors"), 5);
    engine.load_from(config, Arc::new(weights)).expect("model")
}

fn inputs() -> NamedTensors {
    let shape = vec![2, 2, 27, 40, 50];
    let data = (0..2 * 54 * 2000).map(|i| ((i * 7919 % 1009) as f32) / 504.0 - 1.0).collect();
    NamedTensors::from([("patches".to_owned(), Tensor::f32(shape, data).expect("patches"))])
}

fn run(model: &Model) -> NamedTensors {
    let options = RunOptions { intermediates: true, ..RunOptions::default() };
    model.run_with(&inputs(), options, &mut |_, _| {}).expect("run")
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
        let d: f64 = pairs.map(|(&f, &e)| square(f64::from(f) - f64::from(e))).sum();
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
            assert!(error < 1e-5, "{error:.1e} on {} at {bytes}", engine.device_name());
        }
    }
}

/// Texts too, whose rows are one array.
#[test]
fn windows_of_texts_change_nothing() {
    let mut config = PerceiverConfig::new(Architecture::MaskedLm);
    (config.num_latents, config.d_latents, config.d_model) = (9, 24, 16);
    (config.num_self_attends_per_block, config.num_self_attention_heads) = (2, 4);
    (config.num_cross_attention_heads, config.max_position_embeddings) = (2, 300);
    let weights = RandomTensors::new(config.tensors().expect("tensors"), 3);
    let model = Engine::cpu().load_from(config, Arc::new(weights));
    let mut model = model.expect("model");
    let ids = (0..300).map(|i| i * 31 % 262).collect();
    let ids = Tensor::i64(vec![1, 300], ids).expect("ids");
    let inputs = NamedTensors::from([("input_ids".to_owned(), ids)]);
    let options = RunOptions { intermediates: true, ..RunOptions::default() };
    let expected = model.run_with(&inputs, options, &mut |_, _| {}).expect("a run");
    model.set_window_bytes(1);
    let found = model.run_with(&inputs, options, &mut |_, _| {}).expect("a run");
    assert!(error(&found, &expected) < 1e-6);
}

/// What a refusal says would do.
fn least(refusal: &Error) -> MemorySize {
    let text = refusal.to_string();
    let (_, rest) = text.split_once("at least ").expect(&text);
    let (size, _) = rest.split_once(' ').expect(&text);
    size.parse().expect(&text)
}

/// However slow the device is, and however finely its work is cut for that.
#[test]
fn budgets_are_kept_and_change_nothing() {
    let device = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    let firsts = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = firsts.clone();
    // Every op takes twenty seconds: far more than a submission may take.
    device.simulate_time(move |parts: &[Ran]| {
        let mut seen = seen.lock().expect("a set");
        seen.extend(parts.iter().map(|p| p.first_workgroup));
        let share = |p: &Ran| p.workgroups as f64 / p.of as f64;
        20.0 * parts.iter().map(share).sum::<f64>()
    });
    let adapter = Engine::on(device);
    for engine in [Engine::cpu(), adapter] {
        let on = engine.device_name();
        let mut model = model(&engine);
        let expected = model.run(&inputs(), &mut |_, _| {}).expect("a run");
        let free = model.allocated_bytes();
        model.set_memory_budget(Some(MemorySize(1)));
        let refusal = model.run(&inputs(), &mut |_, _| {}).map(drop).expect_err("a refusal");
        let least = least(&refusal);
        assert!(least.0 < free, "{refusal}");
        for budget in [MemorySize(free), MemorySize((free + least.0) / 2), least] {
            model.set_memory_budget(Some(budget));
            // A device that was taken to be fast is known to be slow after some runs.
            for _ in 0..if budget == least { 4 } else { 1 } {
                let found = model.run(&inputs(), &mut |_, _| {}).expect("a run");
                let error = error(&found, &expected);
                assert!(error < 1e-5, "{error:.1e} on {on} within {budget}");
            }
            let allocated = model.allocated_bytes();
            assert!(allocated <= budget.0, "{allocated} within {budget} on {on}");
            let report = model.last_report().expect("a session");
            assert_eq!(report.peak_bytes, allocated, "on {on}");
            assert!(least.0 - allocated.min(least.0) <= least.0 / 10 || budget != least);
        }
    }
    let firsts = firsts.lock().expect("a set").len();
    assert!(firsts > 64, "cut at {firsts} places only");
}

/// Items go through in turns where they do not fit together.
#[test]
fn budgets_bound_the_items_of_a_run() {
    let mut config = PerceiverConfig::new(Architecture::MaskedLm);
    (config.num_latents, config.d_latents, config.d_model) = (9, 24, 16);
    (config.num_self_attends_per_block, config.num_self_attention_heads) = (2, 4);
    (config.num_cross_attention_heads, config.max_position_embeddings) = (2, 300);
    let weights = RandomTensors::new(config.tensors().expect("tensors"), 3);
    let model = Engine::cpu().load_from(config, Arc::new(weights));
    let mut model = model.expect("model");
    let ids = (0..7 * 300).map(|i| i % 262).collect();
    let ids = Tensor::i64(vec![7, 300], ids).expect("ids");
    let inputs = NamedTensors::from([("input_ids".to_owned(), ids)]);
    let run = |model: &Model| model.run(&inputs, &mut |_, _| {}).expect("a run");
    let expected = run(&model);
    let report = |model: &Model, items| {
        let sizes = Sizes { length: 300, ..Sizes::default() };
        model.report(items, sizes, RunOptions::default()).expect("a report").peak_bytes
    };
    let budgets = [report(&model, 7), report(&model, 2) + 100, report(&model, 1)];
    for budget in budgets {
        model.set_memory_budget(Some(MemorySize(budget)));
        assert!(error(&run(&model), &expected) < 1e-6);
        assert!(model.allocated_bytes() <= budget);
    }
    model.set_memory_budget(Some(MemorySize(1)));
    let refusal = model.run(&inputs, &mut |_, _| {}).map(drop).expect_err("a refusal");
    let least = least(&refusal);
    assert!(least.0 <= budgets[2] + 1024, "{refusal}");
    model.set_memory_budget(Some(least));
    assert!(error(&run(&model), &expected) < 1e-6);
    assert!(model.allocated_bytes() <= least.0);
}

#[test]
fn budgets_hold_for_streams() {
    let adapter = Engine::on(common::device(ShaderChecks::Trusted).expect(common::INSTALL));
    for engine in [Engine::cpu(), adapter] {
        let mut model = model(&engine);
        // One item.
        let data = inputs()["patches"].as_f32().expect("floats")[..54 * 2000].to_vec();
        let patches = Tensor::f32(vec![1, 2, 27, 40, 50], data).expect("patches");
        let inputs = NamedTensors::from([("patches".to_owned(), patches)]);
        let (sizes, rows) = model.input_rows(&inputs, RunOptions::default()).expect("rows");
        let expected = model.run(&inputs, &mut |_, _| {}).expect("a run");
        let rows = &rows["frame"];
        model.set_memory_budget(Some(MemorySize(1)));
        let refusal = model.encoder(&sizes).map(drop).expect_err("a refusal");
        let budget = least(&refusal);
        model.set_memory_budget(Some(budget));
        let mut encoder = model.encoder(&sizes).expect("an encoder");
        encoder.push("frame", 0, rows).expect("rows");
        assert!(encoder.allocated_bytes() <= budget.0);
        let latents = encoder.finish().expect("latents");
        model.set_memory_budget(Some(MemorySize(1)));
        let mut decoder = model.decoder(&sizes, &latents).expect("a decoder");
        let queries = Queries::Range(0..2000);
        let refusal = decoder.decode("logits", &queries, Some(rows)).expect_err("a refusal");
        drop(decoder);
        let budget = least(&refusal);
        model.set_memory_budget(Some(budget));
        let mut decoder = model.decoder(&sizes, &latents).expect("a decoder");
        let flow = decoder.decode("logits", &queries, Some(rows)).expect("flow");
        assert!(decoder.allocated_bytes() <= budget.0);
        let flow = flow.reshape(vec![1, 40, 50, 2]).expect("flow");
        let found = NamedTensors::from([("logits".to_owned(), flow)]);
        assert!(error(&found, &expected) < 1e-5, "on {}", engine.device_name());
    }
}
