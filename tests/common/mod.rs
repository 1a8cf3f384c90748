//! What several test programs share.
#![allow(dead_code, reason = "no test program uses all of it")]

/// What the command runs files of tensors with.
#[path = "../../tools/perceiver/src/runner.rs"]
pub(crate) mod runner;

/// Configurations of the published models.
#[path = "../../tools/perceiver/src/published.rs"]
pub(crate) mod published;

/// How the command writes video and sound.
#[path = "../../tools/perceiver/src/writers/mod.rs"]
#[allow(unreachable_pub, reason = "a part of the command's own library")]
pub(crate) mod writers;

/// How the command makes and writes meshes.
#[path = "../../tools/perceiver/src/shape/mesh.rs"]
pub(crate) mod mesh;
#[path = "../../tools/perceiver/src/shape/write.rs"]
pub(crate) mod mesh_file;

use std::path::PathBuf;

use perceiver::internals::gpu::{Device, ShaderChecks, adapters};
use perceiver::internals::random::Random;
use perceiver::media::Frame;

/// How to get an adapter where there is none.
pub(crate) const INSTALL: &str = "no Vulkan, Metal or DX12 adapter: install a software one \
    (Debian, Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1), or run tools/test.sh, which does";

/// The device that tests run on: the one named by `PERCEIVER_TEST_DEVICE`, else a software adapter,
/// else whatever there is.
pub(crate) fn device(checks: ShaderChecks) -> Result<Device, String> {
    device_within(checks, u32::MAX)
}

/// The same with no more than this many workgroups along a dimension.
pub(crate) fn device_within(checks: ShaderChecks, workgroups: u32) -> Result<Device, String> {
    let all = adapters();
    let wanted = std::env::var("PERCEIVER_TEST_DEVICE").unwrap_or_default();
    let adapter = if wanted.is_empty() {
        all.iter().find(|a| a.kind.rank().is_none()).or_else(|| all.first())
    } else {
        all.iter().find(|a| a.name.to_lowercase().contains(&wanted.to_lowercase()))
    };
    let adapter = adapter.ok_or_else(|| INSTALL.to_owned())?;
    let mut limits = adapter.limits();
    let most = &mut limits.max_compute_workgroups_per_dimension;
    *most = workgroups.min(*most);
    let device = Device::open_with(adapter, limits, checks).map_err(|e| e.to_string())?;
    // Later versions of Mesa's software adapter take many seconds to compile one, as all do with checks.
    let quick = adapter.driver.contains("Mesa 22.") && checks == ShaderChecks::Trusted;
    Ok(if quick { device.with_tiles() } else { device })
}

/// Two frames of noise.
pub(crate) fn noise(seed: u64, width: usize, height: usize) -> [Frame; 2] {
    let mut random = Random::new(seed);
    [(); 2].map(|()| {
        let bytes = (0..3 * width * height).map(|_| random.below(256) as u8);
        Frame::new(width, height, bytes.collect()).expect("a frame")
    })
}

/// Folder of the recorded cases.
pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}
