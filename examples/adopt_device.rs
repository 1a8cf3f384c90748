//! The engine on a device that an app has opened for its own purposes.
//!
//! `cargo run --release --example adopt_device`

use perceiver::tasks::{FillMask, FillOptions};
use perceiver::{Engine, Result};

/// Stands for whatever the app does to get its device.
fn apps_own_device() -> Option<(wgpu::Device, wgpu::Queue)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let options = wgpu::RequestAdapterOptions::default();
    let adapter = pollster::block_on(instance.request_adapter(&options)).ok()?;
    let request = wgpu::DeviceDescriptor {
        label: Some("app"),
        // Ask for what the adapter has: WebGPU's default limits are enough for small models only.
        required_limits: adapter.limits(),
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&request)).ok()
}

fn main() -> Result<()> {
    let engine = match apps_own_device() {
        Some((device, queue)) => Engine::from_wgpu(device, queue),
        None => Engine::cpu(),
    };
    let model = engine.load("models/text-tiny")?;
    let texts = ["A vector gr[MASK]ws when it is full."];
    let filled = FillMask::new(&model)?.fill(&texts, &FillOptions::default(), &mut |_, _| {})?;
    for text in filled {
        println!("{} (on {})", text.text, engine.device_name());
    }
    Ok(())
}
