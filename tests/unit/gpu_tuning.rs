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

#[test]
fn any_tile_of_a_space_may_be_chosen_and_nothing_else() {
    let op = Op::Gemm(crate::kernels::gemm::Gemm::new(256, 512, 384));
    let traits = DeviceTraits::webgpu_default();
    let first = |name: &str| {
        let mut tuning = tuning();
        tuning.choose(TunedChoice {
            kernel: "gemm".to_owned(),
            bucket: bucket(&op).expect("a bucket"),
            variant: name.to_owned(),
        });
        tuning.candidates(&op, &traits, [])[0]
    };
    let usual = op.candidates(&traits)[0];
    let tile = first("tile-8.16.8.2.4.4");
    assert_eq!((tile.name, tile.size("TX"), tile.size("TY")), ("tile-8.16.8.2.4.4", 8, 16));
    assert!(tile.is_own() && tile.accelerated() && op.launch(tile, &traits).is_ok());
    // The same variant, not a copy, each time.
    assert!(std::ptr::eq(first("tile-8.16.8.2.4.4").name, tile.name));
    for wrong in [
        "tile-8.16.8.2.4",
        "tile-8.16.8.2.4.4.4",
        "tile-08.16.8.2.4.4",
        "tile-+8.16.8.2.4.4",
        "tile-8.16.7.2.4.4",
        "tile-8.16.8.2.5.4",
        "tile-1024.1024.8.2.4.4",
        "tile-4294967295.4294967295.8.2.4.4",
        "tile-",
        "tile-......",
        "tiled-8.16.8.2.4.4",
    ] {
        assert_eq!(first(wrong), usual, "{wrong}");
    }
    // Too large for this device.
    assert_eq!(first("tile-32.8.16.4.8.1"), usual);
    // What has been changed is no longer the crate's own.
    let mut forged = tile;
    forged.workgroup_bytes = 16;
    assert!(!forged.is_own() && op.launch(forged, &traits).is_ok());
}

#[test]
fn spaces_hold_what_the_shaders_can_do() {
    let traits = DeviceTraits { workgroup_bytes: 32_768, ..DeviceTraits::webgpu_default() };
    let factors = crate::kernels::factored_attention::Factors {
        content: 48,
        dimensions: 1,
        axes: [99, 1, 1],
    };
    let ops = [
        Op::Gemm(crate::kernels::gemm::Gemm::new(100, 100, 100)),
        Op::Attention(crate::kernels::attention::Attention::new(100, 100, 2, 32, 32)),
        Op::FactoredAttention(crate::kernels::factored_attention::FactoredAttention::new(
            100, 99, factors,
        )),
    ];
    for op in ops {
        let all = op.tile_candidates(&traits);
        assert!((100..3000).contains(&all.len()), "{}: {}", op.kernel(), all.len());
        // The named tiles are among them.
        for named in op.candidates(&traits).into_iter().filter(|v| v.entry == "tiled") {
            let same = |v: &Variant| {
                v.constants == named.constants && v.workgroup_bytes == named.workgroup_bytes
            };
            assert!(all.iter().any(same), "{}/{}", op.kernel(), named.name);
        }
        for tile in &all {
            assert_eq!(op.tile_candidate(tile.name, &traits), Some(*tile));
        }
    }
}
