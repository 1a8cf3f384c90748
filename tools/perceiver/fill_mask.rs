//! `perceiver fill-mask`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use perceiver::tasks::{FillMask, FillOptions, Filled, Filling};
use perceiver::{Error, Result};

use crate::models::{DeviceOption, load};
use crate::{Outcome, show};

/// The largest file that is read.
const MOST_BYTES: u64 = 16 << 20;

/// Fills masked bytes.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a model's name (`perceiver models` lists them)
    #[arg(long, default_value = "text-tiny")]
    model: String,
    /// Texts with a [MASK] for each hidden byte, or [MASK:7] for seven; `-` is standard input.
    /// Longer ones than the model takes at once are filled in windows around their masks
    #[arg(required_unless_present = "file")]
    texts: Vec<String>,
    /// A file whose content is one more text, after the others; `-` is standard input
    #[arg(long)]
    file: Vec<PathBuf>,
    /// Candidates to print for each byte
    #[arg(long, default_value_t = 5)]
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
    let given = texts(options)?;
    let texts: Vec<&str> = given.iter().map(String::as_str).collect();
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let how = FillOptions {
        top: options.top,
        filling: if options.certain_first {
            Filling::MostCertainFirst
        } else {
            Filling::AtOnce
        },
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

/// All texts, those of files and of standard input among them.
fn texts(options: &Options) -> Result<Vec<String>> {
    let given = options.texts.iter().map(|text| match text.as_str() {
        "-" => read(Path::new("-")),
        text => Ok(text.to_owned()),
    });
    given
        .chain(options.file.iter().map(|path| read(path)))
        .collect()
}

/// The text of a file, or of standard input.
fn read(path: &Path) -> Result<String> {
    let (name, input): (&Path, Box<dyn Read>) = if path == Path::new("-") {
        (
            Path::new("standard input"),
            Box::new(std::io::stdin().lock()),
        )
    } else {
        let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
        (path, Box::new(file))
    };
    let mut bytes = Vec::new();
    input
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", name, e))?;
    let wrong = |what: String, expected: &str| {
        Err(Error::input(name.display().to_string(), what, expected))
    };
    if bytes.len() as u64 > MOST_BYTES {
        return wrong(
            format!("more than {} MiB", MOST_BYTES >> 20),
            "a smaller file: split it",
        );
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(e) => wrong(
            format!("byte {} is no UTF-8", e.utf8_error().valid_up_to()),
            "a text in UTF-8",
        ),
    }
}

/// A line for each filled byte.
fn candidates(text: &Filled) -> Result<()> {
    let bytes = text.spans.iter().flat_map(|s| &s.bytes);
    let rows = bytes
        .map(|byte| {
            let each = byte
                .top
                .iter()
                .map(|c| format!("{:?} {:.1} %", c.name, 100.0 * c.probability));
            // Token 0 is [CLS], so byte positions count from 1.
            vec![
                byte.position.to_string(),
                each.collect::<Vec<_>>().join("  "),
            ]
        })
        .collect();
    show::table(&["token", "bytes with their probabilities"], rows)
}
