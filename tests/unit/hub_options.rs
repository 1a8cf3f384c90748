//! Unit tests of `src/hub/options.rs`.

use super::*;

fn options(variables: &[(&str, &str)]) -> Result<HubOptions> {
    let value = |name: &str| {
        let found = variables.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| OsString::from(value))
    };
    HubOptions::from_variables(value, Some(PathBuf::from("/ada")))
}

#[test]
fn the_cache_is_where_python_has_it() {
    let cache = |variables: &[(&str, &str)]| options(variables).expect("options").cache;
    assert_eq!(cache(&[]), Path::new("/ada/.cache/huggingface/hub"));
    assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
    assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/h")]), Path::new("/ada/h/hub"));
    assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), Path::new("/c"));
    assert_eq!(cache(&[("HF_HUB_CACHE", "")]), Path::new("/ada/.cache/huggingface/hub"));
}

#[test]
fn endpoint_token_and_offline() {
    let plain = options(&[]).expect("options");
    assert_eq!(plain.endpoint, DEFAULT_ENDPOINT);
    assert!(!plain.offline && plain.token.is_none());
    let set = options(&[
        ("HF_ENDPOINT", "https://mirror.example"),
        ("HF_TOKEN", " hf_secret\n"),
        ("HF_HUB_OFFLINE", "TRUE"),
        ("SSL_CERT_FILE", "~/own.pem"),
    ])
    .expect("options");
    assert_eq!(set.endpoint, "https://mirror.example");
    assert!(set.offline);
    assert_eq!(set.certificates.as_deref(), Some(Path::new("/ada/own.pem")));
    assert!(!format!("{set:?}").contains("secret"));
    assert_eq!(set.token.expect("a token").header(), "Bearer hf_secret");
    let offline = options(&[("HF_HUB_OFFLINE", "0")]).expect("options").offline;
    assert!(!offline);
}

#[test]
fn the_token_file_is_read() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("token"), "hf_file\n").expect("a file");
    let home = home.path().to_str().expect("UTF-8").to_owned();
    let read = options(&[("HF_HOME", home.as_str())]).expect("options");
    assert_eq!(read.token.expect("a token").header(), "Bearer hf_file");
}

#[test]
fn a_token_that_would_break_a_header_is_refused() {
    let refused = options(&[("HF_TOKEN", "a\r\nHost: b")]).expect_err("refused");
    let refused = refused.to_string();
    assert!(refused.contains("HF_TOKEN") && !refused.contains("Host"), "{refused}");
}

#[test]
fn without_a_home_the_variables_are_named() {
    let refused = HubOptions::from_variables(|_| None, None).expect_err("refused");
    assert!(refused.to_string().contains("HF_HUB_CACHE"), "{refused}");
}
