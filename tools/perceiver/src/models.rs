//! From what the user calls a model to an open one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use perceiver::hub::Hub;
use perceiver::internals::gpu::SubmissionBudget;
use perceiver::{
    Engine, Error, MemorySize, Model, Precision, Result, memory_limit, set_memory_limit,
};

use crate::known::KNOWN;
use crate::show;

/// Which device, for every command that runs something.
#[derive(Args)]
pub(crate) struct DeviceOption {
    /// auto, cpu, gpu, reference, an adapter's number, or a part of its name
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    /// Do not fold projections and positions of cross-attention: the plain route, for comparison
    #[arg(long)]
    pub(crate) no_fold: bool,
    /// The longest that one submission may keep a GPU busy: a time such as 100ms, or unlimited
    #[arg(long, value_name = "TIME", default_value = "100ms")]
    pub(crate) submission_budget: SubmissionBudget,
    /// How numbers are stored: f32, or f16, which needs a GPU, half the memory, and gives results
    /// that are right to 5e-3 rather than 1e-5
    #[arg(long, default_value_t)]
    pub(crate) precision: Precision,
    /// Let outputs pass that have infinities or what is no number, instead of an error
    #[arg(long)]
    pub(crate) allow_non_finite: bool,
    #[command(flatten)]
    pub(crate) memory: MemoryOption,
    #[command(flatten)]
    pub(crate) part: PartOption,
}

/// A part of a model.
#[derive(Args)]
pub(crate) struct PartOption {
    /// Of a model that has a Perceiver inside: what the names of the Perceiver's tensors begin with, or a word of it,
    /// where there are several; the model may then be a file of weights too
    #[arg(long, value_name = "PREFIX")]
    pub(crate) part: Option<String>,
}

/// A budget of memory.
#[derive(Args)]
pub(crate) struct MemoryOption {
    /// Most memory that parameters, arrays and transfers of a run may take, as 512MiB or 2G: inputs and
    /// outputs are cut into smaller parts until they fit
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<MemorySize>,
}

impl MemoryOption {
    /// The budget. Who asks for more than the limit wants it raised.
    pub(crate) fn budget(&self) -> Option<MemorySize> {
        if let Some(memory) = self.memory {
            set_memory_limit(memory_limit().max(memory));
        }
        self.memory
    }
}

impl DeviceOption {
    pub(crate) fn engine(&self) -> Result<Engine> {
        let engine = Engine::named(&self.device)?;
        engine.set_submission_budget(self.submission_budget);
        Ok(engine)
    }
}

/// The folder of a model: a path, the name of one that ships with the command, or one on the hub,
/// which is downloaded when it is not here yet.
pub(crate) fn folder(model: impl AsRef<Path>) -> Result<PathBuf> {
    find(model.as_ref(), |hub, name, bar| hub.snapshot(name, &mut bar.progress()))
}

/// As [`folder`], of a model that may have a Perceiver inside, or a file of it (`ORGANISATION/NAME/FILE`): only what `part`
/// needs is downloaded where that can be.
pub(crate) fn part(model: impl AsRef<Path>, part: Option<&str>) -> Result<PathBuf> {
    find(model.as_ref(), |hub, name, bar| hub.part(name, part, &mut bar.progress()))
}

/// As [`folder`], for those who need the configuration alone.
pub(crate) fn description(model: impl AsRef<Path>) -> Result<PathBuf> {
    find(model.as_ref(), |hub, name, bar| hub.description(name, &mut bar.progress()))
}

fn find(
    model: &Path,
    download: impl FnOnce(&Hub, &str, &show::Download) -> Result<PathBuf>,
) -> Result<PathBuf> {
    if model.exists() {
        return Ok(model.to_path_buf());
    }
    let shipped = shipped();
    // A path that is not UTF-8 is no name.
    let name = model.to_str().unwrap_or_default();
    if let Some(folder) = shipped.get(name) {
        return Ok(folder.clone());
    }
    if is_hub_name(name) {
        let found = download(&Hub::from_env()?, name, &show::Download::new());
        return found.map_err(|error| match error {
            // It may have been meant as a path.
            Error::Hub { model, what, hint } => {
                let what = format!("is no folder here; as a name on the hub: {what}");
                Error::Hub { model, what, hint }
            }
            other => other,
        });
    }
    let names: Vec<&String> = shipped.keys().collect();
    Err(Error::checkpoint(
        model,
        "is neither a folder nor a shipped model nor a name on the hub",
        format!(
            "give a folder with config.json and model.safetensors, one of {names:?}, or a name such as \
             {}; `perceiver models` lists all",
            KNOWN[0].name
        ),
    ))
}

/// True for `ORGANISATION/NAME[/FILE][@REVISION]`; a path that starts at a folder is none, nor one into a folder that is here.
fn is_hub_name(model: &str) -> bool {
    let path = model.split('@').next().unwrap_or_default();
    let slashes = path.matches('/').count();
    let is_here = || path.split('/').next().is_some_and(|first| Path::new(first).is_dir());
    !model.starts_with(['.', '/', '~']) && slashes > 0 && (slashes == 1 || !is_here())
}

/// True where a file of a model on the hub is named.
pub(crate) fn names_file(model: &Path) -> bool {
    let name = model.to_str().filter(|name| !model.exists() && is_hub_name(name));
    name.and_then(|name| name.split('@').next()).is_some_and(|p| p.matches('/').count() > 1)
}

/// The models that ship with the command, by name.
pub(crate) fn shipped() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for place in places() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let folder = entry.path();
            if let Ok(name) = entry.file_name().into_string()
                && folder.join("config.json").is_file()
            {
                found.entry(name).or_insert(folder);
            }
        }
    }
    found
}

/// Folders named `models` that may hold the shipped ones: here, beside the command or above it
/// (`target/release` lies within the project), and where the command was built.
fn places() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("models")];
    if let Ok(command) = std::env::current_exe() {
        places.extend(command.ancestors().skip(1).take(4).map(|p| p.join("models")));
    }
    places.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"));
    places.retain(|p| p.is_dir());
    places
}

/// Opens a model.
pub(crate) fn load(
    engine: &Engine,
    device: &DeviceOption,
    model: impl AsRef<Path>,
) -> Result<Model> {
    let named = device.part.part.as_deref();
    let mut model = engine.load_part(part(model, named)?, named)?;
    model.set_folded(!device.no_fold);
    model.set_memory_budget(device.memory.budget());
    model.set_non_finite_allowed(device.allow_non_finite);
    model.set_precision(device.precision)?;
    Ok(model)
}
