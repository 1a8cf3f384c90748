//! Devices that refuse, fail or are lost: each call gives an error of its kind, none panics, and models go on with the
//! same bits when their engine has a device again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use perceiver::internals::gpu::{Device, ShaderChecks};
use perceiver::internals::random::Random;
use perceiver::stream::Queries;
use perceiver::{
    Architecture, Engine, Error, Model, NamedTensors, PerceiverConfig, RandomTensors, Result,
    RunOptions, Sizes, Tensor,
};

use crate::common;

/// A device as a host app opens it, without a handler of errors: whatever no error scope catches is a panic.
fn bare(change: impl FnOnce(&mut wgpu::Limits)) -> (wgpu::Device, wgpu::Queue) {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let software = |a: &&wgpu::Adapter| a.get_info().device_type == wgpu::DeviceType::Cpu;
    let adapter = adapters.iter().find(software).or(adapters.first()).expect(common::INSTALL);
    let mut limits = adapter.limits();
    change(&mut limits);
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    pollster::block_on(adapter.request_device(&descriptor)).expect("a device")
}

/// An engine on a device that it opened, or has from an app.
fn engine(own: bool) -> (Engine, wgpu::Device) {
    if own {
        let device = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
        let wgpu_device = device.wgpu_device().clone();
        return (Engine::on(device), wgpu_device);
    }
    let (device, queue) = bare(|_| {});
    (Engine::from_wgpu(device.clone(), queue), device)
}

fn destroy(engine: &Engine) {
    engine.device().expect("a device").wgpu_device().destroy();
}

fn text_tiny(engine: &Engine) -> (Model, NamedTensors) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/text-tiny");
    (engine.load(folder).expect("model"), ids(64))
}

fn ids(length: i64) -> NamedTensors {
    let ids = Tensor::i64(vec![1, length as usize], (0..length).map(|i| 10 + i).collect());
    NamedTensors::from([("input_ids".to_owned(), ids.expect("ids"))])
}

fn run(model: &Model, inputs: &NamedTensors) -> Result<NamedTensors> {
    model.run(inputs, &mut |_, _| {})
}

fn lost<T>(result: Result<T>) {
    match result {
        Err(Error::DeviceLost { .. }) => {}
        Err(error) => panic!("not told as a loss: {error}"),
        Ok(_) => panic!("a device that is gone gives results"),
    }
}

#[test]
fn a_lost_device_is_told_as_lost_from_then_on() {
    for own in [true, false] {
        let (engine, device) = engine(own);
        let (model, inputs) = text_tiny(&engine);
        run(&model, &inputs).expect("run");
        device.destroy();
        (0..3).for_each(|_| lost(run(&model, &inputs)));
        lost(run(&model, &ids(20)));
        lost(text_tiny(&engine).0.prepare(&[("input_ids", &[1, 8])], RunOptions::default()));
    }
    // One that an app has lost before it hands it in.
    let (device, queue) = bare(|_| {});
    device.destroy();
    let (model, inputs) = text_tiny(&Engine::from_wgpu(device, queue));
    lost(run(&model, &inputs));
}

#[test]
fn limits_that_no_kernel_can_keep_to_are_named() {
    let limit = |change: fn(&mut wgpu::Limits), name: &str| {
        let (device, queue) = bare(change);
        let (model, inputs) = text_tiny(&Engine::from_wgpu(device, queue));
        let error = run(&model, &inputs).expect_err("too few");
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    };
    limit(|l| l.max_storage_buffers_per_shader_stage = 4, "max_storage_buffers_per_shader_stage");
    limit(
        |l| l.max_dynamic_uniform_buffers_per_pipeline_layout = 0,
        "max_dynamic_uniform_buffers_per_pipeline_layout",
    );
    limit(|l| l.max_bind_groups = 1, "max_bind_groups");
    limit(|l| l.max_uniform_buffers_per_shader_stage = 1, "max_uniform_buffers_per_shader_stage");
    limit(|l| l.max_bindings_per_bind_group = 3, "max_bindings_per_bind_group");
}

/// Calls `during` with what destroys the device in the `n`-th call of a callback, for the first few `n` and some after
/// them (every device compiles anew); after each the engine has its device again.
fn destroyed_in_callbacks(
    engine: &Engine,
    mut during: impl FnMut(&mut dyn FnMut(u64, u64)) -> Result<()>,
) {
    for n in (0..3).chain((3..).step_by(13)) {
        let mut calls = 0;
        let ended = during(&mut |_, _| {
            if calls == n {
                destroy(engine);
            }
            calls += 1;
        });
        if calls <= n {
            ended.expect("nothing was destroyed");
            return;
        }
        // Told by the last call, there was nothing left to fail.
        if calls > n + 1 {
            lost(ended);
        }
        engine.reopen().expect("a device again");
    }
}

#[test]
fn models_go_on_when_their_engine_has_a_device_again() {
    let (engine, _) = engine(true);
    engine.set_submission_budget("1ms".parse().expect("budget"));
    let (mut model, inputs) = text_tiny(&engine);
    model.set_memory_budget(Some("64MiB".parse().expect("size")));
    let expected = run(&model, &inputs).expect("run");
    // Between runs; a session of another shape that is idle too.
    run(&model, &ids(20)).expect("run");
    for _ in 0..2 {
        destroy(&engine);
        lost(run(&model, &inputs));
        engine.reopen().expect("a device again");
        assert!(run(&model, &inputs).expect("run") == expected, "other bits");
        engine.reopen().expect("nothing to do");
    }
    assert_eq!(engine.device().expect("one").submission_budget(), "1ms".parse().expect("budget"));
    // In a callback of a warm-up, of a run, and from a thread.
    destroyed_in_callbacks(&engine, |progress| {
        let (model, inputs) = text_tiny(&engine);
        model.warmup(&inputs, RunOptions::default(), progress)
    });
    destroyed_in_callbacks(&engine, |progress| {
        let outputs = model.run(&inputs, progress)?;
        assert!(outputs == expected, "other bits");
        Ok(())
    });
    for _ in 0..3 {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(5));
                destroy(&engine);
                over.store(true, Ordering::Release);
            });
            loop {
                match run(&model, &inputs) {
                    Ok(outputs) => assert!(outputs == expected, "other bits"),
                    error => break lost(error),
                }
            }
        });
        assert!(over.load(Ordering::Acquire));
        // Whoever is first opens it, for all.
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| engine.reopen().expect("a device again"));
            }
        });
        assert!(run(&model, &inputs).expect("run") == expected, "other bits");
    }
    let mut prepared =
        model.prepare(&[("input_ids", &[1, 64])], RunOptions::default()).expect("run");
    prepared.write(&inputs).expect("written");
    destroy(&engine);
    lost(prepared.run());
    engine.reopen().expect("a device again");
    let mut rebuilt = prepared.rebuild(&model).expect("rebuilt");
    assert!(rebuilt.run().expect("run") == expected, "other bits");
}

#[test]
fn streams_go_on_when_their_engine_has_a_device_again() {
    let mut config = PerceiverConfig::new(Architecture::ImageFourier);
    (config.num_latents, config.d_latents, config.num_self_attends_per_block) = (4, 16, 1);
    config.num_cross_attention_heads = 1;
    let weights = Arc::new(RandomTensors::new(config.tensors().expect("tensors"), 1));
    let (engine, _) = engine(true);
    let model = engine.load_from(config, weights).expect("model");
    let sizes = Sizes { image: [8, 8], ..Sizes::default() };
    let rows = |first: usize, n: usize| {
        let mut random = Random::new(first as u64);
        Tensor::f32(vec![n, 3], (0..3 * n).map(|_| random.signed()).collect()).expect("rows")
    };
    let whole = |lose: &dyn Fn(u32)| {
        let mut encoder = model.encoder(&sizes).expect("encoder");
        for (i, (first, n)) in [(0, 24), (24, 8), (32, 32)].into_iter().enumerate() {
            lose(i as u32);
            let mut push = || encoder.push("pixel", first, &rows(first, n));
            if let Err(error) = push() {
                lost::<()>(Err(error));
                engine.reopen().expect("a device again");
                push().expect("pushed again");
            }
        }
        lose(3);
        let latents = encoder.finish().or_else(|error| {
            lost::<()>(Err(error));
            engine.reopen().expect("a device again");
            encoder.finish()
        });
        let latents = latents.expect("latents");
        let mut decoder = model.decoder(&sizes, &latents).expect("decoder");
        let mut decode = || decoder.decode("logits", &Queries::Range(0..1), None);
        let first = decode().expect("decoded");
        lose(4);
        let again = decode().or_else(|error| {
            lost::<()>(Err(error));
            engine.reopen().expect("a device again");
            decode()
        });
        assert!(again.expect("decoded") == first, "other bits");
        (latents.as_slice().to_vec(), first)
    };
    let expected = whole(&|_| {});
    for at in 0..5 {
        let found = whole(&|now| {
            if now == at {
                destroy(&engine);
            }
        });
        assert!(found == expected, "other bits");
    }
}

#[test]
fn what_is_recorded_for_an_apps_device_tells_that_it_is_gone() {
    let steps = |n: usize| {
        let (engine, device) = engine(false);
        let queue = engine.device().expect("a device").wgpu_queue().clone();
        let (model, _) = text_tiny(&engine);
        let mut run =
            model.prepare(&[("input_ids", &[1, 64])], RunOptions::default()).expect("run");
        let encoder = || device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut cursor = run.begin().expect("begun");
        for i in 0..=n {
            // One before that the app has made, and one after that.
            let mut made = encoder();
            if i == n {
                device.destroy();
                lost(run.step(&mut cursor, &mut made, Duration::from_micros(10)));
                let mut again = run.begin().expect("begun");
                lost(run.step(&mut again, &mut encoder(), Duration::MAX));
                lost(run.record(&mut encoder()));
                lost(run.read());
                lost(run.run());
                return;
            }
            run.step(&mut cursor, &mut made, Duration::from_micros(10)).expect("a step");
            queue.submit([made.finish()]);
            device.poll(wgpu::PollType::Poll).expect("poll");
        }
    };
    (0..4).for_each(steps);
}

#[test]
fn an_apps_device_is_the_apps_to_open() {
    let (engine, device) = engine(false);
    engine.reopen().expect("not lost");
    device.destroy();
    assert!(matches!(engine.reopen(), Err(Error::Input { .. })));
    Engine::cpu().reopen().expect("nothing to lose");
}

/// The smallest masked language model that has every kind of layer.
fn small(engine: &Engine) -> Model {
    let mut config = PerceiverConfig::new(Architecture::MaskedLm);
    (config.vocab_size, config.d_model, config.max_position_embeddings) = (300, 16, 16);
    (config.num_latents, config.d_latents) = (4, 16);
    (config.num_blocks, config.num_self_attends_per_block) = (1, 1);
    (config.qk_channels, config.v_channels) = (Some(16), Some(16));
    (config.num_cross_attention_heads, config.num_self_attention_heads) = (2, 2);
    let weights = RandomTensors::new(config.tensors().expect("tensors"), 3);
    engine.load_from(config, Arc::new(weights)).expect("model")
}

/// Has the `n`-th call of wgpu that `counts` fail as `fault` says; how many there were.
fn fail_at(
    device: &Device,
    n: u64,
    counts: fn(&str) -> bool,
    fault: impl Fn() -> Option<wgpu::Error> + Send + Sync + 'static,
) -> Arc<AtomicU64> {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    device.set_faults(move |label| {
        let hit = counts(label) && counted.fetch_add(1, Ordering::Relaxed) == n;
        if hit { fault() } else { None }
    });
    calls
}

/// Every call of wgpu that a first run or a later one makes fails once: buffers for want of memory, submissions and
/// the rest because the driver refuses, every fifth because the device is gone (the next one compiles anew). Each time
/// there is an error, and the next run is right.
#[test]
fn whatever_fails_is_an_error_and_the_next_run_is_right() {
    let (engine, _) = engine(true);
    let inputs = ids(16);
    let expected = run(&small(&engine), &inputs).expect("run");
    let memory = || Some(wgpu::Error::OutOfMemory { source: "injected".into() });
    let refused = || {
        let description = "injected".to_owned();
        Some(wgpu::Error::Internal { source: "injected".into(), description })
    };
    for later in [false, true] {
        for kind in 0..3 {
            let mut failures = 0;
            for n in (0..).step_by(if kind < 2 { 1 } else { 5 }) {
                let model = small(&engine);
                if later {
                    run(&model, &inputs).expect("run");
                }
                let device = engine.device().expect("a device");
                let gone = device.wgpu_device().clone();
                let calls = match kind {
                    0 => fail_at(&device, n, |_| true, memory),
                    1 => fail_at(&device, n, |_| true, refused),
                    _ => fail_at(
                        &device,
                        n,
                        |_| true,
                        move || {
                            gone.destroy();
                            None
                        },
                    ),
                };
                let result = run(&model, &inputs);
                device.set_faults(|_| None);
                if calls.load(Ordering::Relaxed) <= n {
                    assert!(result.expect("nothing failed") == expected, "other bits");
                    break;
                }
                failures += 1;
                match (kind, result) {
                    (0, Err(Error::OutOfMemory { .. })) | (1, Err(Error::Device { .. })) => {}
                    (2, Err(Error::DeviceLost { .. })) => engine.reopen().expect("a device again"),
                    (_, Ok(_)) => panic!("{kind} at {n}: not noticed"),
                    (_, Err(error)) => panic!("{kind} at {n}: {error}"),
                }
                assert!(run(&model, &inputs).expect("run") == expected, "other bits");
            }
            assert!(failures > if later { 1 } else { 10 }, "{failures}");
        }
    }
}

#[test]
fn a_device_that_fails_puts_no_variant_on_the_deny_list() {
    let device = common::device(ShaderChecks::Trusted).expect(common::INSTALL).with_tiles();
    let engine = Engine::on(device.clone());
    for n in 0..200 {
        let calls = fail_at(
            &device,
            n,
            |_| true,
            || Some(wgpu::Error::OutOfMemory { source: "injected".into() }),
        );
        let result = run(&small(&engine), &ids(16));
        if calls.load(Ordering::Relaxed) <= n {
            result.expect("nothing failed");
            break;
        }
        assert!(matches!(result, Err(Error::OutOfMemory { .. })), "{:?}", result.err());
    }
    assert!(device.tuning().denied.is_empty());
}
