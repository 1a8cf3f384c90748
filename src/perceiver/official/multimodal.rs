//! `PerceiverForMultimodalAutoencoding`: video and sound in, chosen points of both and the
//! scores of the classes out.
//!
//! Three modalities share one attention: audio patches, blocks of 1×4×4 pixels, and one row for the
//! class, which is always masked, so that the model has to find it.

use super::{Arrays, Class, Item, Misfit, stack};
use crate::error::{Error, Result};
use crate::graph::{Spacing, Stage};
use crate::memory::{collected, zeroed};
use crate::perceiver::PerceiverConfig;
use crate::perceiver::batch::{Array, Batch, finite, named, whole_numbers, wrong_shape};
use crate::perceiver::blueprint::{Blueprint, DecoderBlueprint, Head, Modality, OutputLinear};
use crate::perceiver::request::Sizes;
use crate::tensor::{NamedTensors, Tensor};

/// Bands of the audio's features, fixed in Hugging Face's class.
const AUDIO_BANDS: usize = 192;
/// Bands of the video's features, fixed in Hugging Face's class.
const VIDEO_BANDS: usize = 32;
/// Pixels of a block along both sides.
const BLOCK: usize = 4;
/// Colours of a pixel.
const COLOURS: usize = 3;

/// Fourier features of the audio, on one axis.
const AUDIO_FEATURES: usize = 1 + 2 * AUDIO_BANDS;
/// Fourier features of the video, on three axes.
const VIDEO_FEATURES: usize = 3 * (1 + 2 * VIDEO_BANDS);
/// Channels of a block of pixels.
const VIDEO_PATCH: usize = BLOCK * BLOCK * COLOURS;
/// Columns of learned padding that even the widest modality's input rows have.
const LEAST_INPUT_PADDING: usize = 4;
/// The same for output queries.
const LEAST_QUERY_PADDING: usize = 2;

pub(super) const CLASS: Class = Class {
    name: "PerceiverForMultimodalAutoencoding",
    item: Item::Clip,
    input_channels: |c| {
        (c.samples_per_patch + AUDIO_FEATURES).max(VIDEO_PATCH + VIDEO_FEATURES).max(c.labels.len())
            + LEAST_INPUT_PADDING
    },
    query_channels: |c| {
        AUDIO_FEATURES.max(VIDEO_FEATURES).max(c.label_trainable_num_channels) + LEAST_QUERY_PADDING
    },
    check,
    usual_sizes,
    blueprint,
    inputs,
    points: &["points.image", "points.audio"],
    unused_tensors: &[
        "perceiver.input_preprocessor.mask.audio",
        "perceiver.input_preprocessor.mask.image",
        "perceiver.input_preprocessor.padding.label",
    ],
    // There the classification decoder is that of one modality.
    query_module: Some("decoder.modalities.label.decoder"),
    file_inputs: &[
        "image",
        "audio",
        "label",
        "points.image",
        "points.audio",
        "raw.video",
        "raw.audio",
    ],
};

fn check(c: &PerceiverConfig) -> Result<Arrays, Misfit> {
    let samples = samples(c);
    if !samples.is_multiple_of(c.samples_per_patch) {
        let what = format!("is {} for {samples} samples", c.samples_per_patch);
        let hint = "it must divide num_frames times audio_samples_per_frame".to_owned();
        return Err(("samples_per_patch", what, hint));
    }
    let side = BLOCK * c.image_size;
    let wanted = [1, c.num_frames, side, side];
    if c.output_shape != wanted {
        let hint = format!("num_frames and image_size (in patches of 4) make it {wanted:?}");
        return Err(("output_shape", format!("is {:?}", c.output_shape), hint));
    }
    let product = |factors: &[usize]| factors.iter().fold(1usize, |a, &n| a.saturating_mul(n));
    let channels = c.input_channels();
    let hidden = c.output_num_channels;
    Ok(vec![
        ("image_size", product(&[c.num_frames, c.image_size, c.image_size, channels])),
        ("audio_samples_per_frame", product(&[c.audio_patches(), channels])),
        ("output_num_channels", product(&[c.query_channels(), hidden])),
        ("id2label", product(&[c.labels.len(), hidden])),
    ])
}

/// One of 128 chunks of a clip.
fn usual_sizes(c: &PerceiverConfig) -> Sizes {
    const CHUNKS: usize = 128;
    let pixels: usize = c.output_shape.iter().product();
    Sizes { points: [c.audio_patches(), pixels].map(|n| n.div_ceil(CHUNKS)), ..Sizes::default() }
}

/// Inputs `audio` `[1, patches, samples]`, `image` `[1, blocks, 48]`, and the points to decode,
/// `points.audio` and `points.image` `[1, points, 1]`. Outputs `logits.audio`, `logits.image` and
/// `logits.label`.
fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    let queries = queries(config, sizes);
    let rows: usize = queries.iter().map(|q| q.count).sum();
    let (query_channels, hidden) = (config.query_channels(), config.output_num_channels);
    let [audio_points, image_points] = sizes.points;
    let classes = config.labels.len();
    let outputs = [
        (config.samples_per_patch, vec![audio_points * config.samples_per_patch]),
        (COLOURS, vec![image_points, COLOURS]),
        (classes, vec![classes]),
    ];
    let heads = queries.into_iter().zip(outputs);
    let heads = heads.map(|(queries, (columns, shape))| {
        let name = &queries.name;
        let classifier = format!("perceiver.output_postprocessor.modalities.{name}.classifier");
        let last = "perceiver.decoder.decoder.final_layer";
        let layers = vec![
            OutputLinear::plain("decoded", Stage::Decode, last, query_channels, hidden),
            OutputLinear::plain(name, Stage::Postprocess, &classifier, hidden, columns),
        ];
        Head::new(&format!("logits.{name}"), queries.into(), layers, shape)
    });
    let decoder = DecoderBlueprint {
        layer: stack::decoder_layer(config, false),
        heads: heads.collect(),
        shape: vec![rows, hidden],
    };
    stack::blueprint(config, inputs_of(config, config.input_channels()).to_vec(), decoder)
}

/// Rows of the three modalities, in the order of their names.
fn inputs_of(config: &PerceiverConfig, channels: usize) -> [Modality; 3] {
    const PREFIX: &str = "perceiver.input_preprocessor";
    let patches = config.audio_patches();
    let patch = config.samples_per_patch;
    let audio = Modality::bare("audio", patches)
        .with_input("audio", patch)
        .fourier_of(&[patches], &[samples(config)], AUDIO_BANDS, Spacing::Ends)
        .with_constant(&format!("{PREFIX}.padding.audio"), channels - patch - AUDIO_FEATURES);
    let grid = video_grid(config);
    let image = Modality::bare("image", grid.iter().product())
        .with_input("image", VIDEO_PATCH)
        .fourier(&grid, VIDEO_BANDS)
        .with_constant(&format!("{PREFIX}.padding.image"), channels - VIDEO_PATCH - VIDEO_FEATURES);
    let label = Modality::bare("label", 1).with_constant(&format!("{PREFIX}.mask.label"), channels);
    [audio, image, label]
}

/// Queries of the chosen points, and the one of the class.
fn queries(config: &PerceiverConfig, sizes: &Sizes) -> [Modality; 3] {
    const PREFIX: &str = "perceiver.decoder";
    let channels = config.query_channels();
    let [audio, image] = sizes.points;
    let mut audio = Modality::bare("audio", audio)
        .fourier_of(&[config.audio_patches()], &[samples(config)], AUDIO_BANDS, Spacing::Cells)
        .with_constant(&format!("{PREFIX}.padding.audio"), channels - AUDIO_FEATURES);
    audio.points = Some("points.audio".to_owned());
    let mut image = Modality::bare("image", image)
        .fourier_of(&config.output_shape[1..], &video_grid(config), VIDEO_BANDS, Spacing::Cells)
        .with_constant(&format!("{PREFIX}.padding.image"), channels - VIDEO_FEATURES);
    image.points = Some("points.image".to_owned());
    let trainable = config.label_trainable_num_channels;
    let position = "modalities.label.decoder.output_position_encodings.position_embeddings";
    let label = Modality::bare("label", 1)
        .with_constant(&format!("{PREFIX}.{position}"), trainable)
        .with_constant(&format!("{PREFIX}.padding.label"), channels - trainable);
    [audio, image, label]
}

/// Audio samples of a clip.
fn samples(config: &PerceiverConfig) -> usize {
    config.num_frames * config.audio_samples_per_frame
}

/// Blocks of a clip along time, rows and columns.
fn video_grid(config: &PerceiverConfig) -> [usize; 3] {
    [config.num_frames, config.image_size, config.image_size]
}

/// Checks `image`, `audio`, `label` and the points, and makes rows of them.
fn inputs(config: &PerceiverConfig, inputs: &NamedTensors, _: bool) -> Result<Batch> {
    let names = ["image", "audio", "points.image", "points.audio"];
    let [image, audio, image_points, audio_points] = named(inputs, names, &["label"])?;
    let (frames, side) = (config.num_frames, BLOCK * config.image_size);
    let (samples, patches) = (samples(config), config.audio_patches());
    let classes = config.labels.len();
    let image_shape = || format!("f32 [batch, {frames}, 3, {side}, {side}]");
    let shape = image.shape();
    if shape.len() != 5 || shape[0] == 0 || shape[1..] != [frames, COLOURS, side, side] {
        return Err(wrong_shape("image", image, image_shape()));
    }
    let items = shape[0];
    let audio_shape = || format!("f32 [{items}, {samples}, 1]");
    if audio.shape() != [items, samples, 1] {
        return Err(wrong_shape("audio", audio, audio_shape()));
    }
    if let Some(label) = inputs.get("label") {
        // It has no effect, but a wrong one means that something else is wrong.
        let expected = || format!("f32 [{items}, {classes}]");
        if label.shape() != [items, classes] {
            return Err(wrong_shape("label", label, expected()));
        }
        finite("label", label, &expected)?;
    }
    let blocks = blocks(finite("image", image, &image_shape)?, config)?;
    let audio = finite("audio", audio, &audio_shape)?;
    let audio = collected("audio", audio.iter().copied())?;
    let pixels: usize = config.output_shape.iter().product();
    let image_points = points("points.image", image_points, pixels)?;
    let audio_points = points("points.audio", audio_points, patches)?;
    Ok(Batch {
        items,
        sizes: Sizes { points: [audio_points.len(), image_points.len()], ..Sizes::default() },
        arrays: vec![
            Array::per_item("audio", samples, audio),
            Array::per_item("image", frames * side * side * COLOURS, blocks),
            Array::shared("points.audio", audio_points),
            Array::shared("points.image", image_points),
        ],
    })
}

/// Indices as the floats that kernels read.
fn points(name: &str, tensor: &Tensor, grid: usize) -> Result<Vec<f32>> {
    let expected = || format!("i64 [points], each from 0 to {}", grid.saturating_sub(1));
    match tensor.shape() {
        [count] if *count > 0 && tensor.as_i64().is_some() => {}
        shape => {
            let what = format!("has shape {shape:?} or another type");
            return Err(Error::input(name, what, expected()));
        }
    }
    // Floats hold whole numbers to 2²⁴.
    let limit = grid.min(1 << 24);
    whole_numbers(name, tensor, limit, &|at| at.to_string(), &expected)
}

/// Reorders frames `[items, frames, 3, side, side]` to rows of 1×4×4 blocks, channel
/// `(dy·4 + dx)·3 + colour`.
fn blocks(frames: &[f32], config: &PerceiverConfig) -> Result<Vec<f32>> {
    use crate::parallel::*;
    let side = BLOCK * config.image_size;
    let plane = side * side;
    let mut rows = zeroed("rows of blocks", frames.len())?;
    rows.par_chunks_mut(VIDEO_PATCH).with_min_len(256).enumerate().for_each(|(at, row)| {
        let (column, at) = (at % config.image_size, at / config.image_size);
        let (line, frame) = (at % config.image_size, at / config.image_size);
        for (c, value) in row.iter_mut().enumerate() {
            let (colour, offset) = (c % COLOURS, c / COLOURS);
            let y = line * BLOCK + offset / BLOCK;
            let x = column * BLOCK + offset % BLOCK;
            *value = frames[(frame * COLOURS + colour) * plane + y * side + x];
        }
    });
    Ok(rows)
}
