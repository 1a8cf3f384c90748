//! One row of the kernel table on a device.

use std::sync::Arc;

use super::{Device, GpuExecutor, Parameters};
use crate::error::Result;
use crate::graph::{Control, Executor, Waiting, blocking, single};
use crate::kernels::{Op, Outcome, Problem, Variant};
use crate::tensor::NamedTensors;

/// Runs a row of the kernel table on a device with one variant.
pub fn try_variant(problem: &Problem, device: &Device, variant: Variant) -> Outcome {
    outcome(problem, variant, blocking(found(problem, device, variant, Waiting::Block)))
}

/// As [`try_variant`], in either way to wait.
pub async fn try_variant_as(
    problem: &Problem,
    device: &Device,
    variant: Variant,
    waiting: Waiting,
) -> Outcome {
    outcome(problem, variant, found(problem, device, variant, waiting).await)
}

pub(super) fn outcome(
    problem: &Problem,
    variant: Variant,
    found: Result<Vec<Vec<f32>>>,
) -> Outcome {
    match found {
        Ok(found) => problem.compare(Some(&variant), &found),
        Err(e) => problem.failed(Some(&variant), e.to_string()),
    }
}

/// A session of one op by one variant, its operands written.
pub(crate) async fn session_of(
    device: &Device,
    op: &Op,
    variant: Variant,
    operands: &[Vec<f32>],
    waiting: Waiting,
) -> Result<GpuExecutor> {
    let parameters = Parameters::new(device.clone(), Arc::new(NamedTensors::new()));
    let plan = single(op)?;
    let mut session = GpuExecutor::of_variant(plan, &parameters, variant, waiting).await?;
    for (i, operand) in operands.iter().enumerate() {
        session.write(&format!("operand {i}"), operand)?;
    }
    Ok(session)
}

pub(super) async fn found(
    problem: &Problem,
    device: &Device,
    variant: Variant,
    waiting: Waiting,
) -> Result<Vec<Vec<f32>>> {
    let operands = problem.dense_operands();
    let mut session = session_of(device, problem.op(), variant, &operands, waiting).await?;
    session.poison()?;
    let executor: &mut dyn Executor = &mut session;
    executor.run_as(waiting, &Control::new(), [0, 1], |_, _| {}).await?;
    let results = 0..session.plan().graph().outputs.len();
    results.map(|i| session.read_padded(&format!("result {i}"))).collect()
}
