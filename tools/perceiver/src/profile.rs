//! `perceiver profile`.

use std::path::PathBuf;

use clap::Args;
use perceiver::internals::output::write_bytes;
use perceiver::profile::{Launch, Profile, Timer};
use perceiver::{Result, RunOptions};
use serde_json::json;

use crate::models::DeviceOption;
use crate::{Outcome, bench, show};

/// Where the time of a run goes.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder or a model's name; a folder with only config.json gets random weights
    model: PathBuf,
    #[command(flatten)]
    device: DeviceOption,
    /// Items of the run
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Also every launch
    #[arg(long)]
    launches: bool,
    /// Also a Chrome trace, which ui.perfetto.dev opens
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// One JSON document instead of tables
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let engine = options.device.engine()?;
    let mut model = bench::open(&engine, &options.model, None)?;
    model.set_folded(!options.device.no_fold);
    model.set_precision(options.device.precision)?;
    model.set_memory_budget(options.device.memory.memory);
    let inputs = bench::inputs(&model, options.batch.max(1))?;
    let start = bench::start(&model, &inputs)?;
    let profile = model.profile(&inputs, RunOptions::default())?;
    if let Some(file) = &options.trace {
        write_bytes(file, profile.trace().to_string().as_bytes())?;
    }
    if options.json {
        let mut value = serde_json::to_value(&profile).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.insert("kernels".to_owned(), json!(profile.kernels()));
            map.insert("start_seconds".to_owned(), json!(start));
        }
        show::json(&value)?;
        return Ok(true);
    }
    kernels(&profile)?;
    if options.launches {
        launches(&profile.launches)?;
    }
    show::text(&format!(
        "{}: start {}, run {}, its kernels {}; at best {:.1} GFLOP/s (product) and {:.1} GB/s (copy), measured now",
        profile.device,
        show::seconds(start),
        show::seconds(profile.run_seconds),
        show::seconds(profile.kernel_seconds),
        profile.ceiling.gflop_per_second,
        profile.ceiling.gigabytes_per_second,
    ))?;
    show::text(match profile.timer {
        Timer::Timestamps => {
            "times are the device's own, with a pass for every launch: in an ordinary run launches share a pass and may overlap"
        }
        Timer::Host => {
            "the device has no timestamps: times are the host's, with a submission for every launch, which takes longer"
        }
        Timer::Cpu => "times are those of each kernel, on all threads",
    })?;
    if let Some(file) = &options.trace {
        show::text(&format!("trace: {}", file.display()))?;
    }
    Ok(true)
}

fn kernels(profile: &Profile) -> Result<()> {
    let rows = profile.kernels().into_iter().map(|k| {
        vec![
            k.kernel.to_owned(),
            k.variant,
            k.launches.to_string(),
            show::seconds(k.seconds),
            format!("{:.1} %", 100.0 * k.part),
            format!("{:.1}", k.gflop_per_second),
            format!("{:.1}", k.gigabytes_per_second),
            format!("{:.0} %", 100.0 * k.share),
        ]
    });
    let heading =
        ["kernel", "variant", "launches", "time", "of all", "GFLOP/s", "GB/s", "of the best"];
    show::table(&heading, rows.collect())
}

/// A table of every launch.
pub(crate) fn launches(launches: &[Launch]) -> Result<()> {
    let rows = launches.iter().map(|l| {
        vec![
            l.stage.to_owned(),
            l.label.clone(),
            l.kernel.to_owned(),
            l.output.clone(),
            l.parts.to_string(),
            show::seconds(l.seconds),
            format!("{:.1}", l.gflop_per_second),
            format!("{:.1}", l.gigabytes_per_second),
            format!("{:.0} %", 100.0 * l.share),
        ]
    });
    let heading =
        ["stage", "node", "kernel", "result", "parts", "time", "GFLOP/s", "GB/s", "of the best"];
    show::table(&heading, rows.collect())
}
