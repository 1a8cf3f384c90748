//! Scheduler, executors and clients as processes of this machine, one of which is killed, or stopped, in the middle of a query.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::{Float32Type, Int32Type};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use perceiver::{Engine, Model, NamedTensors, RunOptions, Sizes, Tensor};
use perceiver_ballista::client;
use perceiver_datafusion::Functions;

/// The pictures of this model are clips here: a row a pixel.
const MODEL: &str = "../../../models/shapes-tiny";
const SIDE: usize = 56;
const IMAGE: &str = "56x56";
const CLIPS: usize = 24;
const FILES: usize = 8;
const SQL: &str = "SELECT clip, perceiver_encode(place, r, g, b) AS latents FROM pixels GROUP BY clip ORDER BY clip";

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first of two ports that are free.
fn port() -> u16 {
    loop {
        let found = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = found.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

fn start(binary: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary);
    command.args(arguments).stdout(Stdio::null());
    Process(command.spawn().unwrap())
}

fn wait_for(port: u16) {
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing listens at {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Cluster {
    scheduler: u16,
    executors: Vec<Process>,
    _scheduler: Process,
    _work: tempfile::TempDir,
}

impl Cluster {
    fn start(models: &[&str]) -> Self {
        let scheduler = port();
        let text = scheduler.to_string();
        let options =
            ["--model", MODEL, "--image", IMAGE, "--port", &text, "--executor-timeout", "10"];
        let process = start(env!("CARGO_BIN_EXE_perceiver-scheduler"), &options);
        wait_for(scheduler);
        let work = tempfile::tempdir().unwrap();
        let executors = models.iter().enumerate().map(|(i, model)| {
            let own = port();
            let folder = work.path().join(i.to_string());
            std::fs::create_dir(&folder).unwrap();
            let executor = start(
                env!("CARGO_BIN_EXE_perceiver-executor"),
                &[
                    "--model",
                    model,
                    "--image",
                    IMAGE,
                    "--device",
                    "cpu",
                    "--scheduler",
                    &format!("127.0.0.1:{scheduler}"),
                    "--port",
                    &own.to_string(),
                    "--cores",
                    "1",
                    "--work-dir",
                    folder.to_str().unwrap(),
                ],
            );
            wait_for(own);
            executor
        });
        let executors = executors.collect();
        // They listen before the scheduler knows them.
        std::thread::sleep(Duration::from_secs(1));
        Cluster { scheduler, executors, _scheduler: process, _work: work }
    }

    async fn client(&self, pixels: &Path, model: &Model) -> SessionContext {
        let sizes = Sizes { image: [SIDE; 2], ..Sizes::default() };
        let functions = Functions::new(model, &sizes, "perceiver").unwrap();
        let url = format!("http://127.0.0.1:{}", self.scheduler);
        let config = SessionConfig::new().with_target_partitions(4);
        let ctx = client(&functions, &url, config).await.unwrap();
        let path = pixels.to_str().unwrap();
        ctx.register_parquet("pixels", path, ParquetReadOptions::default()).await.unwrap();
        ctx
    }
}

fn picture(clip: usize) -> Vec<f32> {
    let number = |i: usize| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32;
    (0..3 * SIDE * SIDE).map(|i| number(clip * 1_000_003 + i) / 8_388_608.0 - 1.0).collect()
}

/// Pixels of all clips in several files, those of a clip in all of them, out of order, `times` over.
fn write(folder: &Path, times: usize) -> PathBuf {
    let pixels = folder.join(format!("pixels-{times}"));
    std::fs::create_dir(&pixels).unwrap();
    for file in 0..FILES {
        let path = pixels.join(format!("{file}.parquet"));
        let mut writer = None;
        for clip in (0..CLIPS * times).rev() {
            let picture = picture(clip % CLIPS);
            let places = (0..SIDE * SIDE).rev().filter(|place| place % FILES == file);
            let places: Vec<usize> = places.collect();
            let value = |c: usize| -> ArrayRef {
                let values = places.iter().map(|&place| picture[c * SIDE * SIDE + place]);
                Arc::new(Float32Array::from_iter_values(values))
            };
            let place = Int32Array::from_iter_values(places.iter().map(|&place| place as i32));
            let batch = RecordBatch::try_from_iter([
                ("clip", Arc::new(Int32Array::from(vec![clip as i32; places.len()])) as ArrayRef),
                ("place", Arc::new(place)),
                ("r", value(0)),
                ("g", value(1)),
                ("b", value(2)),
            ])
            .unwrap();
            let writer = writer.get_or_insert_with(|| {
                let file = std::fs::File::create(&path).unwrap();
                ArrowWriter::try_new(file, batch.schema(), None).unwrap()
            });
            writer.write(&batch).unwrap();
        }
        writer.unwrap().close().unwrap();
    }
    pixels
}

/// The latents of all clips by whole runs.
fn expected(model: &Model) -> Vec<Vec<f32>> {
    let latents = (0..CLIPS).map(|clip| {
        let picture = Tensor::f32(vec![1, 3, SIDE, SIDE], picture(clip)).unwrap();
        let inputs = NamedTensors::from([("pixel_values".to_owned(), picture)]);
        let (_, latents) = model.encode(&inputs, RunOptions::default(), &mut |_, _| {}).unwrap();
        latents[0].as_slice().to_vec()
    });
    latents.collect()
}

fn check(found: &[RecordBatch], expected: &[Vec<f32>], times: usize) {
    let mut clip = 0;
    for batch in found {
        let clips = batch.column_by_name("clip").unwrap().as_primitive::<Int32Type>();
        let lists = batch.column_by_name("latents").unwrap().as_fixed_size_list();
        for i in 0..lists.len() {
            assert_eq!(clips.value(i), clip as i32);
            assert!(lists.is_valid(i));
            let rows = lists.value(i);
            let numbers = rows.as_fixed_size_list().values().as_primitive::<Float32Type>().clone();
            let expected = &expected[clip % CLIPS];
            assert_eq!(numbers.len(), expected.len());
            let size = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (a, b) in numbers.values().iter().zip(expected) {
                assert!((a - b).abs() < 1e-5 * size, "clip {clip}: {a} and {b}");
            }
            clip += 1;
        }
    }
    assert_eq!(clip, CLIPS * times);
}

/// A query on two executors, one of which something happens to after a part of the time that the query takes: it gets the
/// right answer, or an error by name and the right answer when asked again.
async fn happens_in_the_middle(part: f64, what: fn(&mut Cluster)) {
    let model = Engine::cpu().load(MODEL).unwrap();
    let expected = expected(&model);
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&[MODEL, MODEL]);

    let pixels = write(folder.path(), 1);
    let ctx = cluster.client(&pixels, &model).await;
    // The first query loads what later ones have.
    let found = ask(&ctx).await.unwrap();
    check(&found, &expected, 1);

    // A query that takes long enough to be in its middle when it happens.
    let times = 8;
    let pixels = write(folder.path(), times);
    let ctx = cluster.client(&pixels, &model).await;
    let start = Instant::now();
    let found = ask(&ctx).await.unwrap();
    let took = start.elapsed();
    check(&found, &expected, times);
    let query = tokio::spawn({
        let ctx = ctx.clone();
        async move { ask(&ctx).await }
    });
    tokio::time::sleep(took.mul_f64(part)).await;
    assert!(!query.is_finished(), "the query was over before it happened");
    what(&mut cluster);
    // The scheduler misses polls, or the other executor results of a stage, whichever is first.
    match query.await.unwrap() {
        Ok(found) => check(&found, &expected, times),
        Err(error) => {
            let error = error.to_string();
            println!("at {part} of the query: {error}");
            assert!(
                error.contains("was lost; ask again")
                    || error.contains("Error connecting to Ballista scheduler or executor"),
                "{error}"
            );
            check(&ask(&ctx).await.unwrap(), &expected, times);
        }
    }
}

/// The answer of the query, which does not take for ever.
async fn ask(ctx: &SessionContext) -> datafusion::common::Result<Vec<RecordBatch>> {
    let answer = async { ctx.sql(SQL).await?.collect().await };
    tokio::time::timeout(Duration::from_secs(300), answer).await.expect("an answer")
}

fn kill(cluster: &mut Cluster) {
    drop(cluster.executors.remove(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_is_killed_in_the_first_stage() {
    happens_in_the_middle(0.05, kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_is_killed_in_the_middle() {
    happens_in_the_middle(0.5, kill).await;
}

/// As where a machine swaps, or the network is cut for a while.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_is_silent_for_longer_than_it_may_be() {
    fn silent(cluster: &mut Cluster) {
        let pid = cluster.executors[0].0.id().to_string();
        let signal = |name: &str| {
            assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        };
        signal("-STOP");
        std::thread::sleep(Duration::from_secs(16));
        signal("-CONT");
    }
    happens_in_the_middle(0.5, silent).await;
}

/// The table of docs/distributed.md: times of a query by executors, each with one core.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints times"]
async fn times_by_executors() {
    let model = Engine::cpu().load(MODEL).unwrap();
    let expected = expected(&model);
    let folder = tempfile::tempdir().unwrap();
    let pixels = write(folder.path(), 20);
    for executors in [1, 2, 1, 2] {
        let cluster = Cluster::start(&vec![MODEL; executors]);
        let ctx = cluster.client(&pixels, &model).await;
        for _ in 0..3 {
            let start = Instant::now();
            let found = ctx.sql(SQL).await.unwrap().collect().await.unwrap();
            println!("{executors} executors: {:.2} s", start.elapsed().as_secs_f64());
            check(&found, &expected, 20);
        }
    }
}

/// An executor, or a client, with other weights is refused by name.
#[tokio::test(flavor = "multi_thread")]
async fn other_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = write(folder.path(), 1);
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    for file in ["config.json", "preprocessor_config.json"] {
        std::fs::copy(Path::new(MODEL).join(file), other.join(file)).unwrap();
    }
    // The last number of the file, a little.
    let mut weights = std::fs::read(Path::new(MODEL).join("model.safetensors")).unwrap();
    let at = weights.len() - 2;
    weights[at] ^= 1;
    std::fs::write(other.join("model.safetensors"), weights).unwrap();

    let own = Engine::cpu().load(MODEL).unwrap();
    let cluster = Cluster::start(&[other.to_str().unwrap()]);
    let ctx = cluster.client(&pixels, &own).await;
    let error = ctx.sql(SQL).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(
        error.contains("perceiver_encode: the plan is for the model with fingerprint"),
        "{error}"
    );

    let cluster = Cluster::start(&[MODEL]);
    let other = Engine::cpu().load(&other).unwrap();
    let ctx = cluster.client(&pixels, &other).await;
    let error = ctx.sql(SQL).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(
        error.contains("perceiver_encode: the plan is for the model with fingerprint"),
        "{error}"
    );

    // A client that goes away leaves the cluster as it was.
    let query = format!("SELECT count(*) FROM ({SQL})");
    let ctx = cluster.client(&pixels, &own).await;
    let going = tokio::spawn({
        let (ctx, query) = (ctx.clone(), query.clone());
        async move { ctx.sql(&query).await?.collect().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    going.abort();
    let found = ctx.sql(&query).await.unwrap().collect().await.unwrap();
    assert_eq!(found.iter().map(|b| b.num_rows()).sum::<usize>(), 1);
}

/// The client's binary prints results, and refuses what it does not know.
#[test]
fn the_client_is_one_command() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = write(folder.path(), 1);
    let cluster = Cluster::start(&[MODEL]);
    let run = |arguments: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_perceiver-client"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut texts = [String::new(), String::new()];
        child.stdout.take().unwrap().read_to_string(&mut texts[0]).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut texts[1]).unwrap();
        (child.wait().unwrap().success(), texts)
    };
    let url = format!("http://127.0.0.1:{}", cluster.scheduler);
    let table = format!("pixels={}", pixels.display());
    let sql = "SELECT clip, perceiver_decode(perceiver_encode(place, r, g, b), 0) AS class FROM pixels WHERE clip < 3 GROUP BY clip";
    let (done, [out, error]) = run(&[
        "--model",
        MODEL,
        "--image",
        IMAGE,
        "--scheduler",
        &url,
        "--table",
        &table,
        "--partitions",
        "2",
        sql,
    ]);
    assert!(done && out.contains("class"), "{out}{error}");
    let (done, [_, error]) = run(&["--nothing", "1"]);
    assert!(!done && error.contains("perceiver-client --model FOLDER"), "{error}");
}
