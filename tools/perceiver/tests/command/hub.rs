//! `perceiver models`, and names of the hub where a model is asked for.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::server::{COMMIT, MODEL, Repository, Server, WEIGHTS, recorded};
use super::{folder, project, says, text};

fn perceiver(arguments: &[&str], cache: &Path, endpoint: &str, offline: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perceiver"));
    command
        .args(arguments)
        .current_dir(project())
        .env_remove("PERCEIVER_DEVICE")
        .env_remove("HF_TOKEN")
        .env("HF_HOME", cache)
        .env("HF_HUB_CACHE", cache)
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HUB_OFFLINE", offline);
    command.output().expect("the command starts")
}

fn known(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[test]
fn models_are_listed() {
    let cache = folder();
    let nowhere = "http://127.0.0.1:9";
    let report = known(&perceiver(&["models", "--json"], cache.path(), nowhere, "0"));
    assert_eq!(report["cache"], cache.path().to_str().expect("UTF-8"));
    let models = report["models"].as_array().expect("a list");
    let named = |name: &str| {
        let found = models.iter().find(|m| m["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not listed"))
    };
    let flow = named("deepmind/optical-flow-perceiver");
    assert_eq!(flow["parameters"], 41_057_134);
    assert_eq!(flow["architecture"], "PerceiverForOpticalFlow");
    assert_eq!(flow["here"], Value::Null);
    assert_eq!(models.iter().filter(|m| m["origin"] == "hub").count(), 6);
    let tiny = named("text-tiny");
    assert_eq!(tiny["origin"], "shipped");
    assert!(tiny["here"]["bytes"].as_u64() > tiny["bytes"].as_u64());

    let shown = perceiver(&["models"], cache.path(), nowhere, "1");
    let shown = text(&shown.stdout);
    says(
        &shown,
        &[
            "deepmind/language-perceiver",
            "flow-tiny",
            "201.1 M",
            "not downloaded",
            "HF_HUB_OFFLINE",
        ],
    );
}

#[test]
fn cached_models_are_marked() {
    let cache = folder();
    let snapshot =
        cache.path().join("models--deepmind--optical-flow-perceiver/snapshots").join(COMMIT);
    let refs = cache.path().join("models--deepmind--optical-flow-perceiver/refs");
    for folder in [&snapshot, &refs] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::fs::write(refs.join("main"), COMMIT).expect("written");
    std::fs::write(snapshot.join("config.json"), "{}").expect("written");
    std::fs::write(snapshot.join(WEIGHTS), "12345").expect("written");
    let nowhere = "http://127.0.0.1:9";
    let report = known(&perceiver(&["models", "--json"], cache.path(), nowhere, "1"));
    let models = report["models"].as_array().expect("a list");
    let flow =
        models.iter().find(|m| m["name"] == "deepmind/optical-flow-perceiver").expect("listed");
    assert_eq!(flow["here"]["bytes"], 7);
    assert_eq!(flow["here"]["commit"], COMMIT);
    assert_eq!(flow["here"]["folder"], snapshot.to_str().expect("UTF-8"));
    assert_eq!(report["offline"], true);
}

/// Fine-tuned ones of anybody are listed too; models of other kinds are not.
#[test]
fn other_perceivers_of_the_cache_are_listed() {
    let cache = folder();
    let seqcls = recorded().with_file_name("seqcls-v2-s0");
    let config = std::fs::read_to_string(seqcls.join("config.json")).expect("read");
    for (name, config) in [
        ("models--someone--sentiment", config.as_str()),
        ("models--someone--bert", r#"{"architectures": ["BertModel"]}"#),
        ("datasets--someone--data", config.as_str()),
    ] {
        let model = cache.path().join(name);
        let snapshot = model.join("snapshots").join(COMMIT);
        for folder in [&snapshot, &model.join("refs")] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        std::fs::write(model.join("refs/main"), COMMIT).expect("written");
        std::fs::write(snapshot.join("config.json"), config).expect("written");
        std::fs::copy(seqcls.join(WEIGHTS), snapshot.join(WEIGHTS)).expect("copied");
    }
    let nowhere = "http://127.0.0.1:9";
    let report = known(&perceiver(&["models", "--json"], cache.path(), nowhere, "1"));
    let models = report["models"].as_array().expect("a list");
    let of_hub: Vec<&Value> = models.iter().filter(|m| m["origin"] == "hub").collect();
    assert_eq!(of_hub.len(), 7);
    assert_eq!(of_hub[6]["name"], "someone/sentiment");
    assert_eq!(of_hub[6]["task"], "text classification");
    assert_eq!(of_hub[6]["here"]["commit"], COMMIT);
    assert!(of_hub[6]["parameters"].as_u64() > Some(1000));
}

#[test]
fn a_model_is_run_by_its_name() {
    let repository = Repository::tiny();
    let server = Server::start(move |r| repository.answer(r));
    let cache = folder();
    let planned = ["plan", MODEL, "--json"];
    known(&perceiver(&planned, cache.path(), &server.address, "0"));
    assert!(!server.requests().iter().any(|r| r.is_bytes_of(WEIGHTS)));

    let inputs = recorded().join("inputs.safetensors");
    let tensors = perceiver::checkpoint::read_tensors(&inputs).expect("inputs");
    let wanted = tensors.into_iter().filter(|(name, _)| name == "input_ids");
    let (inputs, outputs) = (cache.path().join("in"), cache.path().join("out"));
    perceiver::checkpoint::write_tensors(&inputs, &wanted.collect()).expect("written");
    let string = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (inputs, outputs) = (string(&inputs), string(&outputs));
    let run = |offline: &str| {
        let arguments = [
            "run",
            "--model",
            MODEL,
            "--inputs",
            &inputs,
            "--outputs",
            &outputs,
            "--device",
            "cpu",
            "--json",
        ];
        let output = perceiver(&arguments, cache.path(), &server.address, offline);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(Path::new(&outputs).exists());
    };
    run("0");
    assert!(server.requests().iter().any(|r| r.is_bytes_of(WEIGHTS)));
    run("1");
    assert!(server.requests().is_empty());
}

/// The Perceiver inside a larger model, by the file of a repository.
#[test]
fn a_file_of_the_hub_and_its_part() {
    let case = project().join("tests/fixtures/families/xtts-0");
    let mut repository = Repository::tiny();
    for (name, of) in [("gpt/config.json", "config.json"), ("gpt/t3.safetensors", WEIGHTS)] {
        let content = std::fs::read(case.join(of)).expect("a recorded case");
        repository.files.insert(name.to_owned(), content);
    }
    let server = Server::start(move |r| repository.answer(r));
    let cache = folder();
    let file = format!("{MODEL}/gpt/t3.safetensors");
    let part = ["--part", "conditioning_perceiver"];
    let planned = known(&perceiver(
        &[&["plan", &file, "--json"][..], &part].concat(),
        cache.path(),
        &server.address,
        "0",
    ));
    assert!(planned["parameters"].as_u64() > Some(0), "{planned}");
    let inputs = perceiver::checkpoint::read_tensors(case.join("inputs.safetensors"));
    let mut inputs = inputs.expect("inputs");
    inputs.retain(|name, _| name == "x");
    let place = |name: &str| cache.path().join(name).to_str().expect("UTF-8").to_owned();
    perceiver::checkpoint::write_tensors(place("in"), &inputs).expect("written");
    let names = [place("in"), place("out")];
    let run = ["run", "--model", &file, "--inputs", &names[0], "--outputs", &names[1], "--json"];
    let run = [&run[..], &["--device", "cpu"], &part].concat();
    let report = known(&perceiver(&run, cache.path(), &server.address, "1"));
    assert!(report["outputs"]["output"].is_array(), "{report}");
    let missing = perceiver(
        &["plan", &format!("{MODEL}/gpt/t4.safetensors")],
        cache.path(),
        &server.address,
        "0",
    );
    says(&text(&missing.stderr), &["no file `gpt/t4.safetensors`", "`gpt/t3.safetensors`"]);
}

#[test]
fn a_name_that_is_neither_path_nor_model() {
    let repository = Repository::tiny();
    let server = Server::start(move |r| repository.answer(r));
    let cache = folder();
    let refusal = |model: &str, offline: &str| {
        let arguments = ["plan", model];
        let output = perceiver(&arguments, cache.path(), &server.address, offline);
        assert_eq!(output.status.code(), Some(1), "{model}");
        text(&output.stderr)
    };
    says(
        &refusal("models/flow-tinyy", "0"),
        &["model `models/flow-tinyy`: is no folder here", "does not exist or is private"],
    );
    says(&refusal(MODEL, "1"), &["is not in the cache", "HF_HUB_OFFLINE"]);
    says(
        &refusal("./tiny/model", "0"),
        &["neither a folder nor a shipped model nor a name on the hub", "deepmind/", "flow-tiny"],
    );
    assert_eq!(server.requests().len(), 1);
}

/// A model that is damaged down to its configuration is still known by its name.
#[cfg(unix)]
#[test]
fn damaged_models_of_the_cache_are_told() {
    let cache = folder();
    let root = cache.path().join("models--deepmind--optical-flow-perceiver");
    let snapshot = root.join("snapshots").join(COMMIT);
    for folder in [&snapshot, &root.join("refs"), &root.join("blobs")] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::fs::write(root.join("refs/main"), COMMIT).expect("written");
    for (file, etag) in [("config.json", "0".repeat(40)), (WEIGHTS, "0".repeat(64))] {
        std::fs::write(root.join("blobs").join(&etag), "{damaged").expect("written");
        let blob = Path::new("../../blobs").join(etag);
        std::os::unix::fs::symlink(blob, snapshot.join(file)).expect("a link");
    }
    let output = perceiver(&["models", "--verify"], cache.path(), "http://127.0.0.1:9", "1");
    assert_eq!(output.status.code(), Some(1));
    says(&text(&output.stdout), &["damaged: config.json, model.safetensors"]);
}
