//! Without a network: what the cache has, also from Python, is found; what it lacks is said.

use std::fs;
use std::path::{Path, PathBuf};

use perceiver::hub::{Hub, HubOptions};

use super::server::{COMMIT, MODEL, Reply, Repository, Server, WEIGHTS, etag};
use super::{files, folder, message, says};

/// A cache as `huggingface_hub` leaves it, with these files of the model.
fn as_python_leaves_it(cache: &Path, names: &[&str]) -> PathBuf {
    let root = cache.join("models--tiny--model");
    let snapshot = root.join("snapshots").join(COMMIT);
    for folder in [root.join("blobs"), root.join("refs"), snapshot.clone()] {
        fs::create_dir_all(folder).expect("a folder");
    }
    fs::create_dir_all(root.join(".no_exist").join(COMMIT)).expect("a folder");
    fs::write(root.join(".no_exist").join(COMMIT).join("adapter_config.json"), "")
        .expect("written");
    fs::write(cache.join("version.txt"), "1").expect("written");
    fs::write(root.join("refs/main"), COMMIT).expect("written");
    let repository = Repository::tiny();
    for name in names {
        let content = repository.files.get(*name).map_or(&b"content"[..], |c| c);
        let blob = etag(name, content);
        fs::write(root.join("blobs").join(&blob), content).expect("written");
        #[cfg(unix)]
        std::os::unix::fs::symlink(Path::new("../../blobs").join(&blob), snapshot.join(name))
            .expect("a link");
        #[cfg(not(unix))]
        fs::copy(root.join("blobs").join(&blob), snapshot.join(name)).expect("copied");
    }
    snapshot
}

fn offline(cache: &Path) -> Hub {
    Hub::new(HubOptions {
        endpoint: "http://127.0.0.1:9".to_owned(),
        offline: true,
        ..HubOptions::new(cache)
    })
    .expect("a hub")
}

#[test]
fn offline_takes_what_python_left() {
    let cache = folder();
    let snapshot = as_python_leaves_it(cache.path(), &["config.json", WEIGHTS]);
    let before = files(cache.path());
    let hub = offline(cache.path());
    for model in [MODEL.to_owned(), format!("{MODEL}@{COMMIT}")] {
        let found = hub.snapshot(&model, &mut |_| {}).expect("cached");
        assert_eq!(found, snapshot);
    }
    let cached = hub.cached(MODEL).expect("a name").expect("cached");
    assert_eq!(cached.folder, snapshot);
    assert_eq!(files(cache.path()), before);
    perceiver::Engine::cpu().load(&snapshot).expect("loads");
}

#[test]
fn old_weights_are_weights() {
    let cache = folder();
    let snapshot = as_python_leaves_it(cache.path(), &["config.json", "pytorch_model.bin"]);
    let found = offline(cache.path()).snapshot(MODEL, &mut |_| {});
    assert_eq!(found.expect("cached"), snapshot);
}

#[test]
fn offline_says_what_is_missing() {
    let cache = folder();
    let hub = offline(cache.path());
    let said = message(hub.snapshot(MODEL, &mut |_| {}));
    says(
        &said,
        &[
            "is not in the cache",
            "models--tiny--model has no revision `main`",
            "HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE to download it",
            "HF_HUB_CACHE",
        ],
    );
    as_python_leaves_it(cache.path(), &["config.json", "README.md"]);
    let said = message(hub.snapshot(MODEL, &mut |_| {}));
    says(&said, &[COMMIT, "lacks its configuration or a part of its weights"]);
    assert!(hub.description(MODEL, &mut |_| {}).is_ok());
    let said = message(hub.snapshot("tiny/model@v2", &mut |_| {}));
    says(&said, &["model `tiny/model@v2`", "has no revision `v2`"]);
}

#[test]
fn a_link_that_leads_nowhere_is_no_file() {
    let cache = folder();
    let snapshot = as_python_leaves_it(cache.path(), &["config.json", WEIGHTS]);
    let repository = Repository::tiny();
    let blob = etag(WEIGHTS, &repository.files[WEIGHTS]);
    fs::remove_file(cache.path().join("models--tiny--model/blobs").join(blob)).expect("deleted");
    #[cfg(not(unix))]
    fs::remove_file(snapshot.join(WEIGHTS)).expect("deleted");
    message(offline(cache.path()).snapshot(MODEL, &mut |_| {}));
    let server = Server::start(move |r| repository.answer(r));
    let found = server.hub(cache.path()).snapshot(MODEL, &mut |_| {});
    assert_eq!(found.expect("downloaded"), snapshot);
    assert!(snapshot.join(WEIGHTS).is_file());
    // What was whole is not downloaded again.
    assert!(!server.requests().iter().any(|r| r.is_bytes_of("/config.json")));
}

#[test]
fn without_a_network_the_cache_serves() {
    let nobody = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let cache = folder();
    let options = HubOptions {
        endpoint: format!("http://127.0.0.1:{}/", nobody()),
        ..HubOptions::new(cache.path())
    };
    let hub = Hub::new(options).expect("a hub");
    let said = message(hub.snapshot(MODEL, &mut |_| {}));
    says(
        &said,
        &[
            "is not in the cache",
            "has no revision `main`",
            "/api/models/tiny/model/revision/main",
            "cannot be reached",
            "check the network",
            "HF_ENDPOINT",
        ],
    );
    let snapshot = as_python_leaves_it(cache.path(), &["config.json", WEIGHTS]);
    assert_eq!(hub.snapshot(MODEL, &mut |_| {}).expect("cached"), snapshot);
    // A hub in trouble is no better than none.
    let server = Server::start(|_| Reply::new(502, ""));
    let found = server.hub(cache.path()).snapshot(MODEL, &mut |_| {});
    assert_eq!(found.expect("cached"), snapshot);
    // But one that says no has said no.
    let server = Server::start(|_| Reply::new(401, ""));
    let said = message(server.hub(cache.path()).snapshot(MODEL, &mut |_| {}));
    says(&said, &["does not exist or is private"]);
}
