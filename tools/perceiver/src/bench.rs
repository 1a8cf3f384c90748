//! `perceiver bench`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use perceiver::checkpoint::Checkpoint;
use perceiver::internals::gpu::CachePlace;
use perceiver::internals::weights::RandomTensors;
use perceiver::profile::Launch;
use perceiver::stream::Queries;
use perceiver::{
    Architecture, Description, Engine, Error, Model, NamedTensors, Precision, Result, RunOptions,
    Sizes, Tensor,
};
use serde::Serialize;

use crate::{Outcome, models, profile, show};

/// Times whole models.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folders or names of models; a folder with only config.json gets random
    /// weights
    #[arg(default_values = ["text-tiny", "flow-tiny"])]
    models: Vec<PathBuf>,
    /// Devices to compare, in this order: the first is what ratios are against
    #[arg(long, default_values = ["cpu"], value_delimiter = ',')]
    device: Vec<String>,
    /// Routes to compare: folded (projections moved to the short side), plain
    #[arg(long, value_enum, default_values = ["folded"], value_delimiter = ',')]
    route: Vec<Route>,
    /// Precisions to compare: f32, f16 (on GPUs)
    #[arg(long, default_values_t = [Precision::F32], value_delimiter = ',')]
    precision: Vec<Precision>,
    /// Timed runs after the first
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Items per run
    #[arg(long, default_value_t = 1)]
    batch: usize,
    #[command(flatten)]
    memory: models::MemoryOption,
    #[command(flatten)]
    part: models::PartOption,
    /// A file of input tensors, in place of inputs of the models' usual sizes
    #[arg(long, value_name = "FILE")]
    inputs: Option<std::path::PathBuf>,
    /// Also: encode one item once, then decode every query of every output as a stream
    #[arg(long)]
    streams: bool,
    /// Also the time of every kernel launch
    #[arg(long)]
    kernels: bool,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// How cross-attention is computed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Route {
    Folded,
    Plain,
}

/// One model on one device by one route.
#[derive(Serialize)]
struct Row {
    model: String,
    device: String,
    route: Route,
    precision: Precision,
    /// Opening and checking the checkpoint.
    load_seconds: f64,
    /// Weights read, memory allocated, kernels compiled, with an empty cache on disk.
    cold_start_seconds: f64,
    /// The same with the cache that the cold start left; on a GPU only.
    warm_start_seconds: Option<f64>,
    /// First run after that.
    first_seconds: f64,
    /// Median of the later runs.
    seconds: f64,
    fastest_seconds: f64,
    gflops: f64,
    gflop_per_second: f64,
    allocated_bytes: u64,
    /// Seconds of the stages that the model has, in one run: on the CPU, on a GPU with `--kernels`.
    stages: Vec<StageSeconds>,
    /// Time over that of the first row of the model.
    ratio: f64,
    /// With `--streams`.
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<Streams>,
    /// Of that run, with `--kernels`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernels: Vec<Launch>,
}

/// A stage's part of a run.
#[derive(Serialize)]
struct StageSeconds {
    stage: &'static str,
    seconds: f64,
}

/// Encoded once, decoded whole: medians.
#[derive(Serialize)]
struct Streams {
    encode_seconds: f64,
    decode_seconds: f64,
    /// Of both.
    seconds: f64,
    /// Queries of all outputs.
    queries: usize,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let mut rows: Vec<Row> = Vec::new();
    for name in &options.models {
        let mut base = None;
        for device in &options.device {
            for &route in &options.route {
                for &precision in &options.precision {
                    // Empty, so that the first start is a cold one.
                    let cache = tempfile::tempdir()
                        .map_err(|e| Error::io("create", std::env::temp_dir(), e))?;
                    let mut row = time(device, name, (route, precision), options, cache.path())?;
                    row.ratio = row.seconds / *base.get_or_insert(row.seconds);
                    rows.push(row);
                }
            }
        }
    }
    if options.json {
        show::json(&rows)?;
        return Ok(true);
    }
    let cells = rows.iter().map(|r| {
        vec![
            r.model.clone(),
            r.device.clone(),
            match r.route {
                Route::Folded => "folded",
                Route::Plain => "plain",
            }
            .to_owned(),
            r.precision.to_string(),
            format!("{:.3} s", r.load_seconds),
            format!("{:.3} s", r.cold_start_seconds),
            r.warm_start_seconds.map_or_else(String::new, |s| format!("{s:.3} s")),
            format!("{:.3} s", r.first_seconds),
            format!("{:.3} s", r.seconds),
            format!("{:.3} s", r.fastest_seconds),
            format!("{:.2}", r.gflops),
            format!("{:.1}", r.gflop_per_second),
            show::bytes(r.allocated_bytes),
            r.stages
                .iter()
                .map(|s| format!("{} {}", s.stage, show::seconds(s.seconds)))
                .collect::<Vec<_>>()
                .join(", "),
            format!("{:.2}", r.ratio),
        ]
    });
    let heading = [
        "model",
        "device",
        "route",
        "precision",
        "load",
        "cold start",
        "warm start",
        "first run",
        "median",
        "fastest",
        "GFLOP",
        "GFLOP/s",
        "memory",
        "stages",
        "ratio",
    ];
    show::table(&heading, cells.collect())?;
    streams(&rows)?;
    for row in rows.iter().filter(|r| !r.kernels.is_empty()) {
        profile::launches(&row.kernels)?;
    }
    Ok(true)
}

/// The table of streams, if they were asked for.
fn streams(rows: &[Row]) -> Result<()> {
    let cells = rows.iter().filter_map(|r| {
        let s = r.streams.as_ref()?;
        Some(vec![
            r.model.clone(),
            r.device.clone(),
            s.queries.to_string(),
            format!("{:.3} s", s.encode_seconds),
            format!("{:.3} s", s.decode_seconds),
            format!("{:.3} s", s.seconds),
        ])
    });
    let cells: Vec<Vec<String>> = cells.collect();
    if cells.is_empty() {
        return Ok(());
    }
    let heading = ["model", "device", "queries", "encode once", "decode all", "both"];
    show::table(&heading, cells)
}

/// Encodes the first item once and decodes all its queries, once for warmth and then as often as runs
/// are timed.
fn time_streams(model: &Model, runs: usize) -> Result<Streams> {
    let inputs = inputs(model, 1)?;
    let how = RunOptions::default();
    let mut times = Vec::new();
    let mut queries = 0;
    for _ in 0..=runs {
        let start = Instant::now();
        let (sizes, latents) = model.encode(&inputs, how, &mut |_, _| {})?;
        let encode = start.elapsed().as_secs_f64();
        let mut decoder = model.decoder(&sizes, &latents[0])?;
        let outputs: Vec<(String, usize, usize)> = decoder
            .outputs()
            .into_iter()
            .map(|(name, count, channels, _)| (name.to_owned(), count, channels))
            .collect();
        // What queries bring along are rows of the input.
        let rows = match outputs.iter().any(|o| o.2 > 0) {
            true => model.input_rows(&inputs, how)?.1.into_values().next(),
            false => None,
        };
        queries = outputs.iter().map(|o| o.1).sum();
        for (output, count, channels) in outputs {
            let content = rows.as_ref().filter(|_| channels > 0);
            for chunk in decoder.stream(&output, Queries::Range(0..count), content)? {
                chunk?;
            }
        }
        let both = start.elapsed().as_secs_f64();
        times.push([encode, both - encode, both]);
    }
    // The first was for warmth.
    let median = |i: usize| {
        let mut all: Vec<f64> = times[1..].iter().map(|t| t[i]).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Ok(Streams {
        encode_seconds: median(0),
        decode_seconds: median(1),
        seconds: median(2),
        queries,
    })
}

/// An engine that keeps compiled kernels in this folder alone.
fn fresh(device: &str, cache: &Path) -> Result<Engine> {
    let engine = Engine::named(device)?;
    engine.set_cache(&CachePlace::Folder(cache.to_owned()));
    Ok(engine)
}

/// A model, with random weights if its folder has none.
pub(crate) fn open(engine: &Engine, name: &Path, part: Option<&str>) -> Result<Model> {
    let folder = models::part(name, part)?;
    if folder.is_file() || part.is_some() || Checkpoint::has_weights(&folder) {
        return engine.load_part(&folder, part);
    }
    let description = Description::read(&folder)?;
    let weights = RandomTensors::new(description.tensors()?, 1);
    engine.load_description(description, Arc::new(weights))
}

/// Seconds until a model is ready to run: weights read, memory allocated, kernels compiled.
pub(crate) fn start(model: &Model, inputs: &NamedTensors) -> Result<f64> {
    let bar = show::Bar::new("starting");
    let start = Instant::now();
    model.warmup(inputs, RunOptions::default(), &mut bar.progress())?;
    Ok(start.elapsed().as_secs_f64())
}

fn time(
    device: &str,
    name: &Path,
    (route, precision): (Route, Precision),
    options: &Options,
    cache: &Path,
) -> Result<Row> {
    let engine = &fresh(device, cache)?;
    let mut start_time = Instant::now();
    let prepared = |engine: &Engine| {
        let mut model = open(engine, name, options.part.part.as_deref())?;
        model.set_folded(route == Route::Folded);
        model.set_precision(precision)?;
        model.set_memory_budget(options.memory.budget());
        Ok::<_, perceiver::Error>(model)
    };
    let mut model = prepared(engine)?;
    let mut load_seconds = start_time.elapsed().as_secs_f64();
    let inputs = match &options.inputs {
        Some(path) => perceiver::checkpoint::read_tensors(path)?,
        None => inputs(&model, options.batch.max(1))?,
    };
    let cold_seconds = start(&model, &inputs)?;
    // Once more, with what a cache on disk may have kept.
    let mut warm_seconds = None;
    let again;
    let mut engine = engine;
    if engine.device().is_some() {
        drop(model);
        again = fresh(device, cache)?;
        engine = &again;
        start_time = Instant::now();
        model = prepared(engine)?;
        load_seconds = load_seconds.min(start_time.elapsed().as_secs_f64());
        warm_seconds = Some(start(&model, &inputs)?);
    }
    let bar = show::Bar::new("timing");
    let run = || {
        let start = Instant::now();
        model.run_with(&inputs, RunOptions::default(), &mut bar.progress())?;
        Ok::<_, perceiver::Error>(start.elapsed().as_secs_f64())
    };
    let first_seconds = run()?;
    let mut times = Vec::new();
    for _ in 0..options.runs.max(1) {
        times.push(run()?);
    }
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    // What a run computes: load-time work is done. Sessions run some items at a time.
    let report = model.last_report();
    let once: u64 = report.iter().flat_map(|r| &r.stages).map(|s| s.flops - s.flops_once).sum();
    let planned = report.as_ref().map_or(1, |r| r.batch.max(1));
    let gflops = once as f64 / 1e9 * options.batch.max(1) as f64 / planned as f64;
    let allocated_bytes = model.allocated_bytes();
    let (mut stages, mut kernels) = (Vec::new(), Vec::new());
    if options.kernels || engine.device().is_none() {
        let profile = model.profile(&inputs, RunOptions::default())?;
        let each = profile.stages().into_iter();
        stages.extend(each.map(|(stage, seconds)| StageSeconds { stage, seconds }));
        if options.kernels {
            kernels = profile.launches;
        }
    }
    Ok(Row {
        model: show::path(name),
        device: engine.device_name().to_owned(),
        route,
        precision,
        load_seconds,
        cold_start_seconds: cold_seconds,
        warm_start_seconds: warm_seconds,
        first_seconds,
        seconds,
        fastest_seconds: times[0],
        gflops,
        gflop_per_second: gflops / seconds,
        allocated_bytes,
        stages,
        ratio: 1.0,
        streams: match options.streams {
            true => Some(time_streams(&model, options.runs.max(1))?),
            false => None,
        },
        kernels,
    })
}

/// Inputs of the model's full size: what is in them does not change the time.
pub(crate) fn inputs(model: &Model, batch: usize) -> Result<NamedTensors> {
    let config = match model.description() {
        Description::Blueprint(blueprint) => return blueprint.sample_inputs(batch, 1),
        other => other.config()?,
    };
    let noise = |shape: Vec<usize>| {
        let elements = shape.iter().product();
        let data = (0..elements).map(|i: usize| ((i * 7919 % 255) as f32) / 127.5 - 1.0);
        Tensor::f32(shape, data.collect())
    };
    let whole = |shape: Vec<usize>, below: usize| {
        let elements = shape.iter().product();
        let data = (0..elements).map(|i: usize| (i * 7919 % below) as i64);
        Tensor::i64(shape, data.collect())
    };
    let sizes = Sizes::usual(config);
    let list = match config.architecture {
        Architecture::MaskedLm | Architecture::SequenceClassification => {
            vec![("input_ids", whole(vec![batch, sizes.length], config.vocab_size)?)]
        }
        Architecture::OpticalFlow => {
            let [height, width] = config.train_size;
            vec![("patches", noise(vec![batch, 2, 27, height, width])?)]
        }
        Architecture::Multimodal => {
            let [_, frames, height, width] = config.output_shape;
            let samples = config.num_frames * config.audio_samples_per_frame;
            let [audio, image] = sizes.points;
            vec![
                ("image", noise(vec![batch, frames, 3, height, width])?),
                ("audio", noise(vec![batch, samples, 1])?),
                ("points.image", whole(vec![image], frames * height * width)?),
                ("points.audio", whole(vec![audio], config.audio_patches())?),
            ]
        }
        _ => {
            let [height, width] = sizes.image;
            vec![("pixel_values", noise(vec![batch, 3, height, width])?)]
        }
    };
    Ok(list.into_iter().map(|(n, t)| (n.to_owned(), t)).collect())
}
