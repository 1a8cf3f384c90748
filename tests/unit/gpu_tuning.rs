//! Unit tests of `src/gpu/tuning.rs`.

use super::*;

fn tuning() -> Tuning {
    Tuning {
        version: VERSION,
        adapter: "a".to_owned(),
        backend: "vulkan".to_owned(),
        driver: "d 1".to_owned(),
        shaders: "00".to_owned(),
        choices: Vec::new(),
        denied: Vec::new(),
    }
}

#[test]
fn files_come_back_and_foreign_ones_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("new").join("t.json");
    let mut saved = tuning();
    saved.choose(TunedChoice {
        kernel: "gemm".to_owned(),
        bucket: "b".to_owned(),
        variant: "v".to_owned(),
    });
    saved.deny(Denied {
        kernel: "gemm".to_owned(),
        variant: "w".to_owned(),
        why: "wrong".to_owned(),
    });
    saved.save(&file).expect("saved");
    assert_eq!(Tuning::load(&file).expect("loaded"), saved);
    let text = std::fs::read_to_string(&file).expect("text");
    for (wrong, why) in [
        (text.replace("\"version\": 1", "\"version\": 2"), "version 2"),
        (text.replace("\"why\"", "\"what\""), "unknown field"),
        (text[..text.len() / 2].to_owned(), "EOF"),
        (String::new(), "EOF"),
        ("[".repeat(100_000), "invalid type"),
    ] {
        std::fs::write(&file, wrong).expect("written");
        let error = Tuning::load(&file).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(Tuning::load(folder.path().join("none")).is_err());
}

#[test]
fn other_drivers_and_shaders_are_noticed() {
    let (was, mut now) = (tuning(), tuning());
    assert_eq!(was.stale(&now), None);
    now.driver = "d 2".to_owned();
    let why = was.stale(&now).expect("stale");
    assert_eq!(why, "made for driver `d 1`, not `d 2`");
    assert_eq!(was.file_name(), now.file_name());
}
