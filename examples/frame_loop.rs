//! Optical flow inside a 60 Hz frame loop: on the app's device, between its textures, in slices recorded into
//! its own command encoders. Headless; prints frame times with and without the model.
//!
//! `cargo run --release --example frame_loop -- [--seconds N] [--slice MS] [--json]`

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use perceiver::media::Frame;
use perceiver::tasks::OpticalFlow;
use perceiver::{Engine, GpuInput, GpuOutput, Model, Prepared, RunOptions, TextureRegion};

#[path = "shared/texture.rs"]
mod texture;

use texture::texture;

type Failure = Box<dyn std::error::Error>;

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// Width and height of the scene, as the model takes it.
const SIZE: [u32; 2] = [128, 96];
/// Submissions that the app lets the device have before it waits for the oldest.
const IN_FLIGHT: usize = 2;

const SCENE: &str = "
    @group(0) @binding(0) var<uniform> time: vec4f;
    @vertex fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
        return vec4f(f32((i << 1u) & 2u) * 2.0 - 1.0, f32(i & 2u) * 2.0 - 1.0, 0.0, 1.0);
    }
    @fragment fn colour(@builtin(position) at: vec4f) -> @location(0) vec4f {
        let p = at.xy - vec2f(1.0, 0.5) * time.x;
        let waves = sin(p.x * vec3f(0.21, 0.37, 0.09)) * cos(p.y * vec3f(0.13, 0.05, 0.29));
        return vec4f(0.5 + 0.45 * waves, 1.0);
    }";

/// The app: a scene that moves, the two frames that it drew last, and a place for their flow.
struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: String,
    scenes: [wgpu::Texture; 2],
    flow: wgpu::Texture,
    pipeline: wgpu::RenderPipeline,
    time: wgpu::Buffer,
    bindings: wgpu::BindGroup,
}

impl App {
    fn new() -> Result<App, Failure> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions::default();
        let adapter = pollster::block_on(instance.request_adapter(&options))?;
        let useful = Engine::useful_features();
        let request = wgpu::DeviceDescriptor {
            label: Some("app"),
            required_limits: adapter.limits(),
            required_features: adapter.features() & useful,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&request))?;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("scene"),
            source: wgpu::ShaderSource::Wgsl(SCENE.into()),
        });
        let format = wgpu::TextureFormat::Rgba8Unorm;
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("scene"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("corner"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                buffers: &[],
            },
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("colour"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                targets: &[Some(format.into())],
            }),
            primitive: wgpu::PrimitiveState::default(),
            depth_stencil: None,
            multisample: wgpu::MultisampleState::default(),
            multiview_mask: None,
            cache: None,
        });
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let time = buffer(&device, 16, usage);
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("scene"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: time.as_entire_binding() }],
        });
        let drawn = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC;
        let scenes = [(); 2].map(|()| texture(&device, SIZE, format, drawn));
        let written = wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST;
        let flow = texture(&device, SIZE, wgpu::TextureFormat::Rg32Float, written);
        let name = adapter.get_info().name;
        Ok(App { device, queue, name, scenes, flow, pipeline, time, bindings })
    }

    /// Draws the scene as it is in frame `n` into one of the two textures.
    fn draw(&self, n: u32, encoder: &mut wgpu::CommandEncoder) {
        let time = [n as f32, 0.0, 0.0, 0.0].map(f32::to_le_bytes).concat();
        self.queue.write_buffer(&self.time, 0, &time);
        let target =
            self.scenes[n as usize % 2].create_view(&wgpu::TextureViewDescriptor::default());
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("scene"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &target,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations::default(),
            })],
            ..Default::default()
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.draw(0..3, 0..1);
    }

    /// Stands for `present`: to destroy a texture takes the lock of wgpu that presenting one takes.
    fn present(&self) {
        let usage = wgpu::TextureUsages::COPY_DST;
        texture(&self.device, [1, 1], wgpu::TextureFormat::Rgba8Unorm, usage).destroy();
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// The texels of a texture.
    fn read(&self, texture: &wgpu::Texture) -> Result<Vec<u8>, Failure> {
        let line = texture.format().block_copy_size(None).unwrap_or(4) * texture.width();
        let padded = line.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let copy = buffer(&self.device, u64::from(padded * texture.height()), usage);
        let mut encoder = self.encoder();
        let bytes_per_row = Some(padded);
        let layout = wgpu::TexelCopyBufferLayout { bytes_per_row, ..Default::default() };
        let to = wgpu::TexelCopyBufferInfo { buffer: &copy, layout };
        encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
        self.queue.submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |_| {});
        self.device.poll(wgpu::PollType::wait_indefinitely())?;
        let bytes = copy.get_mapped_range(..)?;
        let lines = bytes.chunks_exact(padded as usize);
        Ok(lines.flat_map(|l| l[..line as usize].to_vec()).collect())
    }
}

fn buffer(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let (label, mapped_at_creation) = (None, false);
    device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation })
}

/// What frames took.
#[derive(Default)]
struct Frames {
    /// Milliseconds from one to the next.
    intervals: Vec<f64>,
    /// Milliseconds in `present`.
    presents: Vec<f64>,
    /// Milliseconds of the host in `step`.
    steps: Vec<f64>,
    runs: usize,
    slices: usize,
    seconds: f64,
}

impl Frames {
    fn fps(&self) -> f64 {
        self.intervals.len() as f64 / self.seconds
    }
}

/// The value that a share of all does not exceed.
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1) as f64 * share).ceil() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// The frame loop; with a model, one slice of its run in each frame.
fn frames(
    app: &App,
    mut model: Option<&mut Prepared>,
    slice: Duration,
    time: Duration,
) -> Result<Frames, Failure> {
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let mut found = Frames::default();
    let mut in_flight = VecDeque::new();
    let mut cursor = None;
    let begin = Instant::now();
    let (mut last, mut next) = (begin, begin);
    let mut n = 0;
    while begin.elapsed() < time {
        next = (next + FRAME).max(Instant::now());
        std::thread::sleep(next - Instant::now());
        if n > 0 {
            found.intervals.push(ms(last));
        }
        last = Instant::now();
        app.device.poll(wgpu::PollType::Poll)?;
        if in_flight.len() == IN_FLIGHT {
            let submission_index = in_flight.pop_front();
            app.device.poll(wgpu::PollType::Wait { submission_index, timeout: None })?;
        }
        let mut encoder = app.encoder();
        app.draw(n, &mut encoder);
        if let Some(model) = model.as_deref_mut().filter(|_| n > 1) {
            let step = Instant::now();
            let mut run = match cursor.take() {
                Some(run) => run,
                None => model.begin()?,
            };
            let done = model.step(&mut run, &mut encoder, slice)?;
            found.steps.push(ms(step));
            found.slices += 1;
            if done.finished {
                found.runs += 1;
            } else {
                cursor = Some(run);
            }
        }
        in_flight.push_back(app.queue.submit([encoder.finish()]));
        let present = Instant::now();
        app.present();
        found.presents.push(ms(present));
        n += 1;
    }
    found.seconds = begin.elapsed().as_secs_f64();
    Ok(found)
}

/// Seconds of one run in slices with nothing else to do, submitted as a loading screen would.
fn sliced(app: &App, model: &mut Prepared, slice: Duration) -> Result<f64, Failure> {
    let begin = Instant::now();
    let mut cursor = model.begin()?;
    let mut in_flight = VecDeque::new();
    loop {
        let mut encoder = app.encoder();
        let step = model.step(&mut cursor, &mut encoder, slice)?;
        in_flight.push_back(app.queue.submit([encoder.finish()]));
        while in_flight.len() > if step.finished { 0 } else { IN_FLIGHT } {
            let submission_index = in_flight.pop_front();
            app.device.poll(wgpu::PollType::Wait { submission_index, timeout: None })?;
        }
        if step.finished {
            return Ok(begin.elapsed().as_secs_f64());
        }
    }
}

/// The largest difference of the flow texture from what the pipeline gives for the same two frames, from the host
/// and back.
fn difference(app: &App, model: &Model, earlier: usize) -> Result<f64, Failure> {
    let [width, height] = SIZE.map(|side| side as usize);
    let picture = |at: usize| -> Result<Frame, Failure> {
        let texels = app.read(&app.scenes[at])?;
        let rgb = texels.chunks_exact(4).flat_map(|t| t[..3].to_vec());
        Ok(Frame::new(width, height, rgb.collect())?)
    };
    let (first, second) = (picture(earlier)?, picture(1 - earlier)?);
    let pipeline = OpticalFlow::new(model)?;
    let expected = pipeline.flow(&first, &second, &Default::default(), &mut |_, _| {})?;
    let found = app.read(&app.flow)?;
    let found = found.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let expected = expected.vectors().iter().flatten();
    Ok(found.zip(expected).fold(0.0, |most, (f, e)| f64::from((f - e).abs()).max(most)))
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (mut seconds, mut slice, mut json) = (10.0, 4.0, false);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<f64, Failure> {
            let value = arguments.next().ok_or(format!("{argument} needs a number"))?;
            let number: f64 = value.parse().map_err(|_| format!("{argument} {value}"))?;
            Some(number).filter(|n| (0.01..=3600.0).contains(n)).ok_or_else(|| value.into())
        };
        match argument.as_str() {
            "--seconds" => seconds = number()?,
            "--slice" => slice = number()?,
            "--json" => json = true,
            _ => {
                return Err(format!("{argument}: known are --seconds N, --slice MS, --json").into());
            }
        }
    }
    let (time, slice) = (Duration::from_secs_f64(seconds), Duration::from_secs_f64(slice / 1e3));

    let app = App::new()?;
    let engine = Engine::from_wgpu(app.device.clone(), app.queue.clone());
    let model = engine.load("models/flow-tiny")?;
    let shape = [1, 2, 27, SIZE[1] as usize, SIZE[0] as usize];
    let mut prepared = model.prepare(&[("patches", &shape)], RunOptions::default())?;
    let [first, second] = [0, 1].map(|at| TextureRegion::whole(&app.scenes[at]));
    prepared.bind_input("patches", GpuInput::Frames(first, second))?;
    let region = TextureRegion::whole(&app.flow);
    prepared.bind_output("logits", GpuOutput::Flow(region))?;

    // Two frames, and runs in which the engine learns how long its dispatches take here.
    for n in 0..2 {
        let mut encoder = app.encoder();
        app.draw(n, &mut encoder);
        app.queue.submit([encoder.finish()]);
    }
    for _ in 0..3 {
        sliced(&app, &mut prepared, slice)?;
    }
    let max_difference = difference(&app, &model, 0)?;
    // The best of runs in turn, so that what else the machine does meets both alike.
    let (mut free, mut in_slices) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..5 {
        let begin = Instant::now();
        prepared.run()?;
        free = free.min(begin.elapsed().as_secs_f64());
        in_slices = in_slices.min(sliced(&app, &mut prepared, slice)?);
    }

    let idle = frames(&app, None, slice, time)?;
    let with_model = frames(&app, Some(&mut prepared), slice, time)?;
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    if json {
        let of = |f: &Frames| {
            let (p95, max) = (percentile(&f.intervals, 0.95), most(&f.intervals));
            format!("\"fps\": {:.2}, \"p95_ms\": {p95:.3}, \"max_ms\": {max:.3}", f.fps())
        };
        println!(
            "{{\"device\": {:?}, \"idle\": {{{}}}, \"with_model\": {{{}, \"present_max_ms\": {:.3}, \
             \"runs\": {}, \"slices\": {}, \"step_p95_ms\": {:.3}, \"step_max_ms\": {:.3}}}, \"max_difference\": {max_difference}, \
             \"free_ms\": {:.3}, \"sliced_ms\": {:.3}}}",
            app.name,
            of(&idle),
            of(&with_model),
            most(&with_model.presents),
            with_model.runs,
            with_model.slices,
            percentile(&with_model.steps, 0.95),
            most(&with_model.steps),
            free * 1e3,
            in_slices * 1e3,
        );
        return Ok(());
    }
    println!("{}, {seconds} s each, slices of {slice:?}", app.name);
    for (what, f) in [("without the model", &idle), ("with the model", &with_model)] {
        let [p50, p95] = [0.5, 0.95].map(|share| percentile(&f.intervals, share));
        println!(
            "  {what}: {:.1} frames a second; from one to the next {p50:.1} ms in the middle, {p95:.1} ms \
             for 95 %, {:.1} ms at most; present {:.2} ms at most",
            f.fps(),
            most(&f.intervals),
            most(&f.presents)
        );
    }
    println!(
        "  {} flows in {} slices; the host's part of a slice {:.2} ms for 95 %; largest difference from a \
         blocking run {max_difference}",
        with_model.runs,
        with_model.slices,
        percentile(&with_model.steps, 0.95),
    );
    println!("  a run at once {:.1} ms, in slices {:.1} ms", free * 1e3, in_slices * 1e3);
    Ok(())
}
