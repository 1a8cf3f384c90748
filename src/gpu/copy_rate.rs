//! What a device's memory can move, measured.

use web_time::Instant;

use super::AdapterKind;
use super::clock::Clock;
use super::device::Device;
use crate::error::Result;

/// Repetitions, of which the fastest counts.
const TIMES: usize = 4;

impl Device {
    /// Bytes read and written per second by a kernel that copies.
    pub(crate) fn copy_rate(&self) -> Result<f64> {
        let limit = self.limits().max_storage_buffer_binding_size;
        let wanted: u64 = match self.kind() {
            AdapterKind::Software => 32 << 20,
            AdapterKind::Integrated | AdapterKind::Other => 64 << 20,
            _ => 512 << 20,
        };
        // A workgroup copies 16 KiB, and there are fewer than 65,536 of them.
        let groups = (wanted.min(limit) >> 14).clamp(1, 65_535);
        let bytes = groups << 14;
        let usage = wgpu::BufferUsages::STORAGE;
        let from = self.buffer("copy from", bytes, usage, false)?;
        let to = self.buffer("copy to", bytes, usage, false)?;
        let device = self.wgpu_device();
        let (pipeline, bind_group) = self.scoped("copy", 0, || {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("copy"),
                source: wgpu::ShaderSource::Wgsl(
                    include_str!("../../shaders/common/copy.wgsl").into(),
                ),
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("copy"),
                layout: None,
                module: &module,
                entry_point: Some("copy"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
            let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("copy"),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[entry_of(0, &from), entry_of(1, &to)],
            });
            (pipeline, bind_group)
        })?;
        let clock = Clock::new(self)?;
        let mut best = f64::INFINITY;
        for _ in 0..=TIMES {
            let mut commands = self.encoder("copy")?;
            {
                let mut pass = commands.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: clock.as_ref().map(|c| c.writes(0)),
                });
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &bind_group, &[]);
                pass.dispatch_workgroups(groups as u32, 1, 1);
            }
            if let Some(clock) = &clock {
                clock.resolve(1, &mut commands);
            }
            let start = Instant::now();
            self.scoped("copy", 0, || self.submit(commands))?.wait(self)?;
            let host = start.elapsed().as_secs_f64();
            let seconds = match &clock {
                Some(clock) => clock.read(1, self)?.first().map_or(host, |t| t[1] - t[0]),
                None => host,
            };
            best = best.min(if seconds > 0.0 { seconds } else { host });
        }
        Ok(2.0 * bytes as f64 / best)
    }
}

fn entry_of(binding: u32, buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }
}
