//! Models with a Perceiver inside: how they are found, what is refused and in which words, and their parts.

use std::path::{Path, PathBuf};

use perceiver::checkpoint::{read_tensors, write_tensors};
use perceiver::tasks::{Grid, ShapeDecoder};
use perceiver::{
    Description, Engine, Error, Model, NamedTensors, Result, RunOptions, Sizes, Tensor,
};

use crate::common::fixtures;

fn case(name: &str) -> PathBuf {
    fixtures().join("families").join(name)
}

fn weights(name: &str) -> NamedTensors {
    read_tensors(case(name).join("model.safetensors")).expect("weights")
}

/// A file of these tensors, and what their shapes do not tell.
fn file(folder: &Path, tensors: &NamedTensors) -> PathBuf {
    let path = folder.join("some.safetensors");
    let config = r#"{"model_type": "perceiver-family", "heads": 3, "num_attn_heads": 3, "resampler_n_heads": 5}"#;
    std::fs::write(folder.join("config.json"), config).expect("written");
    write_tensors(&path, tensors).expect("written");
    path
}

fn load(path: &Path, part: Option<&str>) -> Result<Model> {
    Engine::cpu().load_part(path, part)
}

fn refusal(path: &Path, part: Option<&str>) -> String {
    load(path, part).expect_err("refused").to_string()
}

#[test]
fn a_file_alone_is_recognised_and_others_tensors_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tensors = weights("chatterbox-1");
    tensors.retain(|name, _| name.starts_with("cond_enc.perceiver."));
    let nan = Tensor::f32(vec![2], vec![f32::NAN; 2]).expect("tensor");
    tensors.insert("tfmr.wte.weight".to_owned(), nan);
    let model = load(&file(folder.path(), &tensors), None).expect("recognised");
    assert_eq!(model.description().name(), "Perceiver (blueprint)");
}

#[test]
fn all_missing_tensors_are_one_error_with_the_family() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tensors = weights("xtts-0");
    let gone = ["layers.0.0.to_out.weight", "layers.1.1.2.bias", "layers.1.0.to_q.weight"];
    let gone = gone.map(|leaf| format!("gpt.conditioning_perceiver.{leaf}"));
    for name in &gone[..2] {
        assert!(tensors.remove(name).is_some(), "{name}");
    }
    let message = refusal(&file(folder.path(), &tensors), Some("gpt.conditioning_perceiver"));
    assert!(message.contains("`xtts`"), "{message}");
    for name in &gone[..2] {
        assert!(message.contains(name.as_str()), "{message}");
    }
    assert!(!message.contains(&gone[2]), "{message}");
    // Of another shape: both shapes are told.
    let mut tensors = weights("xtts-0");
    let wrong = Tensor::f32(vec![2, 2], vec![0.0; 4]).expect("tensor");
    tensors.insert(gone[2].clone(), wrong);
    let error = load(&file(folder.path(), &tensors), None).expect_err("refused");
    assert!(matches!(error, Error::Tensors { .. }), "{error}");
    assert!(error.to_string().contains(&gone[2]), "{error}");
}

/// A family whose tensors have two sets of names tells of those that are there the most.
#[test]
fn missing_tensors_are_told_of_the_names_that_a_file_has() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, gone, other) in [
        ("ip_adapter_faceid-0", "image_proj.perceiver_resampler.norm_out.weight", "proj.net"),
        ("ip_adapter_faceid-1", "proj.net.2.weight", "perceiver_resampler"),
    ] {
        let mut tensors = weights(name);
        assert!(tensors.remove(gone).is_some(), "{gone}");
        write_tensors(folder.path().join("model.safetensors"), &tensors).expect("written");
        let config = std::fs::read(case(name).join("config.json")).expect("a config");
        std::fs::write(folder.path().join("config.json"), config).expect("written");
        let message = refusal(folder.path(), None);
        assert!(message.contains(gone) && !message.contains(other), "{message}");
    }
}

/// The shortcut needs tokens as wide as the latents.
#[test]
fn a_shortcut_to_another_width_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = r#"{"model_type": "perceiver-family", "heads": 5, "shortcut": true, "shortcut_scale": 0.5}"#;
    std::fs::write(folder.path().join("config.json"), config).expect("written");
    let path = folder.path().join("some.safetensors");
    write_tensors(&path, &weights("ip_adapter_faceid-3")).expect("written");
    let message = refusal(&path, None);
    assert!(message.contains("do not fit"), "{message}");
}

/// The last tokens are latents whatever the length; a text that has no more than those has no others.
#[test]
fn texts_of_any_length_keep_their_last_tokens_as_latents() {
    let model = Engine::cpu().load(case("causal_sequence-0")).expect("a model");
    let run = |tokens: &[i64]| {
        let x = Tensor::i64(vec![1, tokens.len()], tokens.to_vec()).expect("tokens");
        model.run(&NamedTensors::from([("x".to_owned(), x)]), &mut |_, _| {})
    };
    let tokens: Vec<i64> = (0..32).map(|i| i * i % 17).collect();
    for length in [1, 6, 7, 8, 31] {
        let output = &run(&tokens[..length]).expect("logits")["output"];
        assert_eq!(output.shape(), [1, length.min(7), 17]);
    }
    // Latents see nothing that follows: the first is the same in a text that ends with it.
    let [long, short] = [7, 1].map(|n| run(&tokens[..n]).expect("logits")["output"].clone());
    let [long, short] = [&long, &short].map(|t| t.as_f32().expect("floats"));
    for (long, short) in long.iter().zip(short) {
        assert!((long - short).abs() < 1e-4 * (1.0 + short.abs()), "{long} {short}");
    }
    assert!(run(&tokens).is_err(), "longer than the table of positions");
}

/// Keys and values of a long context are made window by window: the same tokens in less memory.
#[test]
fn a_long_context_is_read_in_windows() {
    let folder = case("ip_adapter-0");
    let data = (0..3000 * 11).map(|i| (i as f32 * 0.37).sin()).collect();
    let x = Tensor::f32(vec![1, 3000, 11], data).expect("rows");
    let inputs = NamedTensors::from([("x".to_owned(), x)]);
    let options = RunOptions::default();
    let run = |bytes: usize| {
        let mut model = Engine::cpu().load(&folder).expect("a model");
        model.set_window_bytes(bytes);
        let Description::Blueprint(blueprint) = model.description() else { panic!("a blueprint") };
        let rows = blueprint.row_sizes(&inputs).expect("sizes");
        let sizes = Sizes { rows, ..Sizes::default() };
        let peak = model.report(1, sizes, options).expect("a report").peak_bytes;
        (model.run_with(&inputs, options, &mut |_, _| {}).expect("a run"), peak)
    };
    let [(whole, most), (windows, least)] = [1 << 30, 30_000].map(run);
    let [whole, windows] = [&whole, &windows].map(|o| o["output"].as_f32().expect("floats"));
    for (whole, window) in whole.iter().zip(windows) {
        assert!((whole - window).abs() < 1e-5 * (1.0 + whole.abs()), "{whole} {window}");
    }
    assert!(2 * least < most, "{least} of {most} bytes");
}

#[test]
fn several_parts_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tensors = weights("chatterbox-1");
    tensors.retain(|name, _| name.starts_with("cond_enc."));
    let again = |name: &String| name.replacen("cond_enc.perceiver", "second", 1);
    let twice: Vec<_> = tensors.iter().map(|(n, t)| (again(n), t.clone())).collect();
    tensors.extend(twice);
    tensors.extend(weights("idefics-2"));
    let path = file(folder.path(), &tensors);
    let message = refusal(&path, None);
    for word in ["3 parts", "chatterbox", "`second.`", "idefics", "--part"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    load(&path, Some("second")).expect("by its prefix");
    load(&path, Some("perceiver_resampler")).expect("by a word");
    let message = refusal(&path, Some("third"));
    assert!(message.contains("`third`") && message.contains("xtts"), "{message}");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |config: &str| {
        std::fs::write(folder.path().join("config.json"), config).expect("written");
    };
    let tensors = weights("xtts-2");
    std::fs::rename(file(folder.path(), &tensors), folder.path().join("model.safetensors"))
        .expect("renamed");
    for (setting, word) in [
        (r#""heads": 4"#, "heads"),
        (r#""heads": 0"#, "heads"),
        (r#""heads": "many""#, "heads"),
        (r#""heads": 1e30"#, "heads"),
        (r#""family": "alexnet""#, "alexnet"),
        (r#""part": "elsewhere""#, "elsewhere."),
    ] {
        let family = if setting.contains("family") { "" } else { r#""family": "xtts", "# };
        write(&format!(r#"{{"model_type": "perceiver-family", {family}{setting}}}"#));
        let message = refusal(folder.path(), None);
        assert!(message.contains(word), "{setting}: {message}");
    }
}

/// Shapes in a file's header may be anything; nothing of their size is allocated.
#[test]
fn hostile_shapes_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, shape) in [
        ("latents", "[4294967296,4294967296]"),
        ("latents", "[0,0]"),
        ("latents", "[]"),
        ("latents", "[9223372036854775807]"),
        ("layers.0.0.to_kv.weight", "[1,9223372036854775807]"),
    ] {
        let names = ["latents", "norm.gamma", "layers.0.0.to_q.weight", "layers.0.0.to_kv.weight"];
        let names = names.iter().chain(&["layers.0.1.0.weight", "layers.0.1.2.weight"]);
        let entries = names.map(|n| {
            let shape = if *n == name { shape } else { "[0]" };
            format!(r#""{n}":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}"#)
        });
        let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        let path = folder.path().join("hostile.safetensors");
        std::fs::write(&path, bytes).expect("written");
        assert!(load(&path, None).is_err(), "{name} {shape}");
    }
}

fn shape_model() -> (Model, NamedTensors) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/shape-tiny");
    let model = Engine::cpu().load(&folder).expect("a model");
    (model, read_tensors(folder.join("example.safetensors")).expect("points"))
}

#[test]
fn latents_that_are_kept_are_decoded_as_a_whole_run_does() {
    let (model, mut inputs) = shape_model();
    let options = RunOptions::default();
    let points: Vec<f32> = (0..300).map(|i| (i as f32 * 0.37).sin()).collect();
    let queries = Tensor::f32(vec![1, 100, 3], points.clone()).expect("tensor");
    let (_, latents) = model.encode(&inputs, options, &mut |_, _| {}).expect("encoded");
    inputs.insert("queries".to_owned(), queries);
    let whole = model.run_with(&inputs, options, &mut |_, _| {}).expect("a run");
    let mut shape = ShapeDecoder::new(&model, &latents[0]).expect("a decoder");
    let (points, _) = points.as_chunks::<3>();
    let values = shape.values(points, &mut |_, _| {}).expect("values");
    let expected = whole["output"].as_f32().expect("floats");
    for (found, expected) in values.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{found} {expected}");
    }
}

/// What is read block by block has the same surface: the same signs and, beside it, the same numbers.
#[test]
fn coarse_to_fine_is_the_same_surface() {
    let (model, inputs) = shape_model();
    let (_, latents) =
        model.encode(&inputs, RunOptions::default(), &mut |_, _| {}).expect("encoded");
    let mut shape = ShapeDecoder::new(&model, &latents[0]).expect("a decoder");
    let mut volume = |block: usize| {
        let grid = Grid { cells: 48, bounds: [-1.0, 1.0], block };
        let mut layers = Vec::new();
        let mut layer = |_: usize, values: &[f32]| {
            layers.push(values.to_vec());
            Ok(())
        };
        shape.grid(&grid, &mut layer, &mut |_, _| {}).expect("a grid");
        layers
    };
    let (whole, fine) = (volume(1), volume(6));
    let n = 49;
    for (z, (whole, fine)) in whole.iter().zip(&fine).enumerate() {
        for at in 0..n * n {
            assert_eq!(whole[at] > 0.0, fine[at] > 0.0, "{at} of layer {z}");
            let crosses = at % n + 1 < n && (whole[at] > 0.0) != (whole[at + 1] > 0.0);
            if crosses {
                let off = (whole[at] - fine[at]).abs();
                assert!(off < 1e-3 * (1.0 + whole[at].abs()), "{at} of layer {z}: {off}");
            }
        }
    }
    let refused = Grid { cells: 10, bounds: [1.0, -1.0], block: 1 };
    assert!(shape.grid(&refused, &mut |_, _| Ok(()), &mut |_, _| {}).is_err());
}

/// What a training saved: weights within a mapping, beside a configuration of an unknown type, arguments, an optimiser.
#[test]
fn checkpoints_of_a_training_are_read_and_nothing_of_them_is_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("training.pth");
    std::fs::copy(fixtures().join("weights/training.pth"), &path).expect("copied");
    let config = std::fs::read(case("chatterbox-2").join("config.json")).expect("config");
    std::fs::write(folder.path().join("config.json"), config).expect("written");
    let model = load(&path, Some("cond_enc.perceiver")).expect("a model");
    let inputs = read_tensors(case("chatterbox-2").join("inputs.safetensors")).expect("inputs");
    let expected = read_tensors(case("chatterbox-2").join("outputs.safetensors")).expect("outputs");
    let found = model.run(&inputs, &mut |_, _| {}).expect("a run");
    let pairs = found["output"].as_f32().into_iter().flatten();
    for (found, expected) in pairs.zip(expected["output"].as_f32().into_iter().flatten()) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    // In its folder it has to be named.
    let message = refusal(folder.path(), Some("cond_enc.perceiver"));
    assert!(message.contains("name the file"), "{message}");
    // As weights alone it is refused by name.
    std::fs::rename(&path, folder.path().join("pytorch_model.bin")).expect("renamed");
    let message = refusal(folder.path(), Some("cond_enc.perceiver"));
    assert!(message.contains("not allowed"), "{message}");
}

#[test]
fn changed_checkpoints_of_a_training_never_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("training.pth");
    let whole = std::fs::read(fixtures().join("weights/training.pth")).expect("a file");
    let mut random = perceiver::internals::random::Random::new(16);
    for at in 0..600 {
        let mut bytes = whole.clone();
        for _ in 0..1 + at % 3 {
            let place = random.below(bytes.len());
            bytes[place] = random.below(256) as u8;
        }
        bytes.truncate(if at % 5 == 0 { random.below(whole.len()) } else { whole.len() });
        std::fs::write(&path, bytes).expect("written");
        // What comes of it is of no matter.
        let _ = load(&path, Some("perceiver")).map(|model| model.device_name().len());
    }
}
