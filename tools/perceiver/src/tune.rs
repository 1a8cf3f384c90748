//! `perceiver tune`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use perceiver::tune::{TuneOptions, TuneReport};
use perceiver::{Error, Result, RunOptions};

use crate::models::DeviceOption;
use crate::{Outcome, bench, show};

/// Finds the fastest variants of the kernels.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folders or names of models, on whose shapes to tune; a folder with only config.json
    /// is enough
    #[arg(default_values = ["text-tiny", "flow-tiny"])]
    models: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceOption,
    /// Seconds to look, for each model
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Items of a run
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Also writes what was found to a file, which an app can ship
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let time = Duration::try_from_secs_f64(options.seconds).map_err(|_| {
        let found = format!("is {}", options.seconds);
        Error::input("seconds", found, "a time that is not negative")
    })?;
    let engine = options.device.engine()?;
    let mut reports: Vec<TuneReport> = Vec::new();
    for name in &options.models {
        let mut model = bench::open(&engine, name, None)?;
        model.set_folded(!options.device.no_fold);
        model.set_precision(options.device.precision)?;
        model.set_memory_budget(options.device.memory.budget());
        let inputs = bench::inputs(&model, options.batch.max(1))?;
        let bar = show::Bar::new("tuning");
        reports.push(model.tune(
            &inputs,
            RunOptions::default(),
            &TuneOptions { time },
            &mut bar.progress(),
        )?);
    }
    if let (Some(file), Some(device)) = (&options.output, engine.device()) {
        device.tuning().save(file)?;
    }
    if options.json {
        show::json(&reports)?;
        return Ok(true);
    }
    for (name, report) in options.models.iter().zip(&reports) {
        shapes(report)?;
        let left = match report.left {
            0 => String::new(),
            n => format!("; no time for {n} more, which keep their heuristics"),
        };
        show::text(&format!(
            "{} on {}: {} ranges of shapes{left}",
            name.display(),
            report.device,
            report.shapes.len()
        ))?;
    }
    if let Some(report) = reports.last() {
        show::denied(&report.denied)?;
    }
    Ok(true)
}

fn shapes(report: &TuneReport) -> Result<()> {
    let rows = report.shapes.iter().map(|s| {
        let tried = s.tried.iter().map(|t| {
            let time = t.seconds.map_or("wrong".to_owned(), show::seconds);
            format!("{} {time}", t.variant)
        });
        vec![
            s.kernel.clone(),
            s.bucket.clone(),
            s.launches.to_string(),
            s.before.clone(),
            s.variant.clone(),
            format!("{:.2}×", s.gain()),
            tried.collect::<Vec<_>>().join(", "),
        ]
    });
    let heading = ["kernel", "shapes up to", "launches", "before", "now", "faster", "tried"];
    show::table(&heading, rows.collect())
}
