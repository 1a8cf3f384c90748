//! No submission runs longer than its budget, and cutting work up changes no bit of the result.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use perceiver::NamedTensors;
use perceiver::internals::gpu::{
    Device, GpuExecutor, Parameters, ShaderChecks, Submission, SubmissionBudget,
};
use perceiver::internals::graph::{Executor, single};
use perceiver::internals::kernels::attention::Attention;
use perceiver::internals::kernels::gemm::Gemm;
use perceiver::internals::kernels::layer_norm::LayerNorm;
use perceiver::internals::kernels::random_operands;
use perceiver::internals::kernels::{self, Op};

use crate::common;

/// One test at a time: they measure time.
static ALONE: Mutex<()> = Mutex::new(());

fn device() -> Device {
    common::device(ShaderChecks::Trusted).expect(common::INSTALL)
}

fn session(device: &Device, op: &Op) -> GpuExecutor {
    let nothing = Arc::new(NamedTensors::new());
    let parameters = Parameters::new(device.clone(), nothing);
    let plan = single(op).expect("plan");
    let mut session = GpuExecutor::new(plan, &parameters).expect("session");
    for (i, operand) in random_operands(op, 5).iter().enumerate() {
        session
            .write(&format!("operand {i}"), operand)
            .expect("write");
    }
    session
}

fn bits(session: &GpuExecutor) -> Vec<u32> {
    let result = session.read("result 0").expect("result");
    let floats = result.as_f32().expect("floats");
    floats.iter().map(|x| x.to_bits()).collect()
}

/// Single dispatches that take far longer than the budget are cut, and none of their submissions takes
/// longer. The machine may be busy with other things: what counts is the median over many.
#[test]
fn single_dispatches_are_cut_to_the_budget() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = device();
    let budget = Duration::from_millis(40);
    device.set_submission_budget(SubmissionBudget::Bounded(budget));
    for op in [
        Op::Gemm(Gemm::new(16_001, 1021, 32)),
        Op::Attention(Attention::new(61, 4001, 19, 64, 96)),
    ] {
        let mut session = session(&device, &op);
        let mut times = Vec::new();
        let mut sum: f64 = 0.0;
        for _ in 0..5 {
            session.run(&mut |_, _| {}).expect("run");
            let all: &[Submission] = session.submissions();
            sum = all.iter().map(|s| s.seconds).sum();
            times.extend(all.iter().map(|s| s.seconds));
        }
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        assert!(
            sum > 2.0 * budget.as_secs_f64(),
            "the test needs an op that takes longer than {sum} s"
        );
        assert!(
            session.submissions().len() > 2,
            "{:?}",
            session.submissions()
        );
        assert!(median <= budget.as_secs_f64(), "{median} s, {times:?}");
    }
}

/// Ops of every kernel, some with more workgroups than a dimension of a dispatch has.
fn ops() -> Vec<Op> {
    let mut ops = vec![Op::LayerNorm(LayerNorm::new(540_001, 3))];
    for kernel in kernels::NAMES {
        let rows = kernels::table().into_iter().map(|row| row.op);
        let of_kernel = rows.filter(|op| op.kernel() == *kernel);
        let mut of_kernel: Vec<Op> = of_kernel
            .filter(|op| op.cost().flops + 10 * op.cost().bytes < 30_000_000)
            .collect();
        // The largest of those that are small.
        of_kernel.sort_by_key(|op| std::cmp::Reverse(op.cost().bytes));
        ops.extend(of_kernel.into_iter().take(4));
    }
    ops
}

/// The smallest budget cuts whatever can be cut, and the bits are those of one submission.
#[test]
fn cut_dispatches_give_the_same_bits() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let device = device();
    let mut cut = BTreeSet::new();
    for op in ops() {
        device.set_submission_budget(SubmissionBudget::Unlimited);
        let mut session = session(&device, &op);
        session.run(&mut |_, _| {}).expect("run");
        let whole = bits(&session);
        assert!(session.submissions().len() <= 1);
        device.set_submission_budget(SubmissionBudget::Bounded(Duration::from_micros(100)));
        session.run(&mut |_, _| {}).expect("run");
        if session.submissions().len() > 1 {
            cut.insert(op.kernel());
        }
        assert_eq!(bits(&session), whole, "{op:?}");
    }
    assert!(cut.len() >= 8, "only dispatches of {cut:?} were cut");
}
