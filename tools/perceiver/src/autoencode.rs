//! `perceiver autoencode`: a clip through the latents and back, as files and as numbers.

use std::path::{Path, PathBuf};

use clap::Args;
use perceiver::internals::output::{check_place, whole_folder};
use perceiver::media::wav::{self, Sound};
use perceiver::media::{Frames, NamedFrame, picture};
use perceiver::tasks::SAMPLE_RATE;
use perceiver::tasks::{Autoencoder, Reconstruction};
use perceiver::{Error, Result};
use perceiver_cli::writers::{self, wav::SampleKind};
use serde_json::json;

use crate::classes::at_least_one;
use crate::flow_output::{rate, time};
use crate::models::{DeviceOption, load};
use crate::{Outcome, classes, show};

/// Autoencodes a clip.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder, or a model's name (`perceiver models` lists them)
    #[arg(long)]
    model: PathBuf,
    /// The frames: a folder of pictures, a YUV4MPEG2 (.y4m) video, `-` for one from standard input,
    /// or a GIF. Each is cut to its middle square and resized
    #[arg(value_name = "CLIP")]
    clip: PathBuf,
    /// The sound, a WAV file of 48 000 samples a second, of which the first channel counts
    /// [default: silence]
    #[arg(long, value_name = "FILE.wav")]
    audio: Option<PathBuf>,
    /// Take the clip from this frame on, counted from 0, and the sound that belongs to it. Needed
    /// where there are more frames than the model takes
    #[arg(long, value_name = "FRAME")]
    start: Option<usize>,
    /// Where the result goes: frames into .y4m, .gif or a folder (DIR/), sound into .wav
    #[arg(short, long, required = true, num_args = 1..)]
    out: Vec<PathBuf>,
    /// Classes to print
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    top: usize,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

/// What the name of a result asks for.
enum Target {
    Folder,
    Y4m,
    Gif,
    Wav,
}

impl Target {
    fn of(path: &Path) -> Result<Self> {
        let name = path.as_os_str().to_string_lossy();
        if path.is_dir() || name.ends_with(['/', std::path::MAIN_SEPARATOR]) {
            return Ok(Target::Folder);
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        match extension.to_lowercase().as_str() {
            "y4m" => Ok(Target::Y4m),
            "gif" => Ok(Target::Gif),
            "wav" => Ok(Target::Wav),
            _ => Err(Error::Media {
                path: path.to_path_buf(),
                what: "has no extension that says what to write".to_owned(),
                hint:
                    "end it in .y4m or .gif for a video, in / for a folder of pictures, or in .wav \
                       for the sound"
                        .to_owned(),
            }),
        }
    }
}

pub(crate) fn run(options: &Options) -> Outcome {
    // Decided before anything runs, so that a wrong name costs nothing.
    let targets = options
        .out
        .iter()
        .map(|path| {
            check_place(path)?;
            Ok((path, Target::of(path)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let pipeline = Autoencoder::new(&model)?;
    let start = options.start.unwrap_or(0);
    let audio = match &options.audio {
        Some(path) => Some(samples(path, &pipeline, start)?),
        None => None,
    };
    let frames = Frames::open(&options.clip)?;
    let known_rate = frames.rate();
    let clip = clip(frames, &pipeline, options)?;
    if audio.is_some() {
        warn_of_rate(&pipeline, known_rate);
    }
    let fitted = clip.iter().map(|f| pipeline.fit(&f.frame)).collect::<Result<Vec<_>>>()?;
    let bar = show::Bar::new("autoencoding");
    let found = pipeline.run(&fitted, audio.as_deref(), options.top, &mut bar.progress())?;
    drop(bar);
    for (path, target) in &targets {
        write(path, target, &found, &clip, known_rate)?;
    }
    let (frames, side) = (pipeline.frames(), pipeline.side());
    if options.json {
        show::json(&json!({
            "files": options.out.iter().map(|file| show::path(file)).collect::<Vec<_>>(),
            "frames": frames,
            "width": side,
            "height": side,
            "samples": pipeline.samples(),
            "video_psnr": found.video_psnr,
            "audio_snr": found.audio_snr,
            "classes": found.classes,
            "device": engine.device_name(),
        }))?;
        return Ok(true);
    }
    let rows = found.classes.iter().map(|c| classes::cells(c).to_vec());
    show::table(&classes::HEADING, rows.collect())?;
    let ratio = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2} dB"));
    show::text(&format!(
        "{frames} frames of {side}×{side} pixels, PSNR {}; {} samples, SNR {}; on {}",
        ratio(found.video_psnr),
        pipeline.samples(),
        ratio(found.audio_snr),
        engine.device_name()
    ))?;
    Ok(true)
}

/// The frames that the model takes.
fn clip(frames: Frames, pipeline: &Autoencoder, options: &Options) -> Result<Vec<NamedFrame>> {
    let (wanted, start) = (pipeline.frames(), options.start.unwrap_or(0));
    let length = frames.length();
    let mut clip = Vec::with_capacity(wanted);
    let mut read = 0;
    // One more is read only to know that there is one.
    let most = start.saturating_add(wanted);
    let most = most.saturating_add(usize::from(options.start.is_none()));
    for frame in frames.take(most) {
        let frame = frame?;
        if read >= start && clip.len() < wanted {
            clip.push(frame);
        }
        read += 1;
    }
    let more = read > start.saturating_add(wanted);
    let name = || options.clip.display().to_string();
    if clip.len() < wanted {
        let from = match options.start {
            Some(start) => format!(", {} from frame {start} on", clip.len()),
            None => String::new(),
        };
        return Err(Error::input(
            name(),
            format!("has {read} frame{}{from}", if read == 1 { "" } else { "s" }),
            format!("{wanted} frames, the length of the clips that the model takes"),
        ));
    }
    if more && options.start.is_none() {
        let (all, last) = match length {
            Some(n) => (n.to_string(), format!(" to {}", n - wanted)),
            None => (format!("more than {wanted}"), " on".to_owned()),
        };
        return Err(Error::input(
            name(),
            format!("has {all} frames"),
            format!(
                "{wanted} frames, the length of the clips that the model takes; --start FRAME takes \
                 them from a frame on (0{last})"
            ),
        ));
    }
    Ok(clip)
}

/// The samples that belong to the clip.
fn samples(path: &Path, pipeline: &Autoencoder, start: usize) -> Result<Vec<f32>> {
    let sound = wav::read(path)?;
    let media = |what: String, hint: String| Error::Media { path: path.to_path_buf(), what, hint };
    if sound.rate() != SAMPLE_RATE {
        return Err(media(
            format!("it has {} samples a second", sound.rate()),
            format!(
                "the model takes {SAMPLE_RATE}: convert it with `ffmpeg -i {} -ar {SAMPLE_RATE} -ac 1 \
                 OUTPUT.wav`",
                path.display()
            ),
        ));
    }
    let first = start.saturating_mul(pipeline.samples_per_frame());
    let part: Vec<f32> = sound
        .samples()
        .iter()
        .step_by(sound.channels())
        .skip(first)
        .take(pipeline.samples())
        .copied()
        .collect();
    if part.len() < pipeline.samples() {
        let from = match first {
            0 => String::new(),
            first => format!(", {} from sample {first} on", part.len()),
        };
        return Err(media(
            format!("it has {} samples{from}", sound.length()),
            format!(
                "the clip takes {}, {} for each of {} frames: lengthen it with `ffmpeg -i {} -af apad \
                 -t SECONDS OUTPUT.wav`",
                pipeline.samples(),
                pipeline.samples_per_frame(),
                pipeline.frames(),
                path.display()
            ),
        ));
    }
    Ok(part)
}

/// Says so when pictures and sound of the clip are not of the same moments.
fn warn_of_rate(pipeline: &Autoencoder, known: Option<(u32, u32)>) {
    let Some((count, seconds)) = known else {
        return;
    };
    let found = f64::from(count) / f64::from(seconds.max(1));
    let made_for = f64::from(SAMPLE_RATE) / pipeline.samples_per_frame() as f64;
    if (found / made_for - 1.0).abs() > 0.01 {
        tracing::warn!(
            "the video has {found:.2} frames a second, the model is made for {made_for:.2}: sound and \
             pictures drift apart; convert it with `ffmpeg -i INPUT -r {made_for} OUTPUT.y4m`"
        );
    }
}

fn write(
    path: &Path,
    target: &Target,
    found: &Reconstruction,
    clip: &[NamedFrame],
    known_rate: Option<(u32, u32)>,
) -> Result<()> {
    let first_time = clip.first().and_then(|f| f.time);
    match target {
        Target::Folder => whole_folder(path, |folder| {
            for (index, frame) in found.frames.iter().enumerate() {
                picture::write_png(folder.join(format!("{:06}.png", index + 1)), frame)?;
            }
            Ok(())
        }),
        Target::Y4m => {
            let frames = found.frames.iter().cloned().map(Ok);
            writers::y4m::write(path, Some(rate(known_rate, first_time)), frames).map(|_| ())
        }
        Target::Gif => {
            let frames = found.frames.iter().zip(clip);
            let frames = frames.map(|(f, source)| Ok((f.clone(), time(known_rate, source.time))));
            writers::gif::write(path, frames).map(|_| ())
        }
        Target::Wav => {
            let sound = Sound::new(SAMPLE_RATE, 1, found.audio.clone())?;
            writers::wav::write(path, &sound, SampleKind::Integer16)
        }
    }
}
