//! `perceiver check`.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::ProgressBar;
use perceiver::internals::gpu;
use perceiver::internals::gpu::{Device, ShaderChecks};
use perceiver::internals::kernels::{self, Outcome as Row, Problem};
use perceiver::{Engine, Precision};
use serde_json::json;

use crate::models::DeviceOption;
use crate::{Outcome, show};

/// Checks kernels.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    device: DeviceOption,
    /// Only this kernel
    #[arg(long)]
    kernel: Option<String>,
    /// Seed of the random operands [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// With run-time checks in the shaders
    #[arg(long)]
    checked: bool,
    /// Only what failed
    #[arg(long)]
    failures: bool,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let engine = options.device.engine()?;
    let device = match engine.device() {
        Some(device) if options.checked => Some(reopen(&device)?),
        other => other,
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = options.seed.unwrap_or_else(|| clock.map_or(1, |t| t.as_nanos() as u64));
    let mut table = kernels::table();
    if let Some(kernel) = &options.kernel {
        table.retain(|row| row.op.kernel() == kernel);
        if table.is_empty() {
            return Err(perceiver::Error::Input {
                name: "kernel".to_owned(),
                what: format!("`{kernel}` has no rows"),
                expected: format!("one of {:?}", kernels::NAMES),
            });
        }
    }
    if options.device.precision == Precision::F16 {
        // Rows with arrays of f16, which only a GPU has.
        if device.is_none() {
            return Err(perceiver::Error::Input {
                name: "precision".to_owned(),
                what: "is f16, which the CPU executor does not store numbers in".to_owned(),
                expected: "f32, or a GPU (--device gpu)".to_owned(),
            });
        }
        table.retain(kernels::Row::has_f16);
    }
    let bar = ProgressBar::new(table.len() as u64);
    let mut results: Vec<Row> = Vec::new();
    for (i, row) in table.iter().enumerate() {
        let problem = Problem::new(row, seed.wrapping_add(i as u64));
        match &device {
            None => results.push(problem.on_cpu()),
            Some(device) => {
                let variants = row.op.candidates(device.traits());
                results.extend(variants.into_iter().map(|v| gpu::try_variant(&problem, device, v)));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let failed = results.iter().filter(|r| !r.passed).count();
    let denied = engine.device().map(|d| d.tuning().denied).unwrap_or_default();
    if options.json {
        show::json(&json!({
            "device": engine.device_name(),
            "seed": seed,
            "rows": results.len(),
            "failed": failed,
            "denied": denied,
            "results": results,
        }))?;
        return Ok(failed == 0);
    }
    let shown = results.iter().filter(|r| !options.failures || !r.passed);
    let heading = ["kernel", "shape", "variant", "error", "allowed", "worst element", ""];
    show::table(&heading, shown.map(cells).collect())?;
    show::text(&format!(
        "{} of {} passed on {} (seed {seed})",
        results.len() - failed,
        results.len(),
        engine.device_name()
    ))?;
    show::denied(&denied)?;
    Ok(failed == 0)
}

fn cells(row: &Row) -> Vec<String> {
    let worst = match (&row.failure, &row.worst) {
        (Some(why), _) => why.clone(),
        (None, Some(w)) => {
            let [item, line, column] = w.at;
            format!(
                "result {} [{item}, {line}, {column}]: {:.7} for {:.7}",
                w.output, w.found, w.expected
            )
        }
        (None, None) => "exact".to_owned(),
    };
    vec![
        row.kernel.to_owned(),
        row.shape.clone(),
        row.variant.clone(),
        format!("{:.1e}", row.error),
        format!("{:.1e}", row.tolerance),
        worst,
        if row.passed { "pass" } else { "FAIL" }.to_owned(),
    ]
}

/// The same adapter once more, with checks in its shaders.
fn reopen(device: &Device) -> perceiver::Result<Device> {
    let all = gpu::adapters();
    let adapter = all.iter().find(|a| a.name == device.name());
    match adapter {
        Some(adapter) => Device::open(adapter, ShaderChecks::Checked),
        None => Engine::named(device.name()).map(|e| e.device().unwrap_or(device.clone())),
    }
}
