//! What surrounds runs on a device: compiled kernels on disk, warm-up, tuned choices, wrong variants,
//! profiles.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use perceiver::internals::gpu::{CachePlace, Device, ShaderChecks, TunedChoice, Tuning, bucket};
use perceiver::internals::kernels::Op;
use perceiver::internals::kernels::gemm::Gemm;
use perceiver::internals::kernels::layer_norm::LayerNorm;
use perceiver::internals::kernels::{self, Variant};
use perceiver::internals::measure::tune;
use perceiver::internals::weights::RandomTensors;
use perceiver::profile::Timer;
use perceiver::tune::TuneOptions;
use perceiver::{Architecture, Engine, Model, NamedTensors, PerceiverConfig, RunOptions, Tensor};

use crate::common;

fn device() -> Device {
    common::device(ShaderChecks::Trusted).expect(common::INSTALL)
}

fn cached(folder: &Path) -> Device {
    let device = device();
    device.set_cache(&CachePlace::Folder(folder.to_owned()));
    device
}

fn small(engine: &Engine) -> Model {
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
    let weights = RandomTensors::new(config.tensors().expect("tensors"), 3);
    engine.load_from(config, Arc::new(weights)).expect("model")
}

fn ids() -> NamedTensors {
    let ids = (0..40).map(|i| i % 262).collect();
    let ids = Tensor::i64(vec![1, 40], ids).expect("ids");
    NamedTensors::from([("input_ids".to_owned(), ids)])
}

fn logits(model: &Model) -> Vec<f32> {
    let run = model.run(&ids(), &mut |_, _| {}).expect("run");
    run["logits"].as_f32().expect("floats").to_vec()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let pairs = found.iter().zip(expected);
    let difference: f64 = pairs.map(|(f, e)| square(f - e)).sum();
    let norm: f64 = expected.iter().map(|e| square(*e)).sum();
    let error = (difference / norm).sqrt();
    assert!(error < 1e-5, "{error}");
}

/// The variants of a device that are not made for it, tiled ones on software adapters, take long to
/// compile there; tests that tune deny them first.
fn deny_slow_ones(device: &Device) {
    let mut tuning = device.tuning();
    for v in kernels::variants() {
        if v.software != device.traits().software && v.kernel != "layer_norm" {
            tuning.denied.push(perceiver::internals::gpu::Denied {
                kernel: v.kernel.to_owned(),
                variant: v.title(),
                why: "slow to compile".to_owned(),
            });
        }
    }
    // What has no other variant must stay.
    tuning.denied.retain(|d| {
        let mut others = kernels::variants().into_iter();
        others.any(|v| v.kernel == d.kernel && v.software == device.traits().software)
    });
    device.apply_tuning(&tuning).expect("applied");
}

#[test]
fn compiled_kernels_are_kept_and_damage_is_no_harm() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = {
        let device = cached(folder.path());
        let features = device.wgpu_device().features();
        if !features.contains(wgpu::Features::PIPELINE_CACHE) {
            let kind = device.kind().name();
            assert_ne!(kind, "software", "llvmpipe has a cache");
            return;
        }
        logits(&small(&Engine::on(device)))
    };
    let files = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder.path()).expect("the folder");
        entries.map(|e| e.expect("an entry").path()).collect()
    };
    assert_eq!(files().len(), 1, "one file, no temporary one: {:?}", files());
    let whole = std::fs::read(&files()[0]).expect("read");
    // How much the driver keeps there is its own business: llvmpipe, which has a cache of its own, little.
    assert!(whole.len() > 24);
    // With it, and with what is left of it.
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for content in [whole.clone(), whole[..100].to_vec(), Vec::new(), flipped] {
        std::fs::write(&files()[0], content).expect("written");
        let engine = Engine::on(cached(folder.path()));
        assert_eq!(logits(&small(&engine)), first);
    }
    // What was damaged has been replaced.
    let again = std::fs::read(&files()[0]).expect("read");
    assert_eq!(again[..8], whole[..8]);
}

/// An app that keeps no files keeps compiled pipelines as bytes.
#[test]
#[allow(unsafe_code, reason = "the bytes are what the engine gave")]
fn pipelines_go_through_bytes() {
    let apply = |engine: &Engine, bytes: &[u8]| {
        // SAFETY: what `pipelines` gave, none, or what the checksum finds.
        unsafe { engine.apply_pipelines(bytes) }
    };
    let engine = Engine::on(device());
    assert_eq!(engine.pipelines(), None, "nothing was to be kept");
    apply(&engine, &[]).expect("none yet");
    let first = logits(&small(&engine));
    let kept = engine.pipelines().expect("llvmpipe has a cache");
    assert!(kept.len() > 24);

    let engine = Engine::on(device());
    for damaged in [kept[..kept.len() - 1].to_vec(), vec![0; 40]] {
        let error = apply(&engine, &damaged).expect_err("damaged").to_string();
        assert!(error.contains("`compiled pipelines`: are damaged"), "{error}");
    }
    apply(&engine, &kept).expect("whole");
    assert_eq!(logits(&small(&engine)), first);
    assert_eq!(engine.pipelines().expect("kept")[..8], kept[..8]);

    let cpu = Engine::cpu();
    apply(&cpu, &kept).expect("nothing to do");
    assert_eq!(cpu.pipelines(), None);
}

#[test]
fn warming_up_makes_the_session_that_runs() {
    let model = small(&Engine::on(device()));
    let mut heard = Vec::new();
    let options = RunOptions::default();
    model.warmup(&ids(), options, &mut |done, total| heard.push((done, total))).expect("warm-up");
    assert!(heard.len() > 20, "{heard:?}");
    assert!(heard.iter().all(|(done, total)| done <= total));
    assert!(heard.windows(2).all(|w| w[0].0 <= w[1].0 || w[1] == (1, 1)));
    let allocated = model.allocated_bytes();
    assert!(allocated > 0);
    // A second time there is nothing to do.
    let mut calls = 0;
    model.warmup(&ids(), options, &mut |_, _| calls += 1).expect("warm-up");
    assert_eq!(calls, 1);
    logits(&model);
    assert_eq!(model.allocated_bytes(), allocated);
}

#[test]
fn tuned_choices_are_right_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = cached(folder.path());
    deny_slow_ones(&device);
    let model = small(&Engine::on(device.clone()));
    let before = logits(&model);
    let options = TuneOptions {
        // As long as it takes.
        time: Duration::MAX,
    };
    let mut last = (0, 0);
    let report = model
        .tune(&ids(), RunOptions::default(), &options, &mut |d, t| {
            last = (d, t);
        })
        .expect("tuned");
    assert!(last.0 == last.1 && last.1 > 0, "{last:?}");
    assert!(!report.shapes.is_empty());
    for shape in &report.shapes {
        assert!(shape.tried.len() > 1, "{shape:?}");
        assert!(shape.tried.iter().all(|t| t.seconds.is_some()), "{shape:?}");
        assert!(shape.gain() >= 1.0);
    }
    assert_near(&logits(&model), &before);
    // No time at all: everything keeps its heuristic.
    let none = TuneOptions { time: Duration::ZERO };
    let op = Op::LayerNorm(LayerNorm::new(1, 100_000));
    let nothing = tune(&device, [op], &none, &mut |_, _| {}).expect("tuned");
    assert!(nothing.shapes.is_empty() || nothing.shapes[0].tried.len() > 1);

    // The file decides on the next device: here for the other variant of layer norm, which the model
    // has inside its products.
    let op = Op::LayerNorm(LayerNorm::new(9, 24));
    tune(&device, [op], &options, &mut |_, _| {}).expect("tuned");
    let usual = self::device().variant_for(&op).expect("a variant");
    let other = kernels::variants()
        .into_iter()
        .find(|v| v.kernel == "layer_norm" && v.name != usual.name)
        .expect("two variants");
    let tuning = device.tuning();
    let file = folder.path().join(tuning.file_name());
    let mut changed = Tuning::load(&file).expect("kept");
    assert_eq!(changed, tuning);
    let found = changed.choices.iter_mut();
    let of_op = bucket(&op).expect("a bucket");
    let mut found = found.filter(|c| c.kernel == "layer_norm" && c.bucket == of_op);
    found.next().expect("tuned").variant = other.name.to_owned();
    changed.save(&file).expect("saved");
    let chosen = |device: &Device| device.variant_for(&op).expect("a variant").name;
    assert_eq!(chosen(&cached(folder.path())), other.name);
    let again = small(&Engine::on(cached(folder.path())));
    assert_near(&logits(&again), &before);

    // One for another driver, and one that is damaged, are ignored.
    let mut stale = changed.clone();
    stale.driver = "another".to_owned();
    stale.save(&file).expect("saved");
    assert_eq!(chosen(&cached(folder.path())), usual.name);
    assert!(device.apply_tuning(&stale).is_err());
    std::fs::write(&file, b"{\"version\": 1, ").expect("written");
    assert_eq!(chosen(&cached(folder.path())), usual.name);
}

#[test]
fn a_tile_of_a_space_is_chosen_where_it_is_right() {
    let device = common::device_within(ShaderChecks::Trusted, 1000).expect("a device");
    let op = Op::Gemm(Gemm { bias: true, ..Gemm::new(70, 50, 90) });
    let usual = device.variant_for(&op).expect("a variant");
    let mut tuning = device.tuning();
    let choice = |variant: &str| TunedChoice {
        kernel: "gemm".to_owned(),
        bucket: bucket(&op).expect("a bucket"),
        variant: variant.to_owned(),
    };
    tuning.choices = vec![choice("tile-8.8.4.1.4.2")];
    device.apply_tuning(&tuning).expect("for this device");
    let chosen = device.variant_for(&op).expect("a variant");
    // Later software adapters run no tiles.
    let expected = if device.traits().tiles { "tile-8.8.4.1.4.2" } else { usual.name };
    assert_eq!(chosen.name, expected);
    tuning.choices = vec![choice("tile-8.8.5.1.4.2")];
    device.apply_tuning(&tuning).expect("for this device");
    assert_eq!(device.variant_for(&op).expect("a variant"), usual);
}

#[test]
fn a_wrong_variant_is_denied_and_another_takes_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = cached(folder.path());
    let expected = logits(&small(&Engine::on(self::device())));
    let lane = kernels::variants()
        .into_iter()
        .find(|v| v.kernel == "layer_norm" && v.entry == "lane")
        .expect("the variant with an invocation per row");
    // Half the invocations that its dispatch counts on: half the rows are never written.
    let wrong = Variant { name: "half", constants: &[("LANES", 4)], invocations: 4, ..lane };
    device.offer(wrong);
    // A LayerNorm by itself: those of models are part of the products that follow.
    let op = Op::LayerNorm(LayerNorm::new(9, 24));
    assert_ne!(device.variant_for(&op).expect("a variant").name, "half");
    let model = small(&Engine::on(device.clone()));
    assert_eq!(logits(&model), expected);
    let tuning = device.tuning();
    assert!(tuning.denies("layer_norm", "half"), "{tuning:?}");
    let why = &tuning.denied[0].why;
    assert!(why.contains("error"), "{why}");
    // The deny list is kept, and obeyed without another check.
    let kept = Tuning::load(folder.path().join(tuning.file_name())).expect("kept");
    assert_eq!(kept.denied, tuning.denied);
    let next = cached(folder.path());
    next.offer(wrong);
    assert!(next.candidates(&op).iter().all(|v| v.name != "half"));
    // One that is right passes its check and is used.
    let right = Variant { name: "same", ..lane };
    next.offer(right);
    assert_eq!(next.variant_for(&op).expect("a variant").name, "same");
}

#[test]
fn profiles_account_for_every_launch() {
    for engine in [Engine::cpu(), Engine::on(device())] {
        let model = small(&engine);
        let profile = model.profile(&ids(), RunOptions::default()).expect("profile");
        let report = model.last_report().expect("a session");
        let on_gpu = engine.device().is_some();
        assert_eq!(profile.timer == Timer::Cpu, !on_gpu);
        let planned = report.nodes.iter().filter(|n| !n.once);
        assert_eq!(profile.launches.len(), planned.clone().count(), "on {}", profile.device);
        for (launch, node) in profile.launches.iter().zip(planned) {
            assert_eq!(launch.label, node.label);
            assert!(launch.seconds >= 0.0 && launch.seconds.is_finite(), "{launch:?}");
            assert!(launch.share.is_finite());
        }
        assert!(profile.kernel_seconds > 0.0);
        assert!(profile.ceiling.gflop_per_second > 0.0);
        assert!(profile.ceiling.gigabytes_per_second > 0.0);
        let kernels = profile.kernels();
        let parts: f64 = kernels.iter().map(|k| k.part).sum();
        assert!((parts - 1.0).abs() < 1e-9, "{parts}");
        let launches: usize = kernels.iter().map(|k| k.launches).sum();
        assert_eq!(launches, profile.launches.len());
        // The trace: complete events with times that are not negative, lanes named.
        let trace = profile.trace();
        let events = trace["traceEvents"].as_array().expect("events");
        let lanes: Vec<_> = events.iter().filter(|e| e["ph"] == "M").collect();
        assert_eq!(lanes.len(), if on_gpu { 2 } else { 1 });
        let spans: Vec<_> = events.iter().filter(|e| e["ph"] == "X").collect();
        assert_eq!(spans.len(), profile.launches.len() + profile.host.len());
        for span in spans {
            assert!(span["ts"].as_f64().is_some_and(|t| t >= -1.0), "{span}");
            assert!(span["dur"].as_f64().is_some_and(|t| t >= 0.0), "{span}");
        }
    }
}
