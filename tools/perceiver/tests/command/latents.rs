//! `perceiver latents`: what is decoded later is what a run decodes at once.

use std::path::Path;

use perceiver::NamedTensors;
use perceiver::checkpoint::read_tensors;

use super::{fixtures, json, refusal, string};

fn golden(case: &str) -> String {
    string(&fixtures().join("golden").join(case)).to_owned()
}

fn floats(tensors: &NamedTensors, name: &str) -> Vec<f32> {
    tensors[name].as_f32().expect("floats").to_vec()
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} for {b}");
    }
}

fn decode(folder: &Path, case: &str, arguments: &[&str]) -> NamedTensors {
    let latents = folder.join("latents.safetensors");
    let out = folder.join("rows.safetensors");
    let model = golden(case);
    let mut all = vec!["latents", "decode", "--model", &model, string(&latents)];
    all.extend(["-o", string(&out), "--json"]);
    all.extend(arguments);
    json(&all);
    read_tensors(&out).expect("rows")
}

#[test]
fn flow_of_some_pixels() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = golden("flow-v2-s0");
    let inputs = format!("{model}/inputs.safetensors");
    let latents = folder.path().join("latents.safetensors");
    let out = string(&latents);
    let arguments = ["latents", "encode", "--model", &model, "--inputs", &inputs];
    let report = json(&[&arguments[..], &["-o", out, "--json"]].concat());
    assert_eq!(report["latents"].as_array().map(Vec::len), Some(2));

    let recorded = read_tensors(format!("{model}/outputs.safetensors")).expect("outputs");
    let all = floats(&recorded, "logits");
    let rows = decode(folder.path(), "flow-v2-s0", &["--queries", "5..9,2"]);
    let wanted = [5, 6, 7, 8, 2].map(|p| [all[2 * p], all[2 * p + 1]]);
    close(&floats(&rows, "logits"), wanted.as_flattened());
    // The frames are 6 by 11 pixels.
    let rows = decode(folder.path(), "flow-v2-s0", &["--region", "1..3,4..6"]);
    let points = [15, 16, 26, 27];
    assert_eq!(rows["queries"].as_i64(), Some(&points[..]));
    let wanted = [15, 16, 26, 27].map(|p| [all[2 * p], all[2 * p + 1]]);
    close(&floats(&rows, "logits"), wanted.as_flattened());

    let decode = ["latents", "decode", "--model", &model, out, "-o", "rows"];
    let say = |more: &[&str]| refusal(&[&decode[..], more].concat());
    let message = say(&["--queries", "60..70"]);
    assert!(message.contains("`60..70`") && message.contains("66"), "{message}");
    let message = say(&["--region", "1..3"]);
    assert!(message.contains("[6, 11]"), "{message}");
    let message = say(&["--output", "video"]);
    assert!(message.contains("logits"), "{message}");
    assert!(!folder.path().join("rows").exists());
    let other = ["latents", "decode", "--model", "flow-tiny", out, "-o", "rows"];
    assert!(refusal(&other).contains("last_latents"));
    let wrong = ["latents", "decode", "--model", &model, &inputs, "-o", "rows"];
    assert!(refusal(&wrong).contains("sizes"));
}

/// Raw material is prepared as for a run.
#[test]
fn latents_of_raw_inputs() {
    let folder = tempfile::tempdir().expect("a folder");
    for case in ["mlm-v0-s0", "img-fourier-v2-s0", "flow-v2-s0"] {
        let model = golden(case);
        let all = read_tensors(format!("{model}/inputs.safetensors")).expect("inputs");
        let write = |name: &str, raw: bool| {
            let kept = all.iter().filter(|(n, _)| n.starts_with("raw.") == raw);
            let kept: NamedTensors = kept.map(|(n, t)| (n.clone(), t.clone())).collect();
            let path = folder.path().join(name);
            perceiver::checkpoint::write_tensors(&path, &kept).expect("written");
            string(&path).to_owned()
        };
        let latents = [("raw", true), ("ready", false)].map(|(name, raw)| {
            let inputs = write(name, raw);
            let out = folder.path().join("latents.safetensors");
            json(&[
                "latents",
                "encode",
                "--model",
                &model,
                "--inputs",
                &inputs,
                "--item",
                "0",
                "-o",
                string(&out),
                "--json",
            ]);
            read_tensors(&out).expect("latents")
        });
        // The masked bytes of the text are masked in what the model is called with alone; of pictures
        // the recorded size is not the processor's.
        let [raw, ready] = latents.each_ref().map(|t| floats(t, "last_latents"));
        assert_eq!(raw.len(), ready.len());
        if case.starts_with("flow") {
            assert_eq!(raw, ready);
        }
    }
}

#[test]
fn modalities_of_the_second_clip() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = "multimodal-v1-s0";
    let model = golden(case);
    let inputs = format!("{model}/inputs.safetensors");
    let latents = folder.path().join("latents.safetensors");
    let out = string(&latents);
    let arguments = ["latents", "encode", "--model", &model, "--inputs", &inputs];
    let message = refusal(&[&arguments[..], &["-o", out]].concat());
    assert!(message.contains("2 items") && message.contains("--item"), "{message}");
    assert!(!latents.exists());
    json(&[&arguments[..], &["-o", out, "--item", "1", "--json"]].concat());

    let recorded = read_tensors(format!("{model}/outputs.safetensors")).expect("outputs");
    for (output, full) in [("logits.image", "full.image"), ("logits.audio", "full.audio")] {
        let rows = decode(folder.path(), case, &["--output", output]);
        let all = floats(&recorded, full);
        close(&floats(&rows, output), &all[all.len() / 2..]);
    }
    let rows = decode(folder.path(), case, &["--output", "logits.label"]);
    let labels = floats(&recorded, "logits.label");
    close(&floats(&rows, "logits.label"), &labels[labels.len() / 2..]);
}
