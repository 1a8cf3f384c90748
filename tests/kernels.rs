//! Every row of the kernel table with every variant, against the f64 twin: on the fast CPU twins and
//! on an adapter, a software one where there is no other.
//!
//! Seeds are fresh in every run; `PERCEIVER_SEED` repeats one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};
use perceiver::internals::gpu::{Device, ShaderChecks, try_variant};
use perceiver::internals::kernels::{self, Outcome, Problem};

mod common;

fn verdict(outcome: &Outcome, seed: u64) -> Result<(), Failed> {
    if outcome.passed {
        return Ok(());
    }
    Err(format!("seed {seed}: {outcome:#?}").into())
}

fn main() {
    let arguments = Arguments::from_args();
    let seed = match std::env::var("PERCEIVER_SEED").map(|s| s.parse()) {
        Ok(Ok(seed)) => seed,
        _ => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64),
    };
    let mut trials = Vec::new();
    let devices: Vec<(&str, Result<Device, String>)> = vec![
        ("trusted", common::device(ShaderChecks::Trusted)),
        ("checked", common::device(ShaderChecks::Checked)),
    ];
    for (i, row) in kernels::table().into_iter().enumerate() {
        let seed = seed.wrapping_add(i as u64);
        let name = format!("{} {}", row.op.kernel(), row.shape());
        // The reference is computed once for all variants, when the first needs it.
        let problem: Arc<std::sync::OnceLock<Problem>> = Arc::default();
        let solved = {
            let row = row.clone();
            move || -> Arc<std::sync::OnceLock<Problem>> {
                problem.get_or_init(|| Problem::new(&row, seed));
                problem.clone()
            }
        };
        let cpu = solved.clone();
        trials.push(Trial::test(format!("{name} / cpu"), move || {
            let problem = cpu();
            problem.get().map_or(Ok(()), |p| verdict(&p.on_cpu(), seed))
        }));
        for (mode, device) in &devices {
            let Ok(device) = device else { continue };
            for variant in row.op.candidates(device.traits()) {
                // How numbers are unpacked has nothing to do with indices.
                if *mode == "checked" && !variant.f16.is_empty() {
                    continue;
                }
                let (solved, device) = (solved.clone(), device.clone());
                let title = format!("{name} / {} {mode}", variant.title());
                trials.push(Trial::test(title, move || {
                    let problem = solved();
                    problem
                        .get()
                        .map_or(Ok(()), |p| verdict(&try_variant(p, &device, variant), seed))
                }));
            }
        }
    }
    for (mode, device) in devices {
        trials.push(Trial::test(format!("an adapter is there / {mode}"), move || {
            device.map(|_| ()).map_err(Failed::from)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
