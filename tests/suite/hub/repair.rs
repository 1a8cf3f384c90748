//! What is damaged in the cache is found and downloaded again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use perceiver::hub::{Hub, HubOptions};

use super::server::{COMMIT, MODEL, Reply, Repository, Server, WEIGHTS, etag};
use super::{folder, message, says};

const ROOT: &str = "models--tiny--model";

fn downloaded(cache: &Path) -> (Repository, Server, Hub) {
    let repository = Repository::tiny();
    let served = repository.clone();
    let server = Server::start(move |request| served.answer(request));
    let hub = server.hub(cache);
    hub.snapshot(MODEL, &mut |_| {}).expect("downloaded");
    (repository, server, hub)
}

#[test]
fn a_truncated_blob_is_downloaded_again() {
    let cache = folder();
    let (repository, _server, hub) = downloaded(cache.path());
    let weights = &repository.files[WEIGHTS];
    let blob = cache.path().join(ROOT).join("blobs").join(etag(WEIGHTS, weights));
    // A commit is not looked up, but weights that do not open are not taken for whole.
    for model in [MODEL.to_owned(), format!("{MODEL}@{COMMIT}")] {
        for length in [0, 1000, weights.len() - 1] {
            fs::write(&blob, &weights[..length]).expect("written");
            let snapshot = hub.snapshot(&model, &mut |_| {}).expect("downloaded");
            assert_eq!(&fs::read(snapshot.join(WEIGHTS)).expect("read"), weights, "{length}");
        }
    }
}

#[test]
fn a_copy_in_place_of_a_link_is_replaced() {
    let cache = folder();
    let (repository, _server, hub) = downloaded(cache.path());
    let place = cache.path().join(ROOT).join("snapshots").join(COMMIT).join(WEIGHTS);
    fs::remove_file(&place).expect("deleted");
    fs::write(&place, "half").expect("written");
    let snapshot = hub.snapshot(MODEL, &mut |_| {}).expect("downloaded");
    assert_eq!(fs::read(snapshot.join(WEIGHTS)).expect("read"), repository.files[WEIGHTS]);
}

#[test]
fn a_flipped_bit_is_found_and_repaired() {
    let cache = folder();
    let (repository, _server, hub) = downloaded(cache.path());
    assert_eq!(hub.verify(MODEL, &mut |_| {}).expect("read"), Vec::<String>::new());
    for file in [WEIGHTS, "config.json"] {
        let content = &repository.files[file];
        let mut damaged = content.clone();
        damaged[content.len() / 2] ^= 4;
        let blob = cache.path().join(ROOT).join("blobs").join(etag(file, content));
        fs::write(&blob, &damaged).expect("written");
        let found = hub.verify(MODEL, &mut |_| {}).expect("read");
        assert_eq!(found, [file]);
        // Without a network nothing is deleted.
        let offline = Hub::new(HubOptions { offline: true, ..HubOptions::new(cache.path()) });
        let refused = offline.expect("a hub").repair(MODEL, &found, &mut |_| {});
        says(&message(refused), &[file, "HF_HUB_OFFLINE"]);
        assert_eq!(fs::read(&blob).expect("read"), damaged);
        hub.repair(MODEL, &found, &mut |_| {}).expect("downloaded");
        assert_eq!(&fs::read(&blob).expect("read"), content);
        assert_eq!(hub.verify(MODEL, &mut |_| {}).expect("read"), Vec::<String>::new());
    }
    says(&message(hub.verify("no/model", &mut |_| {})), &["nothing to verify"]);
}

/// A small file's etag is git's name of its content, and not believed either.
#[test]
fn a_small_file_that_is_not_what_was_stated_is_refused() {
    let repository = Repository::tiny();
    let served = repository.clone();
    let server = Server::start(move |request| {
        let mut reply = served.answer(request);
        if request.is_bytes_of("config.json") {
            reply.body[0] ^= 1;
        }
        reply
    });
    let cache = folder();
    let said = message(server.hub(cache.path()).snapshot(MODEL, &mut |_| {}));
    says(&said, &["config.json arrived damaged", "SHA-1"]);
}

/// A server that sends a byte now and then does not keep a download for ever.
#[test]
fn a_trickle_is_given_up() {
    let repository = Repository::tiny();
    for trickle in [Duration::from_millis(20), Duration::from_secs(3600)] {
        let served = repository.clone();
        let server = Server::start(move |request| {
            let mut reply = served.answer(request);
            if request.is_bytes_of(&format!("{WEIGHTS}?signature=1")) {
                reply = Reply { cut: Some(1000), trickle: Some(trickle), ..reply };
            }
            reply
        });
        let cache = folder();
        let options =
            HubOptions { patience: Duration::from_millis(300), ..server.options(cache.path()) };
        let said = message(Hub::new(options).expect("a hub").snapshot(MODEL, &mut |_| {}));
        says(&said, &[WEIGHTS, "is kept and used by the next try"]);
        if trickle < Duration::from_secs(1) {
            says(&said, &["it sent", "bytes in"]);
        }
    }
}
