//! Achieved GFLOP/s of the variants of products and attentions on one adapter, quickly and without statistics.
//!
//! `cargo run --release --example kernel_rate -- [PART OF AN ADAPTER'S NAME]`
//!
//! For figures to keep, use `cargo bench --bench kernels`.
//!
//! `cargo run --release --example kernel_rate -- --compile [PART OF A VARIANT'S NAME]`
//!
//! lists the seconds from a variant's text to its first result on the adapter whose name contains
//! `ADAPTER`, over those of its second: what its driver needs to compile it. `MESA_SHADER_CACHE_DISABLE=1`
//! keeps Mesa from remembering.

use std::time::Instant;

use perceiver::internals::cpu;
use perceiver::internals::gpu::{
    Device, GpuExecutor, Parameters, ShaderChecks, adapters, try_variant,
};
use perceiver::internals::graph::{Executor, single};
use perceiver::internals::kernels::attention::{Attention, QueryFactors};
use perceiver::internals::kernels::factored_attention::{FactoredAttention, Factors};
use perceiver::internals::kernels::gemm::Gemm;
use perceiver::internals::kernels::random_operands;
use perceiver::internals::kernels::{self, Op, Variant};
use perceiver::internals::weights::ParameterStore;
use perceiver::{NamedTensors, Result};

fn gemm(n: usize) -> Op {
    Op::Gemm(Gemm { bias: true, ..Gemm::new(n, n, n) })
}

fn attention(queries: usize, keys: usize, heads: usize, d_qk: usize, d_v: usize) -> Op {
    Op::Attention(Attention::new(queries, keys, heads, d_qk, d_v))
}

/// Attention of a folded decoder, whose queries are a picture of these sides.
fn decoder(sides: [usize; 2], keys: usize, content: usize, d_v: usize) -> Op {
    let factors = Factors { content, dimensions: 2, axes: [sides[0], sides[1], 1] };
    Op::Attention(Attention {
        scale: 1.0,
        factors: Some(QueryFactors {
            factors,
            first_column: 0,
            columns: factors.columns(),
            first_query: 0,
            indexed: false,
        }),
        ..Attention::new(sides[0] * sides[1], keys, 1, content, d_v)
    })
}

/// Queries of a folded encoder over a picture of these sides.
fn factored(queries: usize, content: usize, sides: [usize; 2]) -> Op {
    let factors = Factors { content, dimensions: 2, axes: [sides[0], sides[1], 1] };
    Op::FactoredAttention(FactoredAttention::new(queries, sides[0] * sides[1], factors))
}

/// Best of a few runs, in GFLOP/s.
fn rate(flops: u64, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    for i in 0..10 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
        if i >= 2 && begin.elapsed().as_secs_f64() > 1.0 {
            break;
        }
    }
    Ok(flops as f64 / best / 1e9)
}

/// Seconds to compile each variant whose title contains `part`, measured with the smallest row of the
/// kernel table that it can run.
fn compile(part: &str) -> Result<()> {
    let wanted = std::env::var("ADAPTER").unwrap_or_default().to_lowercase();
    let found = adapters().into_iter().find(|a| a.name.to_lowercase().contains(&wanted));
    let Some(adapter) = found else { return Ok(()) };
    let device = Device::open(&adapter, ShaderChecks::Trusted)?;
    let mut table = kernels::table();
    table.retain(|r| r.op.cost().bytes > 0);
    table.sort_by_key(|r| r.op.cost().bytes);
    for variant in kernels::variants() {
        let title = format!("{}/{}", variant.kernel, variant.title());
        let row = table.iter().find(|r| r.op.candidates(device.traits()).contains(&variant));
        let Some(row) = row.filter(|_| title.contains(part)) else {
            continue;
        };
        let problem = kernels::Problem::new(row, 1);
        let time = || {
            let start = Instant::now();
            let outcome = try_variant(&problem, &device, variant);
            (start.elapsed().as_secs_f64(), outcome.passed)
        };
        let ((first, passed), (second, _)) = (time(), time());
        let verdict = if passed { "" } else { " FAILED" };
        println!("{:7.2} s {title}{verdict}", first - second);
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == "--compile" {
        return compile(&arguments.next().unwrap_or_default());
    }
    let wanted = first.to_lowercase();
    let found = adapters().into_iter().find(|a| a.name.to_lowercase().contains(&wanted));
    let device = found.map(|a| Device::open(&a, ShaderChecks::Trusted)).transpose()?;
    let ops = [
        gemm(512),
        gemm(1024),
        attention(512, 8192, 1, 261, 261),
        attention(256, 2048, 8, 32, 160),
        attention(1024, 1024, 16, 32, 32),
        decoder([64, 128], 512, 64, 512),
        factored(512, 3, [112, 224]),
        factored(512, 64, [64, 128]),
    ];
    for op in ops {
        let flops = op.cost().flops;
        let operands = random_operands(&op, 1);
        let store = ParameterStore::<f32>::new(std::sync::Arc::new(NamedTensors::new()));
        let mut session = cpu::CpuExecutor::new(single(&op)?, &store)?;
        for (i, operand) in operands.iter().enumerate() {
            session.write(&format!("operand {i}"), operand)?;
        }
        let cpu = rate(flops, || session.run(&mut |_, _| {}))?;
        println!(
            "{:60} cpu            {cpu:8.1} GFLOP/s",
            format!("{} {op:?}", op.kernel()).chars().take(60).collect::<String>()
        );
        let Some(device) = &device else { continue };
        let list: Vec<Variant> = op.candidates(device.traits());
        let software = device.traits().software;
        let all = std::env::var("ALL").is_ok() || list.iter().all(|v| v.software != software);
        for variant in list {
            if variant.software != software && !all {
                continue;
            }
            let start = Instant::now();
            let nothing = std::sync::Arc::new(NamedTensors::new());
            let parameters = Parameters::new(device.clone(), nothing);
            let mut session =
                GpuExecutor::with_variants(single(&op)?, &parameters, &|_| Some(variant))?;
            for (i, operand) in operands.iter().enumerate() {
                session.write(&format!("operand {i}"), operand)?;
            }
            session.run(&mut |_, _| {})?;
            let ready = start.elapsed().as_secs_f64();
            let gpu = rate(flops, || session.compute(&mut |_, _| {}))?;
            println!("{:60} {:14} {gpu:8.1} GFLOP/s, ready after {ready:.2} s", "", variant.name);
        }
    }
    Ok(())
}
