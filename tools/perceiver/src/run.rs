//! `perceiver run`.

use std::path::PathBuf;

use crate::runner::{self, RunnerOptions};
use clap::Args;
use perceiver::Architecture;
use perceiver::checkpoint::{read_tensors, write_tensors};
use perceiver::internals::output::check_place;
use perceiver::tasks::{FlowOptions, PerceiverImageProcessor};
use serde_json::json;

use crate::models::{DeviceOption, folder, load};
use crate::{Outcome, show};

/// Runs a checkpoint on tensors.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a name (`perceiver models` lists them; ORGANISATION/NAME/FILE is a file of the hub)
    #[arg(long)]
    model: PathBuf,
    /// Input tensors
    #[arg(long)]
    inputs: PathBuf,
    /// Where the output tensors go
    #[arg(long)]
    outputs: PathBuf,
    /// Also write the arrays on the way
    #[arg(long)]
    intermediates: bool,
    /// For raw.tiled_frames: pixels that neighbouring tiles share
    #[arg(long)]
    overlap: Option<usize>,
    /// Multimodal models: also decode every point, as full.image and full.audio (small models do so
    /// by themselves)
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    check_place(&options.outputs)?;
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let inputs = read_tensors(&options.inputs)?;
    let how = RunnerOptions {
        intermediates: options.intermediates,
        flow: FlowOptions { overlap: options.overlap, ..FlowOptions::default() },
        full: options.full.then_some(true),
        processor: match model.architecture().is_some_and(Architecture::is_image) {
            true => {
                Some(PerceiverImageProcessor::read_for(folder(&options.model)?, model.config()?)?)
            }
            false => None,
        },
    };
    let bar = show::Bar::new("running");
    let outputs = runner::run(&model, &inputs, &how, &mut bar.progress())?;
    drop(bar);
    write_tensors(&options.outputs, &outputs)?;
    if options.json {
        let tensors: serde_json::Map<String, serde_json::Value> =
            outputs.iter().map(|(name, t)| (name.clone(), json!(t.shape()))).collect();
        show::json(&json!({
            "outputs": tensors,
            "file": show::path(&options.outputs),
            "device": engine.device_name(),
            "allocated_bytes": model.allocated_bytes(),
        }))?;
        return Ok(true);
    }
    let rows = outputs.iter().map(|(name, t)| vec![name.clone(), format!("{:?}", t.shape())]);
    show::table(&["output", "shape"], rows.collect())?;
    show::text(&format!("{} written, on {}", options.outputs.display(), engine.device_name()))?;
    Ok(true)
}
