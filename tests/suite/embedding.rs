//! Runs inside somebody else's app: on its device, between its textures and buffers, in its command encoders,
//! under its threads and executors.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use perceiver::checkpoint::{Checkpoint, RangeSource};
use perceiver::internals::gpu::ShaderChecks;
use perceiver::media::Frame;
use perceiver::stream::{EncoderState, Latents, Queries};
use perceiver::tasks::{FillMask, FillOptions, FlowField, FlowOptions, OpticalFlow};
use perceiver::{
    BufferElement, BufferRows, Control, Engine, Error, GpuInput, GpuOutput, MemorySize, Model,
    NamedTensors, PixelMap, Precision, Prepared, RunOptions, Tensor, TensorSource, TextureRegion,
};

use crate::common;

#[path = "../../examples/shared/texture.rs"]
mod texture;

use texture::texture;

/// An app with a device of its own.
struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl App {
    /// Two apps in one instance of wgpu, which tells their memory apart.
    fn pair() -> [App; 2] {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        let instance = wgpu::Instance::new(descriptor);
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
        let software = |a: &&wgpu::Adapter| a.get_info().device_type == wgpu::DeviceType::Cpu;
        let adapter = adapters.iter().find(software).or(adapters.first()).expect(common::INSTALL);
        [(); 2].map(|()| {
            let descriptor = wgpu::DeviceDescriptor {
                required_limits: adapter.limits(),
                required_features: adapter.features() & wgpu::Features::SUBGROUP,
                ..Default::default()
            };
            let opened = pollster::block_on(adapter.request_device(&descriptor));
            let (device, queue) = opened.expect("a device");
            App { device, queue }
        })
    }

    fn new() -> App {
        let opened = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
        let (device, queue) = (opened.wgpu_device().clone(), opened.wgpu_queue().clone());
        App { device, queue }
    }

    fn engine(&self) -> Engine {
        Engine::from_wgpu(self.device.clone(), self.queue.clone())
    }

    fn texture(&self, size: [u32; 2], format: wgpu::TextureFormat) -> wgpu::Texture {
        let usage = wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST;
        texture(&self.device, size, format, usage)
    }

    fn upload(&self, texture: &wgpu::Texture, bytes: &[u8]) {
        let texel = texture.format().block_copy_size(None).expect("a size");
        self.queue.write_texture(
            texture.as_image_copy(),
            bytes,
            wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(texel * texture.width()),
                rows_per_image: None,
            },
            texture.size(),
        );
    }

    fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// The bytes of a buffer, once all that was submitted is done.
    fn bytes(&self, buffer: &wgpu::Buffer) -> Vec<u8> {
        let mapped = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, 0, &mapped, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        mapped.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("mapped"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("poll");
        let range = mapped.get_mapped_range(..).expect("a range");
        range.to_vec()
    }

    /// The texels of a texture, line by line.
    fn texels(&self, texture: &wgpu::Texture) -> Vec<u8> {
        let texel = texture.format().block_copy_size(None).expect("a size");
        let line = (texel * texture.width()).next_multiple_of(256);
        let buffer = self.buffer(u64::from(line * texture.height()));
        let mut encoder = self.encoder();
        let bytes_per_row = Some(line);
        let layout = wgpu::TexelCopyBufferLayout { bytes_per_row, ..Default::default() };
        let to = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
        encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
        self.queue.submit([encoder.finish()]);
        let width = (texel * texture.width()) as usize;
        self.bytes(&buffer).chunks(line as usize).flat_map(|l| l[..width].to_vec()).collect()
    }
}

const SIZE: [u32; 2] = [128, 96];

fn frames() -> [Frame; 2] {
    [0, 3].map(|shift| {
        Frame::from_fn(SIZE[0] as usize, SIZE[1] as usize, |x, y| {
            let wave = |a: f64, b: f64| {
                let (x, y) = (x as f64 + f64::from(shift), y as f64);
                (127.0 + 120.0 * (a * x).sin() * (b * y).cos()) as u8
            };
            [wave(0.21, 0.13), wave(0.37, 0.05), wave(0.09, 0.29)]
        })
        .expect("a frame")
    })
}

fn rgba(frame: &Frame, swapped: bool) -> Vec<u8> {
    let texel = |p: &[u8]| if swapped { [p[2], p[1], p[0], 9] } else { [p[0], p[1], p[2], 9] };
    frame.rgb().chunks_exact(3).flat_map(texel).collect()
}

fn flow_tiny(engine: &Engine) -> Model {
    engine.load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/flow-tiny")).expect("model")
}

/// A model whose runs are short, and inputs for it.
fn text_tiny(engine: &Engine, first: i64) -> (Model, NamedTensors) {
    let model = engine.load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/text-tiny"));
    let ids = Tensor::i64(vec![1, 64], (first..first + 64).collect()).expect("ids");
    (model.expect("model"), NamedTensors::from([("input_ids".to_owned(), ids)]))
}

const PATCHES: (&str, &[usize]) = ("patches", &[1, 2, 27, 96, 128]);

fn prepared(model: &Model) -> Prepared {
    model.prepare(&[PATCHES], RunOptions::default()).expect("prepared")
}

/// Two textures with the frames.
fn textures(app: &App, format: wgpu::TextureFormat) -> [TextureRegion; 2] {
    let swapped =
        matches!(format, wgpu::TextureFormat::Bgra8Unorm | wgpu::TextureFormat::Bgra8UnormSrgb);
    frames().map(|frame| {
        let texture = app.texture(SIZE, format);
        app.upload(&texture, &rgba(&frame, swapped));
        TextureRegion::whole(&texture)
    })
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The flow of the frames by the pipeline, from the host and back.
fn on_host(model: &Model) -> FlowField {
    let [first, second] = frames();
    let pipeline = OpticalFlow::new(model).expect("a pipeline");
    pipeline.flow(&first, &second, &Default::default(), &mut |_, _| {}).expect("flow")
}

/// Steps of this time until the run is over; how many.
fn stepped(app: &App, prepared: &mut Prepared, time: Duration) -> usize {
    let mut cursor = prepared.begin().expect("begun");
    for steps in 1.. {
        let mut encoder = app.encoder();
        let step = prepared.step(&mut cursor, &mut encoder, time).expect("a step");
        app.queue.submit([encoder.finish()]);
        app.device.poll(wgpu::PollType::Poll).expect("poll");
        assert!(step.done <= step.total);
        if step.finished {
            assert_eq!(step.done, step.total);
            return steps;
        }
    }
    unreachable!()
}

#[test]
fn textures_in_and_out_give_the_bits_of_the_host() {
    let app = App::new();
    let model = flow_tiny(&app.engine());
    let expected: Vec<f32> = on_host(&model).vectors().iter().flatten().copied().collect();
    for format in [wgpu::TextureFormat::Rgba8Unorm, wgpu::TextureFormat::Bgra8UnormSrgb] {
        let [first, second] = textures(&app, format);
        let into = app.texture(SIZE, wgpu::TextureFormat::Rg32Float);
        let mut run = prepared(&model);
        run.bind_input("patches", GpuInput::Frames(first, second)).expect("bound");
        run.bind_output("logits", GpuOutput::Flow(TextureRegion::whole(&into))).expect("bound");
        let mut encoder = app.encoder();
        run.record(&mut encoder).expect("recorded");
        app.queue.submit([encoder.finish()]);
        assert!(floats(&app.texels(&into)) == expected, "recorded, {format:?}");
        if format == wgpu::TextureFormat::Bgra8UnormSrgb {
            continue;
        }
        app.upload(&into, &vec![0; app.texels(&into).len()]);
        assert!(stepped(&app, &mut run, Duration::from_micros(500)) > 1);
        assert!(floats(&app.texels(&into)) == expected, "stepped, {format:?}");

        app.upload(&into, &vec![0; app.texels(&into).len()]);
        assert!(run.run().expect("run").is_empty(), "what is bound stays on the device");
        assert!(floats(&app.texels(&into)) == expected, "run, {format:?}");
    }
}

#[test]
fn windows_and_rectangles_of_textures_give_the_same() {
    let app = App::new();
    let mut model = flow_tiny(&app.engine());
    let expected: Vec<f32> = on_host(&model).vectors().iter().flatten().copied().collect();
    // Windows of a few hundred rows, which begin and end within lines.
    model.set_window_bytes(300_000);
    let [first, second] = frames().map(|frame| {
        let texture = app.texture([140, 100], wgpu::TextureFormat::Rgba8Unorm);
        let large = Frame::from_fn(140, 100, |x, y| {
            let inside = x.checked_sub(7).and_then(|x| frame.pixel(x, y.checked_sub(4)?));
            inside.unwrap_or([200, 100, 50])
        });
        app.upload(&texture, &rgba(&large.expect("a frame"), false));
        let [width, height] = SIZE;
        TextureRegion { left: 7, top: 4, width, height, ..TextureRegion::whole(&texture) }
    });
    let into = app.texture([130, 99], wgpu::TextureFormat::Rg32Float);
    let [width, height] = SIZE;
    let region = TextureRegion { left: 2, top: 3, width, height, ..TextureRegion::whole(&into) };
    let mut run = prepared(&model);
    run.bind_input("patches", GpuInput::Frames(first, second)).expect("bound");
    run.bind_output("logits", GpuOutput::Flow(region)).expect("bound");
    run.run().expect("run");
    let texels = floats(&app.texels(&into));
    let found: Vec<f32> =
        texels.chunks_exact(260).skip(3).flat_map(|line| line[4..].to_vec()).collect();
    let largest = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    assert!(found.len() == expected.len() && largest < 1e-4, "off by {largest}");
    assert!(texels[..3 * 260].iter().all(|&x| x == 0.0), "outside of the region");
}

#[test]
fn flow_is_drawn_in_the_colours_of_the_wheel() {
    let app = App::new();
    let model = flow_tiny(&app.engine());
    let field = on_host(&model);
    let expected = field.picture(Some(4.0)).expect("a picture");
    let into = app.texture(SIZE, wgpu::TextureFormat::Bgra8Unorm);
    let mut run = prepared(&model);
    let [first, second] = textures(&app, wgpu::TextureFormat::Rgba8Unorm);
    run.bind_input("patches", GpuInput::Frames(first, second)).expect("bound");
    let region = TextureRegion::whole(&into);
    let output = GpuOutput::FlowColours { region, longest: 4.0 };
    run.bind_output("logits", output).expect("bound");
    run.run().expect("run");
    for (found, expected) in app.texels(&into).chunks(4).zip(expected.rgb().chunks(3)) {
        for (found, expected) in [found[2], found[1], found[0]].iter().zip(expected) {
            assert!(found.abs_diff(*expected) <= 1, "{found} for {expected}");
        }
        assert_eq!(found[3], 255);
    }
}

/// What the host makes of the second frame, as texels; what has left it is transparent.
fn brought_back(field: &FlowField) -> Vec<u8> {
    let [_, second] = frames();
    let [width, height] = SIZE.map(|side| side as usize);
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let arrived = pixels.map(|(x, y)| {
        let colour = perceiver::internals::tasks::brought_back(field, &second, x, y);
        colour.map_or([0; 4], |[r, g, b]| [r, g, b, 255])
    });
    let texels: Vec<u8> = arrived.flatten().collect();
    let rgb: Vec<u8> = texels.chunks_exact(4).flat_map(|t| t[..3].to_vec()).collect();
    assert!(rgb == field.warp(&second).expect("a frame").rgb());
    let there = |t: &&[u8]| t[3] == 255;
    let arrived = texels.chunks_exact(4).filter(there).count();
    assert!((width * height / 2..width * height).contains(&arrived), "{arrived} arrived");
    texels
}

#[test]
fn the_second_frame_is_brought_back_with_the_bits_of_the_host() {
    use wgpu::TextureFormat as F;
    let app = App::new();
    let mut model = flow_tiny(&app.engine());
    let expected = brought_back(&on_host(&model));
    let swapped: Vec<u8> =
        expected.chunks_exact(4).flat_map(|t| [t[2], t[1], t[0], t[3]]).collect();
    for (from, to) in [
        (F::Rgba8Unorm, F::Rgba8Unorm),
        (F::Rgba8Unorm, F::Bgra8Unorm),
        (F::Bgra8UnormSrgb, F::Rgba8UnormSrgb),
        (F::Bgra8Unorm, F::Bgra8Unorm),
    ] {
        let [first, second] = textures(&app, from);
        let into = app.texture(SIZE, to);
        let mut run = prepared(&model);
        run.bind_input("patches", GpuInput::Frames(first, second)).expect("bound");
        run.bind_output("logits", GpuOutput::Warped(TextureRegion::whole(&into))).expect("bound");
        let mut encoder = app.encoder();
        run.record(&mut encoder).expect("recorded");
        app.queue.submit([encoder.finish()]);
        let expected = if to == F::Bgra8Unorm { &swapped } else { &expected };
        assert!(app.texels(&into) == *expected, "recorded, {from:?} to {to:?}");
        app.upload(&into, &vec![7; expected.len()]);
        stepped(&app, &mut run, Duration::from_micros(500));
        assert!(app.texels(&into) == *expected, "stepped, {from:?} to {to:?}");
    }

    // Windows begin and end within lines, and the region within its texture. How windows round moves vectors a little.
    model.set_window_bytes(300_000);
    let [first, second] = textures(&app, F::Rgba8Unorm);
    let into = app.texture([130, 99], F::Rgba8Unorm);
    let [width, height] = SIZE;
    let region = TextureRegion { left: 2, top: 3, width, height, ..TextureRegion::whole(&into) };
    let mut run = prepared(&model);
    run.bind_input("patches", GpuInput::Frames(first, second)).expect("bound");
    run.bind_output("logits", GpuOutput::Warped(region)).expect("bound");
    run.run().expect("run");
    let texels = app.texels(&into);
    let lines = texels.chunks_exact(520).skip(3).flat_map(|line| line[8..].to_vec());
    near(lines.map(f32::from), &expected, 1.0);
    assert!(texels[..3 * 520].iter().all(|&x| x == 0), "outside of the region");
}

/// Texels differ by no more than this, but for a few whose points are at the border.
#[track_caller]
fn near(found: impl Iterator<Item = f32>, expected: &[u8], tolerance: f32) {
    let found: Vec<f32> = found.collect();
    assert_eq!(found.len(), expected.len());
    let pixels = || found.chunks_exact(4).zip(expected.chunks_exact(4));
    let elsewhere = pixels().filter(|(f, e)| f[3] != f32::from(e[3])).count();
    assert!(elsewhere <= 4, "{elsewhere} have left, or not");
    for (f, e) in pixels().filter(|(f, e)| f[3] == f32::from(e[3])) {
        let off = f.iter().zip(e).map(|(f, &e)| (f - f32::from(e)).abs()).fold(0.0, f32::max);
        assert!(off <= tolerance, "{f:?} for {e:?}");
    }
}

#[test]
fn frames_of_floats_are_brought_back_too() {
    use wgpu::TextureFormat as F;
    let app = App::new();
    let model = flow_tiny(&app.engine());
    let expected = brought_back(&on_host(&model));
    for (format, bytes) in [(F::Rgba16Float, 2), (F::Rgba32Float, 4)] {
        let number = |&byte: &u8| {
            let x = f32::from(byte) / 255.0;
            let half = half::f16::from_f32(x).to_le_bytes().to_vec();
            if bytes == 2 { half } else { x.to_le_bytes().to_vec() }
        };
        let [first, second] = frames().map(|frame| {
            let texture = app.texture(SIZE, format);
            let texels: Vec<u8> = rgba(&frame, false).iter().flat_map(number).collect();
            app.upload(&texture, &texels);
            TextureRegion::whole(&texture)
        });
        let into = app.texture(SIZE, format);
        let mut run = prepared(&model);
        run.bind_input("patches", GpuInput::Frames(first, second)).expect("bound");
        run.bind_output("logits", GpuOutput::Warped(TextureRegion::whole(&into))).expect("bound");
        run.run().expect("run");
        let found = app.texels(&into);
        let half = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
        let found: Vec<f32> = match bytes {
            2 => found.chunks_exact(2).map(half).collect(),
            _ => floats(&found),
        };
        // Bytes are rounded, and the flow of rounded frames is a little different.
        near(found.into_iter().map(|x| 255.0 * x), &expected, 2.0);
    }
}

#[test]
fn what_cannot_be_brought_back_is_refused_in_words() {
    use wgpu::TextureFormat as F;
    let app = App::new();
    let model = flow_tiny(&app.engine());
    let mut run = prepared(&model);
    let output = |size: [u32; 2], format| {
        GpuOutput::Warped(TextureRegion::whole(&app.texture(size, format)))
    };
    let bytes = || output(SIZE, F::Rgba8Unorm);
    refused(run.bind_output("logits", bytes()), &["logits", "no input to frames", "Frames"]);
    let [first, second] = textures(&app, F::Rgba8Unorm);
    run.bind_input("patches", GpuInput::Frames(first, second)).expect("bound");
    refused(run.bind_output("logits", output([127, 96], F::Rgba8Unorm)), &["127×96", "12288"]);
    let turned = output([96, 128], F::Rgba8Unorm);
    refused(run.bind_output("logits", turned), &["96 texels", "128 texels"]);
    refused(run.bind_output("logits", output(SIZE, F::Rgba16Float)), &["f16", "of u8"]);
    refused(run.bind_output("logits", output(SIZE, F::Rg16Float)), &["Rg16Float", "of four"]);
    refused(run.bind_output("logits", output(SIZE, F::Rgb10a2Unorm)), &["Rgb10a2Unorm"]);

    // Frames that an output is brought back from stay bound.
    run.bind_output("logits", bytes()).expect("bound");
    let buffer = app.buffer(216 * 128 * 96);
    let element = BufferElement::F32;
    let rows = BufferRows { buffer, offset: 0, row_stride: 216, element };
    refused(run.bind_input("patches", GpuInput::Rows(rows)), &["logits", "no input to frames"]);
    run.run().expect("what was bound before");
}

#[test]
fn rows_of_buffers_and_f16_textures() {
    let app = App::new();
    let model = flow_tiny(&app.engine());
    let [first, second] = frames();
    let pixels = (SIZE[0] * SIZE[1]) as usize;
    let rows = perceiver::internals::tasks::flow_tiles::pixel_rows(&first, &second, 0..pixels);
    let rows = rows.expect("rows");
    let rows = rows.as_f32().expect("floats");
    let expected: Vec<f32> = on_host(&model).vectors().iter().flatten().copied().collect();
    // 55 floats a row, 100 bytes into the buffer; the last of each row means nothing.
    let given = app.buffer(100 + 220 * pixels as u64);
    let mut bytes = vec![0xff; 100];
    for row in rows.chunks_exact(54) {
        bytes.extend(row.iter().chain(&[f32::NAN]).flat_map(|x| x.to_le_bytes()));
    }
    app.queue.write_buffer(&given, 0, &bytes);
    let into = app.buffer(8 + 12 * pixels as u64);
    let mut run = prepared(&model);
    let input =
        BufferRows { buffer: given, offset: 100, row_stride: 220, element: BufferElement::F32 };
    run.bind_input("patches", GpuInput::Rows(input)).expect("bound");
    let output =
        BufferRows { buffer: into.clone(), offset: 8, row_stride: 12, element: BufferElement::F32 };
    run.bind_output("logits", GpuOutput::Rows(output)).expect("bound");
    run.run().expect("run");
    let found = floats(&app.bytes(&into)[8..]);
    assert_eq!(found.len(), 3 * pixels);
    for (found, expected) in found.chunks_exact(3).zip(expected.chunks_exact(2)) {
        assert_eq!([20.0 * found[0], 20.0 * found[1], found[2]], [expected[0], expected[1], 0.0]);
    }

    // What was bound can be bound otherwise.
    let half = app.texture(SIZE, wgpu::TextureFormat::Rg16Float);
    run.bind_output("logits", GpuOutput::Flow(TextureRegion::whole(&half))).expect("bound");
    run.run().expect("run");
    let found = app.texels(&half);
    for (found, expected) in found.chunks_exact(2).zip(&expected) {
        let found = half::f16::from_le_bytes([found[0], found[1]]).to_f32();
        assert!((found - expected).abs() <= 1e-3 * expected.abs() + 1e-4, "{found} for {expected}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_seen_where_outputs_are_bound() {
    let app = App::new();
    let mut model = flow_tiny(&app.engine());
    let pixels = (SIZE[0] * SIZE[1]) as usize;
    let (given, into) = (app.buffer(216 * pixels as u64), app.buffer(8 * pixels as u64));
    let rows = |buffer: &wgpu::Buffer, row_stride| BufferRows {
        buffer: buffer.clone(),
        offset: 0,
        row_stride,
        element: BufferElement::F32,
    };
    let write = |last: f32| {
        let mut patches = vec![0.25; 54 * pixels];
        patches[54 * pixels - 1] = last;
        app.queue.write_buffer(&given, 0, bytemuck::cast_slice(&patches));
    };
    for allowed in [false, true] {
        model.set_non_finite_allowed(allowed);
        let mut run = prepared(&model);
        run.bind_input("patches", GpuInput::Rows(rows(&given, 216))).expect("bound");
        run.bind_output("logits", GpuOutput::Rows(rows(&into, 8))).expect("bound");
        // Again after what was finite, and what was not.
        for last in [f32::NAN, 0.5, f32::INFINITY, f32::NEG_INFINITY, 1.0] {
            write(last);
            let told = [run.run().map(|_| ()), {
                let mut encoder = app.encoder();
                run.record(&mut encoder).expect("recorded");
                app.queue.submit([encoder.finish()]);
                run.read().map(|_| ())
            }];
            for told in told {
                match told {
                    Err(Error::NotFinite { output, .. }) => {
                        assert!(!allowed && !last.is_finite() && output == "logits", "{last}");
                    }
                    told => assert!(told.is_ok() && (allowed || last.is_finite()), "{last}"),
                }
            }
            let finite = floats(&app.bytes(&into)).iter().all(|x| x.is_finite());
            assert_eq!(finite, last.is_finite());
        }
    }
}

#[test]
fn a_picture_is_classified_where_it_lies() {
    let app = App::new();
    let model = app
        .engine()
        .load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/shapes-tiny"))
        .expect("model");
    let side = model.config().expect("a configuration").image_size;
    let frame =
        Frame::from_fn(side, side, |x, y| [(5 * x) as u8, (7 * y) as u8, (3 * x + y) as u8]);
    let frame = frame.expect("a frame");
    let map = PixelMap { scale: [2.0, 1.5, 1.0, 0.0], offset: [-1.0, -0.5, 0.25, 0.0] };
    let planes: Vec<f32> = (0..3)
        .flat_map(|c| {
            let scale = f64::from(map.scale[c]);
            let offset = f64::from(map.offset[c]);
            let value = move |b: &u8| (f64::from(*b) / 255.0 * scale + offset) as f32;
            frame.rgb().iter().skip(c).step_by(3).map(value).collect::<Vec<_>>()
        })
        .collect();
    let shape = [1, 3, side, side];
    let mut run =
        model.prepare(&[("pixel_values", &shape)], RunOptions::default()).expect("prepared");
    let pixels = Tensor::f32(shape.to_vec(), planes).expect("pixels");
    let inputs = NamedTensors::from([("pixel_values".to_owned(), pixels)]);
    let expected = model.run(&inputs, &mut |_, _| {}).expect("run");
    run.write(&inputs).expect("written");
    assert!(run.run().expect("run") == expected);

    let texture = app.texture([side as u32; 2], wgpu::TextureFormat::Rgba8Unorm);
    app.upload(&texture, &rgba(&frame, false));
    let region = TextureRegion::whole(&texture);
    run.bind_input("pixel_values", GpuInput::Picture(region, map)).expect("bound");
    let mut encoder = app.encoder();
    run.record(&mut encoder).expect("recorded");
    app.queue.submit([encoder.finish()]);
    assert!(run.read().expect("read") == expected);
    let what = run.write(&inputs).expect_err("bound inputs are not written").to_string();
    assert!(what.contains("bound"), "{what}");
}

/// The relative L2 error.
fn off(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = found.iter().zip(expected).map(|(f, e)| square(f - e)).sum();
    (difference / expected.iter().map(|&e| square(e)).sum::<f64>()).sqrt()
}

#[test]
fn bindings_in_f16_of_texts_and_of_several_items() {
    let app = App::new();
    let mut model = flow_tiny(&app.engine());
    let expected: Vec<f32> = on_host(&model).vectors().iter().flatten().copied().collect();
    model.set_precision(Precision::F16).expect("f16");
    let into = app.texture(SIZE, wgpu::TextureFormat::Rg32Float);
    let mut run = prepared(&model);
    let [first, second] = textures(&app, wgpu::TextureFormat::Rgba8Unorm);
    run.bind_input("patches", GpuInput::Frames(first, second)).expect("bound");
    run.bind_output("logits", GpuOutput::Flow(TextureRegion::whole(&into))).expect("bound");
    stepped(&app, &mut run, Duration::from_millis(5));
    let error = off(&floats(&app.texels(&into)), &expected);
    assert!(error < 5e-3, "f16 is off by {error}");

    // Two texts, their tokens in a buffer, one after the other.
    let (model, inputs) = text_tiny(&app.engine(), 10);
    let (_, more) = text_tiny(&app.engine(), 100);
    let ids: Vec<i64> = [&inputs, &more].iter().flat_map(|i| tokens(i)).collect();
    let batch = Tensor::i64(vec![2, 64], ids.clone()).expect("ids");
    let batch = NamedTensors::from([("input_ids".to_owned(), batch)]);
    let expected = model.run(&batch, &mut |_, _| {}).expect("run");
    let mut run =
        model.prepare(&[("input_ids", &[2, 64])], RunOptions::default()).expect("prepared");
    run.write(&batch).expect("written");
    assert!(run.run().expect("run") == expected);
    let info = &run.inputs()[0];
    assert_eq!((info.rows * info.channels, info.dtype), (128, perceiver::DType::I64));
    let (stride, rows) = (4 * info.channels as u32, info.rows);
    let buffer = app.buffer(u64::from(stride) * rows as u64);
    let bytes: Vec<u8> = ids.iter().flat_map(|&id| (id as f32).to_le_bytes()).collect();
    app.queue.write_buffer(&buffer, 0, &bytes);
    let element = BufferElement::F32;
    let rows = BufferRows { buffer, offset: 0, row_stride: stride, element };
    run.bind_input("input_ids", GpuInput::Rows(rows)).expect("bound");
    let mut encoder = app.encoder();
    run.record(&mut encoder).expect("recorded");
    app.queue.submit([encoder.finish()]);
    assert!(run.read().expect("read") == expected);

    // On the CPU everything but commands.
    let on_cpu = text_tiny(&Engine::cpu(), 10).0;
    let mut on_cpu = on_cpu.prepare(&[("input_ids", &[2, 64])], RunOptions::default());
    let on_cpu = on_cpu.as_mut().expect("prepared");
    on_cpu.write(&batch).expect("written");
    let control = Control::new();
    let found = pollster::block_on(on_cpu.run_async(&control)).expect("run");
    let floats = |t: &NamedTensors| t["logits"].as_f32().expect("floats").to_vec();
    assert!(off(&floats(&found), &floats(&expected)) < 1e-5);
    control.cancel();
    let ended = pollster::block_on(on_cpu.run_async(&control));
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
}

/// The tokens of inputs.
fn tokens(inputs: &NamedTensors) -> Vec<i64> {
    inputs["input_ids"].as_i64().expect("tokens").to_vec()
}

#[track_caller]
fn refused(result: Result<(), Error>, words: &[&str]) {
    let error = result.expect_err("to be refused");
    assert!(matches!(error, Error::Input { .. }), "{error}");
    let error = error.to_string();
    assert!(words.iter().all(|w| error.contains(w)), "{error}");
}

#[test]
fn bindings_that_do_not_fit_are_refused_in_words() {
    let [app, stranger] = App::pair();
    let model = flow_tiny(&app.engine());
    let mut run = prepared(&model);
    let [first, second] = textures(&app, wgpu::TextureFormat::Rgba8Unorm);
    let mut input = |input| run.bind_input("patches", input);
    let small = TextureRegion { width: 64, ..second.clone() };
    refused(input(GpuInput::Frames(first.clone(), small)), &["64×96", "one size"]);
    let other = TextureRegion::whole(&app.texture(SIZE, wgpu::TextureFormat::R8Unorm));
    refused(input(GpuInput::Frames(other.clone(), other)), &["54 channels"]);
    let depth = TextureRegion::whole(&app.texture(SIZE, wgpu::TextureFormat::Rgb10a2Unorm));
    refused(input(GpuInput::Frames(depth.clone(), depth)), &["Rgb10a2Unorm", "Rgba8Unorm"]);
    let far = TextureRegion { left: 1, ..first.clone() };
    refused(input(GpuInput::Frames(far, second.clone())), &["(1, 0)", "within 128×96"]);
    let rows = |buffer: wgpu::Buffer, offset, row_stride| {
        GpuInput::Rows(BufferRows { buffer, offset, row_stride, element: BufferElement::F32 })
    };
    let bytes = 216 * 128 * 96;
    refused(input(rows(app.buffer(bytes - 4), 0, 216)), &["2654204", "2654208 bytes"]);
    refused(input(rows(app.buffer(bytes), 4, 216)), &["byte 4"]);
    refused(input(rows(app.buffer(bytes), 0, 200)), &["200 bytes", "216"]);
    let usage = wgpu::BufferUsages::STORAGE;
    let unreadable = app.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes,
        usage,
        mapped_at_creation: false,
    });
    refused(input(rows(unreadable, 0, 216)), &["STORAGE", "COPY_SRC"]);
    // Another device's memory.
    let [a, b] = textures(&stranger, wgpu::TextureFormat::Rgba8Unorm);
    refused(input(GpuInput::Frames(a, b)), &["device"]);
    let destroyed = app.buffer(bytes);
    destroyed.destroy();
    let _ = input(rows(destroyed, 0, 216));
    let frames = GpuInput::Frames(first, second);
    refused(run.bind_input("pixels", frames.clone()), &["pixels", "patches"]);
    let of_bytes = model.prepare(&[("frames", &[1, 2, 96, 128, 3])], RunOptions::default());
    refused(of_bytes.expect("prepared").bind_input("frames", frames), &["frames", "patches"]);
    let picture = app.texture(SIZE, wgpu::TextureFormat::Rgba8Unorm);
    let picture = TextureRegion::whole(&picture);
    refused(run.bind_output("logits", GpuOutput::Flow(picture.clone())), &["Rg16Float"]);
    refused(
        run.bind_output("logits", GpuOutput::Picture(picture, PixelMap::IDENTITY)),
        &["channels"],
    );

    let on_cpu = flow_tiny(&Engine::cpu()).prepare(&[PATCHES], RunOptions::default());
    let mut on_cpu = on_cpu.expect("prepared");
    let what = on_cpu.begin().expect_err("no commands").to_string();
    assert!(what.contains("CPU executor"), "{what}");
    let unknown = model.prepare(&[("pixels", &[1, 3])], RunOptions::default());
    assert!(unknown.expect_err("unknown").to_string().contains("pixels"));
    let huge = model.prepare(&[("patches", &[usize::MAX, 2, 27])], RunOptions::default());
    assert!(huge.expect_err("too many").to_string().contains("memory"));
}

#[test]
fn cursors_end_with_their_run() {
    let app = App::new();
    let mut run = prepared(&flow_tiny(&app.engine()));
    let time = Duration::from_millis(1);
    let mut encoder = app.encoder();
    let mut first = run.begin().expect("begun");
    run.step(&mut first, &mut encoder, time).expect("a step");
    let mut second = run.begin().expect("begun");
    let late = run.step(&mut first, &mut encoder, time).expect_err("another run").to_string();
    assert!(late.contains("another began"), "{late}");
    let into = app.buffer(8 * 128 * 96);
    let rows = BufferRows { buffer: into, offset: 0, row_stride: 8, element: BufferElement::F32 };
    run.bind_output("logits", GpuOutput::Rows(rows)).expect("bound");
    let late = run.step(&mut second, &mut encoder, time).expect_err("bound since").to_string();
    assert!(late.contains("binding changed"), "{late}");
    app.queue.submit([encoder.finish()]);
    stepped(&app, &mut run, time);
    let mut over = run.begin().expect("begun");
    let mut encoder = app.encoder();
    run.step(&mut over, &mut encoder, Duration::from_secs(3600)).expect("a step");
    // Commands that are never submitted leave nothing behind.
    drop(encoder);
    stepped(&app, &mut run, time);
}

#[test]
fn steps_that_are_not_submitted_do_not_pile_up() {
    let app = App::new();
    let model = flow_tiny(&app.engine());
    let expected = {
        let mut run = prepared(&model);
        run.run().expect("run")
    };
    let mut run = prepared(&model);
    let mut cursor = run.begin().expect("begun");
    let mut encoders = Vec::new();
    let time = Duration::from_micros(100);
    // All of a run that fits, before anything is submitted.
    loop {
        let mut encoder = app.encoder();
        let step = run.step(&mut cursor, &mut encoder, time).expect("a step");
        encoders.push(encoder.finish());
        if step.finished {
            break;
        }
        if step.predicted.is_zero() {
            app.queue.submit(std::mem::take(&mut encoders));
            app.device.poll(wgpu::PollType::wait_indefinitely()).expect("poll");
        }
    }
    app.queue.submit(encoders);
    assert!(run.read().expect("read") == expected);
}

#[test]
fn runs_are_cancelled_from_callbacks_and_threads_and_go_again() {
    let app = App::new();
    for engine in [app.engine(), Engine::cpu()] {
        engine.set_submission_budget("1ms".parse().expect("a budget"));
        let model = flow_tiny(&engine);
        let inputs = NamedTensors::from([(
            "patches".to_owned(),
            Tensor::f32(PATCHES.1.to_vec(), vec![0.1; 54 * 128 * 96]).expect("patches"),
        )]);
        let expected = model.run(&inputs, &mut |_, _| {}).expect("run");
        let control = Control::new();
        let controlled = model.controlled(&control);
        let mut heard = 0;
        let ended = controlled.run(&inputs, &mut |done, total| {
            heard += 1;
            assert!(done < total, "the run was to end");
            control.cancel();
        });
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        assert!(heard <= 2, "{heard} submissions after the end");
        assert!(matches!(controlled.run(&inputs, &mut |_, _| {}), Err(Error::Cancelled)));
        // From another thread, in the midst of a run.
        let control = Control::new();
        let (model_of, other) = (model.controlled(&control), control.clone());
        let (begun, heard) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            heard.recv().expect("begun");
            other.cancel();
        });
        let cancelled = control.clone();
        let ended = model_of.run(&inputs, &mut |_, _| {
            let _ = begun.send(());
            while !cancelled.is_cancelled() {
                std::thread::yield_now();
            }
        });
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        thread.join().expect("joined");
        assert!(control.progress().1 > 0);
        assert!(model.run(&inputs, &mut |_, _| {}).expect("run") == expected);
    }
}

/// Memory for runs side by side, in runs; for one alone, for some, without a bound.
const BUDGETS: [Option<u64>; 3] = [Some(1), Some(3), None];

/// Gives a model that has run a budget of this many of its runs.
fn limit(model: &mut Model, runs: Option<u64>) {
    let budget = runs.map(|runs| MemorySize(model.allocated_bytes() * runs));
    model.set_memory_budget(budget);
}

#[test]
fn callbacks_may_call_anything() {
    let app = App::new();
    for engine in [app.engine(), Engine::cpu()] {
        for budget in BUDGETS {
            let (mut model, inputs) = text_tiny(&engine, 10);
            let expected = model.run(&inputs, &mut |_, _| {}).expect("run");
            limit(&mut model, budget);
            let called = AtomicBool::new(false);
            let outer = model.run(&inputs, &mut |_, _| {
                if !called.swap(true, Ordering::Relaxed) {
                    assert!(model.allocated_bytes() > 0);
                    match model.run(&inputs, &mut |_, _| {}) {
                        Ok(inner) => assert!(inner == expected && budget != Some(1)),
                        // The budget may have room for one alone.
                        Err(Error::Limit { what, .. }) => {
                            assert!(budget == Some(1) && what.contains("within a run"), "{what}");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            assert!(outer.expect("run") == expected);
        }
    }
}

#[test]
fn threads_run_one_model_side_by_side() {
    let app = App::new();
    for engine in [app.engine(), Engine::cpu()] {
        for budget in BUDGETS {
            let (mut model, inputs) = text_tiny(&engine, 10);
            model.run(&inputs, &mut |_, _| {}).expect("run");
            limit(&mut model, budget);
            let values = [10, 20, 30, 40];
            let run = |first| {
                let (_, inputs) = text_tiny(&engine, first);
                model.run(&inputs, &mut |_, _| {}).expect("run")
            };
            let expected = values.map(run);
            std::thread::scope(|scope| {
                for (value, expected) in values.into_iter().zip(&expected) {
                    scope.spawn(move || assert!(&run(value) == expected));
                }
            });
        }
    }
}

/// Weights whose source runs the model that they are of, the first time that it is asked.
struct Curious {
    weights: Checkpoint,
    asked: AtomicBool,
    model: OnceLock<Model>,
}

impl TensorSource for Curious {
    fn read_f32(&self, name: &str) -> perceiver::Result<Vec<f32>> {
        if let Some(model) = self.model.get()
            && !self.asked.swap(true, Ordering::Relaxed)
        {
            let (_, inputs) = text_tiny(&Engine::cpu(), 10);
            model.run(&inputs, &mut |_, _| {})?;
        }
        self.weights.read_f32(name)
    }
}

#[test]
fn sources_of_weights_may_call_anything() {
    let app = App::new();
    for engine in [app.engine(), Engine::cpu()] {
        let (known, inputs) = text_tiny(&engine, 10);
        let expected = known.run(&inputs, &mut |_, _| {}).expect("run");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/text-tiny");
        let weights = Checkpoint::open(folder).expect("weights");
        let source = Curious { weights, asked: false.into(), model: OnceLock::new() };
        let source = Arc::new(source);
        let config = known.config().expect("a configuration").clone();
        let model = engine.load_from(config, source.clone()).expect("model");
        assert!(source.model.set(model.clone()).is_ok());
        assert!(model.run(&inputs, &mut |_, _| {}).expect("run") == expected);
        assert!(source.asked.load(Ordering::Relaxed));
    }
}

#[test]
fn runs_are_awaited_while_the_app_polls() {
    let app = App::new();
    let model = flow_tiny(&app.engine());
    let mut run = pollster::block_on(model.prepare_async(&[PATCHES], RunOptions::default()))
        .expect("prepared");
    let expected = run.run().expect("run");
    let control = Control::new();
    {
        // No executor, no thread: polls of the device and of the future, one after the other.
        let mut awaited = Box::pin(run.run_async(&control));
        let mut context = Context::from_waker(Waker::noop());
        let found = loop {
            match awaited.as_mut().poll(&mut context) {
                Poll::Ready(found) => break found.expect("run"),
                Poll::Pending => drop(app.device.poll(wgpu::PollType::Poll)),
            }
        };
        assert!(found == expected);
    }
    let (done, total) = control.progress();
    assert!(done == total && total > 0);
    // An executor in one thread, polls in another.
    let found = polled(&app, run.run_async(&Control::new()));
    assert!(found.expect("run") == expected);
    // A future that is dropped in the midst of its run leaves a session that goes on.
    {
        let control = Control::new();
        let mut awaited = Box::pin(run.run_async(&control));
        let mut context = Context::from_waker(Waker::noop());
        assert!(awaited.as_mut().poll(&mut context).is_pending());
    }
    let found = polled(&app, run.run_async(&Control::new()));
    assert!(found.expect("run") == expected);
}

/// Awaits on this thread while another polls the device, as a server does.
fn polled<T>(app: &App, future: impl Future<Output = T> + Send) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                drop(app.device.poll(wgpu::PollType::Poll));
                std::thread::yield_now();
            }
        });
        let ready = pollster::block_on(future);
        over.store(true, Ordering::Relaxed);
        ready
    })
}

#[test]
fn what_is_awaited_is_what_is_waited_for() {
    let app = App::new();
    for engine in [app.engine(), Engine::cpu()] {
        let (model, inputs) = text_tiny(&engine, 24);
        let options = RunOptions::default();
        let expected = model.run(&inputs, &mut |_, _| {}).expect("run");
        let (sizes, latents) = model.encode(&inputs, options, &mut |_, _| {}).expect("encode");
        // Sessions, and on a GPU kernels, are made while it is awaited.
        let (model, _) = text_tiny(&engine, 24);
        let control = Control::new();
        let model = model.controlled(&control);
        assert!(polled(&app, model.run_async(&inputs, options)).expect("run") == expected);
        let (done, total) = control.progress();
        assert!(done == total && total > 0);
        let encoded = polled(&app, model.encode_async(&inputs, options)).expect("encode");
        assert!(encoded == (sizes, latents.clone()));
        let mut decoder = model.decoder(&sizes, &latents[0]).expect("a decoder");
        let queries = Queries::Range(3..9);
        let rows = decoder.decode("logits", &queries, None).expect("rows");
        let chunks = async {
            let mut chunks = decoder.stream("logits", queries, None)?;
            let first = chunks.next_async().await.expect("a chunk")?;
            assert!(chunks.next_async().await.is_none());
            Ok::<_, Error>(first.rows)
        };
        assert!(polled(&app, chunks).expect("rows") == rows);
        let (fill, how) = (FillMask::new(&model).expect("a pipeline"), FillOptions::default());
        let texts = ["The comp[MASK]ler"];
        let filled = fill.fill(&texts, &how, &mut |_, _| {}).expect("filled");
        assert!(polled(&app, fill.fill_async(&texts, &how)).expect("filled") == filled);
        let flow = OpticalFlow::new(&flow_tiny(&engine)).expect("a pipeline");
        let [first, second] =
            [0, 3].map(|by| Frame::from_fn(140, 96, |x, y| [(x + by) as u8, y as u8, 7]));
        let (first, second) = (first.expect("a frame"), second.expect("a frame"));
        let how = FlowOptions::default();
        let field = flow.flow(&first, &second, &how, &mut |_, _| {}).expect("flow");
        assert!(polled(&app, flow.flow_async(&first, &second, &how)).expect("flow") == field);
        control.cancel();
        let ended = polled(&app, model.run_async(&inputs, options));
        assert!(matches!(ended, Err(Error::Cancelled)));
    }
}

/// A file of bytes, a few at a time.
struct Slow {
    bytes: Vec<u8>,
    length: u64,
    asked: AtomicBool,
}

impl RangeSource for Slow {
    async fn length(&self) -> std::io::Result<u64> {
        Ok(self.length)
    }

    async fn read(&self, range: std::ops::Range<u64>) -> std::io::Result<Vec<u8>> {
        self.asked.store(true, Ordering::Relaxed);
        let range = range.start as usize..(range.end as usize).min(self.bytes.len());
        self.bytes.get(range).map(<[u8]>::to_vec).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

#[test]
fn models_come_from_bytes_and_ranges() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/flow-tiny");
    let config = std::fs::read_to_string(format!("{folder}/config.json")).expect("config");
    let bytes = std::fs::read(format!("{folder}/model.safetensors")).expect("weights");
    let engine = Engine::cpu();
    let expected = on_host(&flow_tiny(&engine));
    // Wherever the bytes lie: at an odd address, too.
    let odd: &'static [u8] = Box::leak([&[0][..], &bytes].concat().into_boxed_slice());
    let model = engine.load_bytes(&config, &odd[1..]).expect("model");
    assert_eq!(on_host(&model), expected);
    let model = engine.load_bytes(&config, Arc::<[u8]>::from(bytes.clone()));
    assert_eq!(on_host(&model.expect("model")), expected);
    let truncated = bytes[..bytes.len() / 2].to_vec();
    let error = engine.load_bytes(&config, truncated).expect_err("truncated").to_string();
    assert!(error.contains("in memory") && error.contains("truncated"), "{error}");

    let source = |bytes: &[u8], length| Slow { bytes: bytes.to_vec(), length, asked: false.into() };
    let length = bytes.len() as u64;
    let mut heard = (0, 0);
    let whole = source(&bytes, length);
    let mut hear = |done, total| heard = (done, total);
    let loaded = pollster::block_on(engine.load_ranges(&config, &whole, &mut hear));
    assert_eq!(on_host(&loaded.expect("model")), expected);
    assert_eq!(heard, (length, length));
    let load =
        |source: &Slow| pollster::block_on(engine.load_ranges(&config, source, &mut |_, _| {}));
    let short = load(&source(&bytes[..1000], length)).expect_err("short").to_string();
    assert!(short.contains("bytes for the range"), "{short}");
    let endless = source(&bytes, u64::MAX);
    let error = load(&endless).expect_err("endless").to_string();
    assert!(error.contains("config.json at most"), "{error}");
    assert!(!endless.asked.load(Ordering::Relaxed), "nothing is read of it");
}

#[test]
fn states_and_latents_pass_through_bytes() {
    let model = flow_tiny(&Engine::cpu());
    let [first, second] = frames();
    let sizes = model.config().map(|_| perceiver::Sizes::default()).expect("sizes");
    let rows = perceiver::internals::tasks::flow_tiles::pixel_rows(&first, &second, 0..100);
    let mut encoder = model.encoder(&sizes).expect("encoder");
    encoder.push("frame", 0, &rows.expect("rows")).expect("pushed");
    let state = encoder.state().clone();
    let read = EncoderState::from_bytes(&state.to_bytes().expect("bytes")).expect("state");
    assert_eq!(read, state);
    let latents = encoder.finish().expect("latents");
    let read = Latents::from_bytes(&latents.to_bytes().expect("bytes")).expect("latents");
    assert_eq!(read, latents);
    assert!(EncoderState::from_bytes(&[7; 40]).is_err());
    assert!(Latents::from_bytes(&state.to_bytes().expect("bytes")).is_err());
}

#[test]
fn the_owner_of_a_device_tells_that_it_is_lost() {
    let app = App::new();
    let engine = app.engine();
    let model = flow_tiny(&engine);
    let mut run = prepared(&model);
    let patches = Tensor::f32(PATCHES.1.to_vec(), vec![0.3; 54 * 128 * 96]).expect("patches");
    run.write(&NamedTensors::from([("patches".to_owned(), patches)])).expect("written");
    let expected = run.run().expect("run");
    engine.device_lost("unplugged");
    let error = run.run().expect_err("lost");
    assert!(matches!(&error, Error::DeviceLost { reason, .. } if reason == "unplugged"), "{error}");
    let mut encoder = app.encoder();
    assert!(matches!(run.record(&mut encoder), Err(Error::DeviceLost { .. })));
    let anew = App::new();
    let mut rebuilt = run.rebuild(&flow_tiny(&anew.engine())).expect("rebuilt");
    assert!(rebuilt.run().expect("run") == expected);
    assert!(matches!(
        model.prepare(&[PATCHES], RunOptions::default()),
        Err(Error::DeviceLost { .. })
    ));
}
