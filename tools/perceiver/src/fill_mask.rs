//! `perceiver fill-mask`.

use std::path::PathBuf;

use clap::Args;
use perceiver::Result;
use perceiver::tasks::{FillMask, FillOptions, Filled, Filling};

use crate::classes::at_least_one;
use crate::models::{DeviceOption, load};
use crate::{Outcome, show, texts};

/// Fills masked bytes: a text has a [MASK] for each hidden byte, or [MASK:7] for seven. Texts longer than
/// the model takes at once are filled in windows around their masks.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a model's name (`perceiver models` lists them)
    #[arg(long, default_value = "text-tiny")]
    model: PathBuf,
    #[command(flatten)]
    texts: texts::Given,
    /// Candidates to print for each byte
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    top: usize,
    /// One byte at a time, the most certain first, instead of all at once
    #[arg(long)]
    certain_first: bool,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let given = options.texts.all()?;
    let texts: Vec<&str> = given.iter().map(String::as_str).collect();
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let how = FillOptions {
        top: options.top,
        filling: if options.certain_first { Filling::MostCertainFirst } else { Filling::AtOnce },
    };
    let bar = show::Bar::new("filling");
    let filled = FillMask::new(&model)?.fill(&texts, &how, &mut bar.progress())?;
    drop(bar);
    if options.json {
        show::json(&filled)?;
        return Ok(true);
    }
    for text in &filled {
        show::text(&text.text)?;
        candidates(text)?;
    }
    Ok(true)
}

/// A line for each filled byte.
fn candidates(text: &Filled) -> Result<()> {
    let bytes = text.spans.iter().flat_map(|s| &s.bytes);
    let rows = bytes
        .map(|byte| {
            let each =
                byte.top.iter().map(|c| format!("{:?} {:.1} %", c.name, 100.0 * c.probability));
            // Token 0 is [CLS], so byte positions count from 1.
            vec![byte.position.to_string(), each.collect::<Vec<_>>().join("  ")]
        })
        .collect();
    show::table(&["token", "bytes with their probabilities"], rows)
}
