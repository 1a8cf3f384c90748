//! Encodes clips of sensor events from a Parquet file, in one aggregate, and decodes a class for each.
//!
//! `cargo run --example parquet [ROWS]` makes a file of so many rows (a million unless said otherwise) in a folder that it removes, registers a
//! model of random weights, and prints the classes of eight clips. With `--rate` it encodes all rows as one group instead, from the
//! file and then from memory by `perceiver::stream::Encoder`, and prints rows per second of both, and what a
//! state takes.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch};
use datafusion::arrow::util::pretty::print_batches;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
use perceiver::stream::EncoderState;
use perceiver::{Engine, Model, RandomTensors, Sizes, Tensor};

/// Numbers of an event.
const CHANNELS: usize = 8;

/// Rows that are made at once.
const BATCH: usize = 1 << 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut rate = false;
    let mut rows = 1_000_000;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--rate" => rate = true,
            number => rows = number.parse()?,
        }
    }
    // 128 latents of 128 channels, two towers of two layers: a small encoder of sensor data.
    let blueprint = PerceiverBuilder::new(128, 128)
        .input(Modality::given("events", 1000, CHANNELS).varies())
        .cross("read", 1)
        .tower("think", 2, 4, 2)
        .decoder(1, false)
        .output(Output::new("class", Modality::learned("class", 1, 128)).linear(10))
        .build()?;
    let weights = RandomTensors::new(blueprint.tensors()?, 1);
    let model = Engine::auto()?.load_blueprint(blueprint, Arc::new(weights))?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events.parquet");
    write(&file, rows)?;
    let ctx = SessionContext::new();
    perceiver_datafusion::register(&ctx, &model)?;
    let path = file.to_str().ok_or("a path of text")?;
    ctx.register_parquet("events", path, ParquetReadOptions::default()).await?;
    if rate {
        return rates(&ctx, &model, rows).await;
    }
    let query = "SELECT clip, perceiver_decode(perceiver_encode(v0, v1, v2, v3, v4, v5, v6, v7), 0) AS class
        FROM events GROUP BY clip ORDER BY clip";
    print_batches(&ctx.sql(query).await?.collect().await?)?;
    Ok(())
}

/// The numbers of some rows, one row after the other.
fn numbers(first: usize, rows: usize) -> Vec<f32> {
    let number = |i: usize| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32;
    (first * CHANNELS..(first + rows) * CHANNELS).map(|i| number(i) / 8_388_608.0 - 1.0).collect()
}

fn write(file: &Path, rows: usize) -> Result<(), Box<dyn Error>> {
    let batch = |first: usize, rows: usize| {
        let numbers = numbers(first, rows);
        let clip = Int32Array::from_iter_values((first..first + rows).map(|row| (row % 8) as i32));
        let mut columns = vec![("clip".to_owned(), Arc::new(clip) as ArrayRef)];
        for c in 0..CHANNELS {
            let values = numbers.chunks_exact(CHANNELS).map(|row| row[c]);
            let values = Float32Array::from_iter_values(values);
            columns.push((format!("v{c}"), Arc::new(values)));
        }
        RecordBatch::try_from_iter(columns)
    };
    let schema = batch(0, 0)?.schema();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(file)?, schema, None)?;
    for first in (0..rows).step_by(BATCH) {
        writer.write(&batch(first, BATCH.min(rows - first))?)?;
    }
    writer.close()?;
    Ok(())
}

/// Both ways in turns, so that a machine that changes its pace changes both.
async fn rates(ctx: &SessionContext, model: &Model, rows: usize) -> Result<(), Box<dyn Error>> {
    let held: Vec<Tensor> = (0..rows)
        .step_by(BATCH)
        .map(|first| {
            let n = BATCH.min(rows - first);
            Tensor::f32(vec![n, CHANNELS], numbers(first, n))
        })
        .collect::<Result<_, _>>()?;
    constants(model, &held[0])?;
    let mut ratios = Vec::new();
    for turn in 0..4 {
        let start = Instant::now();
        let mut encoder = model.encoder(&Sizes::default())?;
        for tensor in &held {
            encoder.push("events", 0, tensor)?;
        }
        let expected = encoder.finish()?;
        let memory = rows as f64 / start.elapsed().as_secs_f64();

        let start = Instant::now();
        let query =
            "SELECT perceiver_encode(v0, v1, v2, v3, v4, v5, v6, v7) AS latents FROM events";
        let found = ctx.sql(query).await?.collect().await?;
        let file = rows as f64 / start.elapsed().as_secs_f64();
        // The first turn reads weights and compiles.
        if turn > 0 {
            ratios.push(file / memory);
        }
        println!("{memory:.3e} rows/s from memory, {file:.3e} from Parquet: {:.2}", file / memory);
        let found = found[0].column(0).to_data();
        let found = found.child_data()[0].child_data()[0].buffers()[0].typed_data::<f32>();
        let differences = found.iter().zip(expected.as_slice()).map(|(a, b)| (a - b).abs());
        let largest = expected.as_slice().iter().fold(0.0f32, |m, x| m.max(x.abs()));
        println!(
            "  largest difference {:.1e} of the largest number",
            differences.fold(0.0, f32::max) / largest
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2} on {}", ratios[ratios.len() / 2], model.device_name());
    Ok(())
}

/// What a state takes, and what is done with one: constants of docs/distributed.md.
fn constants(model: &Model, rows: &Tensor) -> Result<(), Box<dyn Error>> {
    let mut encoder = model.encoder(&Sizes::default())?;
    encoder.push("events", 0, rows)?;
    encoder.finish()?;
    let state = encoder.state().clone();
    let bytes = state.to_bytes()?;
    let merge = milliseconds(200, || state.merge(&state).map(drop))?;
    let wire = milliseconds(200, || EncoderState::from_bytes(&state.to_bytes()?).map(drop))?;
    let finish = milliseconds(50, || encoder.finish().map(drop))?;
    println!(
        "a state: {} bytes; to merge two: {merge:.3} ms; to bytes and back: {wire:.3} ms; to finish: {finish:.2} ms",
        bytes.len()
    );
    Ok(())
}

/// How long something takes, the mean of several turns.
fn milliseconds(
    turns: u32,
    mut work: impl FnMut() -> perceiver::Result<()>,
) -> perceiver::Result<f64> {
    let start = Instant::now();
    for _ in 0..turns {
        work()?;
    }
    Ok(1e3 * start.elapsed().as_secs_f64() / f64::from(turns))
}
