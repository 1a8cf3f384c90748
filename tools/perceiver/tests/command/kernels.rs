//! `perceiver kernels`.

use std::collections::BTreeSet;
use std::process::Command;

use perceiver::internals::kernels;
use serde_json::Value;

use super::{folder, json, project, refusal, says, string, succeeded, text};

/// The table and the document of all variants; a model's are some of them, with counts.
#[test]
fn all_variants_and_those_of_a_model_are_listed() {
    let count = kernels::variants().len();
    let table = succeeded(&["kernels", "--device", "cpu"]);
    says(&table, &["attention_merge", "subgroups", "16.0 KiB", "flow-tiny", "image-fourier"]);
    says(&table, &["any GPU with the default limits of WebGPU"]);
    let report = json(&["kernels", "--device", "cpu", "--json"]);
    let variants = report["variants"].as_array().expect("variants");
    assert_eq!(variants.len(), count);
    let models = report["models"].as_array().expect("models");
    for name in ["text-tiny", "language", "flow", "multimodal", "glue", "audio-set", "entities"] {
        assert!(models.contains(&Value::from(name)), "{name}: {models:?}");
    }
    // Each model runs some product; none runs what its device cannot.
    for model in models {
        let model = model.as_str().expect("a name");
        let runs = |v: &&Value| v["models"].get(model).is_some();
        assert!(variants.iter().filter(runs).any(|v| v["kernel"] == "gemm"), "{model}");
        assert!(variants.iter().filter(runs).all(|v| v["fits_device"] == true), "{model}");
    }
    let cooperative: Vec<&Value> =
        variants.iter().filter(|v| !v["cooperative"].is_null()).collect();
    assert!(!cooperative.is_empty());
    for variant in cooperative {
        let lanes = format!("subgroups of {}", variant["constants"]["LANES"]);
        assert_eq!(variant["needs"][1], lanes);
        assert_eq!(variant["fits_device"], false);
    }

    let of_model = ["kernels", "gemm", "embed", "--model", "text-tiny", "--device", "cpu"];
    let report = json(&[&of_model[..], &["--json"]].concat());
    let list = report["variants"].as_array().expect("variants");
    assert!(!list.is_empty() && list.len() < count);
    for variant in list {
        assert!(variant["models"]["text-tiny"].as_u64() > Some(0), "{variant}");
        assert!(variant["f16"].as_array().is_some_and(Vec::is_empty), "{variant}");
    }
    let narrow = json(&[&of_model[..], &["--precision", "f16", "--json"]].concat());
    let list = narrow["variants"].as_array().expect("variants");
    let stores = |v: &Value| v["f16"].as_array().is_some_and(|names| !names.is_empty());
    assert!(list.iter().any(stores), "{narrow}");
    says(&succeeded(&of_model), &["dispatches", "text-tiny "]);
}

/// One file for each variant that the language can express, under a name of its own. Those of the kernels with long
/// texts are left to `tests/suite/shaders.rs`, but for some with cooperative matrices.
#[test]
fn variants_are_written_in_every_language() {
    let place = folder();
    let mut variants = kernels::variants();
    let short =
        |v: &kernels::Variant| !["gemm", "attention", "factored_attention"].contains(&v.kernel);
    let some = [16, 8].map(|side| {
        let found = variants.iter().find(|v| v.kernel == "gemm" && v.cooperative == Some(side));
        found.expect("a product on cooperative matrices").name
    });
    variants.retain(|v| short(v) || (v.kernel == "gemm" && some.contains(&v.name)));
    let names: BTreeSet<String> = variants
        .iter()
        .map(|v| if short(v) { v.kernel.to_owned() } else { format!("gemm/{}", v.name) })
        .collect();
    let (matrices, of_metal) = (
        variants.iter().filter(|v| v.cooperative.is_some()).count(),
        variants.iter().filter(|v| v.cooperative == Some(8)).count(),
    );
    let at = |name: &str| string(&place.path().join(name)).to_owned();
    let folders = ["wgsl", "spirv", "msl", "hlsl"].map(|language| (language, at(language)));
    let mut arguments = vec!["kernels", "--device", "cpu", "--json"];
    arguments.extend(names.iter().map(String::as_str));
    for (language, folder) in &folders {
        arguments.extend(["--emit", language, folder]);
    }
    let report = json(&arguments);
    let expected = [
        ("wgsl", variants.len()),
        ("spv", variants.len()),
        ("metal", variants.len() - matrices + of_metal),
        ("hlsl", variants.len() - matrices),
    ];
    for (i, ((_, folder), (extension, count))) in folders.iter().zip(expected).enumerate() {
        let emitted = &report["emitted"][i];
        assert_eq!(emitted["written"], count, "{emitted}");
        let left_out = emitted["left_out"].as_array().map(Vec::len);
        assert_eq!(left_out, Some(variants.len() - count), "{emitted}");
        let files: BTreeSet<_> = std::fs::read_dir(folder)
            .expect("a folder")
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .collect();
        assert_eq!(files.len(), count);
        for file in files {
            assert!(file.ends_with(&format!(".{extension}")), "{file}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            assert!(file.chars().all(plain), "{file}");
        }
    }
    let read = |folder: usize, name: &str| {
        std::fs::read(std::path::Path::new(&folders[folder].1).join(name)).expect(name)
    };
    let words = read(1, "transpose.plain_vectors.spv");
    assert_eq!(words[..8], [0x03, 0x02, 0x23, 0x07, 0, 6, 1, 0], "SPIR-V 1.6");
    says(&text(&read(0, "transpose.plain_vectors.wgsl")), &["@compute", "first_group"]);
    says(&text(&read(2, "transpose.plain_vectors.metal")), &["kernel void", "[[buffer(0)]]"]);
    says(&text(&read(3, "transpose.plain_vectors.hlsl")), &["[numthreads(", "register(u0)"]);

    // A folder with something in it is left alone unless one insists.
    let again = ["kernels", "transpose", "--device", "cpu", "--emit", "wgsl", &folders[0].1];
    says(&refusal(&again), &["is there already", "--force"]);
    let forced = succeeded(&[&again[..], &["--force"]].concat());
    says(&forced, &["1 variants in WGSL written to"]);
}

#[test]
fn what_is_no_kernel_is_refused() {
    let message = refusal(&["kernels", "deconvolution"]);
    says(&message, &["`deconvolution` is none; expected one of", "factored_attention"]);
    let message = refusal(&["kernels", "transpose/wide"]);
    says(&message, &["`wide` is no variant of transpose; expected one of [\"vectors\"]"]);
    let message = refusal(&["kernels", "--emit", "glsl", "somewhere"]);
    says(&message, &["`glsl` is no language; expected wgsl, spirv, msl or hlsl"]);
    let message = refusal(&["kernels", "--model", "no-such-model", "--device", "cpu"]);
    says(&message, &["is neither a folder nor a shipped model"]);
    let message = refusal(&["kernels", "--statistics", "--device", "cpu"]);
    says(&message, &["is no GPU", "--device gpu"]);
}

/// AMD's driver compiles for a GPU that is not there, if told to; Mesa's software driver has no statistics.
#[test]
fn statistics_are_those_of_the_driver_or_it_is_said_why_not() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_perceiver"))
            .args(arguments)
            .current_dir(project())
            .env("RADV_FORCE_FAMILY", "navi21")
            .output()
            .expect("the command starts")
    };
    let devices: Value = serde_json::from_slice(&run(&["devices", "--json"]).stdout).expect("JSON");
    let adapters = devices["adapters"].as_array().expect("adapters");
    assert!(!adapters.is_empty(), "bash tools/test.sh installs an adapter");
    for adapter in adapters {
        let (name, index) =
            (adapter["name"].as_str().expect("a name"), adapter["index"].to_string());
        let arguments =
            ["kernels", "transpose", "gemm/tiled-16x64", "--statistics", "--device", &index];
        let output = run(&[&arguments[..], &["--json"]].concat());
        if !output.status.success() {
            assert!(!name.contains("RADV"), "{}", text(&output.stderr));
            assert_eq!(output.status.code(), Some(1));
            let said = text(&output.stderr);
            says(&said, &["error: device `", name, "VK_KHR_pipeline_executable_properties"]);
            continue;
        }
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let variants = report["variants"].as_array().expect("variants");
        let fitting = variants.iter().filter(|v| v["fits_device"] == true);
        for variant in fitting {
            let told = &variant["statistics"]["executables"][0];
            assert!(told["subgroup_size"].is_u64() && told["statistics"].is_object(), "{variant}");
            if name.contains("RADV") {
                let number = |name: &str| told["statistics"][name].as_u64().expect(name);
                assert!(number("VGPRs") > 0 && number("Subgroups per SIMD") > 0, "{variant}");
                assert!(number("Instructions") > 10 && number("Code size") > 40, "{variant}");
                assert_eq!(number("Spilled VGPRs"), 0, "{variant}");
            }
        }
        says(&text(&run(&arguments).stdout), &["transpose/vectors", "variants compiled for"]);
    }
}
