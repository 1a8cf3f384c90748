//! What somebody else's file may cost: bounded memory, no waiting for pipes, nothing left behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use perceiver::checkpoint::write_tensors;
use perceiver::{NamedTensors, PerceiverConfig, Tensor};
use perceiver_cli::writers;

use super::{case, folder, perceiver, project, refusal, says, string, text};

/// A picture of one bit a pixel.
fn bits(path: &Path, side: u32) {
    use image::ImageEncoder;
    let mut png = Vec::new();
    let black = vec![0; (side * side) as usize];
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(&black, side, side, image::ExtendedColorType::L8)
        .expect("encoded");
    std::fs::write(path, png).expect("written");
}

#[test]
fn pictures_stay_within_the_limit() {
    let folder = folder();
    let picture = folder.path().join("black.png");
    bits(&picture, 4096);
    let case = case("img-conv-v4-s0");
    let arguments =
        ["classify-image", "--device", "cpu", "--model", &case, string(&picture), "--json"];
    let output = perceiver(&[&arguments[..], &["--memory-limit", "32MiB"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    says(&text(&output.stderr), &["4096×4096 pixels need 112.0MiB, where 32.0MiB are the limit"]);
    let output = perceiver(&[&arguments[..], &["--memory-limit", "512MiB"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_processor_asks_for_no_more_than_the_limit() {
    let folder = folder();
    let (picture, processor) = (folder.path().join("a.png"), folder.path().join("p.json"));
    bits(&picture, 24);
    let size = |size: usize| {
        std::fs::write(&processor, format!(r#"{{"size": {size}}}"#)).expect("written");
        refusal(&[
            "classify-image",
            "--device",
            "cpu",
            "--memory-limit",
            "256MiB",
            "--model",
            &case("img-fourier-v2-s0"),
            "--processor",
            string(&processor),
            string(&picture),
        ])
    };
    says(&size(4096), &["of memory", "256.0MiB, the memory limit", "--memory-limit"]);
    says(&size(16384), &["`size` makes pictures of 16384×16384 pixels", "at most 16777216 pixels"]);
}

/// Latents whose file claims an output of 2²⁸ points, in 200 kB.
#[test]
fn latents_claim_no_more_than_the_limit() {
    let folder = folder();
    let file = folder.path().join("latents.safetensors");
    let shape = perceiver::Engine::cpu().load(project().join("models/flow-tiny")).expect("a model");
    let config = shape.config().expect("a configuration");
    let (n, d) = (config.num_latents, config.d_latents);
    let tensors = NamedTensors::from([
        (
            "last_latents".to_owned(),
            Tensor::f32(vec![1, n, d], vec![0.1; n * d]).expect("a tensor"),
        ),
        ("rows.frame".to_owned(), Tensor::f32(vec![1, 54], vec![0.0; 54]).expect("a tensor")),
        ("sizes".to_owned(), Tensor::i64(vec![4], vec![0, 16384, 16384, 1]).expect("a tensor")),
    ]);
    write_tensors(&file, &tensors).expect("written");
    let out = folder.path().join("rows.safetensors");
    let said = refusal(&[
        "latents",
        "decode",
        "--device",
        "cpu",
        "--memory-limit",
        "2GiB",
        "--model",
        "flow-tiny",
        string(&file),
        "-o",
        string(&out),
    ]);
    says(&said, &["of memory", "2.0GiB, the memory limit"]);
    assert!(!out.exists());
}

/// A configuration may be large; what it takes is known before anything is allocated.
#[test]
fn a_plan_beyond_the_limit_is_refused() {
    let folder = folder();
    let config = std::fs::read_to_string(project().join("models/text-tiny/config.json"));
    let mut config: serde_json::Value =
        serde_json::from_str(&config.expect("a file")).expect("JSON");
    config["num_latents"] = (1 << 18).into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let model = string(folder.path());
    let said = refusal(&["bench", "--device", "cpu", "--memory-limit", "256MiB", model]);
    says(&said, &["PerceiverForMaskedLM on cpu needs", "256.0MiB", "--memory"]);
}

#[cfg(unix)]
#[test]
fn little_address_space_is_no_abort() {
    for kilobytes in ["150000", "200000", "300000", "500000"] {
        let line = format!(
            "ulimit -v {kilobytes}; exec {} fill-mask --device cpu --model text-tiny 'a [MASK:2]st'",
            env!("CARGO_BIN_EXE_perceiver")
        );
        let output = Command::new("sh").args(["-c", &line]).current_dir(project()).output();
        let output = output.expect("a shell");
        let said = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{kilobytes}: {said}");
        assert!(!said.contains("panicked"), "{kilobytes}: {said}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_an_error() {
    let folder = folder();
    let inputs = folder.path().join("inputs.safetensors");
    let case = case("img-fourier-v2-s0");
    let recorded = perceiver::checkpoint::read_tensors(format!("{case}/inputs.safetensors"));
    let pixels = &recorded.expect("recorded")["pixel_values"];
    let shape = pixels.shape().to_vec();
    let huge = vec![3e38; shape.iter().product()];
    let tensors =
        NamedTensors::from([("pixel_values".to_owned(), Tensor::f32(shape, huge).expect("one"))]);
    write_tensors(&inputs, &tensors).expect("written");
    let out = folder.path().join("outputs.safetensors");
    let arguments = [
        "run",
        "--device",
        "cpu",
        "--model",
        &case,
        "--inputs",
        string(&inputs),
        "--outputs",
        string(&out),
    ];
    let said = refusal(&arguments);
    says(&said, &["output `logits` has", "at element 0", "--allow-non-finite"]);
    assert!(!out.exists());
    let output = perceiver(&[&arguments[..], &["--allow-non-finite"]].concat());
    assert!(output.status.success() && out.exists(), "{}", text(&output.stderr));
}

/// Temporary files and folders in a folder.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let hidden = entries.filter(|e| e.file_name().to_string_lossy().starts_with(".perceiver-"));
    hidden.map(|e| e.path()).collect()
}

/// Many frames to compute the flow of.
#[cfg(unix)]
fn clip(folder: &Path) -> PathBuf {
    let path = folder.join("clip.y4m");
    let frames = (0..200).map(|i| {
        perceiver::media::Frame::from_fn(128, 96, |x, y| {
            [(2 * x + i) as u8, (2 * y) as u8, (x ^ y) as u8]
        })
    });
    writers::y4m::write(&path, Some((24, 1)), frames).expect("written");
    path
}

/// A checkpoint whose weights take long to convert and, being zeros, no room on the disk.
#[cfg(unix)]
fn large(folder: &Path) -> PathBuf {
    let config = std::fs::read_to_string(project().join("models/text-tiny/config.json"));
    let mut config: serde_json::Value =
        serde_json::from_str(&config.expect("a file")).expect("JSON");
    config["max_position_embeddings"] = (1 << 19).into();
    let of = PerceiverConfig::from_json(&config.to_string(), "config").expect("a configuration");
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in of.tensors().expect("tensors") {
        let next = end + 4 * shape.iter().product::<usize>();
        let entry =
            serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [end, next] });
        header.insert(name, entry);
        end = next;
    }
    let mut start = serde_json::Value::Object(header).to_string();
    start.push_str(&" ".repeat(start.len().next_multiple_of(8) - start.len()));
    let path = folder.join("large");
    std::fs::create_dir(&path).expect("a folder");
    std::fs::write(path.join("config.json"), config.to_string()).expect("written");
    let bytes = [&(start.len() as u64).to_le_bytes(), start.as_bytes()].concat();
    std::fs::write(path.join("model.safetensors"), &bytes).expect("written");
    let file = std::fs::File::options().write(true).open(path.join("model.safetensors"));
    file.expect("a file").set_len((bytes.len() + end) as u64).expect("made longer");
    path
}

/// Starts a run, and ends it by a signal when it has begun to write and what others left before is gone.
#[cfg(unix)]
fn ended_by(signal: &str, folder: &Path, line: &[&str]) -> std::process::ExitStatus {
    let left = unfinished(folder);
    let mut child = Command::new(env!("CARGO_BIN_EXE_perceiver"))
        .args(line)
        .current_dir(folder)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command starts");
    let start = Instant::now();
    while unfinished(folder).is_empty() || left.iter().any(|path| path.exists()) {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "nothing is written, or left: {left:?}"
        );
        assert!(child.try_wait().expect("a child").is_none(), "it ended before it was told to");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    child.wait().expect("it ends")
}

#[cfg(unix)]
#[test]
fn what_is_interrupted_leaves_nothing() {
    let given = folder();
    let (clip, large) = (clip(given.path()), large(given.path()));
    let flow = ["flow", "--device", "cpu", "--model", "flow-tiny", string(&clip), "-o"];
    let convert = ["convert", string(&large), "--dtype", "f16", "-o"];
    let lines = [(&flow[..], "flow.y4m"), (&flow, "flows/"), (&convert, "new")];
    for (line, out) in lines {
        let (line, folder) = ([line, &[out]].concat(), folder());
        let there = || std::fs::read_dir(folder.path()).expect("a folder").count();
        let status = ended_by("-INT", folder.path(), &line);
        assert_eq!(status.code(), Some(130));
        assert_eq!(there(), 0, "{out}");
        // Killed, it could not remove anything: the next one does, and leaves what is in use.
        let status = ended_by("-KILL", folder.path(), &line);
        assert_eq!(status.code(), None);
        assert_eq!(unfinished(folder.path()).len(), 1, "{out}");
        let status = ended_by("-TERM", folder.path(), &line);
        assert_eq!(status.code(), Some(130));
        assert_eq!(there(), 0, "{out}");
    }
}

#[cfg(unix)]
fn within(seconds: u64, command: &mut Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts");
    let start = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if start.elapsed() > Duration::from_secs(seconds) {
            let _ = child.kill();
            panic!("it waits for ever");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

/// Pipes are not waited for, and devices without an end are not read.
#[cfg(unix)]
#[test]
fn special_files_are_refused() {
    let folder = folder();
    let pipe = folder.path().join("pipe.png");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let pipe = string(&pipe);
    let case = case("img-conv-v4-s0");
    let out = folder.path().join("out.flo");
    let out = string(&out);
    let lines: [&[&str]; 7] = [
        &["classify-image", "--device", "cpu", "--model", &case, pipe],
        &["classify-image", "--device", "cpu", "--model", &case, "/dev/zero"],
        &["classify-image", "--device", "cpu", "--model", &case, "--processor", pipe, "a.png"],
        &["flow", "--device", "cpu", "--model", "flow-tiny", pipe, pipe, "-o", out],
        &["flow", "--device", "cpu", "--model", "flow-tiny", "/dev/zero", "-o", out],
        &["run", "--device", "cpu", "--model", &case, "--inputs", pipe, "--outputs", out],
        &["fill-mask", "--device", "cpu", "--model", "text-tiny", "--file", "/dev/zero"],
    ];
    for line in lines {
        let output = within(
            60,
            Command::new(env!("CARGO_BIN_EXE_perceiver")).args(line).current_dir(project()),
        );
        assert_eq!(output.status.code(), Some(1), "{line:?}: {}", text(&output.stderr));
        says(&text(&output.stderr), &["it is not a regular file"]);
    }
    // Neither are they where models and what drivers compiled are kept.
    let refs = folder.path().join("models--tiny--model/refs");
    std::fs::create_dir_all(&refs).expect("a folder");
    assert!(Command::new("mkfifo").arg(refs.join("main")).status().expect("mkfifo").success());
    let output = within(
        60,
        Command::new(env!("CARGO_BIN_EXE_perceiver"))
            .args([
                "run",
                "--device",
                "cpu",
                "--model",
                "tiny/model",
                "--inputs",
                "a",
                "--outputs",
                out,
            ])
            .env("HF_HUB_CACHE", folder.path())
            .env("HF_HUB_OFFLINE", "1"),
    );
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

/// Names that are not UTF-8 are paths like others.
#[cfg(target_os = "linux")]
#[test]
fn paths_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let odd = folder.path().join(OsStr::from_bytes(b"mod\xffel"));
    std::fs::create_dir(&odd).expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(project().join("models/text-tiny").join(file), odd.join(file))
            .expect("copied");
    }
    let run = |arguments: &[&OsStr], home: &Path, device: &OsStr| {
        Command::new(env!("CARGO_BIN_EXE_perceiver"))
            .args(arguments)
            .current_dir(project())
            .env("HF_HOME", home)
            .env_remove("HF_HUB_CACHE")
            .env("PERCEIVER_DEVICE", device)
            .output()
            .expect("the command starts")
    };
    let word = OsStr::new;
    let cpu = word("cpu");
    let output = run(&[word("models"), word("--json")], &odd, cpu);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = run(
        &[word("fill-mask"), word("--model"), odd.as_os_str(), word("a [MASK:2]st")],
        &odd,
        cpu,
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let to = odd.join("new");
    let line = [word("convert"), odd.as_os_str(), word("-o"), to.as_os_str(), word("--json")];
    let output = run(&line, &odd, cpu);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(to.join("model.safetensors").exists());
    let line = [word("fill-mask"), word("--model"), word("text-tiny"), word("a [MASK:2]st")];
    let output = run(&line, &odd, OsStr::from_bytes(b"g\xffu"));
    assert_eq!(output.status.code(), Some(1));
    says(&text(&output.stderr), &["no device matches `g\u{fffd}u`"]);
}

/// What a small run writes.
fn run_of(case: &str, out: &Path) -> Vec<String> {
    let inputs = format!("{case}/inputs.safetensors");
    let line =
        ["run", "--device", "cpu", "--model", case, "--inputs", &inputs, "--outputs", string(out)];
    line.map(str::to_owned).to_vec()
}

/// The disk is full at every block that a run writes, one after the other: nothing is left, and the next run is right.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing() {
    let case = case("mlm-v1-s0");
    let whole = folder();
    let whole = whole.path().join("outputs.safetensors");
    let output = perceiver(&run_of(&case, &whole).iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let expected = std::fs::read(&whole).expect("outputs");
    let folder = folder();
    let out = folder.path().join("outputs.safetensors");
    let blocks = expected.len().div_ceil(512);
    // A limit of the size of files, whose signal is not taken, fails as a full disk does.
    for block in (0..blocks).step_by(blocks.div_ceil(24)).chain([blocks]) {
        let line = format!("trap '' XFSZ; ulimit -f {block}; exec \"$0\" \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_perceiver")])
            .args(run_of(&case, &out))
            .current_dir(project())
            .output()
            .expect("a shell");
        let said = text(&output.stderr);
        if block == blocks {
            assert!(output.status.success(), "{said}");
            assert_eq!(std::fs::read(&out).expect("outputs"), expected);
        } else {
            assert_eq!(output.status.code(), Some(1), "{block} of {blocks}: {said}");
            says(&said, &["error: cannot write"]);
            assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "{block}");
        }
    }
}

/// Whatever the limit, a run gives the right result or says what it needs.
#[test]
fn any_limit_is_an_error_or_enough() {
    let case = case("mlm-v1-s0");
    let folder = folder();
    let mut results: Vec<Vec<u8>> = Vec::new();
    for power in 8..32 {
        let out = folder.path().join(format!("{power}.safetensors"));
        let mut line = run_of(&case, &out);
        line.push(format!("--memory-limit={}", 1u64 << power));
        let output = perceiver(&line.iter().map(String::as_str).collect::<Vec<_>>());
        let said = text(&output.stderr);
        if output.status.success() {
            results.push(std::fs::read(&out).expect("outputs"));
        } else {
            assert_eq!(output.status.code(), Some(1), "{said}");
            says(&said, &["needs", "the limit is", "the memory limit"]);
            assert!(!out.exists() && results.is_empty(), "2^{power}: {said}");
        }
    }
    assert!(results.len() > 4 && results.iter().all(|r| *r == results[0]));
}
