//! Where the flow of `perceiver flow` goes, and how it looks there.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use perceiver::media::Frame;
use perceiver::tasks::FlowField;
use perceiver::{Error, Result};
use perceiver_cli::flow_style;

/// Files of one pair.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Pictures
    Png,
    /// Numbers, as the Middlebury benchmark has them
    Flo,
}

impl Format {
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Flo => "flo",
        }
    }
}

/// How flow is drawn.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    /// Colours: the direction gives the hue, the length the saturation
    Wheel,
    /// Arrows over the first frame
    Arrows,
    /// The first frame, the second one brought back by the flow, and their difference
    Warp,
}

/// What the name of the result asks for.
pub(crate) enum Target {
    Single(Format),
    Folder(Format),
    Y4m,
    Gif,
}

impl Target {
    pub(crate) fn of(path: &Path, format: Option<Format>) -> Result<Self> {
        let name = path.as_os_str().to_string_lossy();
        if path.is_dir() || name.ends_with(['/', std::path::MAIN_SEPARATOR]) {
            return Ok(Target::Folder(format.unwrap_or(Format::Png)));
        }
        if format.is_some() {
            return Err(Error::input(
                "format",
                format!("is given, but {} is no folder", path.display()),
                "a folder (DIR/), or no format: the name of a file says it",
            ));
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        match extension.to_lowercase().as_str() {
            "png" => Ok(Target::Single(Format::Png)),
            "flo" => Ok(Target::Single(Format::Flo)),
            "y4m" => Ok(Target::Y4m),
            "gif" => Ok(Target::Gif),
            _ => Err(Error::Media {
                path: path.to_path_buf(),
                what: "has no extension that says what to write".to_owned(),
                hint:
                    "end it in .png for a picture or .flo for numbers; of a sequence, in .y4m or \
                       .gif for a video, or in / for a folder"
                        .to_owned(),
            }),
        }
    }

    /// Whether nothing is drawn.
    fn is_numbers(&self) -> bool {
        matches!(self, Target::Single(Format::Flo) | Target::Folder(Format::Flo))
    }
}

/// Style and scale.
pub(crate) struct Look {
    style: Style,
    scale: Option<f32>,
}

impl Look {
    pub(crate) fn of(style: Option<Style>, scale: Option<f32>, target: &Target) -> Result<Self> {
        for (name, given) in [("style", style.is_some()), ("scale", scale.is_some())] {
            if given && target.is_numbers() {
                return Err(Error::input(
                    name,
                    "is given for numbers (.flo), of which nothing is drawn",
                    "pictures or a video",
                ));
            }
        }
        let style = style.unwrap_or(Style::Wheel);
        if let Some(scale) = scale {
            if style == Style::Warp {
                return Err(Error::input(
                    "scale",
                    "is given for the style `warp`, in which no motion is drawn",
                    "the style `wheel` or `arrows`",
                ));
            }
            if !scale.is_finite() || scale <= 0.0 {
                return Err(Error::input("scale", scale.to_string(), "a number of pixels above 0"));
            }
        }
        Ok(Look { style, scale })
    }

    pub(crate) fn draw(&self, first: &Frame, second: &Frame, field: &FlowField) -> Result<Frame> {
        match self.style {
            Style::Wheel => field.picture(self.scale),
            Style::Arrows => flow_style::arrows(first, field, self.scale),
            Style::Warp => flow_style::warp_and_compare(first, second, field),
        }
    }
}

/// What videos have whose source does not say.
const RATE: (u32, u32) = (25, 1);

/// Frames a second of a video, as a fraction: the source's rate, or that of a frame's time.
pub(crate) fn rate(known: Option<(u32, u32)>, time: Option<Duration>) -> (u32, u32) {
    let of_time = || {
        let thousandths = u32::try_from(time?.as_millis()).ok()?;
        (thousandths > 0).then_some((1000, thousandths))
    };
    known.or_else(of_time).unwrap_or(RATE)
}

/// How long a frame is shown.
pub(crate) fn time(known: Option<(u32, u32)>, time: Option<Duration>) -> Duration {
    time.unwrap_or_else(|| {
        let (count, seconds) = rate(known, None);
        Duration::from_secs_f64(f64::from(seconds) / f64::from(count.max(1)))
    })
}
