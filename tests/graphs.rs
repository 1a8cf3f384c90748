//! Random graphs and random blueprints, fresh in every run: through all passes, limits, windows, budgets and precisions, on
//! the CPU and on an adapter, against float64.
//!
//! `PERCEIVER_SEED` repeats the cases from that seed on, `PERCEIVER_CASES` says how many there are (200), and
//! `PERCEIVER_DEVICE_EVERY` which of them run on the adapter too: every tenth, or as it says.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Trial};
use perceiver::internals::gpu::{Device, ShaderChecks};

#[path = "suite/blueprint/random.rs"]
mod blueprint;
#[path = "graphs/blueprints.rs"]
mod blueprints;
mod common;
#[path = "graphs/graph.rs"]
mod graph;
#[path = "graphs/passes.rs"]
mod passes;

/// What came of a case.
#[derive(Default)]
struct Tally {
    /// Plans that were run beside the reference, on the CPU and on the adapter.
    runs: [usize; 2],
    /// Plans whose difference is what neighbouring weights make too.
    sensitive: usize,
    /// Graphs that cannot be divided as far as they were to be, and that were.
    undivided: usize,
    divided: usize,
    /// Ops of all graphs before any pass.
    ops: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.runs[0] += other.runs[0];
        self.runs[1] += other.runs[1];
        self.sensitive += other.sensitive;
        self.undivided += other.undivided;
        self.divided += other.divided;
        for (op, count) in &other.ops {
            *self.ops.entry(op).or_default() += count;
        }
    }
}

/// How far a result is from the exact one: relative L2.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "elements");
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(expected);
    let difference: f64 = pairs.map(|(&f, &e)| square(f64::from(f) - f64::from(e))).sum();
    let size: f64 = expected.iter().map(|&e| square(f64::from(e))).sum();
    // What is zero but for rounding is compared with one.
    let difference = (difference / if size < 1e-12 { 1.0 } else { size }).sqrt();
    if difference.is_nan() { f64::INFINITY } else { difference }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One kind of cases: what a seed makes and compares, also on a device.
type Kind = fn(u64, Option<&Device>) -> Result<Tally, String>;

/// Runs `cases` cases from `seed` on.
fn run(kind: Kind, seed: u64, cases: u64) -> Result<String, String> {
    let every = number("PERCEIVER_DEVICE_EVERY").unwrap_or(10);
    let device = match every {
        0 => None,
        _ => Some(common::device(ShaderChecks::Trusted)?),
    };
    let (mut tally, mut on_device) = (Tally::default(), 0);
    for case in 0..cases {
        let seed = seed.wrapping_add(case);
        let device = device.as_ref().filter(|_| case % every == 0);
        on_device += usize::from(device.is_some());
        let repeat = format!("repeat with PERCEIVER_SEED={seed} PERCEIVER_CASES=2");
        let outcome = catch_unwind(AssertUnwindSafe(|| kind(seed, device)));
        match outcome {
            Ok(Ok(found)) => tally.add(&found),
            Ok(Err(what)) => return Err(format!("case {case}: {what}\n{repeat}")),
            Err(_) => return Err(format!("case {case} panicked\n{repeat}")),
        }
    }
    let Tally { runs: [cpu, adapter], sensitive, undivided, divided, ops } = tally;
    let ops: Vec<String> = ops.iter().map(|(op, count)| format!("{op} {count}")).collect();
    let name = device.as_ref().map_or("no adapter", |d| d.name());
    Ok(format!(
        "{cases} cases, {on_device} of them on {name} too: {cpu} plans on the CPU, {adapter} there; \
         {sensitive} too sensitive to compare, {divided} divided, {undivided} not to be divided so far; {}",
        ops.join(", ")
    ))
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64);
    let seed = number("PERCEIVER_SEED").unwrap_or(now);
    let cases = number("PERCEIVER_CASES").unwrap_or(200);
    let kinds: [(&str, Kind, u64); 3] = [
        ("graphs", graph::case, cases / 2),
        ("blueprints", blueprints::case, cases / 2),
        ("graphs that were wrong once", graph::found_before, 20),
    ];
    let trial = |(name, kind, cases): (&'static str, Kind, u64)| {
        Trial::test(format!("random {name}, seed {seed}"), move || {
            let said = run(kind, seed, cases)?;
            eprintln!("random {name}, seed {seed}: {said}");
            Ok(())
        })
    };
    libtest_mimic::run(&arguments, kinds.map(trial).into()).exit_code()
}

/// Weights, shared by the sessions of a case.
type Weights = Arc<dyn perceiver::TensorSource>;
