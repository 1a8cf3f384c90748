//! `perceiver bench`.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use perceiver::perceiver::parameters::RandomTensors;
use perceiver::{
    Architecture, Engine, Model, NamedTensors, PerceiverConfig, Result, RunOptions, Tensor,
};
use serde::Serialize;

use crate::{Outcome, models, show};

/// Times whole models.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folders or names of models; a folder with only config.json gets random
    /// weights
    #[arg(default_values = ["text-tiny", "flow-tiny"])]
    models: Vec<String>,
    /// Devices to compare, in this order: the first is what ratios are against
    #[arg(long, default_values = ["cpu"], value_delimiter = ',')]
    device: Vec<String>,
    /// Timed runs after the first
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Items per run
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// One model on one device.
#[derive(Serialize)]
struct Row {
    model: String,
    device: String,
    /// Opening and checking the checkpoint.
    load_seconds: f64,
    /// First run: weights read, memory allocated, shaders compiled.
    first_seconds: f64,
    /// Median of the later runs.
    seconds: f64,
    fastest_seconds: f64,
    gflops: f64,
    gflop_per_second: f64,
    allocated_bytes: u64,
    /// Time over that of the first device.
    ratio: f64,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let mut rows: Vec<Row> = Vec::new();
    for name in &options.models {
        let mut base = None;
        for device in &options.device {
            let engine = Engine::named(device)?;
            let mut row = time(&engine, name, options)?;
            row.ratio = row.seconds / *base.get_or_insert(row.seconds);
            rows.push(row);
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
            format!("{:.3} s", r.load_seconds),
            format!("{:.3} s", r.first_seconds),
            format!("{:.3} s", r.seconds),
            format!("{:.3} s", r.fastest_seconds),
            format!("{:.2}", r.gflops),
            format!("{:.1}", r.gflop_per_second),
            show::bytes(r.allocated_bytes),
            format!("{:.2}", r.ratio),
        ]
    });
    let heading = [
        "model",
        "device",
        "load",
        "first run",
        "median",
        "fastest",
        "GFLOP",
        "GFLOP/s",
        "memory",
        "ratio",
    ];
    show::table(&heading, cells.collect())?;
    Ok(true)
}

fn time(engine: &Engine, name: &str, options: &Options) -> Result<Row> {
    let folder = models::folder(name)?;
    let start = Instant::now();
    let has_weights = ["model.safetensors", "model.safetensors.index.json"]
        .iter()
        .any(|file| folder.join(file).exists());
    let model = if has_weights {
        engine.load(&folder)?
    } else {
        let config = PerceiverConfig::read(&folder)?;
        let weights = RandomTensors::new(Model::tensors(&config)?, 1);
        engine.load_from(config, Arc::new(weights))?
    };
    let load_seconds = start.elapsed().as_secs_f64();
    let inputs = inputs(model.config(), options.batch.max(1))?;
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
    let once: u64 = report
        .iter()
        .flat_map(|r| &r.stages)
        .map(|s| s.flops - s.flops_once)
        .sum();
    let planned = report.as_ref().map_or(1, |r| r.batch.max(1));
    let gflops = once as f64 / 1e9 * options.batch.max(1) as f64 / planned as f64;
    Ok(Row {
        model: name.to_owned(),
        device: engine.device_name().to_owned(),
        load_seconds,
        first_seconds,
        seconds,
        fastest_seconds: times[0],
        gflops,
        gflop_per_second: gflops / seconds,
        allocated_bytes: model.allocated_bytes(),
        ratio: 1.0,
    })
}

/// Inputs of the model's full size: what is in them does not change the time.
fn inputs(config: &PerceiverConfig, batch: usize) -> Result<NamedTensors> {
    Ok(match config.architecture {
        Architecture::MaskedLm => {
            let length = config.max_position_embeddings;
            let ids = (0..batch * length)
                .map(|i| (i * 7919 % config.vocab_size) as i64)
                .collect();
            NamedTensors::from([(
                "input_ids".to_owned(),
                Tensor::i64(vec![batch, length], ids)?,
            )])
        }
        Architecture::OpticalFlow => {
            let [height, width] = config.train_size;
            let shape = vec![batch, 2, 27, height, width];
            let data = (0..batch * 54 * height * width)
                .map(|i| ((i * 7919 % 255) as f32) / 127.5 - 1.0)
                .collect();
            NamedTensors::from([("patches".to_owned(), Tensor::f32(shape, data)?)])
        }
        other => {
            return Err(perceiver::Error::Input {
                name: "model".to_owned(),
                what: format!("{} has no benchmark", other.name()),
                expected: "a masked language model or optical flow".to_owned(),
            });
        }
    })
}
