//! What a device can do at best, measured: the yardstick of profiles and the roof of scaling plots.

use web_time::Instant;

use crate::parallel::*;
use serde::Serialize;

use crate::error::Result;
use crate::gpu::{AdapterKind, Device, session_of};
use crate::graph::{Executor, Waiting, blocking};
use crate::kernels::gemm::Gemm;
use crate::kernels::{Op, random_operands};

/// Repetitions, of which the fastest counts.
const TIMES: usize = 4;

/// What a device can do at best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ceiling {
    /// Operations per second of a large square product, in thousands of millions.
    pub gflop_per_second: f64,
    /// Bytes read and written per second by a kernel that copies, in thousands of millions.
    pub gigabytes_per_second: f64,
}

impl Ceiling {
    /// The least time of some work.
    #[doc(hidden)]
    pub fn seconds(&self, flops: u64, bytes: u64) -> f64 {
        let products = flops as f64 / (1e9 * self.gflop_per_second);
        products.max(bytes as f64 / (1e9 * self.gigabytes_per_second))
    }
}

/// What a device can do at best, or the CPU, measured now.
///
/// # Errors
/// What the device gives.
pub fn ceiling(device: Option<&Device>) -> Result<Ceiling> {
    match device {
        Some(device) => of_device(device),
        None => Ok(of_cpu()),
    }
}

/// What a device reaches now: a large product by the variant that it would run with, and a kernel that
/// copies.
fn of_device(device: &Device) -> Result<Ceiling> {
    let n = match device.kind() {
        AdapterKind::Software => 512,
        AdapterKind::Integrated | AdapterKind::Other => 1024,
        _ => 4096,
    };
    let op = Op::Gemm(Gemm::new(n, n, n));
    let variant = device.variant_for(&op)?;
    let mut session =
        blocking(session_of(device, &op, variant, &random_operands(&op, 1), Waiting::Block))?;
    session.run(&mut |_, _| {})?;
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        let spans = session.profile()?;
        best = best.min(spans.device.iter().map(|s| s.seconds).sum());
    }
    Ok(Ceiling {
        gflop_per_second: op.cost().flops as f64 / 1e9 / best.max(1e-9),
        gigabytes_per_second: device.copy_rate()? / 1e9,
    })
}

/// What the CPU executor reaches now, on all threads.
fn of_cpu() -> Ceiling {
    let op = Op::Gemm(Gemm::new(768, 768, 768));
    let operands = random_operands(&op, 1);
    let inputs: Vec<&[f32]> = operands.iter().map(Vec::as_slice).collect();
    let mut result = vec![0.0; 768 * 768];
    let product = fastest(|| op.fast(&inputs, &mut [&mut result]));
    let from = vec![1.0f32; 16 << 20];
    let mut to = vec![0.0f32; from.len()];
    let copy = fastest(|| {
        let blocks = to.par_chunks_mut(1 << 16).zip(from.par_chunks(1 << 16));
        blocks.for_each(|(to, from)| to.copy_from_slice(from));
    });
    Ceiling {
        gflop_per_second: op.cost().flops as f64 / 1e9 / product,
        gigabytes_per_second: 8.0 * from.len() as f64 / 1e9 / copy,
    }
}

fn fastest(mut work: impl FnMut()) -> f64 {
    let times = (0..=TIMES).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min).max(1e-9)
}
