//! Presets: at the papers' sizes they hold together, small ones run alike on all routes.

use perceiver::Engine;
use perceiver::blueprint::Blueprint;
use perceiver::blueprint::presets::{Size, Sound, audio_set, convolution_flow, entity_set, glue};

use super::{assert_close, model, run};

const SMALL: Size = Size { latents: 5, channels: 16, layers: 2, times: 2, heads: 4 };

/// Runs two items and returns the shapes of the outputs.
fn shapes(blueprint: &Blueprint) -> Vec<(String, Vec<usize>)> {
    let inputs = blueprint.sample_inputs(2, 7).expect("inputs");
    let expected = run(&model(&Engine::reference(), blueprint, false), &inputs);
    for folded in [false, true] {
        let found = run(&model(&Engine::cpu(), blueprint, folded), &inputs);
        assert_close(&found, &expected, &format!("folded {folded}"));
    }
    let shape = |(name, t): (String, perceiver::Tensor)| (name, t.shape().to_vec());
    expected.into_iter().map(shape).collect()
}

fn output(name: &str, shape: &[usize]) -> (String, Vec<usize>) {
    (name.to_owned(), shape.to_vec())
}

#[test]
fn glue_has_an_output_per_task() {
    let blueprint = glue(SMALL, 30, &[("cola", 2), ("mnli", 3), ("stsb", 1)]).expect("good");
    let found = shapes(&blueprint);
    assert_eq!(found, [output("cola", &[2, 2]), output("mnli", &[2, 3]), output("stsb", &[2, 1])]);
}

#[test]
fn audio_set_takes_waves_and_spectrograms() {
    let raw = Sound::Raw { samples: 96, patch: 8 };
    let mel = Sound::Mel { frames: 5, bands: 6 };
    for sound in [raw, mel] {
        let blueprint = audio_set(SMALL, [2, 3, 3], 12, sound, 7).expect("good");
        assert_eq!(shapes(&blueprint), [output("class", &[2, 7])]);
    }
    let size = Size { latents: 512, channels: 512, layers: 12, times: 1, heads: 8 };
    let sound = Sound::Raw { samples: 61_440, patch: 128 };
    let whole = audio_set(size, [16, 28, 28], 384, sound, 527).expect("good");
    assert_eq!(whole.elements(), [480 + 12_544, 1]);
    let sound = Sound::Raw { samples: 100, patch: 7 };
    let error = audio_set(SMALL, [2, 3, 3], 12, sound, 7).expect_err("a rest");
    assert_eq!(error.to_string(), "builder: `inputs[0].count` is 0; 1 to 16777216 is possible");
}

/// The set has no order: units in another order give the same vectors in that order.
#[test]
fn entities_have_no_order() {
    let blueprint = entity_set(SMALL, 9, 4, 3).expect("good");
    assert_eq!(shapes(&blueprint), [output("encoded", &[2, 9, 3])]);
    let model = model(&Engine::cpu(), &blueprint, true);
    let mut inputs = blueprint.sample_inputs(1, 7).expect("inputs");
    let before = run(&model, &inputs);
    let reversed = |t: &perceiver::Tensor| {
        let shape = t.shape().to_vec();
        let width = shape.get(2).copied().unwrap_or(1);
        match (t.as_f32(), t.as_i64()) {
            (Some(data), _) => {
                let rows = data.chunks_exact(width).rev();
                perceiver::Tensor::f32(shape, rows.flatten().copied().collect())
            }
            (_, data) => {
                let rows = data.expect("i64").iter().rev();
                perceiver::Tensor::i64(shape, rows.copied().collect())
            }
        }
        .expect("a tensor")
    };
    for tensor in inputs.values_mut() {
        *tensor = reversed(tensor);
    }
    let mut after = run(&model, &inputs);
    for tensor in after.values_mut() {
        *tensor = reversed(tensor);
    }
    assert_close(&after, &before, "reversed");
}

#[test]
fn convolution_flow_has_a_vector_per_pixel() {
    let blueprint = convolution_flow(SMALL, [24, 32]).expect("good");
    assert_eq!(blueprint.elements(), [5 * 7, 5 * 7]);
    assert_eq!(shapes(&blueprint), [output("flow", &[2, 24, 32, 2])]);
    let size = Size { latents: 2048, channels: 512, layers: 24, times: 1, heads: 16 };
    let whole = convolution_flow(size, [368, 496]).expect("good");
    assert_eq!(whole.elements(), [91 * 123, 91 * 123]);
    assert_eq!(whole.decoders[0].heads[0].shape, [368, 496, 2]);
}
