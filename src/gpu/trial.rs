//! One row of the kernel table on a device.

use std::sync::Arc;

use super::{Device, GpuExecutor, Parameters};
use crate::error::Result;
use crate::graph::{Executor, single};
use crate::kernels::{Outcome, Problem, Variant};
use crate::tensor::NamedTensors;

/// Runs a row of the kernel table on a device with one variant.
pub fn try_variant(problem: &Problem, device: &Device, variant: Variant) -> Outcome {
    match found(problem, device, variant) {
        Ok(found) => problem.compare(Some(&variant), &found),
        Err(e) => problem.failed(Some(&variant), e.to_string()),
    }
}

fn found(problem: &Problem, device: &Device, variant: Variant) -> Result<Vec<Vec<f32>>> {
    let plan = single(problem.op())?;
    let parameters = Parameters::new(device.clone(), Arc::new(NamedTensors::new()));
    let mut session = GpuExecutor::with_variants(plan, &parameters, &|_| Some(variant))?;
    let operands = problem.dense_operands();
    for (i, operand) in operands.iter().enumerate() {
        session.write(&format!("operand {i}"), operand)?;
    }
    session.poison();
    session.run(&mut |_, _| {})?;
    let results = 0..session.plan().graph().outputs.len();
    results.map(|i| session.read_padded(&format!("result {i}"))).collect()
}
