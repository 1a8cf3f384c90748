//! Unit tests of `src/hub/client.rs`.

use super::*;
use crate::hub::options::DEFAULT_ENDPOINT;

fn uri(text: &str) -> Uri {
    text.parse().expect("an address")
}

#[test]
fn locations_are_resolved() {
    let from = uri("https://hub.example:8443/a/b?c");
    let to = |location: &str| resolve(&from, location).map(|u| u.to_string());
    assert_eq!(to("/x").as_deref(), Some("https://hub.example:8443/x"));
    assert_eq!(to("//cdn.example/x").as_deref(), Some("https://cdn.example/x"));
    assert_eq!(to("http://a.example/").as_deref(), Some("http://a.example/"));
    for nowhere in ["", "x", "file:///etc/passwd", "https://", "ftp://a/b"] {
        assert_eq!(to(nowhere), None, "{nowhere}");
    }
}

#[test]
fn https_is_not_left() {
    let (plain, safe) = (uri("http://a.example/"), uri("https://b.example/"));
    assert!(is_downgrade(&safe, &plain));
    assert!(!is_downgrade(&plain, &safe));
    assert!(!is_downgrade(&safe, &safe) && !is_downgrade(&plain, &plain));
}

#[test]
fn origins_are_equal_only_when_all_parts_are() {
    let hub = uri(DEFAULT_ENDPOINT);
    for same in ["https://HuggingFace.co/x", "https://huggingface.co:443/"] {
        assert_eq!(origin(&uri(same)), origin(&hub), "{same}");
    }
    for other in [
        "http://huggingface.co/",
        "https://huggingface.co:8443/",
        "https://huggingface.co.evil.example/",
        "https://cdn.huggingface.co/",
        "https://huggingface.co@evil.example/",
    ] {
        assert_ne!(origin(&uri(other)), origin(&hub), "{other}");
    }
}

#[test]
fn odd_endpoints_are_refused() {
    for endpoint in ["", "huggingface.co", "ftp://a", "https://", "https://a:b@c", "https://a?b"] {
        let options = HubOptions { endpoint: endpoint.to_owned(), ..HubOptions::new("") };
        let refused = Client::new(&options).expect_err(endpoint).to_string();
        assert!(refused.contains("HF_ENDPOINT"), "{refused}");
    }
}

#[test]
fn certificates_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options =
        HubOptions { certificates: Some(folder.path().join("own.pem")), ..HubOptions::new("") };
    let refused = |options: &HubOptions| Client::new(options).expect_err("refused").to_string();
    let missing = refused(&options);
    assert!(missing.contains("SSL_CERT_FILE"), "{missing}");
    std::fs::write(folder.path().join("own.pem"), "no certificate").expect("written");
    let empty = refused(&options);
    assert!(empty.contains("own.pem holds no certificate"), "{empty}");
    options.offline = true;
    assert!(Client::new(&options).is_ok());
}
