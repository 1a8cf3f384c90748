//! Unit tests of `src/gpu/cache_place.rs`.

use super::*;

#[test]
fn the_variable_decides_then_the_users_folder() {
    let place = |set: &[(&str, &str)]| {
        let found = |name: &str| set.iter().find(|(n, _)| *n == name).map(|s| s.1.into());
        usual(&found)
    };
    assert_eq!(place(&[]), None);
    assert_eq!(place(&[(CACHE_VARIABLE, "off"), ("HOME", "/h")]), None);
    let own = place(&[(CACHE_VARIABLE, "x"), ("HOME", "/h")]);
    assert_eq!(own, Some("x".into()));
    if cfg!(target_os = "linux") {
        assert_eq!(place(&[("HOME", "/h")]), Some("/h/.cache/perceiver".into()));
        let xdg = place(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]);
        assert_eq!(xdg, Some("/c/perceiver".into()));
        // Relative paths are not valid there.
        let relative = place(&[("XDG_CACHE_HOME", "c"), ("HOME", "/h")]);
        assert_eq!(relative, Some("/h/.cache/perceiver".into()));
    }
}
