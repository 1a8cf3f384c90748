//! Unit tests of `src/hub/cache.rs`.

use super::*;

#[test]
fn a_copy_serves_where_there_are_no_links() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&from, "content").expect("written");
    copy(&from, &to).expect("copied");
    assert_eq!(fs::read_to_string(&to).expect("read"), "content");
}

#[test]
fn a_damaged_reference_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::new(folder.path(), &"a/b".parse().expect("a name"));
    let refs = store.root().join("refs");
    create_folder(&refs).expect("a folder");
    for text in ["", "../../..", &"a".repeat(1000)] {
        fs::write(refs.join("main"), text).expect("written");
        assert_eq!(store.commit(), None, "{text}");
    }
    store.set_reference(&"b".repeat(40)).expect("written");
    assert_eq!(store.commit(), Some("b".repeat(40)));
}

#[test]
fn two_downloads_at_once_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::new(folder.path(), &"a/b".parse().expect("a name"));
    let held = store.lock("etag").expect("the lock");
    let refused = store.lock("etag").expect_err("held").to_string();
    assert!(refused.contains("another program"), "{refused}");
    assert!(store.lock("other").is_ok());
    drop(held);
    assert!(store.lock("etag").is_ok());
}
