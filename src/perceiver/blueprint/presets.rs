//! Models of the papers for which no weights were published, as blueprints.
//!
//! What a paper leaves open is assumed and said so; sizes are arguments, so that a small model of the
//! same form can be trained. Papers: Perceiver (Jaegle et al., 2021) and Perceiver IO (Jaegle et al.,
//! 2022). The example `paper_models` writes any of them as a folder for `perceiver run`.

use super::{Blueprint, Modality, Output, PerceiverBuilder, Spacing, feature_grid};
use crate::error::Result;

/// Latents and tower of a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Latents N.
    pub latents: usize,
    /// Latent channels D.
    pub channels: usize,
    /// Self-attention layers with weights of their own.
    pub layers: usize,
    /// Times that these are run.
    pub times: usize,
    /// Their heads.
    pub heads: usize,
}

impl Size {
    fn builder(self) -> PerceiverBuilder {
        PerceiverBuilder::new(self.latents, self.channels)
    }

    fn tower(self, builder: PerceiverBuilder) -> PerceiverBuilder {
        builder.tower("tower", self.layers, self.heads, self.times)
    }
}

/// GLUE with one learned query per task (the "multitask query" of Perceiver IO): bytes
/// `text` `[batch, length or less]` with `text.mask`, and for each task its scores `[batch, classes]`.
///
/// Assumed: embeddings and queries of 768 channels as in the language model, a decoder of one head, one
/// linear layer per task.
///
/// # Errors
/// [`crate::Error::Config`] when sizes do not fit.
///
/// ```
/// # use std::sync::Arc;
/// use perceiver::blueprint::presets::{Size, glue};
/// # use perceiver::RandomTensors;
/// use perceiver::{Engine, NamedTensors, Tensor};
/// // The paper's size is 256 latents of 1280 channels, 26 layers of 8 heads.
/// let size = Size { latents: 8, channels: 32, layers: 2, times: 1, heads: 4 };
/// let blueprint = glue(size, 64, &[("cola", 2), ("mnli", 3), ("stsb", 1)])?;
/// # let weights = Arc::new(RandomTensors::new(blueprint.tensors()?, 1));
/// let model = Engine::cpu().load_blueprint(blueprint, weights)?;
/// let tokens = perceiver::internals::tasks::text::encode(b"It rained all day.");
/// let text = Tensor::i64(vec![1, tokens.len()], tokens)?;
/// let scores = model.run(&NamedTensors::from([("text".to_owned(), text)]), &mut |_, _| {})?;
/// assert_eq!(scores["mnli"].shape(), [1, 3]);
/// # Ok::<(), perceiver::Error>(())
/// ```
pub fn glue(size: Size, length: usize, tasks: &[(&str, usize)]) -> Result<Blueprint> {
    /// Six special tokens and all bytes.
    const VOCABULARY: usize = 262;
    const CHANNELS: usize = 768;
    let text = Modality::tokens("text", length, VOCABULARY, CHANNELS).mask().varies();
    let mut builder = size.tower(size.builder().input(text).cross("cross", size.heads));
    for &(task, classes) in tasks {
        let query = Modality::learned(task, 1, CHANNELS);
        builder = builder.output(Output::new(task, query).linear(classes).shape(&[classes]));
    }
    builder.build()
}

/// What a sound is given as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sound {
    /// `samples` of the wave in rows of `patch`.
    Raw {
        /// Samples, a multiple of `patch`.
        samples: usize,
        /// Samples of a row.
        patch: usize,
    },
    /// A mel spectrogram, one row per value.
    Mel {
        /// Points in time.
        frames: usize,
        /// Mel bands.
        bands: usize,
    },
}

/// AudioSet: classes of a clip from `video` `[batch, patches, channels]`, patches on a `grid` of time,
/// height and width, and `audio`, raw or as a mel spectrogram. Output `class` `[batch, classes]`, 527 of
/// them in AudioSet, each decided for itself (sigmoid).
///
/// Assumed: the grids and patches (32 frames of 224×224 in patches of 2×8×8 make a `grid` of `[16, 28,
/// 28]` with 384 channels, 61440 samples 480 rows of 128), 64 Fourier bands for the video and 192 for the
/// sound, frequencies up to the grid's resolution (raw sound: that of its samples), one cross-attend of
/// one head, one learned query.
///
/// # Errors
/// [`crate::Error::Config`] when sizes do not fit.
///
/// ```
/// # use std::sync::Arc;
/// use perceiver::blueprint::presets::{Size, Sound, audio_set};
/// # use perceiver::RandomTensors;
/// use perceiver::{Engine, NamedTensors, Tensor};
/// let size = Size { latents: 8, channels: 32, layers: 2, times: 1, heads: 4 };
/// // Four times of 2×2 patches of 24 numbers, and 20 times of 16 mel bands.
/// let sound = Sound::Mel { frames: 20, bands: 16 };
/// let blueprint = audio_set(size, [4, 2, 2], 24, sound, 527)?;
/// # let weights = Arc::new(RandomTensors::new(blueprint.tensors()?, 1));
/// let model = Engine::cpu().load_blueprint(blueprint, weights)?;
/// let inputs = NamedTensors::from([
///     ("video".to_owned(), Tensor::f32(vec![1, 16, 24], vec![0.5; 384])?),
///     ("audio".to_owned(), Tensor::f32(vec![1, 320, 1], vec![0.1; 320])?),
/// ]);
/// let classes = model.run(&inputs, &mut |_, _| {})?;
/// assert_eq!(classes["class"].shape(), [1, 527]);
/// # Ok::<(), perceiver::Error>(())
/// ```
pub fn audio_set(
    size: Size,
    grid: [usize; 3],
    channels: usize,
    sound: Sound,
    classes: usize,
) -> Result<Blueprint> {
    let cells = grid.iter().fold(1usize, |a, &n| a.saturating_mul(n));
    let video = Modality::given("video", cells, channels).fourier(&grid, 64);
    let audio = match sound {
        Sound::Raw { samples, patch } => {
            // A patch of 0 has no rows, which the check refuses; so has a rest.
            let rows = match samples.checked_rem(patch) {
                Some(0) => samples / patch,
                _ => 0,
            };
            let audio = Modality::given("audio", rows, patch);
            audio.fourier_of(&[rows], &[samples], 192, Spacing::Ends)
        }
        Sound::Mel { frames, bands } => {
            Modality::given("audio", frames.saturating_mul(bands), 1).fourier(&[frames, bands], 192)
        }
    };
    let builder = size.builder().input(audio).input(video).cross("cross", 1);
    let query = Modality::learned("class", 1, size.channels);
    size.tower(builder)
        .decoder(1, true)
        .output(Output::new("class", query).linear(classes).shape(&[classes]))
        .build()
}

/// The set of units of a StarCraft II position, in place of AlphaStar's entity transformer (Perceiver
/// IO): `entities` `[batch, units, features]` with `entities.mask`, one vector `[batch,
/// units, channels]` for each unit as `encoded`. The set has no order, so there are no positions, and a
/// run may have any number of units.
///
/// Assumed: AlphaStar's 512 units at most; the paper uses 32 latents. Rows ask with what they are.
///
/// # Errors
/// [`crate::Error::Config`] when sizes do not fit.
///
/// ```
/// # use std::sync::Arc;
/// use perceiver::blueprint::presets::{Size, entity_set};
/// # use perceiver::RandomTensors;
/// use perceiver::{Engine, NamedTensors, Tensor};
/// let size = Size { latents: 32, channels: 64, layers: 2, times: 1, heads: 2 };
/// let blueprint = entity_set(size, 512, 10, 48)?;
/// # let weights = Arc::new(RandomTensors::new(blueprint.tensors()?, 1));
/// let model = Engine::cpu().load_blueprint(blueprint, weights)?;
/// // Seventy units of ten features each.
/// let units = Tensor::f32(vec![1, 70, 10], vec![0.5; 700])?;
/// let encoded = model.run(&NamedTensors::from([("entities".to_owned(), units)]), &mut |_, _| {})?;
/// assert_eq!(encoded["encoded"].shape(), [1, 70, 48]);
/// # Ok::<(), perceiver::Error>(())
/// ```
pub fn entity_set(size: Size, units: usize, features: usize, channels: usize) -> Result<Blueprint> {
    let entities = Modality::linear("entities", units, features, size.channels).mask().varies();
    let builder = size.builder().input(entities).cross("cross", size.heads);
    size.tower(builder)
        .decoder(size.heads, true)
        .output(Output::per_row("encoded", "entities").linear(channels))
        .build()
}

/// Optical flow on features of a convolution (Perceiver IO's variant): `frames` `[batch, 6,
/// height, width]`, both pictures' colours, to `flow` `[batch, height, width, 2]`, x and y of each pixel's
/// motion. A 7×7 convolution of stride 2 to 64 channels and a max pool of stride 2 make features at a
/// quarter of the size; they are input and queries. Frames of other sizes may follow.
///
/// Assumed: the ImageNet model's convolution, batch norm and padding, over both frames at once; 64 Fourier
/// bands; queries that are the input's rows as in the published flow model. Upsampling is learned: the
/// last linear layer gives each feature the vectors of its 4×4 pixels; the few pixels beyond the last
/// feature (the convolution has no padding there) take those at its edge.
///
/// # Errors
/// [`crate::Error::Config`] when sizes do not fit.
///
/// ```
/// # use std::sync::Arc;
/// use perceiver::blueprint::presets::{Size, convolution_flow};
/// # use perceiver::RandomTensors;
/// use perceiver::{Engine, NamedTensors, Tensor};
/// // The paper's size is 2048 latents of 512 channels, 24 layers of 16 heads, 368×496 pixels.
/// let size = Size { latents: 16, channels: 32, layers: 2, times: 1, heads: 4 };
/// let blueprint = convolution_flow(size, [368, 496])?;
/// # let weights = Arc::new(RandomTensors::new(blueprint.tensors()?, 1));
/// let model = Engine::cpu().load_blueprint(blueprint, weights)?;
/// let frames = Tensor::f32(vec![1, 6, 50, 70], vec![0.5; 6 * 50 * 70])?;
/// let flow = model.run(&NamedTensors::from([("frames".to_owned(), frames)]), &mut |_, _| {})?;
/// assert_eq!(flow["flow"].shape(), [1, 50, 70, 2]);
/// # Ok::<(), perceiver::Error>(())
/// ```
pub fn convolution_flow(size: Size, image: [usize; 2]) -> Result<Blueprint> {
    const FRAMES: usize = 2 * 3;
    /// A feature stands for as many lines and columns.
    const SIDE: usize = 4;
    let frames = Modality::convolution("frames", image, FRAMES, 64)
        .fourier(&feature_grid(image), 64)
        .varies();
    size.tower(size.builder().input(frames).cross("cross", 1))
        .output(Output::per_row("flow", "frames").linear(2 * SIDE * SIDE).upsample([SIDE; 2]))
        .build()
}
