//! A connection that is cut at any byte: the download goes on, or leaves nothing that is taken for whole.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{MODEL, Repository, Server, WEIGHTS};
use super::{files, folder, message, says};

/// Places in a file, the first bytes and the last among them.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by((length / 12).max(1)).chain([1, length.saturating_sub(1)])
}

#[test]
fn a_cut_at_any_byte_is_got_over() {
    let repository = Repository::tiny();
    for file in ["config.json", WEIGHTS] {
        for cut in places(repository.files[file].len()) {
            let (served, asked) = (repository.clone(), AtomicUsize::new(0));
            let server = Server::start(move |request| {
                let mut reply = served.answer(request);
                let of_file = request.method == "GET" && request.path.contains(file);
                if of_file && !reply.body.is_empty() && asked.fetch_add(1, Ordering::SeqCst) == 0 {
                    reply.cut = Some(cut);
                }
                reply
            });
            let cache = folder();
            let snapshot = server.hub(cache.path()).snapshot(MODEL, &mut |_| {});
            let snapshot = snapshot.unwrap_or_else(|e| panic!("{file} cut at {cut}: {e}"));
            assert_eq!(fs::read(snapshot.join(file)).expect("read"), repository.files[file]);
        }
    }
}

#[test]
fn a_cut_that_stays_leaves_no_model() {
    let repository = Repository::tiny();
    let length = repository.files[WEIGHTS].len();
    let cache = folder();
    for cut in [0, 1, length / 2] {
        let served = repository.clone();
        let server = Server::start(move |request| {
            let mut reply = served.answer(request);
            // Where it goes on, the rest is cut to nothing.
            if request.path.starts_with("/store") {
                reply.cut = Some(cut.saturating_sub(length - reply.body.len()));
            }
            reply
        });
        let hub = server.hub(cache.path());
        says(
            &message(hub.snapshot(MODEL, &mut |_| {})),
            &[WEIGHTS, "is kept and used by the next try"],
        );
        assert_eq!(hub.cached(MODEL).expect("a name"), None, "{cut}");
        assert!(files(cache.path()).iter().all(|f| !f.contains("refs/")));
    }
    // The listing itself breaks off.
    let served = repository.clone();
    let server = Server::start(move |request| {
        let mut reply = served.answer(request);
        if request.path.starts_with("/api/") {
            reply.cut = Some(reply.body.len() / 2);
        }
        reply
    });
    message(server.hub(cache.path()).snapshot(MODEL, &mut |_| {}));
    let server = Server::start(move |request| repository.answer(request));
    server.hub(cache.path()).snapshot(MODEL, &mut |_| {}).expect("downloaded");
}
