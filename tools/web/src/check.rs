//! The kernel check of this browser's GPU: rows of the kernel table against the reference in f64.

use perceiver::Engine;
use perceiver::internals::gpu::try_variant_as;
use perceiver::internals::graph::Waiting;
use perceiver::internals::kernels::{Outcome, Problem, table};

use crate::values::{Thrown, wrong};

/// Rows of the table.
pub(crate) fn rows() -> usize {
    table().len()
}

/// Outcomes of a row, one for each variant.
pub(crate) async fn row(engine: &Engine, index: usize, seed: u64) -> Result<Vec<Outcome>, Thrown> {
    let table = table();
    let row = table.get(index).ok_or_else(|| wrong("index", "is beyond the table", "a row"))?;
    let problem = Problem::new(row, seed.wrapping_add(index as u64));
    let Some(device) = engine.device() else {
        return Ok(vec![problem.on_cpu()]);
    };
    let mut outcomes = Vec::new();
    for variant in row.op.candidates(device.traits()) {
        outcomes.push(try_variant_as(&problem, &device, variant, Waiting::Await).await);
    }
    Ok(outcomes)
}
