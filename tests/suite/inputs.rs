//! What the models say about inputs that do not fit them.

use std::sync::Arc;

use crate::common::runner::{self, RunnerOptions};
use perceiver::internals::weights::RandomTensors;
use perceiver::{Architecture, Engine, Model, NamedTensors, PerceiverConfig, RunOptions, Tensor};

fn model(architecture: Architecture) -> Model {
    let config = PerceiverConfig {
        num_latents: 5,
        d_latents: 16,
        d_model: 16,
        num_self_attends_per_block: 1,
        num_self_attention_heads: 2,
        num_cross_attention_heads: 1,
        max_position_embeddings: 20,
        image_size: 8,
        num_frames: 2,
        audio_samples_per_frame: 32,
        samples_per_patch: 16,
        output_shape: [1, 2, 32, 32],
        output_num_channels: 8,
        label_trainable_num_channels: 9,
        ..PerceiverConfig::new(architecture)
    };
    let weights = RandomTensors::new(config.tensors().expect("tensors"), 3);
    let engine = Engine::cpu();
    engine.load_from(config, Arc::new(weights)).expect("model")
}

fn f32s(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    Tensor::f32(shape.to_vec(), vec![0.5; count]).expect("tensor")
}

fn i64s(data: &[i64]) -> Tensor {
    Tensor::i64(vec![data.len()], data.to_vec()).expect("tensor")
}

fn tensors<const N: usize>(list: [(&str, Tensor); N]) -> NamedTensors {
    list.map(|(name, t)| (name.to_owned(), t)).into()
}

/// Runs and expects a refusal that says all of `wanted`.
fn refused(model: &Model, inputs: &NamedTensors, wanted: &str) {
    let found = model.run(inputs, &mut |_, _| {});
    let text = found.expect_err("refused").to_string();
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn pictures_must_fit() {
    let learned = model(Architecture::ImageLearned);
    refused(&learned, &tensors([]), "`pixel_values`: is missing");
    let other = tensors([("pixels", f32s(&[1]))]);
    refused(&learned, &other, "`pixels`: is unknown to this model; expected `pixel_values`");
    let wide = tensors([("pixel_values", f32s(&[1, 3, 8, 9]))]);
    refused(&learned, &wide, "has shape [1, 3, 8, 9]; expected f32 [batch, 3, 8, 8]");
    let options = RunOptions { resize_positions: true, ..RunOptions::default() };
    let found = learned.run_with(&wide, options, &mut |_, _| {});
    assert_eq!(found.expect("runs")["logits"].shape(), [1, 2]);

    let fourier = model(Architecture::ImageFourier);
    assert!(fourier.run(&wide, &mut |_, _| {}).is_ok());
    for shape in [vec![0, 3, 8, 8], vec![1, 4, 8, 8], vec![1, 3, 0, 8], vec![3, 8, 8]] {
        let wrong = tensors([("pixel_values", f32s(&shape))]);
        refused(&fourier, &wrong, "expected f32 [batch, 3, height, width]");
    }
    let integers = Tensor::i64(vec![1, 3, 1, 1], vec![1, 2, 3]).expect("tensor");
    let integers = tensors([("pixel_values", integers)]);
    refused(&fourier, &integers, "holds no 32-bit floats");
    let nan = Tensor::f32(vec![1, 3, 1, 1], vec![0.0, f32::NAN, 0.0]).expect("tensor");
    refused(&fourier, &tensors([("pixel_values", nan)]), "has NaN at element 1");

    let convolution = model(Architecture::ImageConvolution);
    let tiny = tensors([("pixel_values", f32s(&[1, 3, 4, 4]))]);
    refused(&convolution, &tiny, "sides from 5 to 16384");
    let least = tensors([("pixel_values", f32s(&[2, 3, 5, 5]))]);
    assert!(convolution.run(&least, &mut |_, _| {}).is_ok());
}

#[test]
fn clips_must_fit() {
    let model = model(Architecture::Multimodal);
    let good = tensors([
        ("image", f32s(&[1, 2, 3, 32, 32])),
        ("audio", f32s(&[1, 64, 1])),
        ("points.image", i64s(&[0, 2047, 5])),
        ("points.audio", i64s(&[3])),
    ]);
    let found = model.run(&good, &mut |_, _| {}).expect("runs");
    assert_eq!(found["logits.image"].shape(), [1, 3, 3]);
    assert_eq!(found["logits.audio"].shape(), [1, 16]);
    let cases = [
        ("image", f32s(&[1, 3, 3, 32, 32]), "expected f32 [batch, 2, 3, 32, 32]"),
        ("audio", f32s(&[1, 65, 1]), "has shape [1, 65, 1]; expected f32 [1, 64, 1]"),
        ("audio", f32s(&[2, 64, 1]), "expected f32 [1, 64, 1]"),
        ("label", f32s(&[1, 3]), "expected f32 [1, 2]"),
        (
            "points.image",
            i64s(&[2048]),
            "has 2048 at 0; expected i64 [points], each from 0 to 2047",
        ),
        ("points.image", i64s(&[-1]), "has -1 at 0"),
        ("points.audio", i64s(&[4]), "each from 0 to 3"),
        ("points.audio", f32s(&[4]), "or another type; expected i64 [points]"),
    ];
    for (name, tensor, wanted) in cases {
        let mut inputs = good.clone();
        inputs.insert(name.to_owned(), tensor);
        refused(&model, &inputs, wanted);
    }
}

#[test]
fn raw_clips_are_decoded_whole() {
    let model = model(Architecture::Multimodal);
    let video = Tensor::new(
        vec![1, 2, 32, 32, 3],
        perceiver::Data::U8((0..2 * 32 * 32 * 3).map(|i| i as u8).collect()),
    );
    let audio = Tensor::new(vec![1, 64], perceiver::Data::I16((0..64).collect()));
    let inputs =
        tensors([("raw.video", video.expect("tensor")), ("raw.audio", audio.expect("tensor"))]);
    let options = RunnerOptions::default();
    let found = runner::run(&model, &inputs, &options, &mut |_, _| {}).expect("runs");
    assert_eq!(found["logits.image"].shape(), [1, 2 * 32 * 32, 3]);
    assert_eq!(found["logits.audio"].shape(), [1, 64]);
    let wrong = tensors([("raw.video", f32s(&[1])), ("raw.audio", f32s(&[1]))]);
    let text =
        runner::run(&model, &wrong, &options, &mut |_, _| {}).expect_err("refused").to_string();
    assert!(text.contains("expected u8 [batch, frames, height, width, 3]"), "{text}");
    let text = runner::run(&model, &tensors([]), &options, &mut |_, _| {})
        .expect_err("refused")
        .to_string();
    assert!(text.contains("hold nothing to run on"), "{text}");
}
