//! Perceivers inside larger models: a file of a repository by name, and its part's tensors alone.

use std::collections::BTreeMap;
use std::fs;

use perceiver::checkpoint::{Checkpoint, read_tensors, write_tensors};
use perceiver::{Engine, NamedTensors, Tensor};

use super::server::{COMMIT, MODEL, Repository, Request, Server};
use super::{files, folder, message, says, torch};
use crate::common::fixtures;

const PART: &str = "gpt.conditioning_perceiver";
/// A configuration that is none of a Perceiver's, with what the fixtures' shapes do not tell.
const CONFIG: &str = r#"{"model": "speech", "heads": 3, "num_attn_heads": 3}"#;
/// Elements of the larger model around the part.
const LARGE: usize = 1 << 20;

fn weights(case: &str) -> NamedTensors {
    let folder = fixtures().join("families").join(case);
    read_tensors(folder.join("model.safetensors")).expect("weights")
}

/// XTTS's conditioning Perceiver with a large stranger before and one after it.
fn tensors() -> NamedTensors {
    let mut tensors = weights("xtts-0");
    for name in ["gpt.a", "gpt.z"] {
        let large = Tensor::f32(vec![LARGE], vec![1.0; LARGE]).expect("a tensor");
        tensors.insert(name.to_owned(), large);
    }
    tensors
}

fn bytes(tensors: &NamedTensors) -> Vec<u8> {
    let folder = folder();
    let path = folder.path().join("file");
    write_tensors(&path, tensors).expect("written");
    fs::read(path).expect("read")
}

/// A repository of these files and nothing else.
fn repository(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Repository {
    let files: BTreeMap<String, Vec<u8>> =
        files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    Repository { files, store: String::new() }
}

fn serve(repository: Repository) -> Server {
    Server::start(move |request| repository.answer(request))
}

/// Tensors that the path has, and whether it runs.
fn opened(path: &std::path::Path, part: Option<&str>) -> usize {
    Engine::cpu().load_part(path, part).expect("loads");
    let file = if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() };
    read_tensors(file).expect("tensors").len()
}

fn sent(requests: &[Request]) -> usize {
    let ranges = requests.iter().filter(|r| r.path.starts_with("/store") && r.method == "GET");
    let length = |r: &Request| r.asked().map_or(usize::MAX / 8, |(start, end)| end - start);
    ranges.map(length).sum()
}

#[test]
fn only_the_tensors_of_the_part_are_downloaded() {
    let file = "gpt/t3.safetensors";
    let config = ("gpt/config.json", CONFIG.into());
    let server = serve(repository([(file, bytes(&tensors())), config]));
    let cache = folder();
    let hub = server.hub(cache.path());
    let name = format!("{MODEL}/{file}");
    for part in [Some(PART), None] {
        let mut seen = Vec::new();
        let mut progress = |p: perceiver::hub::Progress<'_>| seen.push((p.done, p.total));
        let path = hub.part(&name, part, &mut progress).expect("downloaded");
        assert_eq!(
            opened(&path, part),
            weights("xtts-0").keys().filter(|n| n.starts_with(PART)).count()
        );
        let requests = server.requests();
        // The larger model's elements take megabytes; the header is asked for generously.
        assert!(sent(&requests) < LARGE, "{requests:?}");
        let last = seen.last().expect("progress");
        assert!(last.0 == last.1 && last.1 < 100_000, "{seen:?}");
        // Nothing that Python would take for the file.
        let there = files(cache.path());
        assert!(
            !there.iter().any(|f| f.contains("snapshots") && f.ends_with("safetensors")),
            "{there:?}"
        );
        // The revision is asked for again, nothing else; offline not even that.
        assert_eq!(hub.part(&name, part, &mut |_| {}).expect("cached"), path);
        assert_eq!(server.requests().len(), 1);
        let options = perceiver::hub::HubOptions { offline: true, ..server.options(cache.path()) };
        let offline = perceiver::hub::Hub::new(options).expect("a hub");
        assert_eq!(offline.part(&name, part, &mut |_| {}).expect("cached"), path);
        assert!(server.requests().is_empty());
    }
}

#[test]
fn a_part_of_shards_by_the_models_own_configuration() {
    let mut repository = repository([]);
    let case = fixtures().join("families/idefics-1");
    repository
        .files
        .insert("config.json".into(), fs::read(case.join("config.json")).expect("read"));
    let mut left = weights("idefics-1");
    let middle = left.keys().nth(left.len() / 2).expect("tensors").clone();
    let right = left.split_off(&middle);
    let mut places = serde_json::Map::new();
    for (number, mut tensors) in [(1, left), (2, right)] {
        let file = format!("model-0000{number}-of-00002.safetensors");
        let large = Tensor::f32(vec![LARGE], vec![1.0; LARGE]).expect("a tensor");
        tensors.insert(format!("lm_head.{number}"), large);
        places.extend(tensors.keys().map(|name| (name.clone(), file.clone().into())));
        repository.files.insert(file, bytes(&tensors));
    }
    let index = serde_json::json!({ "weight_map": places }).to_string();
    repository.files.insert("model.safetensors.index.json".into(), index.into_bytes());
    let server = serve(repository);
    let cache = folder();
    let path = server.hub(cache.path()).part(MODEL, None, &mut |_| {}).expect("downloaded");
    assert!(sent(&server.requests()) < LARGE);
    let model = Engine::cpu().load(&path).expect("loads");
    let inputs = read_tensors(case.join("inputs.safetensors")).expect("inputs");
    let run = |model: &perceiver::Model| model.run(&inputs, &mut |_, _| {}).expect("runs");
    assert_eq!(run(&model), run(&Engine::cpu().load(&case).expect("loads")));
}

#[test]
fn a_flipped_bit_of_a_part_is_found_and_repaired() {
    let file = "gpt/t3.safetensors";
    let server = serve(repository([(file, bytes(&tensors())), ("gpt/config.json", CONFIG.into())]));
    let cache = folder();
    let hub = server.hub(cache.path());
    let path = hub.part(&format!("{MODEL}/{file}"), Some(PART), &mut |_| {}).expect("downloaded");
    assert_eq!(hub.models_in_part().collect::<Vec<_>>(), [MODEL]);
    let well = || assert_eq!(hub.verify(MODEL, &mut |_| {}).expect("read"), Vec::<String>::new());
    well();
    let there = |name: &str| path.with_file_name(name);
    let names = ["model.safetensors", "config.json"];
    let contents = names.map(|name| fs::read(there(name)).expect("read"));
    for (name, content) in names.into_iter().zip(&contents) {
        let mut damaged = content.clone();
        damaged[content.len() / 2] ^= 4;
        fs::write(there(name), damaged).expect("written");
        let found = hub.verify(MODEL, &mut |_| {}).expect("read");
        assert!(found.len() == 1 && found[0].starts_with("parts"), "{found:?}");
        hub.repair(MODEL, &found, &mut |_| {}).expect("downloaded");
        assert_eq!(names.map(|name| fs::read(there(name)).expect("read")), contents);
        well();
    }
    // What a download that was broken off has left is not taken for right.
    fs::remove_file(there("origin.json")).expect("removed");
    let found = hub.verify(MODEL, &mut |_| {}).expect("read");
    assert_eq!(found.len(), 1);
    hub.repair(MODEL, &found, &mut |_| {}).expect("deleted");
    assert!(!path.exists());
}

#[test]
fn files_of_other_kinds_and_servers_without_ranges_give_the_whole_file() {
    let small = weights("xtts-0");
    let (name, part) = (format!("{MODEL}/model.pth"), Some(PART));
    let server = serve(repository([
        ("model.pth", torch::state_dict(&small)),
        ("config.json", CONFIG.into()),
    ]));
    let cache = folder();
    let path = server.hub(cache.path()).part(&name, part, &mut |_| {}).expect("downloaded");
    assert!(path.ends_with(format!("snapshots/{COMMIT}/model.pth")), "{path:?}");
    Engine::cpu().load_part(&path, part).expect("loads");

    let whole =
        repository([("a/model.safetensors", bytes(&tensors())), ("a/config.json", CONFIG.into())]);
    let server = Server::start(move |request| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        whole.answer(&plain)
    });
    let cache = folder();
    let name = format!("{MODEL}/a/model.safetensors@{COMMIT}");
    let path = server.hub(cache.path()).part(&name, part, &mut |_| {}).expect("downloaded");
    assert!(path.ends_with(format!("snapshots/{COMMIT}/a/model.safetensors")), "{path:?}");
    assert_eq!(opened(&path, part), tensors().len());
    // What the cache has whole is taken, whatever the part.
    server.requests();
    assert_eq!(server.hub(cache.path()).part(&name, None, &mut |_| {}).expect("cached"), path);
    assert!(server.requests().is_empty());
}

#[test]
fn what_breaks_off_leaves_nothing_and_what_is_absent_is_told() {
    let whole = bytes(&tensors());
    let served = repository([
        ("t3.safetensors", whole),
        ("s3gen.pth", Vec::new()),
        ("config.json", CONFIG.into()),
    ]);
    let breaking = served.clone();
    let cache = folder();
    let server = Server::start(move |request| {
        let mut reply = breaking.answer(request);
        if request.asked().is_some_and(|(start, _)| start > 0) {
            reply.cut = Some(reply.body.len() / 2);
        }
        reply
    });
    let name = format!("{MODEL}/t3.safetensors");
    let said = message(server.hub(cache.path()).part(&name, Some(PART), &mut |_| {}));
    says(&said, &["cannot be reached", "t3.safetensors"]);
    let there = files(cache.path());
    assert!(!there.iter().any(|f| f.contains("/refs/") || f.ends_with("safetensors")), "{there:?}");

    let server = serve(served);
    let hub = server.hub(cache.path());
    let refused = |name: &str, part| message(hub.part(name, part, &mut |_| {}));
    let said = refused(&format!("{MODEL}/t4.safetensors"), None);
    says(&said, &["no file `t4.safetensors`", "`s3gen.pth`, `t3.safetensors`", "tiny/model/FILE"]);
    says(&refused(MODEL, Some(PART)), &["no weights of a usual name", "`t3.safetensors`"]);
    says(&message(hub.snapshot(MODEL, &mut |_| {})), &["holds no model", "`t3.safetensors`"]);
    says(&refused(&name, Some("vision")), &["has no part under `vision`", "t3.safetensors"]);
    for odd in ["tiny/model/../x", "tiny/model//x", "tiny/model/"] {
        says(&refused(odd, None), &["ORGANISATION/NAME/FILE"]);
    }
}

/// A Perceiver by itself, which is most of its file, is downloaded as any file is, and its hash compared.
#[test]
fn a_file_that_is_the_part_comes_whole() {
    let mut perceiver = weights("chatterbox-1");
    perceiver.retain(|name, _| name.starts_with("cond_enc.perceiver."));
    let server = serve(repository([
        ("part.safetensors", bytes(&perceiver)),
        ("config.json", CONFIG.into()),
    ]));
    let cache = folder();
    let name = format!("{MODEL}/part.safetensors");
    let path = server.hub(cache.path()).part(&name, None, &mut |_| {}).expect("downloaded");
    assert!(path.ends_with(format!("snapshots/{COMMIT}/part.safetensors")), "{path:?}");
    // A whole Perceiver by its name is what `snapshot` gives.
    let server = serve(Repository::tiny());
    let cache = folder();
    let hub = server.hub(cache.path());
    let path = hub.part(MODEL, None, &mut |_| {}).expect("downloaded");
    assert_eq!(hub.snapshot(MODEL, &mut |_| {}).expect("cached"), path);
}

/// What a part's download keeps is enough for every family to be recognised as before.
#[test]
fn the_tensors_that_families_read_are_enough() {
    for entry in fs::read_dir(fixtures().join("families")).expect("cases") {
        let case = entry.expect("a case").path();
        let whole = Checkpoint::open(&case).expect("opens");
        let names = whole.description().tensors().expect("tensors");
        let mut few = read_tensors(case.join("model.safetensors")).expect("weights");
        few.retain(|name, _| names.iter().any(|(n, _)| n == name));
        let folder = folder();
        fs::copy(case.join("config.json"), folder.path().join("config.json")).expect("copied");
        write_tensors(folder.path().join("model.safetensors"), &few).expect("written");
        let again = Checkpoint::open(folder.path()).unwrap_or_else(|e| panic!("{case:?}: {e}"));
        assert!(again.description() == whole.description(), "{case:?}");
    }
}
