//! No submission runs longer than its budget, and cutting work up changes no bit of the result. The device
//! is real, but how long it takes is simulated: nothing here depends on how busy the machine is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perceiver::NamedTensors;
use perceiver::internals::gpu::{
    Device, GpuExecutor, Parameters, Ran, ShaderChecks, SubmissionBudget,
};
use perceiver::internals::graph::{Executor, single};
use perceiver::internals::kernels::attention::Attention;
use perceiver::internals::kernels::gemm::Gemm;
use perceiver::internals::kernels::layer_norm::LayerNorm;
use perceiver::internals::kernels::random_operands;
use perceiver::internals::kernels::{self, Op};

use crate::common;

fn device() -> Device {
    common::device(ShaderChecks::Trusted).expect(common::INSTALL)
}

/// What each submission had.
type Log = Arc<Mutex<Vec<Vec<Ran>>>>;

/// Submissions take a millisecond by themselves, and what they run is the share of a whole op that takes
/// `seconds`, two workgroups at a time.
fn simulate(device: &Device, seconds: f64) -> Log {
    let log = Log::default();
    let to = log.clone();
    device.simulate_time(move |parts: &[Ran]| {
        to.lock().expect("the log").push(parts.to_vec());
        let turns = |n: u64| n.div_ceil(2) as f64;
        let share = |p: &Ran| turns(p.workgroups) / turns(p.of);
        1e-3 + parts.iter().map(|p| seconds * share(p)).sum::<f64>()
    });
    log
}

/// Runs some times, enough for the pacer to learn; what the submissions of the last one had.
fn run(session: &mut GpuExecutor, times: usize, log: &Log) -> Vec<Vec<Ran>> {
    for _ in 0..times {
        log.lock().expect("the log").clear();
        session.run(&mut |_, _| {}).expect("run");
    }
    log.lock().expect("the log").clone()
}

fn session(device: &Device, op: &Op) -> GpuExecutor {
    let nothing = Arc::new(NamedTensors::new());
    let parameters = Parameters::new(device.clone(), nothing);
    let plan = single(op).expect("plan");
    let mut session = GpuExecutor::new(plan, &parameters).expect("session");
    for (i, operand) in random_operands(op, 5).iter().enumerate() {
        session.write(&format!("operand {i}"), operand).expect("write");
    }
    session
}

fn bits(session: &GpuExecutor) -> Vec<u32> {
    let result = session.read("result 0").expect("result");
    let floats = result.as_f32().expect("floats");
    floats.iter().map(|x| x.to_bits()).collect()
}

/// Single dispatches that take far longer than the budget are cut, on devices of any speed, and once that
/// is known none of their submissions takes longer than it, or than about two turns of a single workgroup.
#[test]
fn single_dispatches_are_cut_to_the_budget() {
    let budget = 0.04;
    for op in
        [Op::Gemm(Gemm::new(1_001, 1021, 32)), Op::Attention(Attention::new(61, 4001, 19, 64, 96))]
    {
        let device = device();
        let mut whole = self::session(&device, &op);
        device.set_submission_budget(SubmissionBudget::Unlimited);
        whole.run(&mut |_, _| {}).expect("run");
        let expected = bits(&whole);
        let bounded = SubmissionBudget::Bounded(Duration::from_secs_f64(budget));
        device.set_submission_budget(bounded);
        // Slower and slower without a word, and fast again.
        for seconds in [0.1, 0.4, 3.0, 1000.0, 0.2] {
            let log = simulate(&device, seconds);
            let mut session = self::session(&device, &op);
            let allocated = session.allocated_bytes();
            let parts = run(&mut session, 6, &log).concat();
            let all = session.submissions();
            let sum: f64 = all.iter().map(|s| s.seconds).sum();
            assert!(sum > 2.0 * budget, "{seconds}: {sum} s");
            assert!(all.len() > 2, "{seconds}: {all:?}");
            let longest = all.iter().map(|s| s.seconds).fold(0.0, f64::max);
            // Where one workgroup takes longer by itself, another turn is tried now and then.
            let one = 1e-3 + seconds / parts[0].of.div_ceil(2) as f64;
            assert!(longest <= budget.max(2.2 * one), "{seconds}: {longest} s, {all:?}");
            assert_eq!(bits(&session), expected, "{op:?}");
            // Whatever is cut, no memory is taken for it.
            assert_eq!(session.allocated_bytes(), allocated);
        }
    }
}

/// Ops of every kernel, some with more workgroups than a dimension of a dispatch has.
fn ops(device: &Device) -> Vec<Op> {
    let mut ops = vec![Op::LayerNorm(LayerNorm::new(540_001, 3))];
    for kernel in kernels::NAMES {
        let rows = kernels::table().into_iter().map(|row| row.op);
        let runs = |op: &Op| !op.candidates(device.traits()).is_empty();
        let of_kernel = rows.filter(|op| op.kernel() == *kernel && runs(op));
        let mut of_kernel: Vec<Op> =
            of_kernel.filter(|op| op.cost().flops + 10 * op.cost().bytes < 30_000_000).collect();
        // The largest of those that are small.
        of_kernel.sort_by_key(|op| std::cmp::Reverse(op.cost().bytes));
        ops.extend(of_kernel.into_iter().take(4));
    }
    ops
}

/// A budget far below what they take cuts all dispatches that can be cut, and the bits are those of one
/// submission.
#[test]
fn cut_dispatches_give_the_same_bits() {
    let device = device();
    let log = simulate(&device, 2.0);
    let mut cut = BTreeSet::new();
    for op in ops(&device) {
        device.set_submission_budget(SubmissionBudget::Unlimited);
        let mut session = session(&device, &op);
        session.run(&mut |_, _| {}).expect("run");
        let whole = bits(&session);
        assert!(session.submissions().len() <= 1);
        device.set_submission_budget(SubmissionBudget::default());
        let parts = run(&mut session, 3, &log).concat();
        let whole_ones = parts.iter().filter(|p| p.workgroups == p.of);
        assert!(whole_ones.clone().all(|p| p.of <= 1), "{op:?}: {parts:?}");
        if whole_ones.count() < parts.len() {
            cut.insert(op.kernel());
        }
        assert_eq!(bits(&session), whole, "{op:?}");
    }
    assert!(cut.len() >= 8, "only dispatches of {cut:?} were cut");
}
