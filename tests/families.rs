//! Perceivers inside other models against recorded float64 runs of their own code: outputs and every layer, on the CPU
//! executor, its f64 reference, and an adapter in both precisions.
//!
//! The recorded cases are in `tests/fixtures/families`; more can be made with `tools/reference/families` and added through
//! `PERCEIVER_FAMILIES` (a folder of cases).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use perceiver::checkpoint::{read_tensors, write_tensors};
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

/// How far every output and layer of a case is from the recorded ones, with the weights of a folder.
fn errors(
    engine: &Engine,
    folder: &Path,
    case: &Path,
    precision: Precision,
) -> Result<BTreeMap<String, f64>, Failed> {
    let mut model = engine.load(folder)?;
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
    let mut errors = BTreeMap::new();
    for (name, e) in &expected {
        let returned = match () {
            () if !pooled => "layer.0",
            () if !asked && name == "output" => &latents,
            () => name,
        };
        let Some(f) = found.get(returned) else {
            return Err(format!("{returned} is not returned").into());
        };
        let (f_data, e_data) = (f.as_f32().unwrap_or(&[]), e.as_f32().unwrap_or(&[]));
        if f_data.len() != e_data.len() {
            return Err(format!("{name}: {:?} for {:?}", f.shape(), e.shape()).into());
        }
        errors.insert(name.clone(), relative_error(f_data, e_data));
    }
    Ok(errors)
}

/// How far the float64 executor is from what is recorded where no more is done than that the weights are rounded to f16: the
/// most of four ways to round them.
fn of_rounding(case: &Path) -> Result<BTreeMap<String, f64>, Failed> {
    let folder = tempfile::tempdir()?;
    std::fs::copy(case.join("config.json"), folder.path().join("config.json"))?;
    let weights = read_tensors(case.join("model.safetensors"))?;
    let mut most: BTreeMap<String, f64> = BTreeMap::new();
    for factor in [1.0, 1.1, 1.3, 1.7] {
        let round = |&x: &f32| half::f16::from_f32(x * factor).to_f32() / factor;
        let mut rounded = weights.clone();
        for tensor in rounded.values_mut() {
            let rounded = tensor.as_f32().map(|data| data.iter().map(round).collect::<Vec<f32>>());
            // Frequencies beyond the numbers of f16 are never stored so.
            if let Some(data) = rounded.filter(|data| data.iter().all(|x| x.is_finite())) {
                *tensor = Tensor::f32(tensor.shape().to_vec(), data)?;
            }
        }
        write_tensors(folder.path().join("model.safetensors"), &rounded)?;
        for (name, error) in errors(&Engine::reference(), folder.path(), case, Precision::F32)? {
            most.entry(name).and_modify(|most| *most = most.max(error)).or_insert(error);
        }
    }
    Ok(most)
}

/// Tiny models of random weights may multiply roundings by hundreds: a norm of two channels is little more than their sign. There
/// f16 may cost four times what rounding the weights alone does in float64, since what lies between layers is rounded too, and
/// f32, of which a unit is 2⁻¹³ of f16's but where every sum is rounded, a hundredth of it.
fn compare(engine: &Engine, case: &Path, precision: Precision) -> Result<(), Failed> {
    let errors = errors(engine, case, case, precision)?;
    let (tolerance, factor) = if precision == Precision::F32 { (1e-5, 0.01) } else { (5e-3, 4.0) };
    if errors.values().all(|&error| error <= tolerance) {
        return Ok(());
    }
    let rounding = of_rounding(case)?;
    let wrong = errors.iter().filter(|(name, error)| {
        let most = rounding.get(*name).map_or(tolerance, |error| tolerance.max(factor * error));
        error.is_nan() || **error > most
    });
    let wrong: Vec<_> = wrong
        .map(|(name, error)| format!("{name}: {error:.2e} (rounding {:.2e})", rounding[name]))
        .collect();
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
