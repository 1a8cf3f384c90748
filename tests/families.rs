//! Perceivers inside other models against recorded float64 runs of their own code: outputs and every layer, on the CPU
//! executor, its f64 reference, and an adapter in both precisions.
//!
//! The recorded cases are in `tests/fixtures/families`; more can be made with `tools/reference/families` and added through
//! `PERCEIVER_FAMILIES` (a folder of cases).

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use perceiver::checkpoint::read_tensors;
use perceiver::internals::gpu::ShaderChecks;
use perceiver::{Engine, NamedTensors, Precision, RunOptions, Tensor};

mod common;

fn cases() -> Vec<PathBuf> {
    let mut folders = vec![common::fixtures().join("families")];
    folders.extend(std::env::var_os("PERCEIVER_FAMILIES").map(PathBuf::from));
    let entries = folders.iter().filter_map(|f| std::fs::read_dir(f).ok()).flatten();
    let mut cases: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.join("outputs.safetensors").exists())
        .collect();
    cases.sort();
    cases
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let pairs = found.iter().zip(expected).map(|(&f, &e)| (f64::from(f), f64::from(e)));
    let [difference, norm] =
        pairs.fold([0.0, 0.0], |[d, n], (f, e)| [d + (f - e).powi(2), n + e * e]);
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

/// XTTS has one mask for latents and context.
fn split_mask(inputs: &mut NamedTensors, latents: usize) -> Result<(), Failed> {
    let Some(mask) = inputs.remove("mask") else { return Ok(()) };
    let (shape, data) = (mask.shape().to_vec(), mask.as_i64().unwrap_or(&[]));
    let part = |from: usize, to: usize| {
        let rows = data.chunks_exact(shape[1]).flat_map(|row| row[from..to].to_vec());
        Tensor::i64(vec![shape[0], to - from], rows.collect())
    };
    inputs.insert("latents_mask".to_owned(), part(0, latents)?);
    inputs.insert("mask".to_owned(), part(latents, shape[1])?);
    Ok(())
}

fn compare(engine: &Engine, case: &Path, precision: Precision) -> Result<(), Failed> {
    let mut model = engine.load(case)?;
    model.set_precision(precision)?;
    let mut inputs = read_tensors(case.join("inputs.safetensors"))?;
    let expected = read_tensors(case.join("outputs.safetensors"))?;
    let is = |family: &str| {
        case.file_name().is_some_and(|name| name.to_string_lossy().starts_with(family))
    };
    // Latents in place of what they are made of.
    if is("vecset") && inputs.contains_key("x") {
        model = model.starting_at("x")?;
    }
    // Without a mask the reference does not take the mean.
    let pooled = !is("nv_embed") || inputs.contains_key("attention_mask");
    // Without queries the reference returns the latents.
    let towers = (0..).take_while(|i| expected.contains_key(&format!("layer.{i}"))).count();
    let latents = format!("layer.{}", towers.saturating_sub(1));
    let asked = !expected.contains_key("cross") || inputs.contains_key("queries");
    if !asked {
        model = model.ending_at(&latents)?;
    }
    if is("xtts") {
        split_mask(&mut inputs, expected["output"].shape()[1])?;
    }
    let options = RunOptions { intermediates: true, ..RunOptions::default() };
    let found = model.run_with(&inputs, options, &mut |_, _| {})?;
    let mut wrong = Vec::new();
    for (name, e) in &expected {
        let name = match () {
            () if !pooled => "layer.0",
            () if !asked && name == "output" => &latents,
            () => name,
        };
        let Some(f) = found.get(name) else {
            wrong.push(format!("{name} is not returned"));
            continue;
        };
        let (f_data, e_data) = (f.as_f32().unwrap_or(&[]), e.as_f32().unwrap_or(&[]));
        if f_data.len() != e_data.len() {
            wrong.push(format!("{name}: {:?} for {:?}", f.shape(), e.shape()));
            continue;
        }
        let error = relative_error(f_data, e_data);
        let tolerance = if precision == Precision::F32 { 1e-5 } else { 5e-3 };
        if error.is_nan() || error > tolerance {
            wrong.push(format!("{name}: {error:.2e}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}

fn main() {
    let arguments = Arguments::from_args();
    let adapter = common::device(ShaderChecks::Trusted).map(Engine::on);
    let mut trials = Vec::new();
    for case in cases() {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (kind, engine) in [("cpu", Engine::cpu()), ("f64", Engine::reference())] {
            let case = case.clone();
            let trial = move || compare(&engine, &case, Precision::F32);
            trials.push(Trial::test(format!("{name} / {kind}"), trial));
        }
        for precision in [Precision::F32, Precision::F16] {
            let (case, adapter) = (case.clone(), adapter.clone());
            let trial = move || compare(&adapter?, &case, precision);
            trials.push(Trial::test(format!("{name} / gpu {precision}"), trial));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
