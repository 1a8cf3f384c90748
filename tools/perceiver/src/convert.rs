//! `perceiver convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use perceiver::checkpoint::ConvertOptions;
use perceiver::checkpoint::FloatType;
use perceiver::checkpoint::convert;
use serde_json::json;

use crate::{Outcome, models, show};

/// Converts weights.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a model's name (`perceiver models` lists them): model.safetensors,
    /// pytorch_model.bin, or DeepMind's .pickle or .pystate beside a config.json
    model: PathBuf,
    /// The folder to write: config.json, model.safetensors, and the files of tokenizer and image
    /// processor if there are any
    #[arg(short, long)]
    output: PathBuf,
    /// Element type of the weights; without it each keeps its own
    #[arg(long)]
    dtype: Option<ElementType>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ElementType {
    F32,
    F16,
    Bf16,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let folder = models::folder(&options.model)?;
    let how = ConvertOptions {
        dtype: options.dtype.map(|dtype| match dtype {
            ElementType::F32 => FloatType::F32,
            ElementType::F16 => FloatType::F16,
            ElementType::Bf16 => FloatType::BF16,
        }),
        overwrite: options.force,
    };
    let bar = show::Bar::new("converting");
    let written = convert(&folder, &options.output, &how, &mut bar.progress())?;
    drop(bar);
    if options.json {
        show::json(&json!({
            "source": show::path(&folder),
            "output": show::path(&options.output),
            "dtype": how.dtype,
            "converted": written,
        }))?;
        return Ok(true);
    }
    let rows = written.files.iter().map(|file| {
        let size = std::fs::metadata(file).map_or(0, |m| m.len());
        vec![file.display().to_string(), show::bytes(size)]
    });
    show::table(&["file", "size"], rows.collect())?;
    show::text(&format!(
        "{} tensors with {} elements, {} of {} read",
        written.tensors,
        written.elements,
        show::bytes(written.read_bytes),
        written.from
    ))?;
    Ok(true)
}
