//! Models, rows and tables for the tests.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::Float32Type;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use perceiver::blueprint::{Blueprint, Modality, Output, PerceiverBuilder};
use perceiver::{Engine, Model, NamedTensors, RandomTensors, RunOptions, Tensor};

/// Numbers that look random, between -1 and 1.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    pub(crate) fn number(&mut self) -> f32 {
        (self.word() % 20011) as f32 / 10005.0 - 1.0
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.word() as usize % (i + 1));
        }
    }
}

pub(crate) fn model(blueprint: Blueprint, seed: u64) -> Model {
    let weights = RandomTensors::new(blueprint.tensors().expect("tensors"), seed);
    Engine::cpu().load_blueprint(blueprint, Arc::new(weights)).expect("a model")
}

fn finished(builder: PerceiverBuilder) -> Blueprint {
    let query = Modality::learned("class", 2, 16);
    builder
        .cross("read", 2)
        .tower("think", 2, 4, 2)
        .decoder(1, false)
        .output(Output::new("class", query).linear(5))
        .build()
        .expect("a blueprint")
}

/// A set of rows of three numbers.
pub(crate) fn set() -> Blueprint {
    finished(PerceiverBuilder::new(6, 24).input(Modality::given("points", 50, 3).varies()))
}

/// A grid of 12 × 17 cells of three numbers.
pub(crate) fn grid() -> Blueprint {
    finished(
        PerceiverBuilder::new(6, 24).input(Modality::given("pixels", 204, 3).fourier(&[12, 17], 8)),
    )
}

/// Events in some cells of a grid of 12 × 17.
pub(crate) fn cells() -> Blueprint {
    let events = Modality::given("events", 60, 3).fourier(&[12, 17], 4).points().varies();
    finished(PerceiverBuilder::new(6, 24).input(events))
}

/// Rows of some model, and the latents of all of them, by a run that knows nothing of streams.
pub(crate) struct Case {
    pub(crate) model: Model,
    pub(crate) cells: Vec<i64>,
    /// Three to a row.
    pub(crate) values: Vec<f32>,
    pub(crate) latents: Vec<f32>,
}

impl Case {
    pub(crate) fn rows(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn call(&self) -> &'static str {
        match self.takes_position() {
            true => "perceiver_encode(position, x, y, z)",
            false => "perceiver_encode(x, y, z)",
        }
    }

    fn takes_position(&self) -> bool {
        let blueprint = self.model.description().blueprint(&self.model.description().usual_sizes());
        blueprint.inputs[0].name != "points"
    }
}

pub(crate) fn case(blueprint: Blueprint, rows: usize, seed: u64) -> Case {
    let input = blueprint.inputs[0].clone();
    let model = model(blueprint, 7);
    let mut numbers = Numbers(seed);
    let values: Vec<f32> = (0..3 * rows).map(|_| numbers.number()).collect();
    let mut cells: Vec<i64> = match input.points.is_some() {
        true => (0..204).collect(),
        false => (0..rows as i64).collect(),
    };
    if input.points.is_some() {
        numbers.shuffle(&mut cells);
        cells.truncate(rows);
    }
    let name = input.content.input().expect("an input").to_owned();
    let tensor = Tensor::f32(vec![1, rows, 3], values.clone()).expect("rows");
    let mut inputs = NamedTensors::from([(name, tensor)]);
    if let Some(points) = input.points {
        inputs.insert(points, Tensor::i64(vec![rows], cells.clone()).expect("cells"));
    }
    let (_, latents) =
        model.encode(&inputs, RunOptions::default(), &mut |_, _| {}).expect("latents");
    let latents = latents[0].as_slice().to_vec();
    Case { model, cells, values, latents }
}

/// The rows of several cases as one table with the column `clip`, in partitions; every fourth is empty.
pub(crate) fn table(cases: &[&Case], partitions: usize, seed: u64) -> MemTable {
    let rows = cases.iter().enumerate().flat_map(|(c, case)| (0..case.rows()).map(move |r| (c, r)));
    let mut rows: Vec<(usize, usize)> = rows.collect();
    Numbers(seed).shuffle(&mut rows);
    let batch = |rows: &[(usize, usize)]| {
        let clip = Int64Array::from_iter_values(rows.iter().map(|r| r.0 as i64));
        let position = Int64Array::from_iter_values(rows.iter().map(|&(c, r)| cases[c].cells[r]));
        let value = |i: usize| -> ArrayRef {
            let values = rows.iter().map(|&(c, r)| cases[c].values[3 * r + i]);
            Arc::new(Float32Array::from_iter_values(values))
        };
        RecordBatch::try_from_iter([
            ("clip", Arc::new(clip) as ArrayRef),
            ("position", Arc::new(position)),
            ("x", value(0)),
            ("y", value(1)),
            ("z", value(2)),
        ])
        .expect("a batch")
    };
    let each = rows.len().div_ceil(partitions).max(1);
    let schema = batch(&[]).schema();
    let mut parts = Vec::new();
    for (i, part) in rows.chunks(each).enumerate() {
        if i % 3 == 2 {
            parts.push(vec![batch(&[])]);
        }
        parts.push(part.chunks(97).map(batch).collect());
    }
    MemTable::try_new(schema, parts).expect("a table")
}

pub(crate) fn context(model: &Model, partitions: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(128);
    let ctx = SessionContext::new_with_config(config);
    perceiver_datafusion::register(&ctx, model).expect("functions");
    ctx
}

pub(crate) async fn collect(ctx: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    ctx.sql(sql).await?.collect().await
}

/// The message of a query that is refused.
pub(crate) async fn refusal(ctx: &SessionContext, sql: &str) -> String {
    match collect(ctx, sql).await {
        Ok(found) => panic!("{sql} gave {found:?}"),
        Err(error) => error.to_string(),
    }
}

/// Numbers in a column of lists, or of lists of lists; `None` for NULL.
pub(crate) fn lists(batches: &[RecordBatch], column: &str) -> Vec<Option<Vec<f32>>> {
    fn flat(array: &ArrayRef) -> Vec<f32> {
        if let Some(lists) = array.as_fixed_size_list_opt() {
            let n = lists.value_length() as usize;
            return flat(&lists.values().slice(lists.value_offset(0) as usize, n * lists.len()));
        }
        if let Some(lists) = array.as_list_opt::<i32>() {
            return (0..lists.len()).flat_map(|i| flat(&lists.value(i))).collect();
        }
        array.as_primitive::<Float32Type>().values().to_vec()
    }
    let mut found = Vec::new();
    for batch in batches {
        let array = batch.column_by_name(column).expect("a column");
        for i in 0..array.len() {
            found.push(array.is_valid(i).then(|| flat(&array.slice(i, 1))));
        }
    }
    found
}

/// Largest difference, relative to the largest number.
pub(crate) fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    found.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / size
}
