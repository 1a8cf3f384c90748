//! A day's work of a server in as long as you give it: models loaded again and again, inputs of many shapes, threads
//! side by side, streams, devices opened, lost and opened again. Prints what the process holds, and fails where that
//! grows.
//!
//! `cargo run --release --example soak -- [SECONDS] [DEVICE]`, `cpu` as device for the CPU executor alone. On llvmpipe, whose
//! compiler works in threads that come and go, glibc keeps what they free in arenas of their own, and what is resident grows
//! for the first half hour though nothing more is in use: `MALLOC_ARENA_MAX=1` in the environment keeps that from the figures.

use std::time::{Duration, Instant};

use perceiver::stream::Queries;
use perceiver::{
    Architecture, Engine, Error, Model, NamedTensors, PerceiverConfig, RandomTensors, Result,
    Sizes, Tensor,
};

/// Rounds between lines of the report.
const ROUNDS: u64 = 20;
/// Lines before memory counts as settled: allocators and drivers keep what they have had.
const SETTLING: usize = 10;
/// How much more may be resident at the end than when it had settled.
const GROWTH: f64 = 1.1;

/// What the process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    resident_kib: u64,
    descriptors: usize,
    threads: u64,
    gpu_objects: isize,
    model_bytes: u64,
}

impl Held {
    fn now(engine: &Engine, model: &Model) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let objects = engine.device().map_or(0, |device| {
            let hal = device.wgpu_device().get_internal_counters().hal;
            let counters = [
                &hal.buffers,
                &hal.bind_groups,
                &hal.bind_group_layouts,
                &hal.pipeline_layouts,
                &hal.compute_pipelines,
                &hal.shader_modules,
            ];
            // Not encoders of commands, of which wgpu keeps as many as were in flight at once.
            counters.into_iter().map(|counter| counter.read()).sum()
        });
        Held {
            resident_kib: of("VmRSS:"),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            threads: of("Threads:"),
            gpu_objects: objects,
            model_bytes: model.allocated_bytes(),
        }
    }
}

fn ids(length: usize, first: usize) -> Result<NamedTensors> {
    let ids = (0..length).map(|i| (10 + (first + i) % 200) as i64).collect();
    Ok(NamedTensors::from([("input_ids".to_owned(), Tensor::i64(vec![1, length], ids)?)]))
}

fn run(model: &Model, inputs: &NamedTensors) -> Result<Tensor> {
    model.run(inputs, &mut |_, _| {})?.remove("logits").ok_or(Error::Cancelled)
}

/// A picture in pieces, and queries of its latents.
fn stream(model: &Model, round: u64) -> Result<Tensor> {
    let sizes = Sizes { image: [8, 8], ..Sizes::default() };
    let mut encoder = model.encoder(&sizes)?;
    let piece = 8 + (round as usize % 5) * 8;
    for first in (0..64).step_by(piece) {
        let rows = piece.min(64 - first);
        let data = (0..3 * rows).map(|i| ((3 * first + i) % 7) as f32 / 7.0).collect();
        encoder.push("pixel", first, &Tensor::f32(vec![rows, 3], data)?)?;
    }
    let latents = encoder.finish()?;
    model.decoder(&sizes, &latents)?.decode("logits", &Queries::Range(0..1), None)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(60);
    let device = arguments.next().unwrap_or_else(|| "gpu".to_owned());
    let engine = Engine::named(&device)?;
    let on_gpu = engine.device().is_some();
    let mut config = PerceiverConfig::new(Architecture::ImageFourier);
    (config.num_latents, config.d_latents, config.num_self_attends_per_block) = (4, 16, 1);
    config.num_cross_attention_heads = 1;
    let weights = RandomTensors::new(config.tensors()?, 1);
    let streamed = engine.load_from(config, std::sync::Arc::new(weights))?;
    let kept = engine.load("models/text-tiny")?;
    let expected = run(&kept, &ids(64, 0)?)?;

    println!(
        "{:>8} {:>8} {:>8} {:>12} {:>5} {:>8} {:>8} {:>12}",
        "seconds", "rounds", "runs", "resident KiB", "fds", "threads", "objects", "model bytes"
    );
    let (begin, until) = (Instant::now(), Duration::from_secs(seconds));
    let (mut round, mut runs, mut reopened) = (0u64, 0u64, 0u64);
    let mut lines: Vec<Held> = Vec::new();
    while begin.elapsed() < until {
        round += 1;
        // Loaded again, beside the one that is kept and by itself.
        let alone = Engine::cpu().load("models/text-tiny")?;
        run(&alone, &ids(16, round as usize)?)?;
        let again = engine.load("models/text-tiny")?;
        // Shapes that come once and go.
        for i in 0..6 {
            run(&again, &ids(1 + (round as usize * 37 + i * 101) % 256, i)?)?;
        }
        std::thread::scope(|scope| {
            let threads = (0..4).map(|i| {
                let model = &kept;
                scope.spawn(move || (0..2).try_for_each(|_| run(model, &ids(64, i)?).map(|_| ())))
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().try_for_each(|t| t.join().unwrap_or(Err(Error::Cancelled)))
        })?;
        stream(&streamed, round)?;
        // What is refused leaves nothing behind.
        assert!(run(&kept, &ids(100_000, 0)?).is_err());
        runs += 18;
        if on_gpu && round.is_multiple_of(5) {
            let other = Engine::named(&device)?;
            run(&other.load("models/text-tiny")?, &ids(64, 0)?)?;
            runs += 1;
        }
        if let Some(lost) = engine.device().filter(|_| round.is_multiple_of(10)) {
            lost.wgpu_device().destroy();
            drop(lost);
            assert!(matches!(run(&kept, &ids(64, 0)?), Err(Error::DeviceLost { .. })));
            engine.reopen()?;
            reopened += 1;
        }
        // The same objects are there at the end of every report's round.
        run(&kept, &ids(32, 0)?)?;
        assert!(run(&kept, &ids(64, 0)?)? == expected, "other bits");
        if round.is_multiple_of(ROUNDS) {
            stream(&streamed, 0)?;
            drop((alone, again));
            let held = Held::now(&engine, &kept);
            println!(
                "{:>8} {round:>8} {runs:>8} {:>12} {:>5} {:>8} {:>8} {:>12}",
                begin.elapsed().as_secs(),
                held.resident_kib,
                held.descriptors,
                held.threads,
                held.gpu_objects,
                held.model_bytes
            );
            lines.push(held);
        }
    }
    let (Some(settled), Some(last)) = (lines.get(SETTLING), lines.last()) else {
        println!("too short to tell: {} lines", lines.len());
        return Ok(());
    };
    // A line may fall into the middle of what a driver's threads do: the least of some tells.
    let least = |lines: &[Held]| lines.iter().map(|held| held.resident_kib).min().unwrap_or(0);
    let first = least(&lines[SETTLING..lines.len().min(2 * SETTLING)]);
    let growth = least(&lines[lines.len() - SETTLING..]) as f64 / first.max(1) as f64;
    println!(
        "{runs} runs, {reopened} devices lost; resident memory {:+.1} % since lines {} and after, the least of {SETTLING} lines",
        100.0 * (growth - 1.0),
        SETTLING + 1
    );
    let steady = growth <= GROWTH
        && last.descriptors <= settled.descriptors
        && last.gpu_objects <= settled.gpu_objects
        && last.model_bytes == settled.model_bytes;
    assert!(steady, "it grows: {settled:?}, then {last:?}");
    Ok(())
}
