//! Readers and writers of checkpoints: what is right is read right, what is hostile is an error with
//! a message that says what, where and what to try.

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use perceiver::checkpoint::{Checkpoint, read_tensors, write_tensors};
use perceiver::internals::checkpoint::TensorFile;
use perceiver::internals::weights::TensorSource;
use perceiver::{Engine, Error, NamedTensors, PerceiverConfig, Tensor};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::common;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A safetensors file from a header and data.
fn file(folder: &Path, header: &str, data: &[u8]) -> PathBuf {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    write(folder, &bytes)
}

fn write(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("t.safetensors");
    fs::write(&path, bytes).expect("written");
    path
}

fn refusal(path: &Path) -> String {
    let error = TensorFile::open(path).expect_err("must be refused");
    assert!(error.to_string().contains("t.safetensors"), "{error}");
    error.to_string()
}

#[test]
fn all_float_types_are_read() {
    let folder = folder();
    let mut data = Vec::new();
    for x in [1.5f32, -2.0] {
        data.extend(x.to_le_bytes());
    }
    for x in [1.5, -2.0] {
        data.extend(f16::from_f32(x).to_le_bytes());
    }
    for x in [1.5, -2.0] {
        data.extend(bf16::from_f32(x).to_le_bytes());
    }
    for x in [1.5f64, -2.0] {
        data.extend(x.to_le_bytes());
    }
    // An odd header length leaves the data unaligned.
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"c":{"dtype":"BF16","shape":[1,2],"data_offsets":[12,16]},"d":{"dtype":"F64","shape":[2,1],"data_offsets":[16,32]}}"#;
    for pad in ["", " "] {
        let path = file(folder.path(), &format!("{header}{pad}"), &data);
        let open = TensorFile::open(&path).expect("open");
        for name in ["a", "b", "c", "d"] {
            assert_eq!(open.read_f32(name).expect(name), [1.5, -2.0]);
        }
    }
}

#[test]
fn damaged_and_hostile_files_are_refused() {
    let temporary = folder();
    let at = temporary.path();
    let one = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let check = |path: PathBuf, wanted: &str| {
        let text = refusal(&path);
        assert!(text.contains(wanted), "{text}\nwanted {wanted}");
    };
    check(write(at, b"abc"), "has 3 bytes, a header alone takes more");
    check(write(at, b""), "has 0 bytes");
    check(
        write(at, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "is a git-lfs pointer, not the weights; run `git lfs pull`",
    );
    check(write(at, &[0xff; 40]), "states a header of 18446744073709551615 bytes");
    check(file(at, "{", &[]), "has a header that makes no sense");
    check(file(at, one, &[0; 7]), "is truncated: tensor `a` ends at byte 8, 7 are there");
    check(file(at, one, &[0; 9]), "has 9 bytes of data, its header describes 8");
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    check(file(at, overlap, &[0; 12]), "has a header that makes no sense");
    let huge = r#"{"a":{"dtype":"U8","shape":[18446744073709551600],"data_offsets":[0,18446744073709551600]}}"#;
    check(file(at, huge, &[0; 4]), "t.safetensors");
    let overflow =
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#;
    check(file(at, overflow, &[0; 8]), "has a header that makes no sense");
    let axes = format!(
        r#"{{"a\u001b[2J":{{"dtype":"F32","shape":{:?},"data_offsets":[0,4]}}}}"#,
        [1; 300]
    );
    check(file(at, &axes, &[0; 4]), r"tensor `a\u{1b}[2J` has 300 axes, at most 8 are read");
    let kind = r#"{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#;
    check(file(at, kind, &[0; 4]), "supported are F32, F16, BF16, F64");
    let missing = at.join("none.safetensors");
    let text = TensorFile::open(&missing).expect_err("not there").to_string();
    assert!(text.starts_with("cannot read ") && text.contains("none.safetensors"), "{text}");
}

/// A copy of a recorded case that a test may damage.
fn copy_of_case() -> TempDir {
    let folder = folder();
    for name in ["config.json", "model.safetensors"] {
        let from = common::fixtures().join("golden/mlm-v1-s0").join(name);
        fs::copy(from, folder.path().join(name)).expect("copied");
    }
    folder
}

#[test]
fn differing_tensors_are_all_named_at_once() {
    let folder = copy_of_case();
    let path = folder.path().join("model.safetensors");
    let mut tensors = read_tensors(&path).expect("read");
    tensors.remove("embedding_decoder.bias");
    tensors.remove("perceiver.embeddings.latents");
    tensors.insert("extra".to_owned(), Tensor::f32(vec![1], vec![0.0]).expect("t"));
    let bent = Tensor::f32(vec![3], vec![0.0; 3]).expect("t");
    tensors.insert("perceiver.input_preprocessor.embeddings.weight".to_owned(), bent);
    write_tensors(&path, &tensors).expect("written");
    let error = Engine::cpu().load(folder.path()).expect_err("refused");
    assert!(matches!(error, Error::Tensors { .. }));
    let text = error.to_string();
    for part in [
        "(2 missing, 1 unexpected, 1 of another shape)",
        "missing: embedding_decoder.bias [262]",
        "missing: perceiver.embeddings.latents [5, 36]",
        "unexpected: extra [1]",
        "perceiver.input_preprocessor.embeddings.weight: expected [262, 24], found [3]",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn shards_are_read_and_checked() {
    let folder = copy_of_case();
    let at = folder.path();
    let whole = read_tensors(at.join("model.safetensors")).expect("read");
    fs::remove_file(at.join("model.safetensors")).expect("removed");
    let mut shards = [NamedTensors::new(), NamedTensors::new()];
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in whole.iter().enumerate() {
        shards[i % 2].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), format!("shard-{}.safetensors", i % 2).into());
    }
    for (i, shard) in shards.iter().enumerate() {
        write_tensors(at.join(format!("shard-{i}.safetensors")), shard).expect("written");
    }
    let index = |map: &serde_json::Map<String, serde_json::Value>| {
        let text = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
        fs::write(at.join("model.safetensors.index.json"), text).expect("written");
    };
    index(&map);
    let open = Checkpoint::open(at).expect("open");
    for (name, tensor) in &whole {
        assert_eq!(open.read_f32(name).expect(name), tensor.as_f32().expect("f32"));
    }
    Engine::cpu().load(at).expect("complete");

    let refused = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>),
                   wanted: &str| {
        let mut changed = map.clone();
        change(&mut changed);
        index(&changed);
        let text = Checkpoint::open(at).expect_err("refused").to_string();
        assert!(text.contains(wanted), "{text}");
    };
    refused(
        &|m| {
            m.insert("x".to_owned(), "../secret.safetensors".into());
        },
        "which is no plain file name",
    );
    refused(
        &|m| {
            m.insert("x".to_owned(), "shard-7.safetensors".into());
        },
        "names the shard `shard-7.safetensors`, which is not there",
    );
    refused(
        &|m| {
            m.insert("x".to_owned(), "shard-0.safetensors".into());
        },
        "says that `x` is in `shard-0.safetensors`, where it is not",
    );
    fs::write(at.join("model.safetensors.index.json"), "[]").expect("written");
    let text = Checkpoint::open(at).expect_err("refused").to_string();
    assert!(text.contains("makes no sense"), "{text}");
}

#[test]
fn folders_without_weights_say_what_to_do() {
    let folder = copy_of_case();
    let at = folder.path();
    fs::remove_file(at.join("model.safetensors")).expect("removed");
    let text = Checkpoint::open(at).expect_err("refused").to_string();
    assert!(text.contains("has no model.safetensors") && text.contains("download"), "{text}");
    fs::write(at.join("pytorch_model.bin"), b"PK").expect("written");
    let text = Checkpoint::open(at).expect_err("refused").to_string();
    assert!(text.contains("pytorch_model.bin: has 2 bytes, a header alone takes more"), "{text}");
    let text = Checkpoint::open(at.join("none")).expect_err("refused").to_string();
    assert!(text.contains("is not a folder"), "{text}");
}

/// A file may have any number of names, of any length: a message has a few lines.
#[test]
fn reports_are_short() {
    let folder = copy_of_case();
    let mut tensors = NamedTensors::new();
    for i in 0..5000 {
        let name = format!("{i}\u{1b}[2J{}", "x".repeat(i));
        tensors.insert(name, Tensor::f32(vec![1], vec![0.0]).expect("t"));
    }
    write_tensors(folder.path().join("model.safetensors"), &tensors).expect("written");
    let error = Engine::cpu().load(folder.path()).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("5000 unexpected, 0 of another shape"), "{text}");
    assert!(text.contains("… and 4990 more unexpected"), "{text}");
    assert!(text.len() < 6000 && !text.contains('\u{1b}'), "{text}");
}

/// Opening a pipe would wait for a writer.
#[cfg(unix)]
#[test]
fn pipes_are_no_checkpoints() {
    for (name, wanted) in [
        ("model.safetensors", "model.safetensors: it is not a regular file"),
        ("config.json", "config.json: it is not a regular file"),
    ] {
        let folder = copy_of_case();
        let path = folder.path().join(name);
        fs::remove_file(&path).expect("removed");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        let text = Checkpoint::open(folder.path()).expect_err("refused").to_string();
        assert!(text.contains(wanted), "{text}");
    }
}

/// A file with holes may be longer than the memory there is.
#[cfg(target_os = "linux")]
#[test]
fn files_with_holes_are_no_end() {
    // Where memory is promised without limit, nobody can say that there is none.
    let promised = fs::read_to_string("/proc/sys/vm/overcommit_memory");
    if promised.is_ok_and(|mode| mode.trim() == "1") {
        return;
    }
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let size = 1u64 << 43;
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}"#);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    fs::write(&path, &bytes).expect("written");
    let sparse = fs::OpenOptions::new().write(true).open(&path).expect("open");
    if sparse.set_len(bytes.len() as u64 + size).is_err() {
        return; // A file system without holes cannot make such a file.
    }
    let text = read_tensors(&path).expect_err("refused").to_string();
    let parts = ["needs 8192.0GiB of memory", "cannot map"];
    assert!(parts.iter().any(|part| text.contains(part)), "{text}");
}

#[test]
fn keys_that_would_change_the_mathematics_are_refused() {
    let base = r#""architectures":["PerceiverForMaskedLM"]"#;
    for (key, value) in [
        ("num_latent", "12"),
        ("num_cross_attention_layers", "2"),
        ("self_attention_type", "\"linear\""),
        ("rotary_embeddings", "true"),
        ("quantization_config", "{\"bits\":4}"),
        ("is_decoder", "true"),
    ] {
        let json = format!("{{{base},\"{key}\":{value}}}");
        let text = PerceiverConfig::from_json(&json, "c.json").expect_err("refused").to_string();
        let wanted =
            format!("c.json: `{key}` is no key of a Perceiver, and by its name it changes");
        assert!(text.starts_with(&wanted), "{text}");
        for nothing in ["null", "false", "0", "\"\"", "[]", "{}"] {
            let json = format!("{{{base},\"{key}\":{nothing}}}");
            PerceiverConfig::from_json(&json, "c.json").expect("asks for nothing");
        }
    }
    // What save_pretrained of all versions writes, and what people add.
    let harmless = r#""_name_or_path":"x","transformers_version":"4.13.0","torch_dtype":"float32",
        "dtype":"float32","layer_norm_eps":1e-12,"attention_probs_dropout_prob":0.1,
        "initializer_range":0.02,"output_attentions":true,"output_hidden_states":true,"return_dict":true,
        "chunk_size_feed_forward":3,"tie_word_embeddings":true,"attn_implementation":"eager",
        "label2id":{"a":0},"finetuning_task":"sst2","_commit_hash":"abc","use_cache":true,
        "pruned_heads":{},"problem_type":null,"seq_len":2048"#;
    PerceiverConfig::from_json(&format!("{{{base},{harmless}}}"), "c.json").expect("a model");
}

#[test]
fn configurations_are_checked() {
    let base = r#""architectures":["PerceiverForMaskedLM"]"#;
    let refused = |json: &str, wanted: &str| {
        let text = PerceiverConfig::from_json(json, "c.json").expect_err("refused").to_string();
        assert!(text.starts_with("c.json: ") && text.contains(wanted), "{text}");
    };
    refused("{", "is not JSON");
    refused("[]", "is JSON but no object");
    refused(
        "{}",
        "`architectures` names no class; supported: PerceiverForMaskedLM, PerceiverForSequence",
    );
    refused(r#"{"architectures":["BertModel"]}"#, "names \"BertModel\"");
    refused(&format!("{{{base},\"model_type\":\"bert\"}}"), "`model_type` is \"bert\"");
    refused(
        &format!("{{{base},\"id2label\":[]}}"),
        "`id2label` is []; give an object of numbers and names",
    );
    refused(
        &format!("{{{base},\"id2label\":{{\"0\":\"a\",\"7\":\"b\"}}}}"),
        "`id2label` has the key \"7\" among 2 names; keys must be the numbers from 0",
    );
    refused(
        &format!("{{{base},\"id2label\":{{\"0\":\"a\",\"00\":\"b\"}}}}"),
        "`id2label` has the same number twice",
    );
    refused(
        &format!("{{{base},\"num_labels\":3,\"id2label\":{{\"0\":\"a\"}}}}"),
        "`id2label` has 1 names; num_labels says another number",
    );
    refused(&format!("{{{base},\"num_labels\":4000000000}}"), "`num_labels` is 4000000000");
    let clip =
        r#""num_cross_attention_heads":1,"architectures":["PerceiverForMultimodalAutoencoding"]"#;
    refused(
        &format!("{{{clip},\"output_shape\":[1,16,32,32]}}"),
        "`output_shape` is [1, 16, 32, 32]; num_frames and image_size",
    );
    refused(
        &format!("{{{clip},\"samples_per_patch\":7}}"),
        "`samples_per_patch` is 7 for 30720 samples; it must divide",
    );
    refused(
        &format!("{{{clip},\"output_shape\":3}}"),
        "`output_shape` is 3; give [1, frames, height, width]",
    );
    refused(&format!("{{{base},\"num_latents\":-1}}"), "`num_latents` is -1; give a whole number");
    refused(&format!("{{{base},\"num_latents\":0}}"), "`num_latents` is 0; 1 to ");
    refused(&format!("{{{base},\"d_latents\":\"x\"}}"), "`d_latents` is \"x\"");
    refused(&format!("{{{base},\"hidden_act\":\"relu\"}}"), "`hidden_act` is \"relu\"");
    refused(&format!("{{{base},\"num_self_attention_heads\":7}}"), "it must divide d_latents");
    refused(&format!("{{{base},\"v_channels\":64}}"), "it must equal d_latents");
    refused(&format!("{{{base},\"num_blocks\":1000000}}"), "at most 16384 are possible");
    refused(&format!("{{{base},\"train_size\":[1]}}"), "give [height, width]");
    refused(&format!("{{{base},\"use_query_residual\":3}}"), "give true or false");
    refused(
        &format!("{{{base},\"cross_attention_shape_for_attention\":\"x\"}}"),
        "\"kv\" and \"q\" are possible",
    );
    refused(&format!("{{{base},\"vocab_size\":1048576,\"d_model\":1048576}}"), "makes an array of");
    PerceiverConfig::from_json(&format!("{{{base}}}"), "c.json").expect("the defaults are a model");
}

#[test]
fn a_failed_write_leaves_nothing() {
    let folder = folder();
    let tensors = NamedTensors::from([("a".to_owned(), Tensor::i64(vec![1], vec![7]).expect("t"))]);
    let nowhere = folder.path().join("none/out.safetensors");
    let text = write_tensors(&nowhere, &tensors).expect_err("refused").to_string();
    assert!(text.starts_with("cannot create "), "{text}");
    // A folder stands where the file should go.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).expect("made");
    write_tensors(&taken, &tensors).expect_err("refused");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("read").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(
        floats in prop::collection::vec(prop::num::f32::NORMAL, 0..40),
        whole in prop::collection::vec(any::<i64>(), 0..40),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let folder = folder();
        let path = folder.path().join("t.safetensors");
        let tensors = NamedTensors::from([
            ("f".to_owned(), Tensor::f32(vec![floats.len()], floats).expect("t")),
            ("i".to_owned(), Tensor::i64(vec![1, whole.len()], whole).expect("t")),
            ("b".to_owned(), Tensor::new(vec![bytes.len()], perceiver::Data::U8(bytes)).expect("t")),
        ]);
        write_tensors(&path, &tensors).expect("written");
        prop_assert_eq!(read_tensors(&path).expect("read"), tensors);
    }

    /// Any change of bytes gives an error or a file that can be read to the end, never a panic.
    #[test]
    fn changed_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        truncate: bool,
    ) {
        let folder = folder();
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I16","shape":[2,1],"data_offsets":[8,12]}}"#;
        let path = file(folder.path(), header, &[1; 12]);
        let mut bytes = fs::read(&path).expect("read");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, &bytes).expect("written");
        if let Ok(tensors) = read_tensors(&path) {
            let total: usize = tensors.values().map(|t| t.shape().iter().product::<usize>()).sum();
            prop_assert!(total <= bytes.len());
        }
    }

    #[test]
    fn random_headers_never_panic(header in "[\\{\\}\\[\\]\":,a0-9FU8dtypeshaof_s]{0,120}", data in 0usize..16) {
        let folder = folder();
        let path = file(folder.path(), &header, &vec![0; data]);
        let _ = read_tensors(&path);
        let _ = PerceiverConfig::from_json(&header, "header");
    }
}
