//! Rows that vary from run to run, and outputs that are pictures.

use perceiver::blueprint::Blueprint;
use perceiver::blueprint::presets::{Size, convolution_flow, entity_set, glue};
use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
use perceiver::{Engine, Model, NamedTensors, Tensor};

use super::{assert_close, model, run};

const SMALL: Size = Size { latents: 5, channels: 16, layers: 2, times: 2, heads: 4 };

fn named(list: Vec<(&str, Tensor)>) -> NamedTensors {
    let owned = list.into_iter().map(|(name, t)| (name.to_owned(), t));
    owned.collect()
}

fn floats(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let data = (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0);
    Tensor::f32(shape.to_vec(), data.collect()).expect("a tensor")
}

fn refused(model: &Model, inputs: &NamedTensors) -> String {
    let result = model.run(inputs, &mut |_, _| {});
    result.expect_err("must be refused").to_string()
}

/// A short text alone and the same filled up and masked.
#[test]
fn texts_of_any_length() {
    let blueprint = glue(SMALL, 30, &[("cola", 2), ("mnli", 3)]).expect("good");
    let ids = |n: usize| (0..2 * n as i64).map(|i| i * 7 % 262).collect::<Vec<_>>();
    let short = ids(12);
    let mut long = vec![0; 60];
    let mut mask = vec![0; 60];
    for item in 0..2 {
        long[item * 30..][..12].copy_from_slice(&short[item * 12..][..12]);
        mask[item * 30..][..12].fill(1);
    }
    let tensor = |n, data| Tensor::i64(vec![2, n], data).expect("a tensor");
    for engine in [Engine::cpu(), Engine::reference()] {
        for folded in [false, true] {
            let model = model(&engine, &blueprint, folded);
            let alone = run(&model, &named(vec![("text", tensor(12, short.clone()))]));
            let masked = named(vec![
                ("text", tensor(30, long.clone())),
                ("text.mask", tensor(30, mask.clone())),
            ]);
            assert_close(&alone, &run(&model, &masked), "a short text");
        }
    }
    let model = model(&Engine::cpu(), &blueprint, true);
    let message = refused(&model, &named(vec![("text", tensor(31, ids(31)))]));
    assert!(
        message.contains("`inputs[0].content.tokens.most` is 30 positions for 31 rows"),
        "{message}"
    );
    let mismatched = named(vec![("text", tensor(12, short)), ("text.mask", tensor(30, mask))]);
    let message = refused(&model, &mismatched);
    assert!(
        message.contains("input `text.mask`: has shape [2, 30]; expected i64 [batch, 12]"),
        "{message}"
    );
}

#[test]
fn sets_of_any_size() {
    let blueprint = entity_set(SMALL, 9, 4, 3).expect("good");
    let model = model(&Engine::cpu(), &blueprint, true);
    for units in [1, 5, 9, 70] {
        let found = run(&model, &named(vec![("entities", floats(&[2, units, 4]))]));
        assert_eq!(found["encoded"].shape(), [2, units, 3]);
    }
    let message = refused(&model, &named(vec![("entities", floats(&[2, 0, 4]))]));
    assert!(message.contains("has shape [2, 0, 4]"), "{message}");
    let message = refused(&model, &named(vec![("entities", floats(&[2, 5, 3]))]));
    assert!(
        message.ends_with("expected f32 [batch, 9, 4]; the number of rows may vary"),
        "{message}"
    );
}

/// Sound and pixels, read per row and by bare positions.
fn grids(sound: usize, picture: [usize; 2], varies: bool) -> Blueprint {
    use perceiver::internals::graph::{FourierPositions, Spacing};
    let positions = |axes: &[usize], most: &[usize]| FourierPositions {
        axes: axes.to_vec(),
        max_resolution: most.to_vec(),
        bands: 3,
        spacing: Spacing::Ends,
    };
    let rows = picture[0] * picture[1];
    let sound = Modality::given("sound", sound, 2).fourier_with(positions(&[sound], &[40]));
    let pixels = Modality::linear("pixels", rows, 3, 4).fourier_with(positions(&picture, &[6, 5]));
    let [sound, pixels] = [sound, pixels].map(|m| if varies { m.varies() } else { m });
    PerceiverBuilder::new(5, 16)
        .input(sound)
        .input(pixels)
        .cross("cross", 1)
        .tower("tower", 1, 2, 1)
        .output(Output::per_row("sounds", "sound").linear(2))
        .output(Output::per_row("depth", "pixels").linear(8).upsample([2, 4]))
        .build()
        .expect("a blueprint")
}

/// A model of other sizes is the model that was built for them.
#[test]
fn grids_of_any_size() {
    let varying = grids(40, [6, 5], true);
    for (sound, picture) in [(40, [6, 5]), (17, [6, 5]), (90, [3, 11])] {
        let fixed = grids(sound, picture, false);
        let [height, width] = picture;
        let on_axes = named(vec![
            ("sound", floats(&[2, sound, 2])),
            ("pixels", floats(&[2, height, width, 3])),
        ]);
        let mut in_rows = on_axes.clone();
        in_rows.insert("pixels".to_owned(), floats(&[2, height * width, 3]));
        for folded in [false, true] {
            let found = run(&model(&Engine::cpu(), &varying, folded), &on_axes);
            let wanted = run(&model(&Engine::cpu(), &fixed, folded), &in_rows);
            assert_eq!(found, wanted);
            assert_eq!(found["depth"].shape(), [2, 2 * height, 4 * width, 1]);
            assert_eq!(found["sounds"].shape(), [2, sound, 2]);
        }
    }
    let model = model(&Engine::cpu(), &varying, true);
    let inputs = named(vec![("sound", floats(&[2, 40, 2])), ("pixels", floats(&[2, 31, 3]))]);
    let message = refused(&model, &inputs);
    assert!(
        message.contains("has shape [2, 31, 3]; expected 2 axes of the grid between batch"),
        "{message}"
    );
}

/// The flow of frames of any size has that size, and its blocks lie where their features are.
#[test]
fn features_are_upsampled_to_the_picture() {
    let blueprint = convolution_flow(SMALL, [24, 32]).expect("good");
    let mut rows = blueprint.clone();
    let head = &mut rows.decoders[0].heads[0];
    head.upsample = None;
    head.shape = vec![blueprint.inputs[0].count, 32];
    rows.inputs[0].varies = false;
    let frames = named(vec![("frames", floats(&[2, 6, 24, 32]))]);
    let picture = run(&model(&Engine::cpu(), &blueprint, true), &frames);
    let rows = run(&model(&Engine::cpu(), &rows, true), &frames);
    assert_eq!(picture["flow"].shape(), [2, 24, 32, 2]);
    // 24×32 pixels have 5×7 features.
    let [picture, rows] = [&picture, &rows].map(|o| o["flow"].as_f32().expect("f32"));
    for (at, pixel) in picture.chunks_exact(2).enumerate() {
        let (item, y, x) = (at / (24 * 32), at / 32 % 24, at % 32);
        let (down, right) = ((y / 4).min(4), (x / 4).min(6));
        let (dy, dx) = ((y - 4 * down).min(3), (x - 4 * right).min(3));
        let feature = item * 35 + down * 7 + right;
        assert_eq!(pixel, &rows[feature * 32 + (dy * 4 + dx) * 2..][..2]);
    }
    let model = model(&Engine::cpu(), &blueprint, true);
    for [height, width] in [[9, 40], [31, 27]] {
        let frames = named(vec![("frames", floats(&[1, 6, height, width]))]);
        assert_eq!(run(&model, &frames)["flow"].shape(), [1, height, width, 2]);
    }
    let message = refused(&model, &named(vec![("frames", floats(&[1, 6, 4, 32]))]));
    assert!(message.contains("is [4, 32]; sides from 5 to 16384"), "{message}");
}

fn asking() -> Blueprint {
    PerceiverBuilder::new(5, 16)
        .input(Modality::given("set", 8, 3).mask().varies())
        .cross("cross", 1)
        .output(Output::new("answer", Modality::given("question", 4, 6).varies()).linear(2))
        .output(
            Output::new("pixels", Modality::bare("grid", 5).fourier(&[6, 5], 2).points().varies())
                .linear(3),
        )
        .build()
        .expect("a blueprint")
}

/// Queries of the user, as many as there are at run time.
#[test]
fn questions_of_any_number() {
    let model = model(&Engine::cpu(), &asking(), true);
    let inputs = |questions: usize, points: Vec<i64>| {
        named(vec![
            ("set", floats(&[1, 8, 3])),
            ("queries.question", floats(&[1, questions, 6])),
            ("points.grid", Tensor::i64(vec![points.len()], points).expect("points")),
        ])
    };
    let all = run(&model, &inputs(9, (0..30).collect()));
    assert_eq!(all["answer"].shape(), [1, 9, 2]);
    assert_eq!(all["pixels"].shape(), [1, 30, 3]);
    let some = run(&model, &inputs(2, vec![29, 3]));
    let [all, some] = [&all, &some].map(|o| {
        let of = |name: &str| o[name].as_f32().expect("f32").to_vec();
        (of("answer"), of("pixels"))
    });
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(&some.0, &all.0[..4]));
    assert!(near(&some.1[..3], &all.1[87..]) && near(&some.1[3..], &all.1[9..12]));
}

#[test]
fn what_cannot_vary() {
    let refused = |modality: Modality| {
        let builder = PerceiverBuilder::new(5, 16).input(Modality::given("set", 8, 3));
        let query = Output::new("out", Modality::learned("q", 1, 4));
        let built = builder.input(modality).cross("cross", 1).output(query).build();
        built.expect_err("must be refused").to_string()
    };
    let message = refused(Modality::given("a", 8, 2).trainable_positions(2).varies());
    assert_eq!(
        message,
        "builder: `inputs[1].varies` is true, but there is something learned for each row; give the rows \
         Fourier positions or none, or leave varies out"
    );
    let message = refused(Modality::bare("a", 8).fourier(&[8], 2).varies());
    assert!(message.contains("but no input says how many"), "{message}");
    let build = |output: Output| {
        let set = Modality::given("set", 12, 3).fourier(&[3, 4], 2);
        let builder = PerceiverBuilder::new(5, 16).input(set.varies()).cross("cross", 1);
        let built = builder.output(output).build();
        built.expect_err("must be refused").to_string()
    };
    let per_row = || Output::per_row("each", "set");
    let message = build(per_row().linear(9).upsample([2, 2]));
    assert!(message.contains("upsample` is [2, 2] for rows of 9 channels"), "{message}");
    let message = build(per_row().linear(8).upsample([2, 2]).shape(&[6, 8, 1]));
    assert!(message.contains("the picture is [6, 8, 2]"), "{message}");
    let message = build(per_row().linear(8).shape(&[96]));
    assert!(
        message.contains("is [96], but the rows vary; it must begin with the rows, 12"),
        "{message}"
    );
    let message = build(Output::new("each", Modality::learned("q", 4, 4)).upsample([2, 2]));
    assert!(message.contains("lie on no grid of two axes"), "{message}");
}
