//! Decoding from latents and whole runs, against the model itself.

use std::sync::Arc;

use crate::common::{case, collect, context, error, grid, lists, model, refusal, set, table};
use perceiver::blueprint::{Blueprint, Modality, Output, PerceiverBuilder};
use perceiver::{Engine, NamedTensors, Tensor};

/// Two kinds of rows in; a picture and a number for rows that the user brings out.
fn several() -> Blueprint {
    PerceiverBuilder::new(6, 24)
        .input(Modality::given("picture", 30, 3).fourier(&[5, 6], 4))
        .input(Modality::given("sound", 40, 1).fourier(&[40], 4))
        .cross("read", 1)
        .tower("think", 1, 4, 1)
        .decoder(1, false)
        .output(Output::new("picture", Modality::bare("cells", 30).fourier(&[5, 6], 8)).linear(3))
        .decoder(1, false)
        .output(Output::new("asked", Modality::given("asked", 10, 4).varies()).linear(2))
        .build()
        .expect("a blueprint")
}

#[tokio::test(flavor = "multi_thread")]
async fn several_modalities_make_one_state_and_outputs_are_named() {
    let model = model(several(), 3);
    let ctx = context(&model, 3);
    let mut numbers = crate::common::Numbers(4);
    let mut floats = |n: usize| -> Vec<f32> { (0..n).map(|_| numbers.number()).collect() };
    let (picture, sound, asked) = (floats(90), floats(40), floats(12));
    let names: Vec<String> = several().input_shapes().into_iter().map(|shape| shape.name).collect();
    let asked_name = names.iter().find(|n| n.contains("asked")).expect("queries").clone();
    let inputs = NamedTensors::from([
        ("picture".to_owned(), Tensor::f32(vec![1, 30, 3], picture.clone()).unwrap()),
        ("sound".to_owned(), Tensor::f32(vec![1, 40, 1], sound.clone()).unwrap()),
        (asked_name, Tensor::f32(vec![1, 3, 4], asked.clone()).unwrap()),
    ]);
    let expected = model.run(&inputs, &mut |_, _| {}).unwrap();

    let mut rows: Vec<String> = (0..30)
        .map(|i| {
            format!(
                "('picture', {i}, {}, {}, {})",
                picture[3 * i],
                picture[3 * i + 1],
                picture[3 * i + 2]
            )
        })
        .chain((0..40).map(|i| format!("('sound', {i}, {}, NULL, NULL)", sound[i])))
        .collect();
    crate::common::Numbers(5).shuffle(&mut rows);
    let encoded = format!(
        "SELECT perceiver_encode(kind, place, a, b, c) AS latents FROM (VALUES {}) AS t(kind, place, a, b, c)",
        rows.join(", ")
    );
    let asked: Vec<String> = asked.iter().map(f32::to_string).collect();
    let asked = asked.join(", ");
    for (call, output, pick) in [
        ("perceiver_decode(latents, 'picture')".to_owned(), "picture", 0..90),
        ("perceiver_decode(latents, 'picture', 7)".to_owned(), "picture", 21..24),
        ("perceiver_decode(latents, 'picture', [4, 5, 6])".to_owned(), "picture", 12..21),
        (format!("perceiver_decode(latents, 'asked', [{asked}])"), "asked", 0..6),
        (format!("perceiver_decode(latents, 'asked', [0, 1, 2], [{asked}])"), "asked", 0..6),
    ] {
        let found =
            collect(&ctx, &format!("SELECT {call} AS rows FROM ({encoded})")).await.unwrap();
        let found = lists(&found, "rows").remove(0).expect("rows");
        let error = error(&found, &expected[output].as_f32().unwrap()[pick]);
        assert!(error < 1e-5, "{call}: {error:e}");
    }
    for (call, part) in [
        ("perceiver_decode(latents)", "which output? One of 'picture', 'asked'"),
        ("perceiver_decode(latents, 'picture', 30)", "'picture' has no query 30, but 0 to 29"),
        ("perceiver_decode(latents, 'picture', [0, NULL])", "a query in a list is NULL"),
        ("perceiver_decode(latents, 'asked', 0)", "brings 4 numbers along"),
        ("perceiver_decode(latents, 'asked', [1.0, 2.0])", "brings 4 numbers along"),
    ] {
        let found = refusal(&ctx, &format!("SELECT {call} FROM ({encoded})")).await;
        assert!(found.contains(part), "{call}: {found}");
    }
    let sql = "SELECT perceiver_encode('smell', 0, 1.0, 2.0, 3.0)";
    let found = refusal(&ctx, sql).await;
    assert!(found.contains("no modality 'smell', but 'picture', 'sound'"), "{found}");
    let sql = "SELECT perceiver_encode('sound', 0, 1.0, 2.0, 3.0)";
    let found = refusal(&ctx, sql).await;
    assert!(
        found.contains("a row of 'sound' has 1 values; those that follow must be NULL"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_decoded_groups_are_those_of_the_model() {
    let cases: Vec<_> = (0..20).map(|i| case(set(), 10 + i % 4, i as u64)).collect();
    let all: Vec<_> = cases.iter().collect();
    let ctx = context(&cases[0].model, 3);
    ctx.register_table("t", Arc::new(table(&all, 3, 5))).unwrap();
    // The order of a set's rows does not matter, so the lists may have any.
    let sql = "SELECT clip,
            perceiver_run(array_agg([x, y, z])) AS nested,
            perceiver_decode(perceiver_encode(x, y, z)) AS decoded,
            perceiver_decode(perceiver_encode(x, y, z), 1) AS second
        FROM t GROUP BY clip ORDER BY clip";
    let refused = refusal(&ctx, sql).await;
    assert!(refused.contains("'points', a list of numbers"), "{refused}");
    let sql = sql.replace("array_agg([x, y, z])", "flatten(array_agg([x, y, z]))");
    let batches = collect(&ctx, &sql).await.unwrap();
    let (runs, decoded) = (lists(&batches, "nested"), lists(&batches, "decoded"));
    let second = lists(&batches, "second");
    for (i, case) in cases.iter().enumerate() {
        let rows = Tensor::f32(vec![1, case.rows(), 3], case.values.clone()).unwrap();
        let inputs = NamedTensors::from([("points".to_owned(), rows)]);
        let outputs = case.model.run(&inputs, &mut |_, _| {}).unwrap();
        let expected = outputs["class"].as_f32().unwrap();
        for (what, found, expected) in [
            ("run", &runs[i], expected),
            ("decode", &decoded[i], expected),
            ("second", &second[i], &expected[5..]),
        ] {
            let error = error(found.as_ref().expect("numbers"), expected);
            assert!(error < 1e-5, "{what} {i}: {error:e}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nulls_give_nulls() {
    let ctx = context(&model(grid(), 1), 1);
    let sql = "SELECT perceiver_decode(latents) AS all_rows, perceiver_decode(latents, 1) AS one, perceiver_run(NULL::float[]) AS run
        FROM (SELECT perceiver_encode(p, p, p, p) AS latents FROM (SELECT 1 AS p) WHERE p > 1)";
    let found = collect(&ctx, sql).await.unwrap();
    for column in ["all_rows", "one", "run"] {
        assert_eq!(lists(&found, column), [None], "{column}");
    }
}

/// A published class: its inputs go by their usual names and axes.
#[tokio::test(flavor = "multi_thread")]
async fn published_classes_run() {
    let model = Engine::cpu().load("../../models/text-tiny").unwrap();
    let ctx = context(&model, 1);
    let ids: Vec<i64> = (0..16).map(|i| 40 + i).collect();
    let inputs =
        NamedTensors::from([("input_ids".to_owned(), Tensor::i64(vec![1, 16], ids).unwrap())]);
    let expected = model.run(&inputs, &mut |_, _| {}).unwrap();
    let sql = "SELECT perceiver_run(array_agg(value + 39 ORDER BY value)) AS logits FROM generate_series(1, 16)";
    let found = lists(&collect(&ctx, sql).await.unwrap(), "logits").remove(0).expect("logits");
    let error = error(&found, expected["logits"].as_f32().unwrap());
    assert!(error < 1e-5, "{error:e}");
}
