//! `perceiver flow`.

use std::path::{Path, PathBuf};

use clap::Args;
use perceiver::tasks::{FlowField, FlowOptions, OpticalFlow, flow_file, flow_picture, picture};
use perceiver::{Error, Result};
use serde_json::json;

use crate::models::{DeviceOption, load};
use crate::{Outcome, show};

/// Flow between two pictures.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a model's name (`perceiver models` lists them)
    #[arg(long, default_value = "flow-tiny")]
    model: String,
    /// First frame, PNG or JPEG
    first: PathBuf,
    /// Second frame, of the same size
    second: PathBuf,
    /// Where the result goes: a .png with the colour wheel, or a .flo with the numbers
    #[arg(short, long)]
    out: PathBuf,
    /// Pixels that neighbouring tiles share
    #[arg(long)]
    overlap: Option<usize>,
    /// Tiles that go through the network together
    #[arg(long, default_value_t = 1)]
    tiles_per_batch: usize,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let kind = Kind::of(&options.out)?;
    let engine = options.device.engine()?;
    let model = load(&engine, &options.model)?;
    let first = picture::read(&options.first)?;
    let second = picture::read(&options.second)?;
    let how = FlowOptions {
        overlap: options.overlap,
        tiles_per_batch: options.tiles_per_batch,
    };
    let bar = show::Bar::new("flow");
    let field = OpticalFlow::new(&model)?.flow(&first, &second, &how, &mut bar.progress())?;
    drop(bar);
    kind.write(&options.out, &field)?;
    let lengths = field.vectors().iter().map(|[x, y]| x.hypot(*y));
    let longest = lengths.clone().fold(0.0, f32::max);
    let mean = lengths.map(f64::from).sum::<f64>() / field.vectors().len().max(1) as f64;
    if options.json {
        show::json(&json!({
            "file": options.out,
            "width": field.width(),
            "height": field.height(),
            "mean_length": mean,
            "longest": longest,
            "device": engine.device_name(),
        }))?;
    } else {
        show::text(&format!(
            "{}: {}×{} pixels, mean motion {mean:.2}, longest {longest:.2} pixels, on {}",
            options.out.display(),
            field.width(),
            field.height(),
            engine.device_name()
        ))?;
    }
    Ok(true)
}

/// What the name of the result asks for.
#[derive(Clone, Copy)]
enum Kind {
    Picture,
    Numbers,
}

impl Kind {
    /// Decided before anything runs, so that a wrong name costs nothing.
    fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        match extension.to_lowercase().as_str() {
            "png" => Ok(Kind::Picture),
            "flo" => Ok(Kind::Numbers),
            _ => Err(Error::Media {
                path: path.to_path_buf(),
                what: "has no extension that says what to write".to_owned(),
                hint: "end it in .png for a picture or .flo for numbers".to_owned(),
            }),
        }
    }

    fn write(self, path: &Path, field: &FlowField) -> Result<()> {
        match self {
            Kind::Picture => picture::write_png(path, &flow_picture::picture(field, None)?),
            Kind::Numbers => flow_file::write(path, field),
        }
    }
}
