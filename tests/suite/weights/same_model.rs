//! Every recorded model, all seven classes, gives the same from each format, bit for bit.

use std::fs;
use std::path::Path;

use crate::common::runner::{self, RunnerOptions};
use perceiver::checkpoint::{Checkpoint, WeightFormat, read_tensors};
use perceiver::{Engine, NamedTensors, PerceiverConfig};

use super::{cases, folder, golden, haiku, refusal, write, writer};

fn outputs(model: &Path, case: &Path) -> NamedTensors {
    let model = Engine::cpu().load(model).expect("loads");
    let mut inputs = read_tensors(case.join("inputs.safetensors")).expect("inputs");
    inputs.remove("raw.tiled_frames");
    let options = RunnerOptions::default();
    runner::run(&model, &inputs, &options, &mut |_, _| {}).expect("runs")
}

/// A folder with a case's configuration and these weights.
fn model(case: &Path, weights: &str, content: &[u8]) -> tempfile::TempDir {
    let folder = folder();
    fs::copy(case.join("config.json"), folder.path().join("config.json")).expect("copied");
    write(folder.path(), weights, content);
    folder
}

#[test]
fn all_formats_give_the_same_outputs() {
    for case in cases() {
        let tensors = read_tensors(case.join("model.safetensors")).expect("weights");
        let expected = outputs(&case, &case);
        let torch = model(&case, "pytorch_model.bin", &writer::state_dict(&tensors));
        assert_eq!(outputs(torch.path(), &case), expected, "torch: {}", case.display());
        let architecture = PerceiverConfig::read(&case).expect("read").architecture;
        let pickle = haiku::pickle(architecture, &tensors);
        let haiku = model(&case, "params.pystate", &pickle);
        assert_eq!(outputs(haiku.path(), &case), expected, "haiku: {}", case.display());
        let open = Checkpoint::open(haiku.path()).expect("open");
        assert_eq!(open.format(), WeightFormat::Haiku);
    }
}

#[test]
fn torch_shards_are_read_through_their_index() {
    let case = golden("mlm-v1-s0");
    let tensors = read_tensors(case.join("model.safetensors")).expect("weights");
    let mut shards = [NamedTensors::new(), NamedTensors::new()];
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        shards[i % 2].insert(name.clone(), tensor.clone());
        let file = format!("pytorch_model-0000{}-of-00002.bin", i % 2 + 1);
        map.insert(name.clone(), file.into());
    }
    let [first, second] = shards.map(|shard| writer::state_dict(&shard));
    let folder = model(&case, "pytorch_model-00001-of-00002.bin", &first);
    write(folder.path(), "pytorch_model-00002-of-00002.bin", &second);
    let index = serde_json::json!({ "weight_map": map }).to_string();
    let name = "pytorch_model.bin.index.json";
    write(folder.path(), name, index.as_bytes());
    assert_eq!(outputs(folder.path(), &case), outputs(&case, &case));
}

#[test]
fn safetensors_come_first() {
    let case = golden("mlm-v1-s0");
    let folder = model(&case, "pytorch_model.bin", b"PK\x03\x04 and nothing else");
    write(folder.path(), "odd.pickle", b"nothing");
    let parts = ["pytorch_model.bin", "is no zip archive that can be read"];
    refusal(Checkpoint::open(folder.path()), &parts);
    let whole = "model.safetensors";
    fs::copy(case.join(whole), folder.path().join(whole)).expect("copied");
    let open = Checkpoint::open(folder.path()).expect("open");
    assert_eq!(open.format(), WeightFormat::Safetensors);
}

#[test]
fn two_pickles_are_one_too_many() {
    let case = golden("mlm-v1-s0");
    let folder = model(&case, "a.pickle", b"nothing");
    write(folder.path(), "b.pystate", b"nothing");
    let parts = ["has 2 pickles: a.pickle, b.pystate; leave the one"];
    refusal(Checkpoint::open(folder.path()), &parts);
}

#[test]
fn differing_arrays_of_haiku_are_all_named_at_once() {
    let case = golden("mlm-v1-s0");
    let mut tensors = read_tensors(case.join("model.safetensors")).expect("weights");
    tensors.remove("embedding_decoder.bias");
    let bent = tensors.remove("perceiver.embeddings.latents").expect("there");
    let bent = bent.reshape(vec![36, 5]).expect("reshaped");
    tensors.insert("perceiver.embeddings.latents".to_owned(), bent);
    let architecture = PerceiverConfig::read(&case).expect("read").architecture;
    let mut pickle = haiku::pickle(architecture, &tensors);
    // A module that no model has.
    let from = b"perceiver_encoder/~/self_attention/mlp/linear_1";
    let at = pickle.windows(from.len()).position(|w| w == from);
    pickle[at.expect("there") + from.len() - 1] = b'7';
    let folder = model(&case, "params.pickle", &pickle);
    refusal(
        Engine::cpu().load(folder.path()),
        &[
            "(3 missing, 2 unexpected, 1 of another shape)",
            "missing: embedding_decoder.bias [262]",
            "unexpected: perceiver_encoder/~/self_attention/mlp/linear_7/w",
            "perceiver.embeddings.latents: expected [5, 36], found [36, 5]",
        ],
    );
}

#[test]
fn buffers_of_integers_are_passed_over() {
    let case = golden("mlm-v1-s0");
    let mut tensors = read_tensors(case.join("model.safetensors")).expect("weights");
    let ids = perceiver::Tensor::i64(vec![1, 3], vec![0, 1, 2]).expect("a tensor");
    let name = "perceiver.input_preprocessor.position_ids".to_owned();
    tensors.insert(name, ids.clone());
    let folder = model(&case, "pytorch_model.bin", &writer::state_dict(&tensors));
    Engine::cpu().load(folder.path()).expect("loads");
    tensors.insert("perceiver.odd".to_owned(), ids);
    write(folder.path(), "pytorch_model.bin", &writer::state_dict(&tensors));
    let parts = ["unexpected: perceiver.odd [1, 3]"];
    refusal(Engine::cpu().load(folder.path()), &parts);
}
