//! `perceiver models`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use perceiver::checkpoint::Checkpoint;
use perceiver::families::{FAMILIES, Family};
use perceiver::hub::Hub;
use perceiver::{Architecture, Result};
use serde::Serialize;
use serde_json::json;

use crate::known::KNOWN;
use crate::{Outcome, models, show};

/// What models there are.
#[derive(Args)]
pub(crate) struct Options {
    /// Read the models of the hub that are here, compare them with the digests that the hub gave, and download damaged files
    /// again
    #[arg(long)]
    verify: bool,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    /// "shipped" or "hub".
    origin: &'static str,
    architecture: String,
    task: String,
    parameters: u64,
    /// Bytes of the weights.
    bytes: u64,
    here: Option<Here>,
}

/// Where a model is on this machine.
#[derive(Serialize)]
struct Here {
    folder: String,
    /// Only models of the hub have one.
    commit: Option<String>,
    /// Bytes of all its files.
    bytes: u64,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let hub = Hub::from_env()?;
    if options.verify {
        return verify(&hub, options.json);
    }
    let mut rows = Vec::new();
    for (name, folder) in models::shipped() {
        match listed(name, "shipped", folder, None) {
            Ok(row) => rows.push(row),
            // A folder `models` may hold others than ours.
            Err(error) => tracing::info!(%error, "not listed"),
        }
    }
    for known in KNOWN {
        let here = hub.cached(known.name)?.map(|cached| Here {
            folder: show::path(&cached.folder),
            commit: Some(cached.commit),
            bytes: cached.bytes,
        });
        rows.push(Row {
            name: known.name.to_owned(),
            origin: "hub",
            architecture: known.architecture.to_owned(),
            task: known.task.to_owned(),
            parameters: known.parameters,
            bytes: known.bytes,
            here,
        });
    }
    for (name, cached) in hub.cached_models() {
        if KNOWN.iter().any(|known| known.name == name) {
            continue;
        }
        match listed(name, "hub", cached.folder, Some(cached.commit)) {
            Ok(row) => rows.push(row),
            Err(error) => tracing::info!(%error, "not listed"),
        }
    }
    if options.json {
        show::json(&json!({
            "cache": show::path(hub.cache()),
            "offline": hub.is_offline(),
            "models": rows,
            "families": families(),
        }))?;
        return Ok(true);
    }
    let table = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                row.task.clone(),
                format!("{:.1} M", row.parameters as f64 / 1e6),
                show::bytes(row.bytes),
                row.here.as_ref().map_or_else(
                    || "not downloaded".to_owned(),
                    |here| format!("{}, {}", show::bytes(here.bytes), here.folder),
                ),
            ]
        })
        .collect();
    show::table(&["model", "task", "parameters", "weights", "here"], table)?;
    show::text("")?;
    let table = families()
        .into_iter()
        .map(|f| [f.name, f.models, f.task, f.licence, f.weights].map(str::to_owned).to_vec())
        .collect();
    show::table(
        &["family", "models with a Perceiver inside", "task", "licence", "weights"],
        table,
    )?;
    show::text(
        "Give the folder or file of such a model, with --part where it has several Perceivers.",
    )?;
    show::text("")?;
    let offline =
        if hub.is_offline() { "; HF_HUB_OFFLINE is set, nothing is downloaded" } else { "" };
    show::text(&format!(
        "Give a name where a model is asked for; those of the hub are downloaded to {} when first used{offline}",
        hub.cache().display()
    ))?;
    Ok(true)
}

/// Compares what is cached with its digests, and repairs what can be. False where something damaged is left.
fn verify(hub: &Hub, json: bool) -> Outcome {
    let mut all_well = true;
    let mut found = Vec::new();
    let mut names: BTreeSet<String> =
        hub.cached_models().into_iter().map(|(name, _)| name).collect();
    names.extend(hub.models_in_part());
    // One whose configuration is damaged is not told from models of another kind, but by its name.
    for known in KNOWN {
        if hub.cached(known.name)?.is_some() {
            names.insert(known.name.to_owned());
        }
    }
    for name in names {
        let damaged = hub.verify(&name, &mut show::Download::new().progress())?;
        let mut state = "as the hub sent it".to_owned();
        if !damaged.is_empty() {
            let repaired = hub.repair(&name, &damaged, &mut show::Download::new().progress());
            state = match repaired {
                Ok(_) => format!("damaged, downloaded again: {}", damaged.join(", ")),
                Err(error) => {
                    all_well = false;
                    show::error(&error);
                    format!("damaged: {}", damaged.join(", "))
                }
            };
        }
        found.push((name, state, damaged));
    }
    if json {
        let models = found.iter().map(
            |(name, state, damaged)| json!({ "name": name, "state": state, "damaged": damaged }),
        );
        show::json(
            &json!({ "cache": show::path(hub.cache()), "models": models.collect::<Vec<_>>() }),
        )?;
    } else {
        let rows = found.into_iter().map(|(name, state, _)| vec![name, state]);
        show::table(&["model", "state"], rows.collect())?;
    }
    Ok(all_well)
}

/// The families, each once.
fn families() -> Vec<&'static Family> {
    let mut list: Vec<&Family> = FAMILIES.iter().collect();
    list.dedup_by_key(|family| family.name);
    list
}

/// A model whose folder is here.
fn listed(
    name: String,
    origin: &'static str,
    folder: PathBuf,
    commit: Option<String>,
) -> Result<Row> {
    let checkpoint = Checkpoint::open(&folder)?;
    let elements = |shape: &[usize]| shape.iter().map(|&n| n as u64).product::<u64>();
    let architecture = checkpoint.description().name();
    let task = KNOWN
        .iter()
        .find(|known| known.architecture == architecture)
        .map_or_else(|| task_of(architecture), |known| known.task);
    Ok(Row {
        origin,
        architecture: architecture.to_owned(),
        task: task.to_owned(),
        parameters: checkpoint.tensors().map(|(_, e)| elements(&e.shape)).sum(),
        bytes: checkpoint.tensors().map(|(_, e)| elements(&e.shape) * e.dtype.size() as u64).sum(),
        here: Some(Here { bytes: size(&folder), commit, folder: show::path(&folder) }),
        name,
    })
}

/// What models do of which none is published.
fn task_of(architecture: &str) -> &'static str {
    if architecture == Architecture::SequenceClassification.name() {
        "text classification"
    } else {
        "any Perceiver, as a blueprint"
    }
}

fn size(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .map(|file| file.len())
        .sum()
}
