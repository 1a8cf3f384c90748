//! `perceiver classify-image`: many files, of which a bad one does not stop the others.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use perceiver::internals::media::pictures_of;
use perceiver::media::picture;
use perceiver::tasks::{ClassScore, ImageClassifier, PerceiverImageProcessor};
use perceiver::{Architecture, Error, Result, Tensor};
use serde_json::json;

use crate::classes::at_least_one;
use crate::models::{DeviceOption, folder, load};
use crate::{Outcome, classes, show};

/// Classifies pictures.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a model's name (`perceiver models` lists them)
    #[arg(long)]
    model: PathBuf,
    /// PNG, JPEG, WebP or GIF pictures (of an animation the first frame), and folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Classes to print for each picture
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    top: usize,
    /// Pictures that are read and run together
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// How pictures are cropped, resized and normalised [default: preprocessor_config.json of the
    /// model, or Hugging Face's defaults]
    #[arg(long, value_name = "FILE")]
    processor: Option<PathBuf>,
    /// A model with learned positions: resize them to the pictures that the processor makes
    #[arg(long)]
    resize_positions: bool,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of a table
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Comma-separated values instead of a table, each batch as soon as it is done
    #[arg(long)]
    csv: bool,
}

/// What became of a file.
type Found = Result<Vec<ClassScore>>;

pub(crate) fn run(options: &Options) -> Outcome {
    if options.batch == 0 {
        return Err(Error::input("batch", "0", "at least 1"));
    }
    let files = expanded(&options.files)?;
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    if !model.architecture().is_some_and(Architecture::is_image) {
        // Says so before it looks for settings of pictures.
        ImageClassifier::new(&model, PerceiverImageProcessor::default())?;
    }
    let processor = match &options.processor {
        Some(path) => PerceiverImageProcessor::read(path)?,
        None => PerceiverImageProcessor::read_for(folder(&options.model)?, model.config()?)?,
    };
    let classifier = if options.resize_positions {
        ImageClassifier::with_resized_positions(&model, processor)?
    } else {
        ImageClassifier::new(&model, processor)?
    };
    if options.csv {
        show::csv([classes::csv_heading("file")])?;
    }
    let bar = show::Bar::new("classifying");
    let mut all: Vec<Found> = Vec::with_capacity(files.len());
    let mut stopped = None;
    while all.len() < files.len() {
        let part = all.len()..files.len().min(all.len() + options.batch);
        match classify(&classifier, options.top, &files, part.clone(), &bar) {
            Ok(found) => {
                bar.aside(|| -> Result<()> {
                    for (file, found) in files[part].iter().zip(&found) {
                        match found {
                            Err(error) => show::error(error),
                            Ok(classes) if options.csv => csv_rows(file, classes)?,
                            Ok(_) => {}
                        }
                    }
                    Ok(())
                })?;
                all.extend(found);
            }
            // The device or the weights: what was found until now is still printed.
            Err(error) => {
                stopped = Some(error);
                break;
            }
        }
    }
    drop(bar);
    print(options, &files, &all)?;
    if let Some(error) = stopped {
        return Err(error);
    }
    let failed = all.iter().filter(|found| found.is_err()).count();
    if failed > 0 {
        show::error(&Error::input(
            "files",
            format!("{failed} of {} could not be classified", files.len()),
            "pictures that can be read, see above",
        ));
    }
    Ok(failed == 0)
}

/// Files, and the pictures of folders.
fn expanded(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if path.is_dir() {
            files.extend(pictures_of(path)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Reads and runs some files. An error of the whole is none of a file.
fn classify(
    classifier: &ImageClassifier,
    top: usize,
    files: &[PathBuf],
    part: Range<usize>,
    bar: &show::Bar,
) -> Result<Vec<Found>> {
    let mut progress = bar.progress_of_items("classifying", part.clone(), files.len());
    let read: Vec<Result<Tensor>> = files[part]
        .iter()
        .map(|path| {
            let frame = picture::read_as_pillow(path)?;
            // The library does not know what the picture is called.
            classifier.prepare(&frame).map_err(|error| match error {
                Error::Input { what, expected, .. } => {
                    Error::input(path.display().to_string(), what, expected)
                }
                other => other,
            })
        })
        .collect();
    let mut good = Vec::new();
    let read: Vec<Result<()>> = read.into_iter().map(|read| read.map(|p| good.push(p))).collect();
    let mut found = if good.is_empty() {
        Vec::new()
    } else {
        classifier.classify_prepared(good, top, &mut progress)?
    }
    .into_iter();
    let each = read.into_iter().map(|read| read.map(|()| found.next().unwrap_or_default()));
    Ok(each.collect())
}

fn print(options: &Options, files: &[PathBuf], all: &[Found]) -> Result<()> {
    let pairs = files.iter().zip(all);
    if options.json {
        let document: Vec<_> = pairs
            .map(|(file, found)| match found {
                Ok(classes) => json!({ "file": show::path(file), "classes": classes }),
                Err(error) => json!({ "file": show::path(file), "error": error.to_string() }),
            })
            .collect();
        return show::json(&document);
    }
    if options.csv {
        return Ok(());
    }
    let mut rows = Vec::new();
    for (file, found) in pairs {
        let classes = match found {
            Ok(classes) => classes.as_slice(),
            Err(_) => continue,
        };
        for (rank, class) in classes.iter().enumerate() {
            let name = match rank {
                0 => file.display().to_string(),
                _ => String::new(),
            };
            rows.push(std::iter::once(name).chain(classes::cells(class)).collect());
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let [class, label, probability] = classes::HEADING;
    show::table(&["picture", class, label, probability], rows)
}

/// Writes the lines of a picture.
fn csv_rows(file: &Path, classes: &[ClassScore]) -> Result<()> {
    show::csv(classes::csv_rows(&file.display().to_string(), classes))
}
