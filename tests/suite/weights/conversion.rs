//! `perceiver::checkpoint::convert`: whole or not there, and nothing lost.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use perceiver::checkpoint::ConvertOptions;
use perceiver::checkpoint::FloatType;
use perceiver::checkpoint::convert;
use perceiver::checkpoint::read_tensors;
use perceiver::internals::checkpoint::TensorFile;
use perceiver::{DType, Engine, NamedTensors, Tensor};

use super::{cases, folder, golden, refusal, write, writer};

const WEIGHTS: &str = "model.safetensors";

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |e: std::io::Result<fs::DirEntry>| e.expect("an entry").file_name();
    let mut names: Vec<_> = entries.map(|e| name(e).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A folder with the old files of a case.
fn old(case: &Path, change: impl FnOnce(&mut NamedTensors)) -> tempfile::TempDir {
    let folder = folder();
    fs::copy(case.join("config.json"), folder.path().join("config.json")).expect("copied");
    let mut tensors = read_tensors(case.join(WEIGHTS)).expect("weights");
    change(&mut tensors);
    let content = writer::state_dict(&tensors);
    write(folder.path(), "pytorch_model.bin", &content);
    folder
}

#[test]
fn nothing_is_lost() {
    for case in cases() {
        let old = old(&case, |_| {});
        write(old.path(), "preprocessor_config.json", b"{}");
        write(old.path(), "unrelated.txt", b"stays");
        let out = folder();
        let to = out.path().join("new");
        let mut seen = Vec::new();
        let written = convert(old.path(), &to, &ConvertOptions::default(), &mut |d, t| {
            seen.push((d, t));
        })
        .expect("converted");
        assert_eq!(names(&to), ["config.json", WEIGHTS, "preprocessor_config.json"]);
        assert_eq!(names(out.path()), ["new"]);
        let config = fs::read(to.join("config.json")).expect("read");
        assert_eq!(config, fs::read(case.join("config.json")).expect("read"));
        let expected = read_tensors(case.join(WEIGHTS)).expect("read");
        assert_eq!(read_tensors(to.join(WEIGHTS)).expect("read"), expected);
        assert_eq!(written.tensors, expected.len());
        assert_eq!(written.files.len(), 3);
        assert_eq!(seen.len(), expected.len());
        let &(done, total) = seen.last().expect("progress");
        assert!(done == total && seen.is_sorted(), "{seen:?}");
        Engine::cpu().load(&to).expect("loads");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |f: &str| fs::metadata(to.join(f)).expect("there").permissions().mode();
            assert_eq!(mode(WEIGHTS), mode("config.json"));
        }
    }
}

#[test]
fn half_precision_is_rounded_once() {
    let case = golden("img-conv-v4-s0");
    let exact = read_tensors(case.join(WEIGHTS)).expect("read");
    for (dtype, stored, name) in [
        (FloatType::F16, DType::F16, "float16"),
        (FloatType::BF16, DType::BF16, "bfloat16"),
        (FloatType::F32, DType::F32, "float32"),
    ] {
        let out = folder();
        let options = ConvertOptions { dtype: Some(dtype), overwrite: false };
        convert(&case, out.path(), &options, &mut |_, _| {}).expect("converted");
        let file = TensorFile::open(out.path().join(WEIGHTS)).expect("open");
        for (tensor, entry) in file.entries() {
            let Some(values) = exact[tensor].as_f32() else {
                assert_eq!(entry.dtype, DType::I64);
                assert_eq!(file.read(tensor).expect("read"), exact[tensor]);
                continue;
            };
            assert_eq!(entry.dtype, stored);
            let rounded: Vec<f32> = match dtype {
                FloatType::F16 => values.iter().map(|&x| f16::from_f32(x).to_f32()).collect(),
                FloatType::BF16 => values.iter().map(|&x| bf16::from_f32(x).to_f32()).collect(),
                FloatType::F32 => values.to_vec(),
            };
            assert_eq!(file.read_f32(tensor).expect("read"), rounded);
        }
        let config = fs::read_to_string(out.path().join("config.json")).expect("read");
        let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
        assert_eq!(config["dtype"], name);
        Engine::cpu().load(out.path()).expect("loads");
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    let case = golden("mlm-v1-s0");
    let name = "perceiver.embeddings.latents";
    let with = |value: f32| {
        old(&case, |tensors| {
            let shape = tensors[name].shape().to_vec();
            let mut values = tensors[name].as_f32().expect("f32").to_vec();
            values[7] = value;
            let changed = Tensor::f32(shape, values).expect("a tensor");
            tensors.insert(name.to_owned(), changed);
        })
    };
    let to = |dtype| ConvertOptions { dtype: Some(dtype), overwrite: true };
    let out = folder();
    let target = out.path().join("new");
    let big = with(-70000.0);
    refusal(
        convert(big.path(), &target, &to(FloatType::F16), &mut |_, _| {}),
        &[
            "tensor `perceiver.embeddings.latents` has the value -70000, float16 holds values up to 65504",
            "convert to bf16 or f32",
        ],
    );
    assert!(names(out.path()).is_empty());
    convert(big.path(), &target, &to(FloatType::BF16), &mut |_, _| {}).expect("fits");
    let weights = fs::read(target.join(WEIGHTS)).expect("read");
    let huge = with(f32::MAX);
    refusal(
        convert(huge.path(), &target, &to(FloatType::BF16), &mut |_, _| {}),
        &["bfloat16 holds values up to"],
    );
    // What was there stays, and nothing beside it.
    assert_eq!(fs::read(target.join(WEIGHTS)).expect("read"), weights);
    assert_eq!(names(&target), ["config.json", WEIGHTS]);
    let most = with(65504.0);
    convert(most.path(), &target, &to(FloatType::F16), &mut |_, _| {}).expect("fits");
}

#[test]
fn what_is_there_is_kept() {
    let case = golden("mlm-v1-s0");
    let old = old(&case, |_| {});
    let plain = ConvertOptions::default();
    // In place: only the weights are new.
    let written = convert(old.path(), old.path(), &plain, &mut |_, _| {}).expect("converted");
    assert_eq!(written.files, [old.path().join(WEIGHTS)]);
    assert_eq!(names(old.path()), ["config.json", WEIGHTS, "pytorch_model.bin"]);
    let again = convert(old.path(), old.path(), &plain, &mut |_, _| {});
    refusal(again, &["model.safetensors: is there already; give another folder"]);
    let file = write(old.path(), "file", b"");
    refusal(
        convert(old.path(), &file, &plain, &mut |_, _| {}),
        &["file: is a file; give the folder"],
    );
    let force = ConvertOptions { overwrite: true, ..plain };
    convert(old.path(), old.path(), &force, &mut |_, _| {}).expect("converted");
    let expected = read_tensors(case.join(WEIGHTS)).expect("read");
    let found = read_tensors(old.path().join(WEIGHTS)).expect("read");
    assert_eq!(found, expected);
}

#[test]
fn what_does_not_fit_its_configuration_is_not_converted() {
    let case = golden("mlm-v1-s0");
    let old = old(&case, |tensors| {
        tensors.remove("embedding_decoder.bias");
    });
    let out = folder();
    let target = out.path().join("new");
    refusal(
        convert(old.path(), &target, &ConvertOptions::default(), &mut |_, _| {}),
        &["missing: embedding_decoder.bias [262]"],
    );
    assert!(names(out.path()).is_empty());
}
