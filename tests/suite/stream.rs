//! Encoding in chunks and decoding subsets: the same result as all at once, whatever the chunks.

use std::sync::Arc;

use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
use perceiver::checkpoint::read_tensors;
use perceiver::internals::gpu::ShaderChecks;
use perceiver::internals::perceiver::official::optical_flow::patch_rows;
use perceiver::internals::tasks::flow_tiles::{patches, pixel_rows};
use perceiver::internals::weights::RandomTensors;
use perceiver::media::Frame;
use perceiver::stream::{Encoder, EncoderState, Latents, Queries};
use perceiver::tasks::{FlowOptions, OpticalFlow};
use perceiver::{
    Architecture, DType, Data, Engine, Error, Model, NamedTensors, PerceiverConfig, RunOptions,
    Sizes, Tensor,
};

use crate::common;

const CASES: [&str; 3] = ["img-fourier-v2-s0", "flow-v2-s0", "multimodal-v1-s0"];

struct Case {
    model: Model,
    sizes: Sizes,
    /// Rows of the first item by modality.
    rows: NamedTensors,
    /// Its inputs.
    inputs: NamedTensors,
}

/// Items that a recorded tensor begins with.
fn first_item(name: &str, tensor: &Tensor) -> Tensor {
    if name.starts_with("points") {
        return tensor.clone();
    }
    let mut shape = tensor.shape().to_vec();
    let each: usize = shape[1..].iter().product();
    shape[0] = 1;
    let data = tensor.as_f32().expect("floats")[..each].to_vec();
    Tensor::f32(shape, data).expect("the first item")
}

fn case(engine: &Engine, name: &str, folded: bool) -> Case {
    let folder = common::fixtures().join("golden").join(name);
    let mut model = engine.load(&folder).expect("a model");
    model.set_folded(folded);
    let recorded = read_tensors(folder.join("inputs.safetensors")).expect("inputs");
    let wanted = ["pixel_values", "patches", "image", "audio", "points.image", "points.audio"];
    let inputs: NamedTensors = recorded
        .iter()
        .filter(|(name, _)| wanted.contains(&name.as_str()))
        .map(|(name, tensor)| (name.clone(), first_item(name, tensor)))
        .collect();
    let (sizes, rows) = model.input_rows(&inputs, RunOptions::default()).expect("rows");
    Case { model, sizes, rows, inputs }
}

fn engines() -> Vec<(&'static str, Engine)> {
    let adapter = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    vec![("cpu", Engine::cpu()), ("adapter", Engine::on(adapter))]
}

fn push(encoder: &mut Encoder, name: &str, rows: &Tensor, first: usize, last: usize) {
    let channels = rows.shape()[1];
    let data = rows.as_f32().expect("floats")[first * channels..last * channels].to_vec();
    let part = Tensor::f32(vec![last - first, channels], data).expect("rows");
    encoder.push(name, first, &part).expect("a chunk");
}

fn error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    let size: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    (difference / size).sqrt()
}

fn whole(case: &Case) -> Latents {
    let options = RunOptions::default();
    let (_, mut latents) =
        case.model.encode(&case.inputs, options, &mut |_, _| {}).expect("latents");
    latents.remove(0)
}

#[test]
fn chunks_of_any_size_and_order_give_the_latents_of_all_at_once() {
    for (device, engine) in engines() {
        for name in CASES {
            for folded in [true, false] {
                let case = case(&engine, name, folded);
                let expected = whole(&case);
                for step in [usize::MAX, 37, 1] {
                    let mut encoder = case.model.encoder(&case.sizes).expect("an encoder");
                    let mut chunks = Vec::new();
                    for (name, rows) in &case.rows {
                        let count = rows.shape()[0];
                        // One by one is slow: a few rows, then the rest.
                        let mut first = 0;
                        while first < count {
                            let size = if step == 1 && first > 4 { count } else { step };
                            let last = count.min(first.saturating_add(size));
                            chunks.push((name, rows, first, last));
                            first = last;
                        }
                    }
                    chunks.reverse();
                    for (name, rows, first, last) in chunks {
                        push(&mut encoder, name, rows, first, last);
                    }
                    let latents = encoder.finish().expect("latents");
                    let error = error(latents.as_slice(), expected.as_slice());
                    assert!(error < 2e-6, "{device} {name} folded {folded}: {error:e}");
                }
            }
        }
    }
}

/// Sessions that are made for one input serve the next: results have the bits of encoders and decoders of their own.
#[test]
fn one_encoder_and_one_decoder_serve_many_inputs() {
    for (device, engine) in engines() {
        for folded in [true, false] {
            let Case { model, sizes, rows, .. } = case(&engine, "img-fourier-v2-s0", folded);
            let pixels = &rows["pixel"];
            let end = pixels.shape()[0];
            let logits = Queries::Range(0..1);
            let mut shared = model.encoder(&sizes).expect("an encoder");
            let empty = shared.state().clone();
            let mut decoder = None;
            for last in [end, end / 2, end / 3] {
                let mut own = model.encoder(&sizes).expect("an encoder");
                push(&mut own, "pixel", pixels, 0, last);
                push(&mut shared, "pixel", pixels, 0, last);
                let latents = shared.finish().expect("latents");
                assert_eq!(latents, own.finish().expect("latents"), "{device} {last}");
                shared.replace(empty.clone()).expect("the state before any row");
                let mut own = model.decoder(&sizes, &latents).expect("a decoder");
                let expected = own.decode("logits", &logits, None).expect("logits");
                let decoder = decoder.get_or_insert(own);
                decoder.set_latents(&latents).expect("latents");
                assert_eq!(decoder.decode("logits", &logits, None).expect("logits"), expected);
            }
            let other = Latents::new(1, 1, vec![0.0]).expect("latents");
            let refused = decoder.expect("a decoder").set_latents(&other).unwrap_err();
            assert!(refused.to_string().contains("as the model has"), "{refused}");
        }
    }
}

/// Some rows of a case, in some order.
fn push_at(encoder: &mut Encoder, name: &str, rows: &Tensor, cells: &[usize]) {
    let channels = rows.shape()[1];
    let data = rows.as_f32().expect("floats");
    let data = cells.iter().flat_map(|&i| &data[i * channels..(i + 1) * channels]).copied();
    let part = Tensor::f32(vec![cells.len(), channels], data.collect()).expect("rows");
    encoder.push_at(name, cells, &part).expect("rows anywhere");
}

/// The numbers up to `n`, in an order that has neighbours far apart.
fn scattered(n: usize) -> Vec<usize> {
    let step = (n / 3..)
        .find(|s| (2..=*s).all(|d| !s.is_multiple_of(d) || !n.is_multiple_of(d)))
        .expect("a step");
    (0..n).map(|i| i * step % n).collect()
}

#[test]
fn rows_anywhere_give_the_latents_of_all_at_once() {
    for (device, engine) in engines() {
        for name in CASES {
            for folded in [true, false] {
                let case = case(&engine, name, folded);
                let expected = whole(&case);
                for pieces in [1, 5] {
                    let mut encoder = case.model.encoder(&case.sizes).expect("an encoder");
                    for (name, rows) in &case.rows {
                        let cells = scattered(rows.shape()[0]);
                        for part in cells.chunks(cells.len().div_ceil(pieces)) {
                            push_at(&mut encoder, name, rows, part);
                        }
                    }
                    let latents = encoder.finish().expect("latents");
                    let error = error(latents.as_slice(), expected.as_slice());
                    assert!(error < 2e-6, "{device} {name} folded {folded}: {error:e}");
                }
            }
        }
    }
}

fn one_input(modality: Modality) -> Model {
    let blueprint = PerceiverBuilder::new(5, 16)
        .input(modality)
        .cross("read", 2)
        .tower("think", 1, 2, 1)
        .decoder(1, false)
        .output(Output::new("class", Modality::learned("class", 1, 8)).linear(2))
        .build()
        .expect("a blueprint");
    let weights = RandomTensors::new(blueprint.tensors().expect("tensors"), 3);
    Engine::cpu().load_blueprint(blueprint, Arc::new(weights)).expect("a model")
}

fn floats(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}

/// Rows that lie in some cells of a grid, and sets of more rows than usual.
#[test]
fn cells_of_their_own_and_large_sets_are_read() {
    let cells: Vec<usize> = scattered(221).into_iter().take(90).collect();
    let events = Modality::given("events", 50, 3).fourier(&[13, 17], 4).points().varies();
    let model = one_input(events);
    let rows = Tensor::f32(vec![1, 90, 3], floats(270)).expect("rows");
    let points = cells.iter().map(|&cell| cell as i64).collect();
    let points = Tensor::i64(vec![90], points).expect("points");
    let names = model.description().blueprint(&Sizes::default()).input_shapes();
    let values = [rows.clone(), points];
    let inputs = names.into_iter().map(|shape| shape.name).zip(values).collect();
    let (_, expected) =
        model.encode(&inputs, RunOptions::default(), &mut |_, _| {}).expect("latents");
    let rows = rows.reshape(vec![90, 3]).expect("rows");
    let mut encoder = model.encoder(&Sizes::default()).expect("an encoder");
    encoder.push_at("events", &cells, &rows).expect("rows");
    let error_of = |latents: &Latents| error(latents.as_slice(), expected[0].as_slice());
    assert!(error_of(&encoder.finish().expect("latents")) < 2e-6);
    let text = encoder.push("events", 0, &rows).expect_err("a refusal").to_string();
    assert!(text.contains("`push_at`"), "{text}");
    let text = encoder.push_at("events", &[221; 90], &rows).expect_err("a refusal").to_string();
    assert!(text.contains("cell 221") && text.contains("0 to 220"), "{text}");
    let text = encoder.push_at("events", &[1], &rows).expect_err("a refusal").to_string();
    assert!(text.contains("a row for each cell"), "{text}");
    // What was refused was not read.
    assert!(error_of(&encoder.finish().expect("latents")) < 2e-6);

    let model = one_input(Modality::given("points", 50, 3).varies());
    let rows = Tensor::f32(vec![1, 5000, 3], floats(15000)).expect("rows");
    let inputs = NamedTensors::from([("points".to_owned(), rows.clone())]);
    let (_, expected) =
        model.encode(&inputs, RunOptions::default(), &mut |_, _| {}).expect("latents");
    let mut encoder = model.encoder(&Sizes::default()).expect("an encoder");
    encoder.push("points", 0, &rows.reshape(vec![5000, 3]).expect("rows")).expect("rows");
    let latents = encoder.finish().expect("latents");
    assert!(error(latents.as_slice(), expected[0].as_slice()) < 2e-6);
}

/// One encoder for several inputs in turns gives the bits of an encoder for each.
#[test]
fn an_encoder_goes_on_from_other_states() {
    for name in CASES {
        let case = case(&Engine::cpu(), name, true);
        let mut shared = case.model.encoder(&case.sizes).expect("an encoder");
        let mut states = vec![shared.state().clone(); 2];
        let mut own: Vec<Encoder> =
            (0..2).map(|_| case.model.encoder(&case.sizes).expect("an encoder")).collect();
        for (name, rows) in &case.rows {
            let count = rows.shape()[0];
            for (i, (first, last)) in [(0, count / 2), (count / 2, count)].into_iter().enumerate() {
                push(&mut own[i], name, rows, first, last);
                let before = shared.replace(states[i].clone()).expect("a state of its own");
                push(&mut shared, name, rows, first, last);
                states[i] = shared.replace(before).expect("a state of its own");
            }
        }
        for (state, own) in states.into_iter().zip(&mut own) {
            assert_eq!(state, *own.state());
            shared.replace(state).expect("a state of its own");
            assert_eq!(shared.finish().expect("latents"), own.finish().expect("latents"));
        }
    }
    let other = one_input(Modality::given("points", 50, 3).varies());
    let other = other.encoder(&Sizes::default()).expect("an encoder");
    let case = case(&Engine::cpu(), CASES[0], true);
    let mut encoder = case.model.encoder(&case.sizes).expect("an encoder");
    let text = encoder.replace(other.state().clone()).expect_err("a refusal").to_string();
    assert!(text.contains("the same model"), "{text}");
}

#[test]
fn fingerprints_tell_models_apart_whatever_the_device() {
    let config = |latents| {
        let mut config = PerceiverConfig::new(Architecture::ImageFourier);
        (config.num_latents, config.d_latents, config.num_self_attends_per_block) =
            (latents, 16, 1);
        config.num_cross_attention_heads = 1;
        config
    };
    let fingerprint = |engine: &Engine, latents, seed| {
        let weights = RandomTensors::new(config(latents).tensors().expect("tensors"), seed);
        let model = engine.load_from(config(latents), Arc::new(weights)).expect("a model");
        model.fingerprint().expect("weights")
    };
    let own = fingerprint(&Engine::cpu(), 4, 1);
    for (device, engine) in engines() {
        assert_eq!(fingerprint(&engine, 4, 1), own, "{device}");
        assert_ne!(fingerprint(&engine, 4, 2), own, "{device}");
        assert_ne!(fingerprint(&engine, 5, 1), own, "{device}");
    }
}

#[test]
fn states_merge_and_survive_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in CASES {
        for folded in [true, false] {
            let case = case(&Engine::cpu(), name, folded);
            let mut states = Vec::new();
            for half in 0..2 {
                let mut encoder = case.model.encoder(&case.sizes).expect("an encoder");
                for (name, rows) in &case.rows {
                    let count = rows.shape()[0];
                    let middle = count / 3;
                    let (first, last) = [(0, middle), (middle, count)][half];
                    push(&mut encoder, name, rows, first, last);
                }
                let path = folder.path().join(format!("{name}-{folded}-{half}"));
                encoder.state().write(&path).expect("a file");
                let state = EncoderState::read(&path).expect("a state");
                assert_eq!(state, *encoder.state());
                states.push(state);
            }
            let a = states[0].merge(&states[1]).expect("one state");
            let b = states[1].merge(&states[0]).expect("one state");
            assert_eq!(a, b);
            let mut encoder = case.model.encoder(&case.sizes).expect("an encoder");
            encoder.merge(&a).expect("a state");
            let latents = encoder.finish().expect("latents");
            let error = error(latents.as_slice(), whole(&case).as_slice());
            assert!(error < 2e-6, "{name} folded {folded}: {error:e}");
        }
    }
}

/// States of one shape that do not belong together.
#[test]
fn states_of_other_models_are_refused() {
    let config = |train_size| {
        let mut config = PerceiverConfig::new(Architecture::OpticalFlow);
        (config.num_latents, config.d_latents, config.num_self_attends_per_block) = (5, 16, 1);
        (config.num_self_attention_heads, config.num_cross_attention_heads) = (2, 1);
        config.train_size = train_size;
        config
    };
    let model = |engine: &Engine, size, seed| {
        let config = config(size);
        let weights = RandomTensors::new(config.tensors().expect("tensors"), seed);
        engine.load_from(config, Arc::new(weights)).expect("a model")
    };
    let state = |model: &Model, image| {
        let sizes = Sizes { image, resize_positions: true, ..Sizes::default() };
        let mut encoder = model.encoder(&sizes).expect("an encoder");
        let rows = Tensor::f32(vec![3, 54], vec![0.5; 162]).expect("rows");
        encoder.push("frame", 0, &rows).expect("a chunk");
        encoder.state().clone()
    };
    let cpu = Engine::cpu();
    let own = state(&model(&cpu, [8, 12], 1), [8, 12]);
    for (_, engine) in engines() {
        own.merge(&state(&model(&engine, [8, 12], 1), [8, 12])).expect("of the same model");
    }
    let mut plain = model(&cpu, [8, 12], 1);
    plain.set_folded(false);
    let others = [
        ("other weights", state(&model(&cpu, [8, 12], 2), [8, 12])),
        ("other frequencies", state(&model(&cpu, [12, 8], 1), [8, 12])),
        ("another grid", state(&model(&cpu, [8, 12], 1), [12, 8])),
        ("another route", state(&plain, [8, 12])),
    ];
    for (what, other) in others {
        let refusal = own.merge(&other).expect_err(what).to_string();
        assert!(refusal.contains("the same model, weights, sizes"), "{what}: {refusal}");
    }
}

#[test]
fn decoded_subsets_are_parts_of_the_whole() {
    for (device, engine) in engines() {
        for name in CASES {
            for folded in [true, false] {
                let mut case = case(&engine, name, folded);
                let run = case.model.run(&case.inputs, &mut |_, _| {}).expect("a run");
                let latents = whole(&case);
                // Small windows, so that there are several chunks.
                case.model.set_window_bytes(64 * 4 * 400);
                let mut decoder = case.model.decoder(&case.sizes, &latents).expect("a decoder");
                let outputs: Vec<(String, usize, usize, usize)> = decoder
                    .outputs()
                    .into_iter()
                    .map(|(o, n, c, w)| (o.to_owned(), n, c, w))
                    .collect();
                for (output, count, channels, columns) in outputs {
                    let all = run[&output].as_f32().expect("floats");
                    let points: Vec<usize> =
                        match case.inputs.get(&output.replace("logits", "points")) {
                            Some(points) => {
                                let points = points.as_i64().expect("numbers");
                                points.iter().map(|&p| p as usize).collect()
                            }
                            None => (0..count).collect(),
                        };
                    let content = (channels > 0).then(|| case.rows.values().next().expect("rows"));
                    let queries = Queries::Points(points.clone());
                    let rows = decoder.decode(&output, &queries, content).expect("rows");
                    assert_eq!(rows.shape(), [points.len(), columns]);
                    let error_all = error(rows.as_f32().expect("floats"), all);
                    assert!(error_all < 2e-6, "{device} {name} {output}: {error_all:e}");
                    // Some of them, in another order.
                    let some: Vec<usize> = (0..points.len()).rev().step_by(3).collect();
                    let queries = Queries::Points(some.iter().map(|&i| points[i]).collect());
                    let pick = |data: &[f32], width: usize| -> Vec<f32> {
                        let rows = some.iter().flat_map(|&i| &data[i * width..][..width]);
                        rows.copied().collect()
                    };
                    let part = content.map(|t| {
                        let data = pick(t.as_f32().expect("floats"), channels);
                        Tensor::f32(vec![some.len(), channels], data).expect("content")
                    });
                    let mut next = 0;
                    let mut data = Vec::new();
                    for chunk in decoder.stream(&output, queries, part.as_ref()).expect("a stream")
                    {
                        let chunk = chunk.expect("a chunk");
                        assert_eq!(chunk.queries.start, next);
                        next = chunk.queries.end;
                        data.extend_from_slice(chunk.rows.as_f32().expect("floats"));
                    }
                    assert_eq!(next, some.len());
                    let error = error(&data, &pick(all, columns));
                    assert!(error < 2e-6, "{device} {name} {output}: {error:e}");
                }
            }
        }
    }
}

/// Frames of other sizes than the training's, against Hugging Face's class in float64
/// (`tools/reference/flow_sizes.py`).
#[test]
fn frames_of_any_size_go_through_whole() {
    let recorded = read_tensors(common::fixtures().join("flow_sizes.safetensors"));
    let recorded = recorded.expect("a recorded file");
    let options = FlowOptions { one_pass: true, ..FlowOptions::default() };
    let resized = RunOptions { resize_positions: true, ..RunOptions::default() };
    let sizes = ["17x23", "6x40"];
    for (device, engine) in engines() {
        let folder = common::fixtures().join("golden/flow-v0-s0");
        for folded in [true, false] {
            let mut model = engine.load(&folder).expect("a model");
            model.set_folded(folded);
            // Several chunks, the last of them shorter.
            model.set_window_bytes(64 * 4 * 400);
            for size in sizes {
                let (height, width) = size.split_once('x').expect("two sides");
                let sides: [usize; 2] = [height, width].map(|n| n.parse().expect("a number"));
                let [height, width] = sides;
                let rgb = recorded[&format!("frames.{size}")].as_u8().expect("bytes");
                let frames: Vec<Frame> = rgb
                    .chunks_exact(height * width * 3)
                    .map(|rgb| Frame::new(width, height, rgb.to_vec()).expect("a frame"))
                    .collect();
                let expected = recorded[&format!("logits.{size}")].as_f32().expect("floats");
                let recipe = OpticalFlow::new(&model).expect("a flow model");
                let flow = recipe.flow(&frames[0], &frames[1], &options, &mut |_, _| {});
                let flow = flow.expect("flow");
                let found: Vec<f32> = flow.vectors().iter().flatten().map(|x| x / 20.0).collect();
                let of_stream = error(&found, expected);
                assert!(of_stream < 5e-6, "{device} {size} folded {folded}: {of_stream:e}");
                let patches = patches(&[(&frames[0], &frames[1])]).expect("patches");
                let inputs = NamedTensors::from([("patches".to_owned(), patches)]);
                let run = model.run_with(&inputs, resized, &mut |_, _| {}).expect("a run");
                assert_eq!(run["logits"].shape(), [1, height, width, 2]);
                let at_once = error(run["logits"].as_f32().expect("floats"), expected);
                assert!(at_once < 5e-6, "{device} {size} folded {folded}: {at_once:e}");
                let bytes = Tensor::new(vec![1, 2, height, width, 3], Data::U8(rgb.to_vec()));
                let bytes = NamedTensors::from([("frames".to_owned(), bytes.expect("frames"))]);
                let of_bytes = model.run_with(&bytes, resized, &mut |_, _| {}).expect("a run");
                assert!(of_bytes == run, "{device} {size} folded {folded}: other bits");
                // Only on request.
                let refused = model.run(&inputs, &mut |_, _| {}).expect_err("a refusal");
                assert!(refused.to_string().contains("[batch, 2, 27, 9, 13]"), "{refused}");
            }
        }
    }
}

fn refusal<T>(result: Result<T, Error>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

/// Whatever a model is asked for, frames of bytes and their patches are one.
#[test]
fn frames_of_bytes_are_their_patches() {
    let [a, b] = common::noise(5, 128, 96);
    let all = patches(&[(&a, &b), (&b, &a)]).expect("patches");
    let rgb = [&a, &b, &b, &a].map(Frame::rgb).concat();
    let bytes = |items: usize, rgb: &[u8]| {
        let tensor = Tensor::new(vec![items, 2, 96, 128, 3], Data::U8(rgb.to_vec()));
        NamedTensors::from([("frames".to_owned(), tensor.expect("frames"))])
    };
    let of_patches = NamedTensors::from([("patches".to_owned(), all)]);
    for (device, engine) in engines() {
        let model =
            engine.load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/flow-tiny")).expect("a model");
        let wanted = model.run(&of_patches, &mut |_, _| {}).expect("a run");
        let found = model.run(&bytes(2, &rgb), &mut |_, _| {}).expect("a run");
        let off = error(found["logits"].as_f32().unwrap(), wanted["logits"].as_f32().unwrap());
        assert!(off < 1e-6, "{device}: {off:e}");
        let one = bytes(1, &rgb[..rgb.len() / 2]);
        let options = RunOptions::default();
        let alone = model.run(&one, &mut |_, _| {}).expect("a run");
        let shape = [1, 2, 96, 128, 3];
        let mut prepared = model.prepare(&[("frames", &shape)], options).expect("prepared");
        assert_eq!(prepared.inputs()[0].dtype, DType::U8);
        prepared.write(&one).expect("written");
        assert!(prepared.run().expect("a run") == alone, "{device}: prepared");
        let encode =
            |inputs: &NamedTensors| model.encode(inputs, options, &mut |_, _| {}).expect("latents");
        let (sizes, latents) = encode(&bytes(2, &rgb));
        assert!(latents == encode(&of_patches).1, "{device}: latents");
        let mut decoder = model.decoder(&sizes, &latents[0]).expect("a decoder");
        let rows = pixel_rows(&a, &b, 0..9).expect("rows");
        let some = decoder.decode("logits", &Queries::Range(0..9), Some(&rows)).expect("flow");
        let off = error(some.as_f32().unwrap(), &alone["logits"].as_f32().unwrap()[..18]);
        assert!(off < 2e-6, "{device}: decoded {off:e}");
        let two = [2, 2, 96, 128, 3];
        assert_eq!(
            refusal(model.prepare(&[("frames", &two)], options)),
            "input `frames`: are those of 2 items; expected one item, or `Model::run`"
        );
        assert_eq!(
            refusal(model.input_rows(&one, options)),
            "input `frames`: are bytes, not rows; expected `patches`"
        );
        let floats = Tensor::f32(shape.to_vec(), vec![0.0; 2 * 96 * 128 * 3]).expect("floats");
        let floats = NamedTensors::from([("frames".to_owned(), floats)]);
        assert_eq!(
            refusal(model.run(&floats, &mut |_, _| {})),
            "input `frames`: holds no bytes; expected u8 [batch, 2, 96, 128, 3]"
        );
        let other = Tensor::new(vec![1, 2, 1, 1, 3], Data::U8(vec![0; 6])).expect("frames");
        let other = NamedTensors::from([("frames".to_owned(), other)]);
        assert_eq!(
            refusal(model.run(&other, &mut |_, _| {})),
            "input `frames`: has shape [1, 2, 1, 1, 3]; expected u8 [batch, 2, 96, 128, 3]"
        );
    }
}

#[test]
fn rows_of_some_pixels_are_those_of_all() {
    let [first, second] = common::noise(3, 19, 11);
    let all = patches(&[(&first, &second)]).expect("patches");
    let all = patch_rows(all.as_f32().expect("floats"), 19 * 11).expect("rows");
    for range in [0..19 * 11, 0..0, 5..6, 17..100, 208..209] {
        let rows = pixel_rows(&first, &second, range.clone()).expect("rows");
        assert_eq!(rows.shape(), [range.len(), 54]);
        // Bit for bit.
        let wanted = &all[range.start * 54..range.end * 54];
        assert_eq!(rows.as_f32().expect("floats"), wanted);
    }
    let beyond = pixel_rows(&first, &second, 100..210).expect_err("a refusal");
    assert!(beyond.to_string().contains("0 to 209"), "{beyond}");
}

#[test]
fn memory_does_not_grow_with_the_rows() {
    let case = case(&Engine::cpu(), CASES[0], true);
    let peak = |side: usize| {
        let sizes = Sizes { image: [side; 2], ..Sizes::default() };
        let mut encoder = case.model.encoder(&sizes).expect("an encoder");
        let rows = Tensor::f32(vec![side, 3], vec![0.3; 3 * side]).expect("rows");
        for line in 0..side {
            encoder.push("pixel", line * side, &rows).expect("a chunk");
        }
        (encoder.allocated_bytes(), encoder.state().bytes())
    };
    // A hundred times the pixels; the tables of both axes are ten times as long.
    let (small, large) = (peak(32), peak(320));
    let grid = (large.1 - small.1) as u64;
    assert!(large.0 <= small.0 + 8 * grid + (1 << 18), "{small:?} {large:?}");
}

#[test]
fn refusals_say_what_is_expected() {
    let case = case(&Engine::cpu(), "flow-v2-s0", true);
    let message = |result: perceiver::Result<()>| result.expect_err("a refusal").to_string();
    let mut encoder = case.model.encoder(&case.sizes).expect("an encoder");
    let rows = Tensor::f32(vec![2, 54], vec![0.0; 108]).expect("rows");
    let text = message(encoder.push("pixels", 0, &rows));
    assert!(text.contains("no modality `pixels`") && text.contains("frame"), "{text}");
    let text = message(encoder.push("frame", usize::MAX, &rows));
    assert!(text.contains("rows"), "{text}");
    let narrow = Tensor::f32(vec![2, 3], vec![0.0; 6]).expect("rows");
    let text = message(encoder.push("frame", 0, &narrow));
    assert!(text.contains("[rows, 54]"), "{text}");
    let text = message(encoder.finish().map(drop));
    assert!(text.contains("no rows"), "{text}");

    let text_model =
        Engine::cpu().load(common::fixtures().join("golden/mlm-v1-s0")).expect("a model");
    let sizes = Sizes::usual(text_model.config().expect("an official class"));
    let text = message(text_model.encoder(&sizes).map(drop));
    assert!(text.contains("tokens of one text"), "{text}");
    // Numbers of rows beyond this are not exact in f32.
    let pictures = self::case(&Engine::cpu(), CASES[0], true);
    let sizes = Sizes { image: [4097, 4096], ..Sizes::default() };
    let text = message(pictures.model.encoder(&sizes).map(drop));
    assert!(text.contains("16781312 rows") && text.contains("16777216"), "{text}");

    let text = message(Latents::new(2, 3, vec![0.0; 5]).map(drop));
    assert!(text.contains("5 elements"), "{text}");
    let other = Latents::new(2, 3, vec![0.0; 6]).expect("latents");
    let text = message(case.model.decoder(&case.sizes, &other).map(drop));
    assert!(text.contains("[2, 3]"), "{text}");
    let latents = whole(&case);
    let mut decoder = case.model.decoder(&case.sizes, &latents).expect("a decoder");
    let range = Queries::Range(0..2);
    let text = message(decoder.decode("flow", &range, None).map(drop));
    assert!(text.contains("no output `flow`") && text.contains("logits"), "{text}");
    let text = message(decoder.decode("logits", &range, None).map(drop));
    assert!(text.contains("is missing") && text.contains("[2, 54]"), "{text}");
    let far = Queries::Range(0..1 << 20);
    let text = message(decoder.decode("logits", &far, None).map(drop));
    assert!(text.contains("asks for"), "{text}");
    let text = message(Queries::on_grid(&[4, 5], &[vec![3, 5]]).map(drop));
    assert!(text.contains("[3, 5]"), "{text}");
    assert_eq!(
        Queries::on_grid(&[4, 5], &[vec![3, 4], vec![0, 1]]).expect("points"),
        Queries::Points(vec![19, 1])
    );
}
