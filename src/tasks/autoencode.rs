//! Encodes a clip of video and sound into latents, and decodes it again with its class.
//!
//! The pipeline is the published one: frames are cut to the middle square and resized, samples are
//! 48 000 a second, and the class is masked, so that the model has to find it. The clip is encoded
//! once; all its points are decoded from the same latents, window by window, so that memory does not
//! grow with their number. Frames are resized with Pillow's bicubic filter where the published
//! notebook uses OpenCV's bilinear one.
//!
//! ```no_run
//! # fn example(model: &perceiver::Model, frames: &[perceiver::media::Frame]) -> perceiver::Result<()> {
//! use perceiver::tasks::Autoencoder;
//! let found = Autoencoder::new(model)?.run(frames, None, 5, &mut |_, _| ())?;
//! println!("{}: PSNR {:?} dB", found.classes[0].label, found.video_psnr);
//! # Ok(()) }
//! ```

use std::borrow::Cow;

use super::classes::{ClassScore, top_classes};
use crate::error::{Error, Result};
use crate::graph::{Waiting, blocking};
use crate::media::Frame;
use crate::media::resample::{Resampling, resize};
use crate::model::{Model, RunOptions};
use crate::perceiver::{Architecture, PerceiverConfig};
use crate::tensor::{NamedTensors, Tensor};

/// Samples a second that the models are made for.
pub const SAMPLE_RATE: u32 = 48_000;

/// A clip after the way through the latents.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    /// The frames as the model took them.
    pub given: Vec<Frame>,
    /// The decoded frames.
    pub frames: Vec<Frame>,
    /// The decoded samples.
    pub audio: Vec<f32>,
    /// The best classes, best first.
    pub classes: Vec<ClassScore>,
    /// Peak signal-to-noise ratio of the video in decibels, of values in [0, 1] before rounding to
    /// bytes; `None` where nothing differs.
    pub video_psnr: Option<f64>,
    /// Signal-to-noise ratio of the sound in decibels; `None` of silence.
    pub audio_snr: Option<f64>,
}

/// The pipeline: a multimodal autoencoder that takes frames and sound.
#[derive(Debug, Clone)]
pub struct Autoencoder {
    model: Model,
    config: PerceiverConfig,
}

impl Autoencoder {
    /// The pipeline with a model.
    ///
    /// # Errors
    /// [`Error::Input`] when the model is of another architecture.
    pub fn new(model: &Model) -> Result<Self> {
        super::expect_architecture(model, Architecture::Multimodal, "autoencoding clips")?;
        Ok(Autoencoder { model: model.clone(), config: model.config()?.clone() })
    }

    /// Frames of a clip.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.config.num_frames
    }

    /// Height and width of a frame as the model takes it.
    #[must_use]
    pub fn side(&self) -> usize {
        self.config.output_shape[2]
    }

    /// Samples that belong to a frame.
    #[doc(hidden)]
    pub fn samples_per_frame(&self) -> usize {
        self.config.audio_samples_per_frame
    }

    /// Samples of a clip.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.frames() * self.samples_per_frame()
    }

    /// The middle square of a frame at the model's size.
    ///
    /// # Errors
    /// [`Error::Limit`] when there is no memory for the result.
    #[doc(hidden)]
    pub fn fit(&self, frame: &Frame) -> Result<Frame> {
        let (shorter, side) = (frame.width().min(frame.height()), self.side());
        // Rounded as published.
        let start = |length: usize| length / 2 - shorter / 2;
        let square = frame.crop(start(frame.width()), start(frame.height()), shorter, shorter)?;
        resize(&square, side, side, Resampling::Bicubic)
    }

    /// Encodes a clip and decodes all of it, with its `top` best classes. `audio` are samples at
    /// [`SAMPLE_RATE`], 1 being full scale; `None` is silence.
    ///
    /// `progress` hears (done, total) in floating-point operations.
    ///
    /// # Errors
    /// [`Error::Input`] when there are more or fewer frames or samples than the model takes, samples
    /// that are not finite, or a model's answer that is not; whatever [`Model::run`] reports.
    pub fn run(
        &self,
        frames: &[Frame],
        audio: Option<&[f32]>,
        top: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Reconstruction> {
        let progress = |done, total| progress(done, total);
        blocking(self.run_by(frames, audio, top, progress, Waiting::Block))
    }

    /// As [`Autoencoder::run`], awaited as [`Model::run_async`] is.
    ///
    /// # Errors
    /// As [`Autoencoder::run`] and [`Model::run_async`].
    pub async fn run_async(
        &self,
        frames: &[Frame],
        audio: Option<&[f32]>,
        top: usize,
    ) -> Result<Reconstruction> {
        self.run_by(frames, audio, top, |_, _| {}, Waiting::Await).await
    }

    async fn run_by(
        &self,
        frames: &[Frame],
        audio: Option<&[f32]>,
        top: usize,
        progress: impl FnMut(u64, u64),
        waiting: Waiting,
    ) -> Result<Reconstruction> {
        let config = &self.config;
        let (count, side, samples) = (self.frames(), self.side(), self.samples());
        if frames.len() != count {
            let expected = format!("{count}: the model takes clips of so many");
            return Err(Error::input("frames", format!("there are {}", frames.len()), expected));
        }
        let audio = audio.map_or_else(|| Cow::Owned(vec![0.0; samples]), Cow::Borrowed);
        if audio.len() != samples {
            return Err(Error::input(
                "audio",
                format!("{} samples", audio.len()),
                format!("{samples} at {SAMPLE_RATE} a second, as long as {count} frames are"),
            ));
        }
        let given = frames.iter().map(|frame| self.fit(frame)).collect::<Result<Vec<_>>>()?;
        let (pixels, patches) = (count * side * side, config.audio_patches());
        let image = super::planes(given.iter().map(Frame::rgb));
        let every = |count: usize| Tensor::i64(vec![count], (0..count as i64).collect());
        let inputs = NamedTensors::from([
            ("image".to_owned(), Tensor::f32(vec![1, count, 3, side, side], image)?),
            ("audio".to_owned(), Tensor::f32(vec![1, samples, 1], audio.to_vec())?),
            ("points.image".to_owned(), every(pixels)?),
            ("points.audio".to_owned(), every(patches)?),
        ]);
        let outputs = self.model.run_as(&inputs, RunOptions::default(), waiting, progress).await?;
        let video = super::output_f32(&outputs, "logits.image", &[1, pixels, 3])?;
        let sound = super::output_f32(&outputs, "logits.audio", &[1, samples])?;
        let classes = config.labels.len();
        let scores = super::output_f32(&outputs, "logits.label", &[1, classes])?;
        for (name, values) in [("logits.image", video), ("logits.audio", sound)] {
            super::finite(name, values, |at| format!("at element {at}"))?;
        }
        let rebuilt = video.chunks_exact(3 * side * side).map(|values| {
            let bytes = values.iter().map(|&v| (v.clamp(0.0, 1.0) * 255.0).round() as u8);
            Frame::new(side, side, bytes.collect())
        });
        let rebuilt = rebuilt.collect::<Result<Vec<_>>>()?;
        let wanted = given.iter().flat_map(|f| f.rgb()).zip(video);
        let off = wanted.map(|(&w, &v)| f64::from(w) / 255.0 - f64::from(v.clamp(0.0, 1.0)));
        let off: f64 = off.map(|x| x.powi(2)).sum();
        let video_psnr = (off > 0.0).then(|| -10.0 * (off / video.len() as f64).log10());
        let square = |x: f64| x * x;
        let signal: f64 = audio.iter().map(|&x| square(f64::from(x))).sum();
        let noise: f64 =
            audio.iter().zip(sound).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
        Ok(Reconstruction {
            given,
            frames: rebuilt,
            audio: sound.to_vec(),
            classes: top_classes(config, scores, top)?,
            video_psnr,
            audio_snr: (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10()),
        })
    }
}
