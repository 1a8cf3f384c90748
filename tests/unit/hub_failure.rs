//! Unit tests of `src/hub/failure.rs`.

use super::*;

#[test]
fn a_proxy_that_decrypts_has_a_remedy_of_its_own() {
    let model: ModelName = "a/b".parse().expect("a name");
    let hint = |why: &str| {
        let failure = Failure::unreachable("https://hub.example", &why);
        assert!(failure.is_outage() && failure.is_unreachable());
        failure.error(&model, "https://hub.example").to_string()
    };
    let said = hint("io: invalid peer certificate: UnknownIssuer");
    assert!(said.contains("SSL_CERT_FILE"), "{said}");
    let said = hint("connection refused");
    assert!(said.contains("proxy variables") && said.contains("HF_ENDPOINT"), "{said}");
}
