//! Lists of arrays: what the host makes of an input, heads as rows, and what is refused.

use perceiver::blueprint::Blueprint;
use perceiver::{Engine, NamedTensors, RunOptions, Tensor};
use serde_json::{Value, json};

use super::{model, run};

const ROWS: usize = 5;
const CHANNELS: usize = 6;

/// Rows of several columns ask those of them that count, with heads that a number scales.
fn file() -> Value {
    let layer = |name: &str| json!({"weight": format!("{name}.weight")});
    json!({
        "model_type": "perceiver-blueprint",
        "version": 1,
        "blueprint": {
            "inputs": [
                {
                    "name": "table", "count": ROWS, "varies": true, "axes": [1, ROWS], "skipped": -7.0, "positions": "none",
                    "content": {"given": {"input": "table", "channels": CHANNELS}}
                },
                {
                    "name": "known", "count": 1,
                    "content": {"first_rows": {"input": "known", "of": "table", "rows": ROWS}}
                }
            ],
            "arrays": [
                {"name": "columns", "make": {"split": {"of": "table", "by": "table"}}},
                {"name": "factors", "make": {"linear": {
                    "of": "known", "out": CHANNELS, "heads": 2,
                    "layer": {"weight": "scales", "vector": true,
                        "fused": {"rows": 2, "first": 0, "stride": 1, "repeated": true}}
                }}},
                {"name": "queries", "make": {"linear": {
                    "of": "columns", "out": CHANNELS, "heads": 2, "layer": layer("query")
                }}},
                {"name": "scaled", "make": {"product": {
                    "of": ["queries", "factors"], "activation": "tanh"
                }}},
                {"name": "attended", "make": {"attention": {
                    "queries": "scaled", "keys": [{"rows": "columns", "mask": "known"}],
                    "heads": 2, "qk": 3, "v": 3, "k": layer("key"), "value": layer("value")
                }}}
            ],
            "outputs": [{"name": "rows", "array": "attended"}]
        }
    })
}

fn blueprint(file: &Value) -> Blueprint {
    Blueprint::from_json(&file.to_string(), "config.json").expect("a blueprint")
}

fn table(shape: &[usize], from: usize) -> Tensor {
    let elements: usize = shape.iter().product();
    let data = (from..from + elements).map(|i| (i as f32 * 0.7).sin()).collect();
    Tensor::f32(shape.to_vec(), data).expect("table")
}

fn given(table: Tensor, known: Option<i64>) -> NamedTensors {
    let known = known.map(|n| ("known".to_owned(), Tensor::i64(vec![1], vec![n]).expect("known")));
    [("table".to_owned(), table)].into_iter().chain(known).collect()
}

fn data(outputs: &NamedTensors) -> &[f32] {
    outputs["rows"].as_f32().expect("f32")
}

#[test]
fn files_of_arrays_are_read_as_they_are_written() {
    let blueprint = blueprint(&file());
    let again = Blueprint::from_json(&blueprint.to_json(), "config.json").expect("read again");
    assert_eq!(again, blueprint);
}

#[test]
fn rows_beyond_those_that_count_change_nothing_for_the_others() {
    let model = model(&Engine::cpu(), &blueprint(&file()), false);
    let whole = table(&[1, 2, 9, CHANNELS], 0);
    let mut other = whole.as_f32().expect("f32").to_vec();
    for column in other.chunks_exact_mut(9 * CHANNELS) {
        column[8 * CHANNELS..].fill(0.25);
    }
    let other = Tensor::f32(whole.shape().to_vec(), other).expect("table");
    let [a, b] = [whole.clone(), other].map(|t| run(&model, &given(t, Some(8))));
    assert_eq!(a["rows"].shape(), [1, 2, 9, CHANNELS]);
    let kept = |of: &NamedTensors, column: usize| {
        data(of)[column * 9 * CHANNELS..][..8 * CHANNELS].to_vec()
    };
    assert_eq!([kept(&a, 0), kept(&a, 1)], [kept(&b, 0), kept(&b, 1)]);
    assert_ne!(data(&a), data(&b));
    // All count where nothing is said.
    let [all, nothing] = [Some(9), None].map(|n| run(&model, &given(whole.clone(), n)));
    assert_eq!(data(&all), data(&nothing));
    assert_ne!(data(&all), data(&a));
}

#[test]
fn skipped_sets_come_out_as_they_went_in() {
    let model = model(&Engine::cpu(), &blueprint(&file()), false);
    let shape = [2, 2, ROWS, CHANNELS];
    let set = ROWS * CHANNELS;
    let usual = given(table(&shape, 3), Some(4));
    let mut skipped = usual.clone();
    let mut elements = usual["table"].as_f32().expect("f32").to_vec();
    elements[2 * set..3 * set].fill(-7.0);
    // All but one element.
    elements[set..2 * set - 1].fill(-7.0);
    let tensor = Tensor::f32(shape.to_vec(), elements).expect("table");
    skipped.insert("table".to_owned(), tensor);
    let [plain, found] = [&usual, &skipped].map(|inputs| run(&model, inputs));
    assert_eq!(data(&found)[2 * set..3 * set], vec![-7.0; set]);
    assert!(data(&found)[set..2 * set].iter().all(|x| *x != -7.0));
    for i in [0, 3] {
        assert_eq!(data(&found)[i * set..][..set], data(&plain)[i * set..][..set]);
    }
    let shapes: [(&str, &[usize]); 2] = [("table", &shape), ("known", &[1])];
    let mut prepared = model.prepare(&shapes, RunOptions::default()).expect("prepared");
    for (inputs, expected) in [(&skipped, &found), (&usual, &plain)] {
        prepared.write(inputs).expect("written");
        assert!(prepared.run().expect("run") == *expected);
    }
}

#[test]
fn rows_that_vary_may_be_shared_by_all_items() {
    let mut file = file();
    file["blueprint"]["inputs"][0] = json!({
        "name": "table", "count": ROWS, "varies": true,
        "content": {"given": {"input": "table", "channels": CHANNELS}}
    });
    file["blueprint"]["inputs"][1] = json!({
        "name": "asked", "count": 1, "varies": true,
        "content": {"given": {"input": "asked", "channels": CHANNELS}}
    });
    let layer = |name: &str| json!({"weight": format!("{name}.weight")});
    file["blueprint"]["arrays"] = json!([{"name": "attended", "make": {"attention": {
        "queries": "asked", "keys": [{"rows": "table"}], "heads": 2, "qk": 3, "v": 3,
        "q": layer("query"), "k": layer("key"), "value": layer("value")
    }}}]);
    let model = model(&Engine::cpu(), &blueprint(&file), false);
    let asked = table(&[3, CHANNELS], 50);
    let twice = asked.as_f32().expect("f32").repeat(2);
    let twice = Tensor::f32(vec![2, 3, CHANNELS], twice).expect("asked");
    let [shared, own] = [asked, twice].map(|asked| {
        let mut inputs = given(table(&[2, 7, CHANNELS], 0), None);
        inputs.insert("asked".to_owned(), asked);
        run(&model, &inputs)
    });
    assert_eq!(shared["rows"].shape(), [2, 3, CHANNELS]);
    assert_eq!(data(&shared), data(&own));
}

#[test]
fn what_is_refused() {
    let refusal = |pointer: &str, value: Value| {
        let mut file = file();
        *file.pointer_mut(&format!("/blueprint{pointer}")).expect(pointer) = value;
        let result = Blueprint::from_json(&file.to_string(), "config.json");
        result.expect_err("must be refused").to_string()
    };
    for (pointer, value, part) in [
        ("/inputs/1/count", json!(2), "inputs[1].content.first_rows"),
        ("/inputs/0/axes", json!([1, 1, ROWS]), "inputs[0].axes"),
        ("/arrays/1/make/linear/heads", json!(4), "arrays[1].make.linear.heads"),
        ("/arrays/2/make/linear/heads", json!(3), "do not fit"),
        ("/arrays/4/make/attention/qk", json!(2), "do not fit"),
        ("/arrays/2/make/linear/layer", json!({"weight": "query", "vector": true}), "is a vector"),
        (
            "/inputs/0/positions",
            json!({"waves": {"axes": 1, "bands": 2, "highest": 3.0}}),
            "inputs[0].positions.waves.axes",
        ),
    ] {
        let message = refusal(pointer, value);
        assert!(message.contains(part), "{pointer}: {message}");
    }
    let mut other = super::example().build().expect("a blueprint");
    other.inputs[0].skipped = Some(1.0);
    let message = other.validate("config.json").expect_err("a list alone").to_string();
    assert!(message.contains("lists of arrays"), "{message}");
    let model = model(&Engine::cpu(), &blueprint(&file()), false);
    let inputs = given(table(&[1, ROWS, CHANNELS], 0), Some(ROWS as i64 + 1));
    let error = model.run(&inputs, &mut |_, _| {}).expect_err("too many").to_string();
    assert!(error.contains("`known`"), "{error}");
}
