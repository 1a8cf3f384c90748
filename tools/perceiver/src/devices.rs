//! `perceiver devices`.

use clap::Args;
use perceiver::internals::gpu;
use perceiver::internals::gpu::Tuning;
use perceiver::internals::model::{DEVICE_VARIABLE, automatic};
use serde_json::json;

use crate::kernel_models::tuning;
use crate::{Outcome, show};

/// What adapters there are.
#[derive(Args)]
pub(crate) struct Options {
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let adapters = gpu::adapters();
    let (chosen, why) = automatic(&adapters);
    let variable = std::env::var(DEVICE_VARIABLE).ok();
    let chosen = chosen.map_or_else(|| "cpu".to_owned(), |a| a.index.to_string());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tuned: Vec<Option<Tuning>> = adapters.iter().map(tuning).collect();
    if options.json {
        show::json(&json!({
            "adapters": adapters,
            "tuned": tuned,
            "cpu_threads": threads,
            "automatic": { "device": chosen, "why": why, "variable": variable },
        }))?;
        return Ok(true);
    }
    let mut rows: Vec<Vec<String>> = adapters
        .iter()
        .map(|a| {
            vec![
                a.index.to_string(),
                a.name.clone(),
                a.kind.name().to_owned(),
                a.backend.clone(),
                a.driver.clone(),
                show::bytes(a.max_binding_bytes),
                show::bytes(a.max_buffer_bytes),
                show::bytes(u64::from(a.workgroup_bytes)),
                a.invocations.to_string(),
                format!("{}–{}", a.subgroup_sizes[0], a.subgroup_sizes[1]),
                a.features.join(" "),
            ]
        })
        .collect();
    let mut cpu = vec!["cpu".to_owned(), format!("CPU executor, {threads} threads")];
    cpu.resize(11, String::new());
    rows.push(cpu);
    let heading = [
        "device",
        "name",
        "kind",
        "backend",
        "driver",
        "binding",
        "buffer",
        "workgroup",
        "invocations",
        "subgroups",
        "features",
    ];
    show::table(&heading, rows)?;
    show::text(&format!("auto takes {chosen}: {why}"))?;
    for (adapter, tuning) in adapters.iter().zip(&tuned) {
        if let Some(tuning) = tuning {
            let (name, choices) = (&adapter.name, tuning.choices.len());
            show::text(&format!("{name}: tuned for {choices} ranges of shapes"))?;
            show::denied(&tuning.denied)?;
        }
    }
    if let Some(variable) = variable {
        show::text(&format!("{DEVICE_VARIABLE}={variable} overrides it"))?;
    }
    Ok(true)
}
