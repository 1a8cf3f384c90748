//! `perceiver flow`: of two pictures, or of each frame of a sequence and the next.

use std::iter::Peekable;
use std::path::PathBuf;

use clap::Args;
use perceiver::internals::output::{check_place, whole_folder};
use perceiver::media::Pairs;
use perceiver::media::{Frames, NamedFrame, picture};
use perceiver::tasks::{FlowField, FlowOptions, OpticalFlow};
use perceiver::{Error, Result};
use perceiver_cli::writers;
use serde::Serialize;
use serde_json::json;

use crate::flow_output::{Format, Look, Style, Target, rate, time};
use crate::models::{DeviceOption, load};
use crate::{Outcome, show};

/// Flow between two pictures, or within a sequence.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a model's name (`perceiver models` lists them)
    #[arg(long, default_value = "flow-tiny")]
    model: PathBuf,
    /// Two pictures of one size (PNG, JPEG or WebP), or one sequence: a folder of pictures, a
    /// YUV4MPEG2 (.y4m) video, `-` for one from standard input, or a GIF
    #[arg(required = true, num_args = 1..=2, value_name = "FRAMES")]
    frames: Vec<PathBuf>,
    /// Where the result goes. Of one pair: a .png picture, or a .flo with the numbers. Of many: a
    /// folder (DIR/) of one file each, or a .y4m or .gif video
    #[arg(short, long)]
    out: PathBuf,
    /// What to write into a folder [default: png]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// How flow is drawn [default: wheel]
    #[arg(long, value_enum)]
    style: Option<Style>,
    /// The motion, in pixels, that is drawn at full strength: in full colour, or as an arrow as long
    /// as arrows are apart. Motion is divided by it, so half the scale doubles what is seen
    /// [default: the longest of each pair]
    #[arg(long)]
    scale: Option<f32>,
    /// Pixels that neighbouring tiles share
    #[arg(long)]
    overlap: Option<usize>,
    /// Tiles that go through the network together
    #[arg(long, default_value_t = 1)]
    tiles_per_batch: usize,
    /// The whole frame in one pass instead of tiles, with positions interpolated: every pixel sees
    /// every other, at a cost linear in the pixels
    #[arg(long, conflicts_with_all = ["overlap", "tiles_per_batch"])]
    one_pass: bool,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    // Decided before anything runs, so that a wrong name costs nothing.
    let target = Target::of(&options.out, options.format)?;
    let look = Look::of(options.style, options.scale, &target)?;
    check_place(&options.out)?;
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let pipeline = OpticalFlow::new(&model)?;
    let frames = match options.frames.as_slice() {
        [sequence] => Frames::open(sequence)?,
        pictures => Frames::pictures(pictures.to_vec()),
    };
    let pairs = frames.pairs();
    let mut flows = Flows {
        pipeline,
        how: FlowOptions {
            overlap: options.overlap,
            tiles_per_batch: options.tiles_per_batch,
            one_pass: options.one_pass,
        },
        count: pairs.length(),
        rate: pairs.rate(),
        pairs: pairs.peekable(),
        bar: show::Bar::new("flow"),
        reports: Vec::new(),
        size: (0, 0),
    };
    flows.write(options, &target, &look)?;
    let Flows { reports, size, .. } = flows;

    let longest = reports.iter().map(|r| r.longest).fold(0.0, f32::max);
    let count = reports.len();
    let mean = reports.iter().map(|r| r.mean_length).sum::<f64>() / count.max(1) as f64;
    let (width, height) = size;
    if options.json {
        show::json(&json!({
            "file": show::path(&options.out),
            "width": width,
            "height": height,
            "mean_length": mean,
            "longest": longest,
            "pairs": reports,
            "device": engine.device_name(),
        }))?;
    } else {
        let pairs = if count == 1 { String::new() } else { format!("{count} pairs of ") };
        show::text(&format!(
            "{}: {pairs}{width}×{height} pixels, mean motion {mean:.2}, longest {longest:.2} pixels, on {}",
            options.out.display(),
            engine.device_name()
        ))?;
    }
    Ok(true)
}

/// What is said of a pair.
#[derive(Serialize)]
struct Report {
    first: String,
    second: String,
    mean_length: f64,
    longest: f32,
}

/// A pair and its flow.
struct Flow {
    first: NamedFrame,
    second: NamedFrame,
    field: FlowField,
}

/// The flows of all pairs, computed when they are asked for.
struct Flows {
    pipeline: OpticalFlow,
    how: FlowOptions,
    count: Option<usize>,
    rate: Option<(u32, u32)>,
    pairs: Peekable<Pairs>,
    bar: show::Bar,
    reports: Vec<Report>,
    size: (usize, usize),
}

impl Flows {
    fn next(&mut self) -> Option<Result<Flow>> {
        let pair = self.pairs.next()?;
        Some(pair.and_then(|(first, second)| self.compute(first, second)))
    }

    fn compute(&mut self, first: NamedFrame, second: NamedFrame) -> Result<Flow> {
        let index = self.reports.len();
        let mut progress = self.bar.progress_of("flow", index, self.count);
        let pair = (&first.frame, &second.frame);
        let field = self.pipeline.flow(pair.0, pair.1, &self.how, &mut progress)?;
        let lengths = field.vectors().iter().map(|[x, y]| x.hypot(*y));
        let sum: f64 = lengths.clone().map(f64::from).sum();
        self.reports.push(Report {
            first: first.name.clone(),
            second: second.name.clone(),
            mean_length: sum / field.vectors().len().max(1) as f64,
            longest: lengths.fold(0.0, f32::max),
        });
        self.size = (field.width(), field.height());
        Ok(Flow { first, second, field })
    }

    /// An error of the first pair, and the time that its first frame is shown.
    fn first_time(&mut self) -> Result<Option<std::time::Duration>> {
        match self.pairs.peek() {
            Some(Ok((first, _))) => Ok(first.time),
            // The error is taken, not looked at.
            Some(Err(_)) => match self.pairs.next() {
                Some(Err(e)) => Err(e),
                _ => Ok(None),
            },
            None => Ok(None),
        }
    }

    fn write(&mut self, options: &Options, target: &Target, look: &Look) -> Result<()> {
        let out = &options.out;
        match target {
            Target::Single(format) => {
                let Some(pair) = self.pairs.next() else {
                    return Ok(());
                };
                let (first, second) = pair?;
                match self.pairs.next() {
                    None => {}
                    Some(Err(e)) => return Err(e),
                    Some(Ok(_)) => {
                        return Err(Error::Media {
                            path: out.clone(),
                            what: "is one file, but there are several pairs of frames".to_owned(),
                            hint: "give a folder (DIR/), or a .y4m or .gif video".to_owned(),
                        });
                    }
                }
                let flow = self.compute(first, second)?;
                write(*format, out, look, &flow)
            }
            Target::Folder(format) => whole_folder(out, |folder| {
                while let Some(flow) = self.next() {
                    let name = format!("{:06}.{}", self.reports.len(), format.ending());
                    write(*format, &folder.join(name), look, &flow?)?;
                }
                Ok(())
            }),
            Target::Y4m => {
                let time = self.first_time()?;
                let rate = rate(self.rate, time);
                let frames = std::iter::from_fn(|| {
                    let flow = self.next()?;
                    Some(flow.and_then(|f| look.draw(&f.first.frame, &f.second.frame, &f.field)))
                });
                writers::y4m::write(out, Some(rate), frames).map(|_| ())
            }
            Target::Gif => {
                self.first_time()?;
                let rate = self.rate;
                let frames = std::iter::from_fn(|| {
                    let flow = self.next()?;
                    Some(flow.and_then(|f| {
                        let frame = look.draw(&f.first.frame, &f.second.frame, &f.field)?;
                        Ok((frame, time(rate, f.first.time)))
                    }))
                });
                writers::gif::write(out, frames).map(|_| ())
            }
        }
    }
}

fn write(format: Format, path: &std::path::Path, look: &Look, flow: &Flow) -> Result<()> {
    match format {
        Format::Png => {
            let (first, second) = (&flow.first.frame, &flow.second.frame);
            picture::write_png(path, &look.draw(first, second, &flow.field)?)
        }
        Format::Flo => flow.field.write(path),
    }
}
