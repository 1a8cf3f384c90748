//! One row of the kernel table on a device.

use std::sync::Arc;

use super::{Device, GpuExecutor, Parameters};
use crate::error::Result;
use crate::graph::{Executor, single};
use crate::kernels::{Op, Outcome, Problem, Variant};
use crate::tensor::NamedTensors;

/// Runs a row of the kernel table on a device with one variant.
pub fn try_variant(problem: &Problem, device: &Device, variant: Variant) -> Outcome {
    match found(problem, device, variant) {
        Ok(found) => problem.compare(Some(&variant), &found),
        Err(e) => problem.failed(Some(&variant), e.to_string()),
    }
}

/// A session of one op by one variant, its operands written.
pub(crate) fn session_of(
    device: &Device,
    op: &Op,
    variant: Variant,
    operands: &[Vec<f32>],
) -> Result<GpuExecutor> {
    let parameters = Parameters::new(device.clone(), Arc::new(NamedTensors::new()));
    let mut session = GpuExecutor::with_variants(single(op)?, &parameters, &|_| Some(variant))?;
    for (i, operand) in operands.iter().enumerate() {
        session.write(&format!("operand {i}"), operand)?;
    }
    Ok(session)
}

fn found(problem: &Problem, device: &Device, variant: Variant) -> Result<Vec<Vec<f32>>> {
    let mut session = session_of(device, problem.op(), variant, &problem.dense_operands())?;
    session.poison();
    session.run(&mut |_, _| {})?;
    let results = 0..session.plan().graph().outputs.len();
    results.map(|i| session.read_padded(&format!("result {i}"))).collect()
}
