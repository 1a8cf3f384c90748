//! Whole models against recorded float64 runs of Hugging Face's classes: final outputs and every
//! intermediate, on the CPU executor, its f64 reference, and an adapter in both precisions.
//!
//! The recorded cases are in `tests/fixtures/golden`; more can be made with
//! `tools/reference/golden.py` and added through `PERCEIVER_GOLDEN` (a folder of cases).

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use perceiver::checkpoint::read_tensors;
use perceiver::internals::gpu::{Denied, ShaderChecks};
use perceiver::internals::kernels;
use perceiver::{Engine, NamedTensors, Precision};

mod common;

use common::runner::{self, RunnerOptions};

/// Relative L2 error that counts as equal.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-5,
        _ => 5e-3,
    }
}

fn cases() -> Vec<PathBuf> {
    let mut folders = vec![common::fixtures().join("golden")];
    folders.extend(std::env::var_os("PERCEIVER_GOLDEN").map(PathBuf::from));
    let mut cases: Vec<PathBuf> = folders
        .iter()
        .filter_map(|f| std::fs::read_dir(f).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.join("outputs.safetensors").exists())
        .filter(|p| perceiver::PerceiverConfig::read(p).is_ok())
        .collect();
    cases.sort();
    cases
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let difference: f64 =
        found.iter().zip(expected).map(|(&f, &e)| square(f64::from(f) - f64::from(e))).sum();
    let norm: f64 = expected.iter().map(|&e| square(f64::from(e))).sum();
    (difference / norm).sqrt()
}

/// Tiled flow is a recipe over the model; tests/tasks.rs has it.
fn without_recipes(mut inputs: NamedTensors) -> NamedTensors {
    inputs.remove("raw.tiled_frames");
    inputs
}

/// Runs a case and compares every output that it records.
fn compare(engine: &Engine, case: &Path, folded: bool, precision: Precision) -> Result<(), Failed> {
    let mut model = engine.load(case).map_err(|e| e.to_string())?;
    model.set_folded(folded);
    model.set_precision(precision).map_err(|e| e.to_string())?;
    let inputs = read_tensors(case.join("inputs.safetensors")).map_err(|e| e.to_string())?;
    let expected = read_tensors(case.join("outputs.safetensors")).map_err(|e| e.to_string())?;
    let options = RunnerOptions { intermediates: true, ..RunnerOptions::default() };
    let found = runner::run(&model, &without_recipes(inputs), &options, &mut |_, _| {})
        .map_err(|e| e.to_string())?;
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (name, e) in &expected {
        if name.starts_with("tiled.") || name.ends_with(".rows") {
            continue;
        }
        compared += 1;
        let Some(f) = found.get(name) else {
            wrong.push(format!("{name} is not returned"));
            continue;
        };
        if f.shape() != e.shape() {
            wrong.push(format!("{name}: {:?} for {:?}", f.shape(), e.shape()));
            continue;
        }
        let error = relative_error(f.as_f32().unwrap_or(&[]), e.as_f32().unwrap_or(&[]));
        if error.is_nan() || error > tolerance(precision) {
            wrong.push(format!("{name}: relative error {error:.2e}"));
        }
    }
    if compared < 8 {
        wrong.push(format!("only {compared} outputs compared"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The adapter with cooperative matrices for all products that f16 lets it have them for: a software one would choose
/// others. Nothing where it has none.
fn cooperative() -> Option<Result<Engine, String>> {
    let device = common::device(ShaderChecks::Trusted).ok()?;
    device.traits().cooperative?;
    let mut tuning = device.tuning();
    let others = kernels::variants().into_iter().filter(|v| {
        let multiplied = ["weight", "q", "content"].iter().any(|name| v.f16.contains(name));
        let kernels = ["gemm", "attention", "factored_attention"];
        // Content of few channels is left to the last of the direct variants.
        let few = v.kernel == "factored_attention" && v.name == "direct-16x8";
        v.cooperative.is_none() && multiplied && kernels.contains(&v.kernel) && !few
    });
    tuning.denied.extend(others.map(|v| Denied {
        kernel: v.kernel.to_owned(),
        variant: v.title(),
        why: "not what is tried".to_owned(),
    }));
    Some(device.apply_tuning(&tuning).map(|()| Engine::on(device)).map_err(|e| e.to_string()))
}

fn main() {
    let arguments = Arguments::from_args();
    let adapter = common::device(ShaderChecks::Trusted).map(Engine::on);
    let mut engines: Vec<(&str, Result<Engine, String>)> = vec![
        ("cpu", Ok(Engine::cpu())),
        ("reference", Ok(Engine::reference())),
        ("adapter", adapter),
    ];
    engines.extend(cooperative().map(|engine| ("cooperative", engine)));
    let mut trials = Vec::new();
    for case in cases() {
        let name = case.file_name().unwrap_or_default().to_string_lossy();
        for (label, engine) in &engines {
            for (route, folded) in [("plain", false), ("folded", true)] {
                for precision in [Precision::F32, Precision::F16] {
                    // The CPU refuses other precisions than its own, and cooperative matrices multiply f16.
                    let able = match precision {
                        Precision::F16 => ["adapter", "cooperative"].contains(label),
                        _ => *label != "cooperative",
                    };
                    if !able {
                        continue;
                    }
                    let (case, engine) = (case.clone(), engine.clone());
                    trials.push(Trial::test(
                        format!("{name} / {label} {route} {precision}"),
                        move || compare(&engine?, &case, folded, precision),
                    ));
                }
            }
        }
    }
    assert!(trials.len() >= 96, "the recorded cases are not there");
    libtest_mimic::run(&arguments, trials).exit();
}
