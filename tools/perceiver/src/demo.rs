//! `perceiver demo`: the shipped models at work on fresh input.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use perceiver::media::{Frame, picture};
use perceiver::tasks::{FillMask, FillOptions, Filling, FlowField, FlowOptions, OpticalFlow};
use perceiver::{Error, Model, Result, RunOptions};
use serde_json::json;

use perceiver_cli::scenes::Scene;

use crate::models::{DeviceOption, load};
use crate::{Outcome, bench, show};

/// Size of the generated frames: that of the scenes that the model was trained on.
const SIZE: (usize, usize) = (128, 96);
/// Furthest shift of a layer, in pixels, and largest entry of the affine part: those of the training.
const MOTION: (f64, f64) = (4.0, 0.05);
/// What the language model completes.
const SENTENCE: &str = "The comp[MASK]ler checks that every re[MASK]erence is val[MASK]d.";

/// The shipped models at work.
#[derive(Args)]
pub(crate) struct Options {
    /// Folder for the pictures
    #[arg(long, default_value = "perceiver-demo")]
    out: PathBuf,
    /// Seed of the generated frames [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let start = Instant::now();
    let engine = options.device.engine()?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = options.seed.unwrap_or_else(|| clock.map_or(1, |t| t.as_secs()));

    let model = load(&engine, &options.device, "flow-tiny")?;
    let pair = Scene::layers(seed, SIZE.0, SIZE.1, MOTION.0, MOTION.1)?;
    let how = FlowOptions::default();
    let bar = show::Bar::new("flow");
    let pipeline = OpticalFlow::new(&model)?;
    let field = pipeline.flow(&pair.first, &pair.second, &how, &mut bar.progress())?;
    drop(bar);
    let nothing = FlowField::new(SIZE.0, SIZE.1, vec![[0.0; 2]; SIZE.0 * SIZE.1])?;
    let error = field.end_point_error(&pair.truth)?;
    let zero = nothing.end_point_error(&pair.truth)?;
    let files = pictures(&options.out, &pair.first, &pair.second, &field, &pair.truth)?;

    let text = load(&engine, &options.device, "text-tiny")?;
    let fill = FillOptions { top: 1, filling: Filling::MostCertainFirst };
    let bar = show::Bar::new("text");
    let filled = FillMask::new(&text)?.fill(&[SENTENCE], &fill, &mut bar.progress())?;
    drop(bar);
    let filled = filled.into_iter().next().map(|f| f.text).unwrap_or_default();
    let seconds = start.elapsed().as_secs_f64();

    if options.json {
        show::json(&json!({
            "end_point_error": error,
            "zero_flow_error": zero,
            "seconds": seconds,
            "device": engine.device_name(),
            "files": files.iter().map(|file| show::path(file)).collect::<Vec<_>>(),
            "filled_text": filled,
            "masked_text": SENTENCE,
            "seed": seed,
        }))?;
        return Ok(true);
    }
    show::text(&format!(
        "optical flow of a generated pair (seed {seed}): error {error:.3} pixels, {zero:.3} without a model"
    ))?;
    for file in &files {
        show::text(&format!("  {}", file.display()))?;
    }
    stages(&model)?;
    show::text(&format!("masked text: {SENTENCE}\nfilled text: {filled}"))?;
    stages(&text)?;
    show::text(&format!("{seconds:.2} s on {}", engine.device_name()))?;
    Ok(true)
}

/// Writes the frames, the flow and the truth, each and side by side.
fn pictures(
    folder: &Path,
    first: &Frame,
    second: &Frame,
    field: &FlowField,
    truth: &FlowField,
) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    // The same scale for both, so that equal colours are equal motions.
    let longest = truth.vectors().iter().map(|[x, y]| x.hypot(*y)).fold(0.1, f32::max);
    let flow = field.picture(Some(longest))?;
    let truth = truth.picture(Some(longest))?;
    let all = perceiver_cli::flow_style::side_by_side(&[first, second, &flow, &truth])?;
    let mut files = Vec::new();
    for (name, frame) in [
        ("first.png", first),
        ("second.png", second),
        ("flow.png", &flow),
        ("truth.png", &truth),
        ("side-by-side.png", &all),
    ] {
        let path = folder.join(name);
        picture::write_png(&path, frame)?;
        files.push(path);
    }
    Ok(files)
}

/// Time and memory of one more run, by stage.
fn stages(model: &Model) -> Result<()> {
    let profile = model.profile(&bench::inputs(model, 1)?, RunOptions::default())?;
    let Some(report) = model.last_report() else {
        return Ok(());
    };
    let seconds = profile.stages();
    let rows = report.stages.iter().map(|stage| {
        let time = seconds.iter().find(|(name, _)| *name == stage.name);
        let time = time.map_or_else(|| "–".to_owned(), |(_, s)| format!("{:.2} ms", 1e3 * s));
        vec![stage.name.to_owned(), show::flops(stage.flops), time, show::bytes(stage.peak_bytes)]
    });
    show::table(&["stage of one run", "operations", "time", "memory"], rows.collect())
}
