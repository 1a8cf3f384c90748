//! Unit tests of `src/hub/name.rs`.

use super::*;

#[test]
fn names_with_and_without_revision() {
    let plain: ModelName = "deepmind/language-perceiver".parse().expect("a name");
    assert_eq!(plain.folder(), "models--deepmind--language-perceiver");
    assert_eq!(plain.revision, "main");
    assert_eq!(plain.to_string(), "deepmind/language-perceiver");
    let request: ModelName = "a/b@refs/pr/1".parse().expect("a name");
    assert_eq!(request.revision_in_address(), "refs%2Fpr%2F1");
    assert_eq!(request.to_string(), "a/b@refs/pr/1");
    assert!(!request.is_commit());
}

#[test]
fn odd_names_are_refused() {
    let long = format!("a/{}", "b".repeat(97));
    for name in [
        "", "a", "/", "a/", "/a", "a/b/c", "../a", "a/..", "a/.b", "a/b..c", "a/b--c", "-a/b",
        "a/b@", "a/b@../c", "a/b@/c", "a/b@c//d", "a/b@c@d", "a/b c", "a\\b/c", "a/b?c", "a/b%2f",
        "a/b\n", "ä/b", "c:/b", &long,
    ] {
        let refused = name.parse::<ModelName>().expect_err(name).to_string();
        assert!(refused.contains("ORGANISATION/NAME"), "{name}: {refused}");
    }
}

#[test]
fn paths_that_leave_the_folder() {
    for path in ["a", "a/b", "with space", "a..b"] {
        assert!(stays_inside(path), "{path}");
    }
    for path in ["", "/a", "..", "a/../b", "a//b", "./a", "a\\..\\b"] {
        assert!(!stays_inside(path), "{path}");
    }
}
