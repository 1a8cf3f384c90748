//! What blueprints, their files and their inputs are refused for, and in which words.

use perceiver::blueprint::{Blueprint, Content, Positions, Step};
use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
use perceiver::{Description, Engine, NamedTensors, Tensor};
use serde_json::{Value, json};

use super::{example, folder, model};

/// What is said of the example's file after a change.
fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let blueprint = example().build().expect("a blueprint");
    let mut file: Value = serde_json::from_str(&blueprint.to_json()).expect("JSON");
    change(&mut file);
    let result = Blueprint::from_json(&file.to_string(), "config.json");
    result.expect_err("must be refused").to_string()
}

/// As [`refusal`], with the value at a JSON pointer within the blueprint replaced.
fn with(pointer: &str, value: Value) -> String {
    refusal(|file| *file.pointer_mut(&format!("/blueprint{pointer}")).expect(pointer) = value)
}

#[test]
fn files_that_do_not_hold_together() {
    for (pointer, value, message) in [
        ("/latents/rows", json!(0), "config.json: `latents.rows` is 0; 1 to 1048576 is possible"),
        (
            "/latents/rows",
            json!(-1),
            "config.json: `blueprint.latents.rows` cannot be read: invalid value: integer `-1`, expected \
             usize",
        ),
        (
            "/inputs/0/content",
            json!({"given": {"input": "sound", "chanels": 4}}),
            "config.json: `blueprint.inputs[0].content.given.chanels` cannot be read: unknown field \
             `chanels`, expected `input` or `channels`",
        ),
        (
            "/inputs/0/content/given/channels",
            json!(5),
            "config.json: `inputs[0]` has rows of 12 channels, `channels` says 11; content, positions \
             and constant together must be as wide as every other input",
        ),
        (
            "/inputs/0/content/given/channels",
            json!(u64::MAX),
            "config.json: `inputs[0].content.given.channels` is 18446744073709551615; 1 to 1048576 is \
             possible",
        ),
        (
            "/inputs/0/count",
            json!(91),
            "config.json: `inputs[0].positions.fourier.axes` make 90 positions, `count` says 91; every \
             row needs one position; name an input as `points` to choose some of the grid",
        ),
        (
            "/inputs/0/positions/fourier/axes",
            json!([3, 3, 10, 1]),
            "config.json: `inputs[0].positions.fourier.axes` has 4 axes; 1 to 3 are possible",
        ),
        (
            "/inputs/0/positions/fourier/max_resolution",
            json!([]),
            "config.json: `inputs[0].positions.fourier.max_resolution` has 0 numbers for 1 axes; give one \
             for each axis",
        ),
        (
            "/inputs/0/positions",
            json!("none"),
            "config.json: `inputs[0]` has rows of 4 channels, `channels` says 11; content, positions and \
             constant together must be as wide as every other input",
        ),
        (
            "/inputs/0/mask",
            json!("sensors"),
            "config.json: `inputs[1].content` names the input `sensors`, as `inputs[0].mask` does; give \
             each input a name of its own",
        ),
        (
            "/inputs/1/points",
            json!("p"),
            "config.json: `inputs[1].points` stand beside no grid; points choose from a grid of Fourier \
             positions: give positions, or leave points out",
        ),
        (
            "/inputs/1/content/linear/layer",
            json!(""),
            "config.json: `inputs[1].content.linear.layer` is a name of 0 bytes; 1 to 256 bytes without \
             control characters are possible",
        ),
        ("/inputs", json!([]), "config.json: `inputs` has 0 entries; 1 to 256 are possible"),
        (
            "/steps",
            json!([]),
            "config.json: `steps` do not begin with a cross-attend; the latents have to read the inputs \
             first: begin with {\"cross\": …}",
        ),
        (
            "/steps/1/tower/times",
            json!(16384),
            "config.json: `steps` make 16385 layers to run; at most 16384 are possible",
        ),
        (
            "/steps/0/cross/qk",
            json!(15),
            "config.json: `steps[0].cross.qk` is 15 for 2 heads; it must be a multiple of the heads",
        ),
        (
            "/steps/0/cross/kv_width",
            json!(12),
            "config.json: `steps[0].cross.kv_width` is 12, the rows that are read have 11 channels; make \
             it 11",
        ),
        (
            "/steps/0/cross/prefix",
            json!("tower.0.0"),
            "config.json: `tower.0.0.attention.self.key.weight` is a tensor of shape [16, 11] and one of \
             [16, 16]; give one of them another name",
        ),
        (
            "/decoders/0/heads/0/queries",
            json!({"input": 2}),
            "config.json: `decoders[0].heads[0].queries.input` is input 2 of 2; inputs are counted from 0",
        ),
        (
            "/decoders/0/heads/0/queries/array/constant",
            json!([]),
            "config.json: `decoders[0].heads[0].queries` have 8 channels, the decoder's layer asks with \
             10; all queries of a decoder must be as wide as its layer's q_width",
        ),
        (
            "/decoders/0/heads/0/queries/array/mask",
            json!("m"),
            "config.json: `decoders[0].heads[0].queries.array.mask` masks queries; queries do not see \
             each other: leave the mask out and ignore their rows",
        ),
        (
            "/decoders/0/heads/1/output",
            json!("class"),
            "config.json: `decoders[0].heads[1].output` names the output `class`, as \
             `decoders[0].heads[0].output` does; give each output a name of its own",
        ),
        (
            "/decoders/0/heads/2/layers/1/input",
            json!(7),
            "config.json: `decoders[0].heads[2].layers[1].input` is 7, what comes before has 6 channels; \
             make it 6",
        ),
        (
            "/decoders/0/heads/0/layers/0/stage",
            json!("encode"),
            "config.json: `decoders[0].heads[0].layers[0].stage` is \"encode\"; \"decode\" and \
             \"postprocess\" are possible",
        ),
        (
            "/decoders/0/heads/0/layers/0/divisor",
            json!(0),
            "config.json: `decoders[0].heads[0].layers[0].divisor` is 0; 1 changes nothing",
        ),
        (
            "/decoders/0/heads/0/shape",
            json!([6]),
            "config.json: `decoders[0].heads[0].shape` is [6]; at most 8 numbers whose product is 5, rows \
             times channels, are possible",
        ),
        (
            "/decoders/0/heads/0/shape",
            json!([u64::MAX, u64::MAX]),
            "config.json: `decoders[0].heads[0].shape` is [18446744073709551615, 18446744073709551615]; \
             at most 8 numbers whose product is 5, rows times channels, are possible",
        ),
    ] {
        let found = with(pointer, value);
        assert!(found.starts_with(message), "{found}\n{message}");
    }
    let found = refusal(|file| file["version"] = json!(2));
    assert_eq!(found, "config.json: `version` is 2; this version of perceiver reads 1");
    let found = refusal(|file| file["model_type"] = json!("bert"));
    assert_eq!(
        found,
        "config.json: `model_type` is \"bert\"; only \"perceiver-blueprint\" is read here"
    );
    let found = Blueprint::from_json("{} {}", "config.json").expect_err("refused").to_string();
    assert!(
        found.starts_with("config.json: `.` cannot be read: missing field `model_type`"),
        "{found}"
    );
    let twice = example().build().expect("a blueprint").to_json().repeat(2);
    let found = Blueprint::from_json(&twice, "config.json").expect_err("refused").to_string();
    assert!(
        found.starts_with("config.json: `.` is followed by something else: trailing"),
        "{found}"
    );
}

/// Sizes at which products would overflow or arrays fill memory are refused at once.
#[test]
fn hostile_sizes_are_refused() {
    let huge = [usize::MAX, 1 << 62, 1 << 40, 1 << 24, 1 << 20];
    for n in huge {
        for builder in [
            PerceiverBuilder::new(n, n),
            PerceiverBuilder::new(4, 8).input(Modality::given("a", n, n)),
            PerceiverBuilder::new(4, 8).input(Modality::linear("a", n, n, n)),
            PerceiverBuilder::new(4, 8).input(Modality::tokens("a", n, n, n)),
            PerceiverBuilder::new(4, 8).input(Modality::learned("a", n, n)),
            PerceiverBuilder::new(4, 8).input(Modality::convolution("a", [n, n], n, n)),
            PerceiverBuilder::new(4, 8).input(Modality::given("a", n, 1).fourier(&[n, n, n], n)),
            PerceiverBuilder::new(4, 8).input(Modality::given("a", n, 1).trainable_positions(n)),
            PerceiverBuilder::new(4, 8)
                .input(Modality::given("a", 4, 1))
                .channels(n)
                .cross("c", n)
                .widening(n),
            PerceiverBuilder::new(4, 8)
                .input(Modality::given("a", 4, 1))
                .cross("c", 1)
                .tower("t", n, 1, n),
            PerceiverBuilder::new(4, 8)
                .input(Modality::given("a", 4, 1))
                .cross("c", 1)
                .cross_widths(n, n),
            PerceiverBuilder::new(4, 8).input(Modality::given("a", 4, 1)).cross("c", 1).output(
                Output::new("o", Modality::bare("o", n).fourier(&[n], n).points())
                    .linear(n)
                    .shape(&[n, n]),
            ),
        ] {
            builder.build().expect_err("must be refused");
        }
    }
}

#[test]
fn what_the_builder_refuses() {
    let message = |builder: PerceiverBuilder| builder.build().expect_err("refused").to_string();
    let start = || PerceiverBuilder::new(4, 8).input(Modality::given("a", 4, 3)).cross("c", 1);
    assert_eq!(
        message(start().output(Output::per_row("o", "b"))),
        "builder: `output o` asks with the rows of `b`, which is no input; add the modality as an input \
         first"
    );
    assert_eq!(
        message(start().channels(2).output(Output::per_row("o", "a"))),
        "builder: `inputs[0]` has rows of 3 channels, `channels` says 2; content, positions and constant \
         together must be as wide as every other input"
    );
    assert_eq!(message(start()), "builder: `decoders` has 0 entries; 1 to 256 are possible");
    assert_eq!(
        message(start().decoder(1, false)),
        "builder: `decoders[0].heads` has 0 entries; 1 to 256 are possible"
    );
    assert_eq!(
        message(PerceiverBuilder::new(4, 8).input(Modality::convolution("a", [4, 9], 3, 8))),
        "builder: `inputs[0].content.convolution.image` is [4, 9]; sides from 5 to 16384 are possible"
    );
    assert_eq!(
        message(PerceiverBuilder::new(4, 8).input(Modality::learned("a", 4, 3)).cross("c", 1)),
        "builder: `inputs` read nothing that comes from outside; give at least one of them a content of \
         kind given, linear, tokens or convolution"
    );
    let mut blueprint = start().output(Output::per_row("o", "a")).build().expect("good");
    blueprint.inputs[0].positions = Positions::Learned {
        tensor: "t".to_owned(),
        stored: 5,
        channels: 2,
        resized: None,
        layer: "l".to_owned(),
        out: 2,
    };
    assert_eq!(
        blueprint.validate("here").expect_err("refused").to_string(),
        "here: `inputs[0].positions.learned.stored` makes 5 positions, `count` says 4; every row needs one \
         position"
    );
    blueprint.inputs[0].positions = Positions::None;
    blueprint.inputs[0].content = Content::Tokens {
        input: "a".to_owned(),
        table: "t".to_owned(),
        vocabulary: 9,
        positions: "p".to_owned(),
        most: 3,
        channels: 3,
    };
    assert_eq!(
        blueprint.validate("here").expect_err("refused").to_string(),
        "here: `inputs[0].content.tokens.most` is 3 positions for 4 rows; every row needs a position"
    );
    blueprint.inputs[0].content = Content::Convolution {
        input: "a".to_owned(),
        image: [32, 32],
        channels: 3,
        layer: "l".to_owned(),
        out: 3,
    };
    assert_eq!(
        blueprint.validate("here").expect_err("refused").to_string(),
        "here: `inputs[0].content.convolution.image` gives 49 rows of features, `count` says 4; a quarter \
         of height and width, rounded as the convolution does"
    );
    let cross = blueprint.steps[0].clone();
    blueprint.inputs[0] =
        start().output(Output::per_row("o", "a")).build().expect("good").inputs[0].clone();
    blueprint.steps = vec![cross; 65];
    assert_eq!(
        blueprint.validate("here").expect_err("refused").to_string(),
        "here: `steps` make 65 cross-attends; at most 64 are possible"
    );
    assert!(matches!(blueprint.steps[64], Step::Cross(_)));
}

#[test]
fn inputs_that_do_not_fit() {
    let blueprint = example().build().expect("a blueprint");
    let model = model(&Engine::cpu(), &blueprint, true);
    let good = blueprint.sample_inputs(2, 1).expect("inputs");
    let message = |inputs: &NamedTensors| {
        let result = model.run(inputs, &mut |_, _| {});
        result.expect_err("must be refused").to_string()
    };
    let with = |name: &str, tensor: Tensor| {
        let mut inputs = good.clone();
        inputs.insert(name.to_owned(), tensor);
        message(&inputs)
    };
    let floats = |shape: &[usize], x: f32| {
        Tensor::f32(shape.to_vec(), vec![x; shape.iter().product()]).expect("floats")
    };
    let whole = |shape: &[usize], x: i64| {
        Tensor::i64(shape.to_vec(), vec![x; shape.iter().product()]).expect("whole")
    };
    let names = "`sound`, `sound.mask` (optional), `sensors`, `points.grid`, `queries.asked`";
    assert_eq!(
        message(&NamedTensors::new()),
        format!("input `sound`: is missing; expected {names}")
    );
    assert_eq!(
        with("sounds", floats(&[1], 0.0)),
        format!("input `sounds`: is unknown to this model; expected {names}")
    );
    assert_eq!(
        with("sound", floats(&[2, 91, 4], 0.0)),
        "input `sound`: has shape [2, 91, 4]; expected f32 [batch, 90, 4]"
    );
    assert_eq!(
        with("sound", floats(&[0, 90, 4], 0.0)),
        "input `sound`: has shape [0, 90, 4]; expected f32 [batch, 90, 4]"
    );
    assert_eq!(
        with("sensors", floats(&[1, 7, 3], 0.0)),
        "input `sensors`: has shape [1, 7, 3]; expected f32 [batch, 7, 3], as many items as `sound`, 2"
    );
    assert_eq!(
        with("sensors", floats(&[2, 7, 3], f32::NAN)),
        "input `sensors`: has NaN at element 0; expected finite numbers"
    );
    assert_eq!(
        with("sensors", whole(&[2, 7, 3], 0)),
        "input `sensors`: holds no 32-bit floats; expected f32 [batch, 7, 3]"
    );
    assert_eq!(
        with("points.grid", whole(&[9], 30)),
        "input `points.grid`: has 30 at element 0; expected i64 [9], each from 0 to 29"
    );
    assert_eq!(
        with("points.grid", floats(&[9], 0.0)),
        "input `points.grid`: holds no 64-bit integers; expected i64 [9], each from 0 to 29"
    );
    assert_eq!(
        with("sound.mask", whole(&[2, 90], 2)),
        "input `sound.mask`: has 2 at element 0; expected i64 [batch, 90], 0 (removed) or 1"
    );
}

#[test]
fn folders_that_do_not_fit() {
    let blueprint = example().build().expect("a blueprint");
    let folder = folder(&blueprint);
    let smaller = PerceiverBuilder::new(6, 16)
        .input(Modality::given("sound", 90, 4))
        .cross("cross.0", 2)
        .output(Output::per_row("each", "sound"))
        .build()
        .expect("a blueprint");
    smaller.write(folder.path()).expect("written");
    let said = Engine::cpu().load(folder.path()).expect_err("refused").to_string();
    assert!(said.contains("the tensors do not fit the configuration ("), "{said}");
    assert!(
        said.contains("\n  cross.0.attention.self.key.weight: expected [16, 4], found [16, 11]"),
        "{said}"
    );
    std::fs::write(folder.path().join("config.json"), "{\"model_type\": \"perceiver-blueprint\"}")
        .expect("written");
    let said = Description::read(folder.path()).expect_err("refused").to_string();
    assert!(said.contains("config.json: `.` cannot be read: missing field `version`"), "{said}");
    let said = Engine::cpu().load_blueprint(
        Blueprint { channels: 5, ..smaller },
        std::sync::Arc::new(NamedTensors::new()),
    );
    let said = said.expect_err("refused").to_string();
    assert!(said.starts_with("blueprint: `inputs[0]` has rows of 4 channels"), "{said}");
}
