//! `gemm` and `attention` at the shapes of the published checkpoints, on the CPU and on an adapter.
//!
//! The throughput is in floating-point operations: where criterion writes `elem/s`, read FLOP/s. A
//! multiply-add counts as two, padding and element-wise work do not count, as in `Cost::flops`.
//!
//! Before a case is timed on an adapter, its result is compared with that of the CPU on the same
//! operands: the speed of a wrong result is of no interest. See README.md in this folder.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use perceiver::internals::cpu;
use perceiver::internals::gpu::{Device, GpuExecutor, Parameters};
use perceiver::internals::graph::passes::split;
use perceiver::internals::graph::single;
use perceiver::internals::graph::{Executor, Plan};
use perceiver::internals::kernels::Op;
use perceiver::internals::kernels::attention::Attention;
use perceiver::internals::kernels::gemm::{Activation, Gemm};
use perceiver::internals::kernels::random_operands;
use perceiver::internals::model::DEVICE_VARIABLE;
use perceiver::internals::model::splits as attention_splits;
use perceiver::internals::weights::ParameterStore;
use perceiver::{DeviceChoice, Engine, NamedTensors, Result};

/// Largest relative L2 distance between the adapter's result and the CPU's. Both are f32 and sum up
/// in different orders; the tolerances proper, against f64, are those of `tests/kernels.rs`.
const TOLERANCE: f64 = 1e-4;

/// A shape and where it comes from.
struct Case {
    name: &'static str,
    op: Op,
    /// Also measured by default, not only with `PERCEIVER_BENCH=full`.
    quick: bool,
}

fn gemm(
    name: &'static str,
    quick: bool,
    [rows, inner, cols]: [usize; 3],
    activation: Activation,
) -> Case {
    let op = Op::Gemm(Gemm { bias: true, activation, ..Gemm::new(rows, inner, cols) });
    Case { name, op, quick }
}

fn attention(
    name: &'static str,
    quick: bool,
    [queries, keys]: [usize; 2],
    heads: usize,
    [d_qk, d_v]: [usize; 2],
) -> Case {
    let op = Op::Attention(Attention::new(queries, keys, heads, d_qk, d_v));
    Case { name, op, quick }
}

fn gemms() -> Vec<Case> {
    use Activation::{GeluErf, None};
    vec![
        gemm("square 512", true, [512, 512, 512], None),
        gemm("square 1024", false, [1024, 1024, 1024], None),
        // Queries, keys (256 channels each) and values (1280) by one product.
        gemm("language process qkv", true, [256, 1280, 1792], None),
        gemm("language process mlp", false, [256, 1280, 1280], GeluErf),
        gemm("flow process qkv", true, [2048, 512, 1536], None),
        gemm("imagenet process mlp", false, [512, 1024, 1024], GeluErf),
    ]
}

fn attentions() -> Vec<Case> {
    vec![
        attention("language encode", true, [256, 2048], 8, [32, 160]),
        // Of 50,176 keys.
        attention("imagenet encode slice", true, [512, 8192], 1, [261, 261]),
        // Of 182,528 keys.
        attention("flow encode window", false, [2048, 4096], 1, [322, 322]),
        attention("flow process", true, [2048, 2048], 16, [32, 32]),
        // Of 784 queries and 52,097 keys.
        attention("multimodal encode slice", false, [256, 4096], 1, [704, 704]),
    ]
}

/// Whether all cases are wanted.
fn full() -> bool {
    std::env::var("PERCEIVER_BENCH").is_ok_and(|v| v == "full")
}

/// The adapter that `PERCEIVER_DEVICE` names, else the best one, a software one if there is no
/// other. `None` where there is none or the variable asks for the CPU.
fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let open = || {
        let text = std::env::var(DEVICE_VARIABLE).unwrap_or_default();
        let asked = match text.parse() {
            Ok(choice) => choice,
            Err(never) => match never {},
        };
        let opened = match asked {
            DeviceChoice::Auto => Engine::choose(&DeviceChoice::Gpu),
            ref other => match Engine::choose(other) {
                // Someone who names an adapter does not want figures of another.
                Err(e) => panic!("{e}"),
                engine => engine,
            },
        };
        let device = match &opened {
            Ok(engine) => engine.device(),
            Err(e) => {
                eprintln!("{e}");
                None
            }
        };
        match &device {
            Some(d) => eprintln!("adapter: {} ({})", d.name(), d.kind().name()),
            None => eprintln!("adapter: none, CPU only"),
        }
        device
    };
    DEVICE.get_or_init(open).as_ref()
}

fn cpu_session(op: &Op, operands: &[Vec<f32>]) -> Result<cpu::CpuExecutor<f32>> {
    let nothing = ParameterStore::new(Arc::new(NamedTensors::new()));
    let mut session = cpu::CpuExecutor::new(single(op)?, &nothing)?;
    for (i, operand) in operands.iter().enumerate() {
        session.write(&format!("operand {i}"), operand)?;
    }
    Ok(session)
}

fn gpu_session(op: &Op, operands: &[Vec<f32>], device: &Device) -> Result<GpuExecutor> {
    let graph = split(single(op)?.graph().clone(), &|a| attention_splits(a, device.traits()));
    let nothing = Parameters::new(device.clone(), Arc::new(NamedTensors::new()));
    let mut session = GpuExecutor::new(Plan::new(graph)?, &nothing)?;
    for (i, operand) in operands.iter().enumerate() {
        session.write(&format!("operand {i}"), operand)?;
    }
    // Brings the operands to the device, where `compute` finds them.
    session.run(&mut |_, _| {})?;
    Ok(session)
}

/// Relative L2 distance; NaN where either has one.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(expected);
    let difference: f64 = pairs.map(|(&f, &e)| square(f64::from(f) - f64::from(e))).sum();
    let norm: f64 = expected.iter().map(|&e| square(f64::from(e))).sum();
    (difference / norm).sqrt()
}

/// A session on the device, after a look at its result.
fn checked_gpu_session(case: &Case, device: &Device) -> Result<GpuExecutor> {
    let operands = random_operands(&case.op, 1);
    let session = gpu_session(&case.op, &operands, device)?;
    let mut twin = cpu_session(&case.op, &operands)?;
    twin.run(&mut |_, _| {})?;
    let (found, expected) = (session.read("result 0")?, twin.read("result 0")?);
    let pair = found.as_f32().zip(expected.as_f32());
    let error = pair.map_or(f64::NAN, |(f, e)| distance(f, e));
    // Written so that NaN fails.
    let right = error <= TOLERANCE;
    assert!(
        right,
        "{} `{}` on {} is wrong: relative L2 {error:.1e} from the CPU, {TOLERANCE:.0e} is allowed; \
         run `perceiver check` for details",
        case.op.kernel(),
        case.name,
        device.name(),
    );
    Ok(session)
}

fn group(c: &mut Criterion, name: &str, cases: &[Case]) {
    let device = device();
    let mut group = c.benchmark_group(name);
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(if full() { 3 } else { 1 }));
    for case in cases.iter().filter(|c| c.quick || full()) {
        group.throughput(Throughput::Elements(case.op.cost().flops));
        // Sessions are made when criterion first asks for a measurement, so that a filter on the
        // command line also saves the checks.
        let mut session: Option<cpu::CpuExecutor<f32>> = None;
        group.bench_function(BenchmarkId::new(case.name, "cpu"), |b| {
            let session = session.get_or_insert_with(|| {
                cpu_session(&case.op, &random_operands(&case.op, 1))
                    .unwrap_or_else(|e| panic!("{e}"))
            });
            b.iter(|| session.run(&mut |_, _| {}).unwrap_or_else(|e| panic!("{e}")));
        });
        let Some(device) = device else { continue };
        let mut session: Option<GpuExecutor> = None;
        group.bench_function(BenchmarkId::new(case.name, device.name()), |b| {
            let session = session.get_or_insert_with(|| {
                checked_gpu_session(case, device).unwrap_or_else(|e| panic!("{e}"))
            });
            b.iter(|| session.compute(&mut |_, _| {}).unwrap_or_else(|e| panic!("{e}")));
        });
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    group(c, "gemm", &gemms());
    group(c, "attention", &attentions());
}

criterion_group!(kernels, all);
criterion_main!(kernels);
