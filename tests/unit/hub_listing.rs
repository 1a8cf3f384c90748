//! Unit tests of `src/hub/listing.rs`.

use super::*;

fn listing(files: &[&str]) -> Listing {
    let siblings: Vec<_> =
        files.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
    let document = serde_json::json!({ "sha": "a".repeat(40), "siblings": siblings });
    Listing::read(document.to_string().as_bytes()).expect("a listing")
}

#[test]
fn the_best_weights_are_taken() {
    let both = listing(&["pytorch_model.bin", "model.safetensors", "README.md", CONFIG]);
    assert_eq!(both.weights(), Some(Weights::Whole("model.safetensors")));
    assert_eq!(both.small().collect::<Vec<_>>(), [CONFIG]);
    let old = listing(&["pytorch_model.bin"]);
    assert_eq!(old.weights(), Some(Weights::Whole("pytorch_model.bin")));
    let sharded = listing(&["pytorch_model.bin.index.json", "a/model.safetensors"]);
    assert_eq!(sharded.weights(), Some(Weights::Shards("pytorch_model.bin.index.json")));
    assert_eq!(listing(&["tf_model.h5"]).weights(), None);
}

#[test]
fn hostile_listings_are_refused() {
    for (text, said) in
        [("{", "cannot be read"), (r#"{"sha":"../../etc","siblings":[]}"#, "commit")]
    {
        let refused = Listing::read(text.as_bytes()).expect_err(text);
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn hostile_indices_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let index = folder.path().join("index.json");
    for (text, said) in [
        ("[]", "no index"),
        (r#"{"weight_map":{}}"#, "names 0 files"),
        (r#"{"weight_map":{"a":"../../b"}}"#, "no name of a file"),
        (r#"{"weight_map":{"a":"/b"}}"#, "no name of a file"),
    ] {
        std::fs::write(&index, text).expect("written");
        let refused = shards(&index).expect_err(text).to_string();
        assert!(refused.contains(said), "{refused}");
    }
}
