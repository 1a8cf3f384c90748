//! `perceiver classify-text`.

use std::path::PathBuf;

use clap::Args;
use perceiver::tasks::TextClassifier;
use serde_json::json;

use crate::classes::at_least_one;
use crate::models::{DeviceOption, load};
use crate::{Outcome, classes, show, texts};

/// Characters of a text that a table shows.
const SHOWN: usize = 40;

/// Classifies texts.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a model's name (`perceiver models` lists them)
    #[arg(long)]
    model: PathBuf,
    #[command(flatten)]
    texts: texts::Given,
    /// Classes to print for each text
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    top: usize,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of a table
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Comma-separated values instead of a table
    #[arg(long)]
    csv: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let given = options.texts.all()?;
    let all: Vec<&str> = given.iter().map(String::as_str).collect();
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let bar = show::Bar::new("classifying");
    let found = TextClassifier::new(&model)?.classify(&all, options.top, &mut bar.progress())?;
    drop(bar);
    let pairs = all.iter().zip(&found);
    if options.json {
        let document: Vec<_> =
            pairs.map(|(text, classes)| json!({ "text": text, "classes": classes })).collect();
        show::json(&document)?;
        return Ok(true);
    }
    if options.csv {
        let rows = pairs.flat_map(|(text, found)| classes::csv_rows(text, found));
        return show::csv(std::iter::once(classes::csv_heading("text")).chain(rows)).map(|()| true);
    }
    let rows = pairs.flat_map(|(text, found)| {
        found.iter().enumerate().map(|(rank, class)| {
            let name = if rank == 0 { shortened(text) } else { String::new() };
            std::iter::once(name).chain(classes::cells(class)).collect()
        })
    });
    let [class, label, probability] = classes::HEADING;
    show::table(&["text", class, label, probability], rows.collect())?;
    Ok(true)
}

/// The beginning of a text, on one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().take(SHOWN).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}
