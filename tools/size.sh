#!/usr/bin/env bash
# What perceiver adds to an app that has wgpu: crates, and bytes of the program, stripped and with link-time optimisation.
# Two small apps are built, one with perceiver without its default features, which takes some minutes.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
apps=$(mktemp -d)
trap 'rm -rf "$apps"' EXIT

app() { # name, dependencies, what it does with its device
  mkdir -p "$apps/$1/src"
  printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2024"\n\n[dependencies]\npollster = "1"\nwgpu = "30"\n%s\n' \
    "$1" "$2" > "$apps/$1/Cargo.toml"
  cat > "$apps/$1/src/main.rs" <<RUST
fn main() {
    let instance = wgpu::Instance::default();
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
    let source = wgpu::ShaderSource::Wgsl("@compute @workgroup_size(1) fn main() {}".into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.dispatch_workgroups(1, 1, 1);
    drop(pass);
    queue.submit([encoder.finish()]);
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    $3
}
RUST
}

app without "" ""
app with "perceiver = { path = \"$root\", default-features = false, features = [\"vulkan\"] }" \
  'let folder = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    let model = perceiver::Engine::from_wgpu(device, queue).load_bytes(&config, weights).unwrap();
    let ids = perceiver::Tensor::i64(vec![1, 8], vec![7; 8]).unwrap();
    let inputs = perceiver::NamedTensors::from([("input_ids".to_owned(), ids)]);
    println!("{:?}", model.run(&inputs, &mut |_, _| {}).unwrap()["logits"].shape());'
cat > "$apps/Cargo.toml" <<'TOML'
[workspace]
members = ["with", "without"]
resolver = "2"

[profile.release]
lto = true
strip = true
codegen-units = 1
TOML

cd "$apps"
export CARGO_TARGET_DIR="$apps/target"
cargo build --quiet --release
target/release/with "$root/models/text-tiny"
crates() { cargo tree -p "$1" -e normal --prefix none | awk '{print $1, $2}' | sort -u | grep -cv "^$1 "; }
bytes() { stat -c %s "target/release/$1"; }
echo "$(($(crates with) - $(crates without))) crates, $(($(bytes with) - $(bytes without))) bytes more than $(bytes without)"
