//! Downloads that end well: at once, after interruptions, from another server, in several files.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use perceiver::Engine;
use perceiver::checkpoint::{read_tensors, write_tensors};

use super::server::{COMMIT, MODEL, Reply, Repository, Server, TOKEN, WEIGHTS, etag, recorded};
use super::{files, folder, message, says, torch};

const ROOT: &str = "models--tiny--model";

#[test]
fn a_model_is_downloaded_once_and_runs() {
    let repository = Repository::tiny();
    let weights = repository.files[WEIGHTS].clone();
    let served = repository.clone();
    let server = Server::start(move |request| served.answer(request));
    let cache = folder();
    let hub = server.hub(cache.path());
    assert_eq!(hub.cached(MODEL).expect("a name"), None);

    let mut seen = Vec::new();
    let snapshot = hub
        .snapshot(MODEL, &mut |p| {
            seen.push((p.file.to_owned(), p.done, p.total));
        })
        .expect("downloaded");
    let sizes =
        ["config.json", "tokenizer_config.json", WEIGHTS].map(|f| repository.files[f].len());
    let total = sizes.iter().sum::<usize>() as u64;
    assert_eq!(seen.last(), Some(&(WEIGHTS.to_owned(), total, total)));
    assert!(seen.iter().all(|(_, done, of)| done <= of && *of == total));

    // The layout that Python reads.
    let blob = |file: &str| etag(file, &repository.files[file]);
    let mut expected = vec![
        format!("{ROOT}/blobs/{}", blob("config.json")),
        format!("{ROOT}/blobs/{}", blob("tokenizer_config.json")),
        format!("{ROOT}/blobs/{}", blob(WEIGHTS)),
        format!("{ROOT}/refs/main"),
        format!("{ROOT}/snapshots/{COMMIT}/config.json"),
        format!("{ROOT}/snapshots/{COMMIT}/{WEIGHTS}"),
        format!("{ROOT}/snapshots/{COMMIT}/tokenizer_config.json"),
    ];
    expected.sort();
    assert_eq!(files(cache.path()), expected);
    let root = cache.path().join(ROOT);
    assert_eq!(snapshot, root.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(root.join("refs/main")).expect("read"), COMMIT);
    assert_eq!(fs::read(snapshot.join(WEIGHTS)).expect("read"), weights);
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(snapshot.join(WEIGHTS)).expect("a link"),
        std::path::Path::new("../../blobs").join(blob(WEIGHTS))
    );
    let cached = hub.cached(MODEL).expect("a name").expect("cached");
    assert_eq!((cached.commit.as_str(), cached.bytes), (COMMIT, total));

    // A second call asks for the revision and nothing else, a pinned one for nothing.
    server.requests();
    let silent = &mut |_: perceiver::hub::Progress<'_>| panic!("nothing is downloaded");
    assert_eq!(hub.snapshot(MODEL, silent).expect("cached"), snapshot);
    assert_eq!(server.requests().len(), 1);
    let pinned = format!("{MODEL}@{COMMIT}");
    assert_eq!(hub.snapshot(&pinned, silent).expect("cached"), snapshot);
    assert!(server.requests().is_empty());

    // Another name of the same commit needs no more than a reference.
    let request = format!("{MODEL}@refs/pr/1");
    assert_eq!(hub.snapshot(&request, silent).expect("cached"), snapshot);
    assert_eq!(fs::read_to_string(root.join("refs/refs/pr/1")).expect("read"), COMMIT);

    // It is the model that was recorded.
    let model = Engine::cpu().load(&snapshot).expect("loads");
    let mut inputs = read_tensors(recorded().join("inputs.safetensors")).expect("inputs");
    inputs.retain(|name, _| ["input_ids", "attention_mask"].contains(&name.as_str()));
    let found = model.run(&inputs, &mut |_, _| {}).expect("runs");
    let expected = read_tensors(recorded().join("outputs.safetensors")).expect("outputs");
    let (found, expected) = (found["logits"].as_f32(), expected["logits"].as_f32());
    let (found, expected) = (found.expect("f32"), expected.expect("f32"));
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-3, "{f} {e}");
    }
}

#[test]
fn the_token_stays_with_the_hub() {
    let mut repository = Repository::tiny();
    let stored = repository.clone();
    let store = Server::start(move |request| stored.answer(request));
    repository.store.clone_from(&store.address);
    let server = Server::start(move |request| repository.answer(request));
    let cache = folder();
    let hub = server.hub(cache.path());
    hub.snapshot(MODEL, &mut |_| {}).expect("downloaded");
    let expected = format!("Bearer {TOKEN}");
    let asked = server.requests();
    assert!(asked.len() >= 4);
    for request in asked {
        assert_eq!(request.header("authorization"), Some(expected.as_str()));
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    let asked = store.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, format!("/store/{WEIGHTS}?signature=1"));
    assert_eq!(asked[0].header("authorization"), None);
}

/// A server whose first `cuts` answers with weights break off in the middle.
fn breaking(cuts: usize, knows_ranges: bool) -> Server {
    let repository = Repository::tiny();
    let asked = AtomicUsize::new(0);
    Server::start(move |request| {
        let mut plain = request.clone();
        if !knows_ranges {
            plain.headers.remove("range");
        }
        let mut reply = repository.answer(&plain);
        if request.path.starts_with("/store") && asked.fetch_add(1, Ordering::SeqCst) < cuts {
            reply.cut = Some(reply.body.len() / 2);
        }
        reply
    })
}

fn ranges(server: &Server) -> Vec<Option<String>> {
    let weights = |r: &super::server::Request| r.path.starts_with("/store");
    let asked = server.requests();
    let asked = asked.iter().filter(|r| weights(r));
    asked.map(|r| r.header("range").map(str::to_owned)).collect()
}

#[test]
fn what_breaks_off_goes_on_where_it_was() {
    let cache = folder();
    let server = breaking(2, true);
    let hub = server.hub(cache.path());
    let snapshot = hub.snapshot(MODEL, &mut |_| {}).expect("downloaded");
    let weights = &Repository::tiny().files[WEIGHTS];
    assert_eq!(&fs::read(snapshot.join(WEIGHTS)).expect("read"), weights);
    let half = weights.len() / 2;
    let three_quarters = half + (weights.len() - half) / 2;
    assert_eq!(
        ranges(&server),
        [None, Some(format!("bytes={half}-")), Some(format!("bytes={three_quarters}-"))]
    );
}

#[test]
fn a_server_without_ranges_starts_again() {
    let cache = folder();
    let server = breaking(1, false);
    let hub = server.hub(cache.path());
    let snapshot = hub.snapshot(MODEL, &mut |_| {}).expect("downloaded");
    let weights = &Repository::tiny().files[WEIGHTS];
    assert_eq!(&fs::read(snapshot.join(WEIGHTS)).expect("read"), weights);
    assert_eq!(ranges(&server).len(), 2);
}

#[test]
fn a_later_call_goes_on_too() {
    let cache = folder();
    // The store sends one half and is gone.
    let repository = Repository::tiny();
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = repository.answer(request);
        if request.path.starts_with("/store") {
            let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            reply.cut = Some(if first { reply.body.len() / 2 } else { 0 });
        }
        reply
    });
    let refused = message(server.hub(cache.path()).snapshot(MODEL, &mut |_| {}));
    says(&refused, &["broke off after", "is kept and used by the next try"]);
    let weights = &Repository::tiny().files[WEIGHTS];
    let blob = format!("{ROOT}/blobs/{}", etag(WEIGHTS, weights));
    let there = files(cache.path());
    assert!(there.contains(&format!("{blob}.incomplete")), "{there:?}");
    assert!(!there.contains(&blob) && !there.contains(&format!("{ROOT}/refs/main")));
    let hub = server.hub(cache.path());
    assert_eq!(hub.cached(MODEL).expect("a name"), None);

    let server = breaking(0, true);
    let hub = server.hub(cache.path());
    hub.snapshot(MODEL, &mut |_| {}).expect("downloaded");
    let half = weights.len() / 2;
    assert_eq!(ranges(&server), [Some(format!("bytes={half}-"))]);
    assert!(files(cache.path()).contains(&blob));
}

fn weights_of(repository: &Repository) -> &[u8] {
    &repository.files[WEIGHTS]
}

#[test]
fn a_part_of_something_else_is_thrown_away() {
    let repository = Repository::tiny();
    let weights = repository.files[WEIGHTS].clone();
    let cache = folder();
    let blobs = cache.path().join(ROOT).join("blobs");
    fs::create_dir_all(&blobs).expect("a folder");
    let part = blobs.join(format!("{}.incomplete", etag(WEIGHTS, &weights)));
    let served = repository.clone();
    let server = Server::start(move |request| match request.header("range") {
        // The file is shorter now, says the store.
        Some("bytes=10-") => Reply::new(416, "no such range"),
        Some("bytes=20-") => {
            Reply::new(206, &weights_of(&served)[..30]).with("Content-Range", "bytes 0-29/30")
        }
        _ => served.answer(request),
    });
    for length in [10, 20, weights.len() + 1] {
        let content = vec![0; length];
        fs::write(&part, content).expect("written");
        let snapshot = server.hub(cache.path()).snapshot(MODEL, &mut |_| {});
        let snapshot = snapshot.expect("downloaded");
        assert_eq!(fs::read(snapshot.join(WEIGHTS)).expect("read"), weights);
        fs::remove_file(blobs.join(etag(WEIGHTS, &weights))).expect("deleted");
        assert!(!part.exists());
    }
}

#[test]
fn weights_in_several_files() {
    let mut repository = Repository::tiny();
    let weights = recorded().join(WEIGHTS);
    repository.files.remove(WEIGHTS);
    let mut left = read_tensors(&weights).expect("weights");
    let middle = left.keys().nth(left.len() / 2).expect("tensors").clone();
    let right = left.split_off(&middle);
    let temporary = folder();
    let mut places = serde_json::Map::new();
    for (tensors, file) in [(left, "model-00001-of-00002"), (right, "model-00002-of-00002")] {
        let file = format!("{file}.safetensors");
        for name in tensors.keys() {
            places.insert(name.clone(), file.clone().into());
        }
        let path = temporary.path().join(&file);
        write_tensors(&path, &tensors).expect("written");
        repository.files.insert(file, fs::read(path).expect("read"));
    }
    let index = serde_json::json!({ "weight_map": places }).to_string();
    let name = "model.safetensors.index.json".to_owned();
    repository.files.insert(name, index.into_bytes());
    let server = Server::start(move |request| repository.answer(request));
    let cache = folder();
    let hub = server.hub(cache.path());
    let snapshot = hub.snapshot(MODEL, &mut |_| {}).expect("downloaded");
    assert!(snapshot.join("model-00002-of-00002.safetensors").exists());
    Engine::cpu().load(&snapshot).expect("loads");
    // One part missing makes it incomplete.
    assert!(hub.cached(MODEL).expect("a name").is_some());
    fs::remove_file(snapshot.join("model-00002-of-00002.safetensors")).expect("deleted");
    assert!(hub.cached(MODEL).expect("a name").is_none());
}

#[test]
fn torch_files_where_there_are_no_others() {
    let mut repository = Repository::tiny();
    let weights = read_tensors(recorded().join(WEIGHTS)).expect("weights");
    let old = "pytorch_model.bin";
    let content = torch::state_dict(&weights);
    repository.files.insert(old.to_owned(), content);
    let with_both = repository.clone();
    repository.files.remove(WEIGHTS);

    let server = Server::start(move |request| repository.answer(request));
    let cache = folder();
    let hub = server.hub(cache.path());
    let snapshot = hub.snapshot(MODEL, &mut |_| {}).expect("downloaded");
    assert!(snapshot.join(old).is_file() && !snapshot.join(WEIGHTS).exists());
    assert!(hub.cached(MODEL).expect("a name").is_some());
    let inputs = || {
        let mut inputs = read_tensors(recorded().join("inputs.safetensors")).expect("inputs");
        inputs.retain(|name, _| ["input_ids", "attention_mask"].contains(&name.as_str()));
        inputs
    };
    let run = |folder: &std::path::Path| {
        let model = Engine::cpu().load(folder).expect("loads");
        model.run(&inputs(), &mut |_, _| {}).expect("runs")
    };
    assert_eq!(run(&snapshot), run(&recorded()));

    // A repository that has both formats gives the safer one.
    let server = Server::start(move |request| with_both.answer(request));
    let cache = folder();
    let snapshot = server.hub(cache.path()).snapshot(MODEL, &mut |_| {});
    let snapshot = snapshot.expect("downloaded");
    assert!(!snapshot.join(old).exists() && snapshot.join(WEIGHTS).is_file());
    assert!(!server.requests().iter().any(|r| r.is_bytes_of(old)));
}

#[test]
fn torch_shards() {
    let mut repository = Repository::tiny();
    repository.files.remove(WEIGHTS);
    let mut left = read_tensors(recorded().join(WEIGHTS)).expect("weights");
    let middle = left.keys().nth(left.len() / 2).expect("tensors").clone();
    let right = left.split_off(&middle);
    let mut places = serde_json::Map::new();
    for (number, tensors) in [(1, left), (2, right)] {
        let file = format!("pytorch_model-0000{number}-of-00002.bin");
        for name in tensors.keys() {
            places.insert(name.clone(), file.clone().into());
        }
        repository.files.insert(file, torch::state_dict(&tensors));
    }
    let index = serde_json::json!({ "weight_map": places }).to_string();
    let name = "pytorch_model.bin.index.json".to_owned();
    repository.files.insert(name, index.into_bytes());
    let server = Server::start(move |request| repository.answer(request));
    let cache = folder();
    let snapshot = server.hub(cache.path()).snapshot(MODEL, &mut |_| {});
    Engine::cpu().load(snapshot.expect("downloaded")).expect("loads");
}

#[test]
fn a_description_needs_no_weights() {
    let repository = Repository::tiny();
    let server = Server::start(move |request| repository.answer(request));
    let cache = folder();
    let hub = server.hub(cache.path());
    let described = hub.description(MODEL, &mut |_| {}).expect("downloaded");
    assert!(described.join("config.json").is_file());
    assert!(!described.join(WEIGHTS).exists());
    assert!(!server.requests().iter().any(|r| r.is_bytes_of(WEIGHTS)));
    assert_eq!(hub.cached(MODEL).expect("a name"), None);
    hub.snapshot(MODEL, &mut |_| {}).expect("the rest");
    assert!(described.join(WEIGHTS).is_file());
}
