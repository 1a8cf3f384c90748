//! Servers that say no, and servers that lie.

use std::fs;

use super::server::{COMMIT, MODEL, Reply, Repository, Request, Server, WEIGHTS, etag};
use super::{files, folder, message, says};

/// What the library says of a server that answers some requests in its own way.
#[track_caller]
fn refused(model: &str, odd: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> String {
    let repository = Repository::tiny();
    let server = Server::start(move |r| odd(r).unwrap_or_else(|| repository.answer(r)));
    let cache = folder();
    let hub = server.hub(cache.path());
    let said = message(hub.snapshot(model, &mut |_| {}));
    assert_eq!(hub.cached(model).ok().flatten(), None);
    assert!(!files(cache.path()).iter().any(|f| f.contains("/refs/")));
    says(&said, &[&format!("model `{model}`: ")]);
    said
}

fn listing(names: &[&str]) -> Reply {
    let siblings: Vec<_> =
        names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
    let document = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
    Reply::new(200, document.to_string())
}

fn is_listing(request: &Request) -> bool {
    request.path.starts_with("/api/")
}

#[test]
fn unknown_models_and_revisions() {
    let said = refused("tiny/other", |_| None);
    says(&said, &["does not exist or is private", "401", "HF_TOKEN", "/tiny/other"]);
    let said = refused("tiny/model@v9", |_| None);
    says(&said, &["has no revision `v9`", "404", "/tiny/model/tree/main"]);
    let said = refused(MODEL, |r| is_listing(r).then(|| Reply::new(404, "")));
    says(&said, &["unknown to the hub", "check name and revision"]);
}

#[test]
fn gated_models() {
    let gated = |r: &Request| {
        let reply = Reply::new(403, "").with("X-Error-Code", "GatedRepo");
        r.path.contains("/resolve/").then_some(reply)
    };
    says(&refused(MODEL, gated), &["is gated", "403", "ask for access at", "HF_TOKEN"]);
}

#[test]
fn a_hub_in_trouble() {
    let said = refused(MODEL, |r| is_listing(r).then(|| Reply::new(503, "")));
    says(&said, &["answers 503", "try later"]);
    let said = refused(MODEL, |r| is_listing(r).then(|| Reply::new(429, "")));
    says(&said, &["asked for too often", "wait some minutes"]);
    let said = refused(MODEL, |r| r.path.contains("/store/").then(|| Reply::new(500, "")));
    says(&said, &["answers 500"]);
}

#[test]
fn a_repository_without_a_model() {
    let said = refused(MODEL, |r| is_listing(r).then(|| listing(&["config.json", "tf_model.h5"])));
    says(&said, &["holds no model", "model.safetensors", "pytorch_model.bin"]);
    let said = refused(MODEL, |r| is_listing(r).then(|| listing(&[WEIGHTS])));
    says(&said, &["holds no model", "config.json"]);
}

#[test]
fn damaged_content_is_not_installed() {
    let mut other = Repository::tiny().files[WEIGHTS].clone();
    other[1000] ^= 1;
    let repository = Repository::tiny();
    let blob = etag(WEIGHTS, &repository.files[WEIGHTS]);
    let server = Server::start(move |r| {
        if r.path.starts_with("/store/") {
            return Reply::new(200, other.as_slice());
        }
        repository.answer(r)
    });
    let cache = folder();
    let hub = server.hub(cache.path());
    let said = message(hub.snapshot(MODEL, &mut |_| {}));
    says(&said, &["arrived damaged", "SHA-256", &blob, "nothing was installed"]);
    let there = files(cache.path());
    assert!(!there.iter().any(|f| f.contains(&blob)), "{there:?}");
}

#[test]
fn more_bytes_than_stated() {
    let longer = || {
        let mut content = Repository::tiny().files[WEIGHTS].clone();
        content.push(0);
        Reply::new(200, content)
    };
    let is_store = |r: &Request| r.path.starts_with("/store/");
    let said = refused(MODEL, move |r| is_store(r).then(longer));
    says(&said, &["sends more than the", "that were stated for model.safetensors"]);
    let said =
        refused(MODEL, move |r| is_store(r).then(|| Reply { states_length: false, ..longer() }));
    says(&said, &["sends more than the"]);
}

#[test]
fn names_that_lead_elsewhere() {
    for name in ["../../../.bashrc", "/etc/passwd", "a/../../b", "..\\b"] {
        let said = refused(MODEL, move |r| {
            is_listing(r).then(|| listing(&["config.json", WEIGHTS, name]))
        });
        says(&said, &["would lie outside of the model's folder"]);
    }
    let said = refused(MODEL, |r| {
        is_listing(r).then(|| Reply::new(200, r#"{"sha":"../../x","siblings":[]}"#))
    });
    says(&said, &["names a commit that is none"]);
    let said = refused(MODEL, |r| {
        let reply = Reply::new(200, "{}").with("ETag", "\"../../../x\"");
        r.path.ends_with("config.json").then_some(reply)
    });
    says(&said, &["has an ETag that cannot name a file"]);
}

#[test]
fn an_index_that_leads_elsewhere() {
    for (file, said) in [("../../../x", "which is no name of a file"), ("b.safetensors", "lacks")] {
        let mut repository = Repository::tiny();
        repository.files.remove(WEIGHTS);
        let index = serde_json::json!({ "weight_map": { "a": file } }).to_string();
        let name = "model.safetensors.index.json".to_owned();
        repository.files.insert(name, index.into_bytes());
        let server = Server::start(move |r| repository.answer(r));
        let cache = folder();
        let refused = message(server.hub(cache.path()).snapshot(MODEL, &mut |_| {}));
        says(&refused, &[said, "model.safetensors.index.json"]);
    }
}

#[test]
fn endless_answers_are_cut() {
    let said = refused(MODEL, |r| is_listing(r).then(|| Reply::new(200, vec![b' '; 9 << 20])));
    says(&said, &["sent more than"]);
    let said = refused(MODEL, |r| {
        let reply = Reply::new(302, "").with("Location", r.path.clone());
        is_listing(r).then_some(reply)
    });
    says(&said, &["redirects more than"]);
    let said = refused(MODEL, |r| {
        let reply = Reply::new(302, "").with("Location", "file:///etc/passwd");
        is_listing(r).then_some(reply)
    });
    says(&said, &["redirects to nowhere"]);
    let said = refused(MODEL, |r| {
        let reply = Reply::new(302, "")
            .with("X-Linked-Etag", "abc")
            .with("X-Linked-Size", u64::MAX.to_string());
        (r.path.ends_with(WEIGHTS) && r.method == "HEAD").then_some(reply)
    });
    says(&said, &["states 18446744073709551615 bytes", "the limit is"]);
    let said = refused(MODEL, |r| {
        let reply = Reply::new(200, "").with("ETag", "abc");
        let reply = Reply { states_length: false, ..reply };
        let files = r#"[{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]"#;
        let listing = format!(r#"{{"sha": "{COMMIT}", "siblings": {files}}}"#);
        let silent = (r.path.ends_with("config.json") && r.method == "HEAD").then_some(reply);
        silent.or_else(|| is_listing(r).then(|| Reply::new(200, listing)))
    });
    says(&said, &["does not say how long the file is"]);
    let said = refused(MODEL, |r| {
        let reply = Reply::new(200, "{}");
        (r.path.ends_with("config.json") && r.method == "HEAD").then_some(reply)
    });
    says(&said, &["has no ETag"]);
}

#[test]
fn another_program_downloads_it() {
    let repository = Repository::tiny();
    let blob = etag(WEIGHTS, &repository.files[WEIGHTS]);
    let server = Server::start(move |r| repository.answer(r));
    let cache = folder();
    let locks = cache.path().join(".locks/models--tiny--model");
    fs::create_dir_all(&locks).expect("a folder");
    let lock = fs::File::create(locks.join(format!("{blob}.lock"))).expect("a file");
    lock.lock().expect("the lock");
    let hub = server.hub(cache.path());
    let said = message(hub.snapshot(MODEL, &mut |_| {}));
    says(&said, &["is being downloaded by another program", &blob, "wait until"]);
    drop(lock);
    hub.snapshot(MODEL, &mut |_| {}).expect("now");
}

#[test]
fn names_that_are_none() {
    let server = Server::start(|_| panic!("nothing is asked"));
    let cache = folder();
    let hub = server.hub(cache.path());
    for name in ["model", "../model", "a/b/c", "a/b@..", "a/b@", "a b/c"] {
        says(&message(hub.snapshot(name, &mut |_| {})), &["ORGANISATION/NAME"]);
        says(&message(hub.cached(name)), &["ORGANISATION/NAME"]);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_cache_that_cannot_be_written() {
    let repository = Repository::tiny();
    let server = Server::start(move |r| repository.answer(r));
    let parent = folder();
    let file = parent.path().join("file");
    fs::write(&file, "").expect("written");
    let said = message(server.hub(&file).snapshot(MODEL, &mut |_| {}));
    says(&said, &["cannot create", "models--tiny--model"]);
}
