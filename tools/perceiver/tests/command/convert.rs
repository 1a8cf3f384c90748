//! `perceiver convert`.

use std::path::{Path, PathBuf};

use perceiver::checkpoint::{read_tensors, write_tensors};

use super::{case, folder, json, refusal, string, succeeded, torch};

/// A folder with the old files of a case.
fn old(case: &Path) -> tempfile::TempDir {
    let folder = folder();
    std::fs::copy(case.join("config.json"), folder.path().join("config.json")).expect("copied");
    let tensors = read_tensors(case.join("model.safetensors")).expect("weights");
    let content = torch::state_dict(&tensors);
    std::fs::write(folder.path().join("pytorch_model.bin"), content).expect("written");
    folder
}

#[test]
fn the_command_converts_and_refuses() {
    let case = PathBuf::from(case("flow-v2-s0"));
    let old = old(&case);
    let out = folder();
    let target = out.path().join("new");
    let (from, to) = (string(old.path()), string(&target));
    let report = json(&["convert", from, "-o", to, "--dtype", "bf16", "--json"]);
    assert_eq!(report["dtype"], "bf16");
    assert_eq!(report["converted"]["from"], "torch");
    assert_eq!(report["converted"]["tensors"], 89);
    assert_eq!(report["converted"]["files"].as_array().map(Vec::len), Some(2));
    let said = refusal(&["convert", from, "-o", to]);
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    let said = succeeded(&["convert", from, "-o", to, "--force"]);
    assert!(said.contains("89 tensors") && said.contains("of torch read"), "{said}");
    // Another command on the old folder, and on the new one.
    let inputs = case.join("inputs.safetensors");
    let mut tensors = read_tensors(&inputs).expect("inputs");
    tensors.remove("raw.tiled_frames");
    let inputs = out.path().join("inputs.safetensors");
    write_tensors(&inputs, &tensors).expect("written");
    let outputs = [from, to].map(|model| {
        let file = out.path().join("outputs.safetensors");
        let [inputs, outputs] = [&inputs, &file].map(|p| string(p));
        succeeded(&[
            "run",
            "--model",
            model,
            "--inputs",
            inputs,
            "--outputs",
            outputs,
            "--device",
            "cpu",
        ]);
        read_tensors(&file).expect("outputs")
    });
    assert_eq!(outputs[0], outputs[1]);
}
