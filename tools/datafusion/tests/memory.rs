//! A Parquet file that is larger than the memory: the pool is kept, and what the process allocates too. In a process of its own, since
//! it counts every allocation.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use peak_alloc::PeakAlloc;
use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
use perceiver::{Engine, RandomTensors};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Rows of eight numbers: 160 MB.
const ROWS: usize = 5_000_000;
const BATCH: usize = 50_000;
const POOL: usize = 24 << 20;

fn write(path: &std::path::Path) {
    let mut word = 1u64;
    let mut number = || {
        word = word.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (word >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let mut batch = |first: usize, rows: usize| {
        let clip = Int32Array::from_iter_values((first..first + rows).map(|row| (row % 40) as i32));
        let mut columns = vec![("clip".to_owned(), Arc::new(clip) as ArrayRef)];
        for c in 0..8 {
            let values = Float32Array::from_iter_values((0..rows).map(|_| number()));
            columns.push((format!("v{c}"), Arc::new(values)));
        }
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let schema = batch(0, 0).schema();
    let groups = WriterProperties::builder().set_max_row_group_row_count(Some(BATCH)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, Some(groups)).unwrap();
    for first in (0..ROWS).step_by(BATCH) {
        writer.write(&batch(first, BATCH)).unwrap();
    }
    writer.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_larger_than_the_memory_are_encoded_within_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path);
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes > 140 << 20, "{bytes}");
    let blueprint = PerceiverBuilder::new(16, 32)
        .input(Modality::given("events", 1000, 8).varies())
        .cross("read", 1)
        .tower("think", 1, 4, 1)
        .decoder(1, false)
        .output(Output::new("class", Modality::learned("class", 1, 8)).linear(5))
        .build()
        .unwrap();
    let weights = RandomTensors::new(blueprint.tensors().unwrap(), 1);
    let model = Engine::cpu().load_blueprint(blueprint, Arc::new(weights)).unwrap();
    let pool = Arc::new(FairSpillPool::new(POOL));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
    let config = SessionConfig::new().with_target_partitions(4);
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    perceiver_datafusion::register(&ctx, &model).unwrap();
    let options = ParquetReadOptions::default();
    ctx.register_parquet("events", path.to_str().unwrap(), options).await.unwrap();
    let mut peaks = Vec::new();
    // Buffers that matrix products keep for each thread, tens of megabytes whatever the rows, are there before.
    let few = "SELECT perceiver_encode(v0, v1, v2, v3, v4, v5, v6, v7) FROM events WHERE v0 > 0.9";
    for _ in 0..3 {
        ctx.sql(few).await.unwrap().collect().await.unwrap();
    }
    // What the engine takes to read the file is its own: asked of a query that keeps eight numbers.
    for (call, groups) in [
        ("max(v0 + v1 + v2 + v3 + v4 + v5 + v6 + v7) AS most FROM events", 1),
        ("perceiver_encode(v0, v1, v2, v3, v4, v5, v6, v7) AS latents FROM events", 1),
        (
            "perceiver_encode(v0, v1, v2, v3, v4, v5, v6, v7) AS latents FROM events GROUP BY clip",
            40,
        ),
    ] {
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        let found = ctx.sql(&format!("SELECT {call}")).await.unwrap().collect().await.unwrap();
        assert_eq!(found.iter().map(|b| b.num_rows()).sum::<usize>(), groups);
        peaks.push(ALLOCATED.peak_usage() - before);
    }
    println!("{peaks:?} of {bytes} bytes");
    // The pool, and a thread's buffers more, should one not have been met before.
    assert!(peaks[1..].iter().all(|&peak| peak < peaks[0] + POOL + (72 << 20)), "{peaks:?}");
}
