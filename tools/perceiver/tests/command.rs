//! The command as a user meets it: what it prints, its JSON, its files, its refusals.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use perceiver::checkpoint::read_tensors;
use perceiver_cli::scenes::Scene;
use serde_json::Value;

#[path = "command/blueprints.rs"]
mod blueprints;
#[path = "command/classify.rs"]
mod classify;
#[path = "command/clips.rs"]
mod clips;
#[path = "command/convert.rs"]
mod convert;
#[path = "command/flow_style.rs"]
mod flow_style;
#[path = "command/hub.rs"]
mod hub;
#[path = "command/kernels.rs"]
mod kernels;
#[path = "command/latents.rs"]
mod latents;
#[path = "command/limits.rs"]
mod limits;
#[path = "command/scaling.rs"]
mod scaling;
#[path = "command/scenes.rs"]
mod scenes;
#[path = "command/sequences.rs"]
mod sequences;
#[path = "../../../tests/suite/hub/server.rs"]
#[allow(dead_code, reason = "the tests of the library use the rest")]
mod server;
#[path = "command/shape.rs"]
mod shape;
#[path = "command/texts.rs"]
mod texts;
#[path = "../../../tests/suite/weights/writer.rs"]
#[allow(dead_code, reason = "the tests of the library use the rest")]
mod torch;

/// The folder of the whole project.
fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn fixtures() -> PathBuf {
    project().join("tests/fixtures")
}

fn perceiver(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perceiver"))
        .args(arguments)
        .current_dir(project())
        .env_remove("PERCEIVER_DEVICE")
        .output()
        .expect("the command starts")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(arguments: &[&str]) -> String {
    let output = perceiver(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeded(arguments)).expect("one JSON document")
}

/// What it says when it refuses, with exit code 1.
fn refusal(arguments: &[&str]) -> String {
    let output = perceiver(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let said = text(&output.stderr);
    let line = said.lines().find(|l| l.starts_with("error: ") && !l.contains("XDG"));
    line.unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// The message of an error.
#[track_caller]
fn message<T>(result: perceiver::Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message}\nlacks: {part}");
    }
}

fn string(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn case(name: &str) -> String {
    string(&fixtures().join("golden").join(name)).to_owned()
}

#[test]
fn demo_computes_flow_and_fills_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("pictures");
    let report = json(&["demo", "--seed", "5", "--json", "--device", "cpu", "--out", string(&out)]);
    let number = |name: &str| report[name].as_f64().expect(name);
    assert!(number("end_point_error") < 0.25 * number("zero_flow_error"), "{report}");
    assert!(number("seconds") > 0.0);
    assert_eq!(report["device"], "cpu");
    assert_eq!(report["filled_text"], "The compiler checks that every reference is valid.");
    let files = report["files"].as_array().expect("files");
    assert_eq!(files.len(), 5);
    for file in files {
        let picture = perceiver::media::picture::read(file.as_str().expect("a path"));
        assert_eq!(picture.expect("a picture").height(), 96);
    }
}

#[test]
fn devices_names_what_automatic_choice_takes() {
    let report = json(&["devices", "--json"]);
    assert!(report["adapters"].is_array());
    assert!(report["automatic"]["device"].is_string());
    assert!(succeeded(&["devices"]).contains("auto takes "));
}

#[test]
fn profile_says_where_the_time_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.json");
    let arguments = ["profile", "text-tiny", "--device", "cpu", "--trace"];
    let report = json(&[&arguments[..], &[string(&trace), "--json"]].concat());
    assert_eq!(report["timer"], "cpu");
    let launches = report["launches"].as_array().expect("launches");
    assert!(launches.len() > 30);
    assert_eq!(report["kernels"][0]["kernel"], "gemm");
    assert!(report["ceiling"]["gflop_per_second"].as_f64() > Some(0.0));
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let trace: Value = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    assert_eq!(events.len(), launches.len() + 1);
    let table = succeeded(&["profile", "text-tiny", "--device", "cpu", "--launches"]);
    assert!(table.contains("GFLOP/s (product)"), "{table}");
    let message = refusal(&["tune", "text-tiny", "--device", "cpu"]);
    assert!(message.contains("the CPU executor has no variants"), "{message}");
    let message = refusal(&["tune", "--seconds=-1", "--device", "cpu"]);
    assert!(message.contains("seconds"), "{message}");
}

#[test]
fn plan_needs_no_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Path::new(&case("flow-v0-s0")).join("config.json");
    std::fs::copy(config, folder.path().join("config.json")).expect("copied");
    let report = json(&["plan", string(folder.path()), "--json"]);
    let stages = report["stages"].as_array().expect("stages");
    let total: u64 = stages.iter().filter_map(|s| s["flops"].as_u64()).sum();
    assert_eq!(report["total_flops"].as_u64(), Some(total));
    assert!(report["peak_bytes"].as_u64() > Some(0));
    for key in ["name", "flops", "bytes", "peak_bytes", "dispatches"] {
        assert!(!stages[0][key].is_null(), "{key}");
    }
    assert!(succeeded(&["plan", "text-tiny", "--nodes"]).contains("attention"));
    // A published model needs no file for a prediction, nor its card.
    let card = json(&["plan", "language", "--predict", "7900xtx", "--json"]);
    let prediction = &card["prediction"];
    assert_eq!(prediction["what"], "prediction, not measurement");
    let share = prediction["share"].as_f64().expect("a share");
    assert!(share > 0.05 && share < 1.0, "{share}");
    let dispatches = prediction["dispatches"].as_array().expect("dispatches");
    let sum = |d: &Value| d["each"]["seconds"].as_f64().zip(d["launches"].as_f64());
    let seconds: f64 = dispatches.iter().filter_map(sum).map(|(s, n)| s * n).sum();
    assert!((seconds / prediction["seconds"].as_f64().expect("seconds") - 1.0).abs() < 1e-9);
    // What the compiler made of every tile that it runs has been counted.
    for d in dispatches.iter().filter(|d| d["kernel"] == "gemm" || d["kernel"] == "attention") {
        assert_eq!(d["each"]["counted"], true, "{d}");
    }
    let table = succeeded(&["plan", "text-tiny", "--predict", "6800XT", "--precision", "f16"]);
    assert!(table.contains("prediction, not measurement"), "{table}");
    for card in ["7900xtx", "6800xt", "9070xt", "h200", "llvmpipe"] {
        let table = succeeded(&["kernels", "gemm", "--predict", card]);
        assert!(table.contains("prediction, not measurement") && table.contains("4096"), "{table}");
    }
    let message = refusal(&["plan", "text-tiny", "--predict", "abacus"]);
    assert!(message.contains("9070xt"), "{message}");
    // Windows and peak within a budget; frames of another size.
    let free = json(&["plan", "flow-tiny", "--size", "300x400", "--json"]);
    let peak = free["peak_bytes"].as_u64().expect("bytes");
    let budget = (peak - 1).to_string();
    let within = json(&["plan", "flow-tiny", "--size", "300x400", "--memory", &budget, "--json"]);
    assert!(within["peak_bytes"].as_u64() < Some(peak));
    assert_eq!(within["windows"][0]["rows"], 120_000);
    assert!(within["windows"][0]["windows"].as_u64() > free["windows"][0]["windows"].as_u64());
    let message = refusal(&["plan", "flow-tiny", "--memory", "1K"]);
    assert!(message.contains("at least") && message.contains("1.0KiB"), "{message}");
}

#[test]
fn fill_mask_prints_text_and_candidates() {
    let sentence = "This function ret[MASK]rns a value.";
    let arguments = ["fill-mask", "--model", "text-tiny", "--device", "cpu", sentence];
    assert!(succeeded(&arguments).starts_with("This function returns a value.\n"));
    let report = json(&[&arguments[..], &["--json", "--top", "3"]].concat());
    assert_eq!(report[0]["text"], "This function returns a value.");
    let top = report[0]["spans"][0]["bytes"][0]["top"].as_array().expect("top");
    assert_eq!(top.len(), 3);
    assert_eq!(top[0]["name"], "u");
}

/// What it says with `input` on standard input.
fn with_input(arguments: &[&str], input: &[u8]) -> Output {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_perceiver"))
        .args(arguments)
        .current_dir(project())
        .env_remove("PERCEIVER_DEVICE")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command starts");
    // It may have refused before it read all.
    let _ = child.stdin.take().expect("an input").write_all(input);
    child.wait_with_output().expect("it ends")
}

/// Every recorded name is written, and equals the recorded float64 run.
#[test]
fn run_writes_what_the_reference_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.safetensors");
    for (name, overlap) in [("mlm-v0-s0", None), ("flow-v2-s0", Some("4"))] {
        let case = case(name);
        let inputs = format!("{case}/inputs.safetensors");
        let mut arguments = vec!["run", "--model", &case, "--inputs", &inputs, "--outputs"];
        arguments.extend([string(&out), "--intermediates", "--device", "cpu"]);
        if let Some(overlap) = overlap {
            arguments.extend(["--overlap", overlap]);
        }
        succeeded(&arguments);
        let found = read_tensors(&out).expect("outputs");
        let expected = read_tensors(format!("{case}/outputs.safetensors")).expect("recorded");
        for (name, e) in &expected {
            let f = found.get(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(f.shape(), e.shape(), "{name}");
            let (f, e) = (f.as_f32().expect(name), e.as_f32().expect(name));
            let norm: f64 = e.iter().map(|&e| f64::from(e).powi(2)).sum();
            let pairs = f.iter().zip(e);
            let off: f64 = pairs.map(|(&f, &e)| (f64::from(f) - f64::from(e)).powi(2)).sum();
            assert!((off / norm).sqrt() < 1e-5, "{name}");
        }
    }
}

#[test]
fn flow_writes_pictures_and_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| string(&folder.path().join(name)).to_owned();
    let pair = Scene::pair(1, 140, 100, 1.0, 0.0).expect("a pair");
    perceiver::media::picture::write_png(at("a.png"), &pair.first).expect("written");
    perceiver::media::picture::write_png(at("b.png"), &pair.second).expect("written");
    let (a, b, flo, png) = (at("a.png"), at("b.png"), at("f.flo"), at("f.png"));
    let report = json(&["flow", &a, &b, "-o", &flo, "--json", "--device", "cpu"]);
    assert_eq!(report["width"], 140);
    let field = perceiver::tasks::FlowField::read(&flo).expect("a flow");
    let error = field.end_point_error(&pair.truth).expect("same size");
    assert!(error < 0.4, "{error}");
    succeeded(&["flow", &a, &b, "-o", &png, "--device", "cpu"]);
    perceiver::media::picture::read(&png).expect("a picture");

    let message = refusal(&["flow", &a, &b, "-o", &at("f.bmp")]);
    assert!(message.contains("end it in .png for a picture or .flo for numbers"), "{message}");
    let message = refusal(&["flow", &a, &at("none.png"), "-o", &png]);
    assert!(message.contains("cannot read ") && message.contains("none.png"), "{message}");
    std::fs::write(at("broken.png"), b"\x89PNG\r\n\x1a\nxx").expect("written");
    let message = refusal(&["flow", &a, &at("broken.png"), "-o", &png]);
    assert!(message.contains("broken.png") && message.contains("Save it again"), "{message}");
    let other = Scene::pair(1, 141, 100, 1.0, 0.0).expect("a pair");
    perceiver::media::picture::write_png(at("c.png"), &other.first).expect("written");
    let message = refusal(&["flow", &a, &at("c.png"), "-o", &png]);
    assert!(message.contains("141×100"), "{message}");
    let message = refusal(&["flow", &a, &b, "-o", &png, "--overlap", "96"]);
    assert!(message.contains("overlap"), "{message}");
    let message = refusal(&["flow", "--model", "text-tiny", &a, &b, "-o", &png]);
    assert!(message.contains("PerceiverForMaskedLM cannot be used for optical flow"), "{message}");
}

#[test]
fn check_passes_and_names_its_kernels() {
    let report = json(&["check", "--device", "cpu", "--kernel", "assemble", "--json"]);
    assert_eq!(report["failed"], 0);
    assert!(report["rows"].as_u64() > Some(5));
    assert!(succeeded(&["check", "--device", "cpu", "--kernel", "embed"]).contains("pass"));
    let message = refusal(&["check", "--kernel", "deconvolution"]);
    assert!(message.contains("`deconvolution` has no rows; expected one of"), "{message}");
}

#[test]
fn bench_compares_devices() {
    let report = json(&["bench", "text-tiny", "--runs", "1", "--kernels", "--json"]);
    let stages = report[0]["stages"].as_array().expect("stages");
    let names: Vec<_> = stages.iter().filter_map(|s| s["stage"].as_str()).collect();
    assert_eq!(names, ["preprocess", "encode", "process", "decode", "postprocess"]);
    assert!(report[0]["kernels"].as_array().expect("launches").len() > 30);
    assert!(report[0]["seconds"].as_f64() > Some(0.0));
    assert_eq!(report[0]["ratio"], 1.0);
}

#[test]
fn refusals_say_what_where_and_what_to_try() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = string(&folder.path().join("out.safetensors")).to_owned();
    let message = refusal(&["fill-mask", "--model", "no-such-model", "a [MASK]"]);
    assert!(
        message.contains("no-such-model: is neither a folder nor a shipped model")
            && message.contains("text-tiny"),
        "{message}"
    );
    let message = refusal(&["fill-mask", "nothing to fill"]);
    assert!(message.contains("texts[0]") && message.contains("[MASK]"), "{message}");
    let long = "[MASK]".repeat(5000);
    let message = refusal(&["fill-mask", &long]);
    assert!(message.contains("5000 masks beside each other, from token 1"), "{message}");
    let message = refusal(&["fill-mask", "--device", "99", "a [MASK]"]);
    assert!(
        message.contains("no device matches `99`: there is no adapter of this number")
            && message.contains("perceiver devices"),
        "{message}"
    );
    let message = refusal(&["fill-mask", "--device", "no such card", "a [MASK]"]);
    assert!(message.contains("no adapter's name contains it"), "{message}");
    let f16 = ["--device", "cpu", "--precision", "f16"];
    let message = refusal(&[&["fill-mask", "a [MASK]"], &f16[..]].concat());
    assert!(message.contains("--device gpu"), "{message}");
    let message = refusal(&["plan", "text-tiny", "--length", "99999"]);
    assert!(message.contains("input `length`: is 99999; expected 1 to"), "{message}");
    let message = refusal(&["plan", "text-tiny", "--batch", "0"]);
    assert!(message.contains("input `batch`: is 0"), "{message}");

    let (text, flow) = (case("mlm-v1-s0"), case("flow-v0-s0"));
    let inputs = format!("{flow}/inputs.safetensors");
    let message = refusal(&["run", "--model", &text, "--inputs", &inputs, "--outputs", &out]);
    assert!(
        message.contains("input `patches`: is unknown to this model; expected some of `input_ids`"),
        "{message}"
    );
    let other = format!("{}/inputs.safetensors", case("flow-v2-s0"));
    let message = refusal(&["run", "--model", &flow, "--inputs", &other, "--outputs", &out]);
    assert!(message.contains("input `patches`: has shape"), "{message}");
    let config = format!("{text}/config.json");
    let message = refusal(&["run", "--model", &text, "--inputs", &config, "--outputs", &out]);
    assert!(message.contains("config.json") && message.contains("states a header of"), "{message}");
    assert!(!Path::new(&out).exists(), "no partial file");
    let good = format!("{text}/inputs.safetensors");
    let nowhere = format!("{out}/none/out.safetensors");
    let message = refusal(&["run", "--model", &text, "--inputs", &good, "--outputs", &nowhere]);
    assert!(message.contains("cannot create"), "{message}");
}

/// The variable is obeyed by automatic choice, and its mistakes are named.
#[test]
fn the_device_variable_is_obeyed() {
    let run = |value: &str| {
        Command::new(env!("CARGO_BIN_EXE_perceiver"))
            .args(["fill-mask", "a [MASK]", "--json"])
            .current_dir(project())
            .env("PERCEIVER_DEVICE", value)
            .output()
            .expect("the command starts")
    };
    assert!(run("cpu").status.success());
    let output = run("no such card");
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("correct or unset PERCEIVER_DEVICE"), "{said}");
}
