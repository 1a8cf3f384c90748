//! `perceiver scaling`: how cost grows with inputs, latents and outputs.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use perceiver::internals::graph::{PlanReport, Stage, StageReport};
use perceiver::internals::output::write_bytes;
use perceiver::internals::weights::RandomTensors;
use perceiver::profile::Ceiling;
use perceiver::{Engine, Error, Result, RunOptions, Sizes, Tensor};
use perceiver_cli::study::{Place, Series, Trial, Widths, exponent, streamed_encode};
use serde::Serialize;

use crate::{Outcome, scaling_plot, show};

/// Points at the far end that a slope is fitted to: what does not grow weighs on the others.
const FITTED: usize = 3;
/// Rows that are pushed at a time to a streaming encoder.
const CHUNK: usize = 4096;

/// Sweeps M inputs, N latents and O outputs beside full self-attention; writes a table and a plot.
#[derive(Args)]
pub(crate) struct Options {
    /// Devices: cpu, gpu, an adapter's number or part of its name
    #[arg(long, default_values = ["cpu"], value_delimiter = ',')]
    device: Vec<String>,
    /// What is swept
    #[arg(long, value_enum, default_values = ["encode", "process", "decode", "full", "stream"], value_delimiter = ',')]
    series: Vec<Swept>,
    /// Smallest size; sizes double from here
    #[arg(long, default_value_t = 1024, value_parser = size)]
    from: usize,
    /// Largest size
    #[arg(long, default_value_t = 1 << 17, value_parser = size)]
    to: usize,
    /// A series ends before a size whose run would take longer than this
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Timed runs of each size, after one that warms caches up; the fastest counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Latents N, where they do not grow
    #[arg(long, default_value_t = Widths::default().latents)]
    latents: usize,
    /// Channels D of a latent
    #[arg(long, default_value_t = Widths::default().latent_channels)]
    latent_channels: usize,
    /// Channels C of an input and E of a query
    #[arg(long, default_value_t = Widths::default().channels)]
    channels: usize,
    /// Heads H of self-attention
    #[arg(long, default_value_t = Widths::default().heads)]
    heads: usize,
    /// Folder for scaling.csv and scaling.svg
    #[arg(short, long, default_value = "perceiver-scaling")]
    out: PathBuf,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// A series of this command.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Swept {
    /// Cross-attention layer from M inputs
    Encode,
    /// Latent self-attention layer over N latents
    Process,
    /// Cross-attention layer to O outputs
    Decode,
    /// Self-attention layer over M elements: the quadratic baseline
    Full,
    /// Encode of M inputs in chunks, in memory that does not grow
    Stream,
}

impl Swept {
    fn series(self) -> Series {
        match self {
            Swept::Encode | Swept::Stream => Series::Encode,
            Swept::Process => Series::Process,
            Swept::Decode => Series::Decode,
            Swept::Full => Series::SelfAttention,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Swept::Stream => "streamed encode",
            other => other.series().name(),
        }
    }
}

/// One size of one series.
#[derive(Serialize)]
pub(crate) struct Point {
    pub(crate) series: &'static str,
    pub(crate) device: String,
    /// M, N or O.
    pub(crate) letter: &'static str,
    pub(crate) size: usize,
    /// Fastest run.
    pub(crate) seconds: f64,
    /// Floating-point operations of matrix products.
    flops: u64,
    /// Bytes that must be moved at least.
    bytes: u64,
    gflop_per_second: f64,
    /// Least time by what the device does at best, measured in the same run.
    pub(crate) roof_seconds: f64,
    /// Bytes allocated, weights included.
    memory_bytes: u64,
}

/// A series as a whole.
#[derive(Serialize)]
pub(crate) struct Line {
    pub(crate) series: &'static str,
    pub(crate) device: String,
    letter: &'static str,
    /// Sizes that slopes are fitted to.
    fitted: [usize; 2],
    /// Power of the size that time grows with.
    pub(crate) time_slope: Option<f64>,
    /// Power of the size that it should grow with.
    expected: u32,
    /// Power of the size that memory grows with.
    memory_slope: Option<f64>,
    /// Largest size and its figures.
    size: usize,
    seconds: f64,
    gflop_per_second: f64,
    /// Least time over time, at the largest size.
    share: f64,
    memory_bytes: u64,
}

/// A device and what it does at best.
#[derive(Serialize)]
struct Roof {
    device: String,
    #[serde(flatten)]
    ceiling: Ceiling,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let widths = Widths {
        latents: options.latents,
        latent_channels: options.latent_channels,
        channels: options.channels,
        heads: options.heads,
    };
    widths.check()?;
    if options.to < options.from {
        let what = format!("is {}", options.to);
        return Err(Error::input("to", what, format!("at least {}", options.from)));
    }
    let engines = options.device.iter().map(|name| Engine::named(name));
    let engines = engines.collect::<Result<Vec<_>>>()?;
    let mut series = options.series.clone();
    series.dedup();
    let (mut points, mut lines, mut roofs) = (Vec::new(), Vec::new(), Vec::new());
    for engine in &engines {
        let place = Place::of(engine);
        let ceiling = place.ceiling()?;
        roofs.push(Roof { device: place.name().to_owned(), ceiling });
        for &swept in &series {
            let bar = show::Bar::new(swept.name());
            let found = sweep(engine, swept, &widths, options, &ceiling, &bar)?;
            drop(bar);
            lines.extend(line(swept, &found));
            points.extend(found);
        }
    }
    std::fs::create_dir_all(&options.out).map_err(|e| Error::io("create", &options.out, e))?;
    let (table, plot) = (options.out.join("scaling.csv"), options.out.join("scaling.svg"));
    write_bytes(&table, csv(&points)?.as_bytes())?;
    write_bytes(&plot, scaling_plot::draw(&points, &lines)?.as_bytes())?;
    if options.json {
        show::json(&serde_json::json!({
            "widths": {
                "latents": widths.latents,
                "latent_channels": widths.latent_channels,
                "channels": widths.channels,
                "heads": widths.heads,
            },
            "ceilings": roofs,
            "lines": lines,
            "points": points,
            "files": [show::path(&table), show::path(&plot)],
        }))?;
        return Ok(true);
    }
    print(&lines)?;
    for roof in &roofs {
        show::text(&format!(
            "ceilings of {}: {:.1} GFLOP/s, {:.1} GB/s",
            roof.device, roof.ceiling.gflop_per_second, roof.ceiling.gigabytes_per_second
        ))?;
    }
    show::text(&format!("{}\n{}", table.display(), plot.display()))?;
    Ok(true)
}

/// All sizes of a series, up to the last one that is quick enough and fits.
fn sweep(
    engine: &Engine,
    swept: Swept,
    widths: &Widths,
    options: &Options,
    ceiling: &Ceiling,
    bar: &show::Bar,
) -> Result<Vec<Point>> {
    let place = Place::of(engine);
    let sizes: Vec<usize> = std::iter::successors(Some(options.from), |n| n.checked_mul(2))
        .take_while(|&n| n <= options.to)
        .collect();
    let mut points: Vec<Point> = Vec::new();
    for (i, &size) in sizes.iter().enumerate() {
        bar.progress()(i as u64, sizes.len() as u64);
        let report = place.plan(widths, swept.series(), size)?.report();
        // The cost of the last size tells that of this one.
        let rate = points.last().map(|p| p.flops as f64 / p.seconds);
        if rate.is_some_and(|r| report.total_flops as f64 / r > options.seconds) {
            tracing::info!(series = swept.name(), size, "would take too long");
            break;
        }
        let measured = match swept {
            Swept::Stream => streamed(engine, widths, size, options.runs),
            _ => whole(&place, widths, swept.series(), size, options.runs),
        };
        let figures = match measured {
            Ok(figures) => figures,
            // A device that cannot hold a size ends its series, not the study.
            Err(e @ (Error::OutOfMemory { .. } | Error::Limit { .. })) if !points.is_empty() => {
                tracing::warn!(series = swept.name(), size, "ends here: {e}");
                break;
            }
            Err(e) => return Err(e),
        };
        points.push(Point {
            series: swept.name(),
            device: place.name().to_owned(),
            letter: swept.series().letter(),
            size,
            seconds: figures.seconds,
            flops: figures.flops,
            bytes: figures.bytes,
            gflop_per_second: figures.flops as f64 / figures.seconds / 1e9,
            roof_seconds: ceiling.seconds(figures.flops, figures.bytes),
            memory_bytes: figures.memory_bytes,
        });
    }
    Ok(points)
}

/// What was measured at one size.
struct Figures {
    /// Of the fastest run.
    seconds: f64,
    flops: u64,
    bytes: u64,
    memory_bytes: u64,
}

impl Figures {
    fn new(seconds: f64, report: &PlanReport, stages: &[Stage], memory_bytes: u64) -> Self {
        let counted = |s: &&StageReport| stages.iter().any(|stage| stage.name() == s.name);
        Figures {
            seconds,
            flops: report.stages.iter().filter(counted).map(|s| s.flops).sum(),
            bytes: report.stages.iter().filter(counted).map(|s| s.bytes).sum(),
            memory_bytes,
        }
    }
}

/// A layer, all at once.
fn whole(
    place: &Place,
    widths: &Widths,
    series: Series,
    size: usize,
    runs: u32,
) -> Result<Figures> {
    let plan = place.plan(widths, series, size)?;
    let report = plan.report();
    let mut trial = Trial::new(place, plan)?;
    trial.compute()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..runs {
        fastest = fastest.min(trial.seconds()?);
    }
    let memory = trial.allocated_bytes();
    Ok(Figures::new(fastest, &report, &Stage::ALL, memory))
}

/// An encode whose rows come in chunks.
fn streamed(engine: &Engine, widths: &Widths, size: usize, runs: u32) -> Result<Figures> {
    let blueprint = streamed_encode(widths, size)?;
    let weights = Arc::new(RandomTensors::new(blueprint.tensors()?, 1));
    let model = engine.load_blueprint(blueprint, weights)?;
    let rows = CHUNK.min(size);
    let data = (0..rows * widths.channels).map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0);
    let chunk = Tensor::f32(vec![rows, widths.channels], data.collect())?;
    let mut encoder = model.encoder(&Sizes::default())?;
    // Sessions are made by the first push of each size of a chunk.
    encoder.push("x", 0, &chunk)?;
    let (mut fastest, mut memory) = (f64::INFINITY, 0);
    for _ in 0..runs {
        let start = std::time::Instant::now();
        let mut first = 0;
        while first < size {
            let n = rows.min(size - first);
            let part = if n == rows {
                encoder.push("x", first, &chunk)
            } else {
                let data = chunk.as_f32().unwrap_or(&[])[..n * widths.channels].to_vec();
                encoder.push("x", first, &Tensor::f32(vec![n, widths.channels], data)?)
            };
            part?;
            first += n;
        }
        fastest = fastest.min(start.elapsed().as_secs_f64());
        memory = encoder.allocated_bytes();
    }
    // The operations of the same encode at once, by the same route.
    let report = model.report(1, Sizes::default(), RunOptions::default())?;
    let stages = [Stage::Preprocess, Stage::Encode];
    Ok(Figures::new(fastest, &report, &stages, memory))
}

fn line(swept: Swept, points: &[Point]) -> Option<Line> {
    let last = points.last()?;
    let first = &points[points.len().saturating_sub(FITTED)];
    let slope = |value: fn(&Point) -> f64| {
        let values: Vec<(usize, f64)> = points.iter().map(|p| (p.size, value(p))).collect();
        exponent(&values, FITTED)
    };
    Some(Line {
        series: last.series,
        device: last.device.clone(),
        letter: last.letter,
        fitted: [first.size, last.size],
        time_slope: slope(|p| p.seconds),
        expected: swept.series().expected(),
        memory_slope: slope(|p| p.memory_bytes as f64),
        size: last.size,
        seconds: last.seconds,
        gflop_per_second: last.gflop_per_second,
        share: last.roof_seconds / last.seconds,
        memory_bytes: last.memory_bytes,
    })
}

fn csv(points: &[Point]) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::io("write", "scaling.csv", std::io::Error::other(e.to_string()))
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    for point in points {
        writer.serialize(point).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}

fn print(lines: &[Line]) -> Result<()> {
    let slope = |s: Option<f64>| s.map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"));
    let rows = lines.iter().map(|l| {
        vec![
            l.series.to_owned(),
            l.device.clone(),
            format!("{} {}..{}", l.letter, l.fitted[0], l.fitted[1]),
            slope(l.time_slope),
            l.expected.to_string(),
            slope(l.memory_slope),
            l.size.to_string(),
            format!("{:.1} ms", l.seconds * 1e3),
            format!("{:.1}", l.gflop_per_second),
            format!("{:.0} %", 100.0 * l.share),
            show::bytes(l.memory_bytes),
        ]
    });
    let heading = [
        "series",
        "device",
        "fitted over",
        "time grows with the power",
        "of theory",
        "memory with",
        "largest",
        "fastest run",
        "GFLOP/s",
        "of the ceiling",
        "memory",
    ];
    show::table(&heading, rows.collect())
}

fn size(text: &str) -> Result<usize, String> {
    const MOST: usize = 1 << 24;
    let n = match text.strip_prefix("2^") {
        Some(power) => power.parse().ok().and_then(|p: u32| 1usize.checked_shl(p)),
        None => text.parse().ok(),
    };
    n.filter(|n| (1..=MOST).contains(n)).ok_or_else(|| format!("give 1 to {MOST}, as 4096 or 2^12"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let n: Option<f64> = text.parse().ok();
    n.filter(|n| n.is_finite() && *n > 0.0)
        .ok_or_else(|| "give a number of seconds above 0".to_owned())
}
