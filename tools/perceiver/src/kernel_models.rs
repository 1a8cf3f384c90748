//! Which variants of the kernels models run, told from their plans: no weight is read, and no device opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use perceiver::blueprint::presets::{Size, Sound, audio_set, convolution_flow, entity_set, glue};
use perceiver::checkpoint::Checkpoint;
use perceiver::internals::gpu::{Adapter, CachePlace, Tuning};
use perceiver::internals::kernels::{DeviceTraits, Op, Variant};
use perceiver::internals::model::{chosen_adapter, plan_of, window_bytes};
use perceiver::internals::perceiver::Request;
use perceiver::{Description, DeviceChoice, Precision, Result};

use crate::known::KNOWN;
use crate::models;

/// What plans are made for: an adapter as it would be opened, or the least that WebGPU guarantees.
pub(crate) struct Target {
    pub(crate) adapter: Option<Adapter>,
    pub(crate) traits: DeviceTraits,
    /// What was found out about the adapter earlier.
    tuning: Option<Tuning>,
}

impl Target {
    pub(crate) fn new(device: &str) -> Result<Self> {
        let Ok(choice): Result<DeviceChoice, _> = device.parse();
        let adapter = chosen_adapter(&choice)?;
        let traits = adapter.as_ref().map_or_else(DeviceTraits::webgpu_default, Adapter::traits);
        let tuning = adapter.as_ref().and_then(tuning);
        Ok(Target { adapter, traits, tuning })
    }

    pub(crate) fn name(&self) -> &str {
        self.adapter.as_ref().map_or("any GPU with the default limits of WebGPU", |a| &a.name)
    }

    /// The variant that an op runs with.
    fn variant(&self, op: &Op) -> Option<Variant> {
        match &self.tuning {
            Some(tuning) => tuning.candidates(op, &self.traits, []).first().copied(),
            None => op.candidates(&self.traits).first().copied(),
        }
    }
}

/// What tuning and self-checks found out about an adapter earlier, unless it is stale.
pub(crate) fn tuning(adapter: &Adapter) -> Option<Tuning> {
    let now = adapter.untuned();
    let file = CachePlace::Usual.folder()?.join(now.file_name());
    let known = Tuning::load(file).ok()?;
    known.stale(&now).is_none().then_some(known)
}

/// How often a model dispatches which variants, those that run once at load included.
pub(crate) struct Dispatches {
    pub(crate) model: String,
    pub(crate) by_label: BTreeMap<String, u64>,
}

/// Those of a model, or of all models that have names.
pub(crate) fn dispatches(
    names: &[PathBuf],
    target: &Target,
    precision: Precision,
) -> Result<Vec<Dispatches>> {
    if names.is_empty() {
        let all = all()?.into_iter();
        return all.map(|(name, d)| of(name, &d, target, precision)).collect();
    }
    let named =
        |name: &PathBuf| of(name.display().to_string(), &described(name, None)?, target, precision);
    names.iter().map(named).collect()
}

fn of(
    model: String,
    description: &Description,
    target: &Target,
    precision: Precision,
) -> Result<Dispatches> {
    let sizes = description.usual_sizes();
    let request = Request {
        batch: 1,
        sizes,
        window_bytes: window_bytes(Some(&target.traits)),
        intermediates: false,
        folded: true,
    };
    let blueprint = description.blueprint(&sizes);
    let plan = plan_of(&blueprint, &request, Some(&target.traits), precision)?;
    let mut by_label = BTreeMap::new();
    for variant in plan.graph().nodes.iter().filter_map(|node| target.variant(&node.op)) {
        *by_label.entry(crate::translation::label(&variant)).or_insert(0) += 1;
    }
    Ok(Dispatches { model, by_label })
}

/// A model by a short name of [`all`], or as other commands take it.
pub(crate) fn described(model: &Path, part: Option<&str>) -> Result<Description> {
    let name = model.to_str().unwrap_or_default();
    let named = published().into_iter().chain(presets()?).find(|(short, _)| short == name);
    let by_hub = || KNOWN.iter().find(|known| known.name == name).map(|k| k.config());
    match (named, by_hub()) {
        (Some((_, description)), _) => Ok(description),
        (None, Some(config)) => Ok(Description::Config(config)),
        (None, None) if part.is_some() || models::names_file(model) => {
            read(&models::part(model, part)?, part)
        }
        (None, None) => read(&models::description(model)?, part),
    }
}

/// What a model is, by its configuration, or by the tensors of a model that has a Perceiver inside.
fn read(path: &Path, part: Option<&str>) -> Result<Description> {
    if path.is_file() || part.is_some() || Checkpoint::has_weights(path) {
        return Ok(Checkpoint::open_part(path, part)?.description().clone());
    }
    Description::read(path)
}

/// Shipped models, published ones, and presets of the papers' others.
fn all() -> Result<Vec<(String, Description)>> {
    let mut list = Vec::new();
    for (name, folder) in models::shipped() {
        match read(&folder, None) {
            Ok(description) => list.push((name, description)),
            // A folder `models` may hold others than ours.
            Err(error) => tracing::info!(%error, "not listed"),
        }
    }
    list.extend(published());
    list.extend(presets()?);
    Ok(list)
}

fn published() -> Vec<(String, Description)> {
    let list = KNOWN.iter().map(|known| (known.short.to_owned(), known.config()));
    list.map(|(name, config)| (name, Description::Config(config))).collect()
}

/// At the papers' sizes; those of audio and entities are assumed where the papers say none.
fn presets() -> Result<Vec<(String, Description)>> {
    let size =
        |latents, channels, layers, heads| Size { latents, channels, layers, times: 1, heads };
    let audio = size(512, 512, 12, 8);
    // 32 frames of 224×224 in patches of 2×8×8, 61,440 samples.
    let (grid, channels, classes) = ([16, 28, 28], 384, 527);
    let (raw, mel) =
        (Sound::Raw { samples: 61_440, patch: 128 }, Sound::Mel { frames: 400, bands: 64 });
    let tasks = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"].map(|t| (t, 3));
    let list = [
        ("glue", glue(size(256, 1280, 26, 8), 2048, &tasks)?),
        ("audio-set", audio_set(audio, grid, channels, raw, classes)?),
        ("audio-set-mel", audio_set(audio, grid, channels, mel, classes)?),
        ("entities", entity_set(size(32, 256, 3, 2), 512, 256, 256)?),
        ("convolution-flow", convolution_flow(size(2048, 512, 24, 16), [368, 496])?),
    ];
    Ok(list.map(|(name, b)| (name.to_owned(), Description::Blueprint(b))).into())
}
