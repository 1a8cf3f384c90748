//! From what the user calls a model to an open one.

use std::path::{Path, PathBuf};

use clap::Args;
use perceiver::{Engine, Error, Model, Result};

/// Which device, for every command that runs something.
#[derive(Args)]
pub(crate) struct DeviceOption {
    /// auto, cpu, gpu, reference, an adapter's number, or a part of its name
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
}

impl DeviceOption {
    pub(crate) fn engine(&self) -> Result<Engine> {
        Engine::named(&self.device)
    }
}

/// The folder of a model: a path, or the name of one that ships with the command.
pub(crate) fn folder(model: &str) -> Result<PathBuf> {
    let path = PathBuf::from(model);
    if path.exists() {
        return Ok(path);
    }
    let is_name = Path::new(model)
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_)))
        && Path::new(model).components().count() == 1;
    let places = shipped();
    if is_name {
        let found = places.iter().map(|p| p.join(model)).find(|p| p.is_dir());
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let mut names: Vec<String> = places
        .iter()
        .filter_map(|p| std::fs::read_dir(p).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names.dedup();
    Err(Error::Checkpoint {
        path,
        what: "is neither a folder nor a shipped model".to_owned(),
        hint: format!("give a folder with config.json and model.safetensors, or one of {names:?}"),
    })
}

/// Folders named `models` that may hold the shipped ones: here, beside the command or above it
/// (`target/release` lies within the project), and where the command was built.
fn shipped() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("models")];
    if let Ok(command) = std::env::current_exe() {
        places.extend(
            command
                .ancestors()
                .skip(1)
                .take(4)
                .map(|p| p.join("models")),
        );
    }
    places.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("models"));
    places.retain(|p| p.is_dir());
    places
}

/// Opens a model.
pub(crate) fn load(engine: &Engine, model: &str) -> Result<Model> {
    engine.load(folder(model)?)
}
