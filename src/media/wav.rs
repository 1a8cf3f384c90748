//! Sound files: WAV read to floats.
//!
//! Integers of 8, 16, 24 and 32 bits and 32-bit floats are read. A sample of 1 is full scale; an
//! integer of b bits is divided by 2^(b − 1), so that 16-bit files come back unchanged. Invariant: a
//! damaged file cannot take more memory than its own length allows.

use std::io::{BufReader, ErrorKind};
use std::path::Path;

use hound::{SampleFormat, WavReader};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The most samples of all channels that are read: 1 GiB of floats.
pub(crate) const MAX_SAMPLES: usize = 1 << 28;

/// A sound in memory.
///
/// Invariant: there is at least one channel, and every channel has as many samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    rate: u32,
    channels: usize,
    samples: Vec<f32>,
}

impl Sound {
    /// A sound of `rate` samples a second, the channels of each instant beside each other.
    ///
    /// ```
    /// use perceiver::media::wav::Sound;
    /// let stereo = Sound::new(8000, 2, vec![0.5, 0.25, -1.0, 1.0]).unwrap();
    /// assert_eq!(stereo.mono().samples(), [0.375, 0.0]);
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] when the rate is zero, there is no channel, an instant is incomplete, or a
    /// sample is not finite.
    pub fn new(rate: u32, channels: usize, samples: Vec<f32>) -> Result<Self> {
        if rate == 0 || channels == 0 || !samples.len().is_multiple_of(channels) {
            return Err(Error::input(
                "sound",
                format!("{} samples of {channels} channels at {rate} a second", samples.len()),
                "a rate, at least one channel, and as many samples in each",
            ));
        }
        if let Some(at) = samples.iter().position(|s| !s.is_finite()) {
            let what = format!("{} at sample {at}", samples[at]);
            return Err(Error::input("sound", what, "finite numbers"));
        }
        Ok(Sound { rate, channels, samples })
    }

    /// Samples a second, of each channel.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// How many channels there are.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All samples: those of every channel at the first instant, then at the next.
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// How many instants there are.
    #[doc(hidden)]
    pub fn length(&self) -> usize {
        self.samples.len() / self.channels
    }

    /// The mean of all channels.
    #[must_use]
    pub fn mono(&self) -> Sound {
        let mean = |instant: &[f32]| {
            let sum: f64 = instant.iter().map(|&s| f64::from(s)).sum();
            (sum / self.channels as f64) as f32
        };
        let samples = self.samples.chunks_exact(self.channels).map(mean).collect();
        Sound { rate: self.rate, channels: 1, samples }
    }

    /// The samples as 32-bit floats `[length, channels]`.
    ///
    /// # Errors
    /// None for a sound that exists; the tensor's own checks are passed on.
    #[doc(hidden)]
    pub fn tensor(&self) -> Result<Tensor> {
        Tensor::f32(vec![self.length(), self.channels], self.samples.clone())
    }
}

fn media(path: &Path, what: impl Into<String>) -> Error {
    let hint = "a whole WAV file of 8 to 32-bit integers or 32-bit floats is expected; convert it \
                with `ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav`";
    Error::media(path, what, hint)
}

/// Reads a WAV file.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Media`] when it is damaged or of another
/// kind, [`Error::Limit`] when it has more than `MAX_SAMPLES`.
pub fn read(path: impl AsRef<Path>) -> Result<Sound> {
    let path = path.as_ref();
    let file = crate::open::regular(path)?;
    let damaged = |e: hound::Error| match e {
        // Of the first kind are hound's own errors about a missing rest.
        hound::Error::IoError(e)
            if matches!(e.kind(), ErrorKind::Other | ErrorKind::UnexpectedEof) =>
        {
            media(path, "it ends too early")
        }
        hound::Error::IoError(e) => Error::io("read", path, e),
        other => media(path, format!("this is no WAV file that is read: {other}")),
    };
    let mut reader = WavReader::new(BufReader::new(file)).map_err(damaged)?;
    let spec = reader.spec();
    let promised = reader.len() as usize;
    if promised > MAX_SAMPLES {
        return Err(Error::Limit {
            what: format!("{}", path.display()),
            needed: format!("{promised} samples"),
            limit: format!("{MAX_SAMPLES} samples"),
            hint: "cut the sound".to_owned(),
        });
    }
    // Not reserved: the header may promise what the file does not have.
    let mut samples: Vec<f32> = Vec::new();
    let at = |found: usize, e| match damaged(e) {
        Error::Media { path, what, hint } => {
            let what = format!("{what}, after {found} of {promised} samples");
            Error::Media { path, what, hint }
        }
        other => other,
    };
    match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => {
            let scale = f64::from(1u32 << (bits - 1));
            for sample in reader.samples::<i32>() {
                let sample = sample.map_err(|e| at(samples.len(), e))?;
                samples.push((f64::from(sample) / scale) as f32);
            }
        }
        (SampleFormat::Float, 32) => {
            for sample in reader.samples::<f32>() {
                samples.push(sample.map_err(|e| at(samples.len(), e))?);
            }
        }
        (format, bits) => {
            return Err(media(path, format!("its samples are {format:?} of {bits} bits")));
        }
    }
    Sound::new(spec.sample_rate, usize::from(spec.channels), samples)
        .map_err(|e| media(path, e.to_string()))
}
