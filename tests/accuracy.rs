//! The shipped models on held-out examples: what the model cards promise, on both executors, by both
//! routes of cross-attention and, on adapters, in both precisions.
//!
//! The examples are in `tests/fixtures/heldout`, made by the training scripts (`--heldout-fixture`)
//! from draws, or pages, that training never sees. The promises are read from each model's
//! `results.json`; what is allowed below them is the chance error of so few examples.

use std::path::PathBuf;

use libtest_mimic::{Arguments, Failed, Trial};
use perceiver::checkpoint::read_tensors;
use perceiver::internals::gpu::ShaderChecks;
use perceiver::media::Frame;
use perceiver::tasks::PerceiverImageProcessor;
use perceiver::{Engine, Model, NamedTensors, Precision, Tensor};
use serde_json::Value;

mod common;

use common::runner::{self, RunnerOptions};

type Outcome = Result<(), Failed>;

/// Flow in pixels is the model's output times this.
const FLOW_SCALE: f32 = 20.0;

/// One shipped model, its examples, and what its card says.
struct Case {
    model: &'static str,
    examples: &'static str,
    /// Examples that a slow adapter gets.
    few: usize,
    check: fn(&Model, &Held, &Value) -> Outcome,
}

const CASES: [Case; 6] = [
    Case { model: "shapes-tiny", examples: "shapes-tiny", few: 16, check: drawings },
    Case { model: "shapes-conv-tiny", examples: "shapes-tiny", few: 16, check: drawings },
    Case { model: "multimodal-tiny", examples: "multimodal-tiny", few: 2, check: clips },
    Case { model: "text-tiny", examples: "text-tiny", few: 8, check: masked_bytes },
    Case { model: "shape-tiny", examples: "shape-tiny", few: 4, check: solids },
    Case { model: "flow-tiny", examples: "flow-tiny", few: 1, check: flow },
];

/// The first examples of a file, and the folder of the model that gets them.
struct Held {
    folder: PathBuf,
    tensors: NamedTensors,
    count: usize,
}

impl Held {
    fn read(case: &Case, most: usize) -> Result<Self, Failed> {
        let path = common::fixtures().join(format!("heldout/{}.safetensors", case.examples));
        let tensors = read_tensors(path)?;
        let all = tensors.values().map(|t| t.shape()[0]).min().unwrap_or(0);
        Ok(Self { folder: models().join(case.model), tensors, count: all.min(most) })
    }

    /// Elements of one example.
    fn each(&self, name: &str) -> usize {
        self.tensors[name].shape()[1..].iter().product()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        let mut shape = self.tensors[name].shape().to_vec();
        shape[0] = self.count;
        shape
    }

    fn bytes(&self, name: &str) -> &[u8] {
        &self.tensors[name].as_u8().expect("bytes")[..self.count * self.each(name)]
    }

    fn whole_numbers(&self, name: &str) -> &[i64] {
        &self.tensors[name].as_i64().expect("i64")[..self.count * self.each(name)]
    }

    fn i16(&self, name: &str) -> &[i16] {
        &self.tensors[name].as_i16().expect("i16")[..self.count * self.each(name)]
    }
}

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn run(model: &Model, inputs: Vec<(&str, Tensor)>) -> Result<NamedTensors, Failed> {
    let inputs = inputs.into_iter().map(|(n, t)| (n.to_owned(), t)).collect();
    Ok(runner::run(model, &inputs, &RunnerOptions::default(), &mut |_, _| {})?)
}

/// Place of the largest score.
fn best(scores: &[f32]) -> i64 {
    let place = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    place.expect("there are scores") as i64
}

/// A share of `count` examples must not lie further below the promise than chance explains.
fn hold(what: &str, right: usize, count: usize, promised: &Value) -> Outcome {
    let promised = promised.as_f64().ok_or("results.json lacks a figure")?;
    let spread = (promised * (1.0 - promised) / count as f64).sqrt();
    let least = promised - 3.0 * spread - 0.01;
    let found = right as f64 / count as f64;
    if found < least {
        return Err(format!("{what}: {right} of {count} right, the card says {promised:.3}").into());
    }
    Ok(())
}

/// From the bytes of a picture to its class, as `perceiver classify-image` goes.
fn drawings(model: &Model, held: &Held, card: &Value) -> Outcome {
    let processor = PerceiverImageProcessor::read(&held.folder)?;
    let &[_, height, width, 3] = &held.shape("pictures")[..] else {
        return Err("pictures have another shape".into());
    };
    let frames = held
        .bytes("pictures")
        .chunks_exact(height * width * 3)
        .map(|rgb| Frame::new(width, height, rgb.to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let frames: Vec<&Frame> = frames.iter().collect();
    let found = run(model, vec![("pixel_values", processor.pixel_values(&frames)?)])?;
    let classes = model.config().expect("an official class").labels.len();
    let scores = found["logits"].as_f32().ok_or("no scores")?;
    let right = scores
        .chunks_exact(classes)
        .zip(held.whole_numbers("labels"))
        .filter(|(scores, label)| best(scores) == **label)
        .count();
    hold("drawings", right, held.count, &card["heldout"]["accuracy"])
}

/// Labels of clips, which the model must find by itself, and the pictures given back.
fn clips(model: &Model, held: &Held, card: &Value) -> Outcome {
    let video =
        Tensor::new(held.shape("video"), perceiver::Data::U8(held.bytes("video").to_vec()))?;
    let sound = Tensor::new(held.shape("sound"), perceiver::Data::I16(held.i16("sound").to_vec()))?;
    let found = run(model, vec![("raw.video", video), ("raw.audio", sound)])?;
    let scores = found["logits.label"].as_f32().ok_or("no scores")?;
    let classes = model.config().expect("an official class").labels.len();
    let right = scores
        .chunks_exact(classes)
        .zip(held.whole_numbers("labels"))
        .filter(|(scores, label)| best(scores) == **label)
        .count();
    let promised = &card["heldout"];
    hold("clips", right, held.count, &promised["label_accuracy"])?;

    let pictures = found["logits.image"].as_f32().ok_or("no pictures")?;
    let each = held.each("video");
    let ratios: Vec<f64> = pictures
        .chunks_exact(each)
        .zip(held.bytes("video").chunks_exact(each))
        .map(|(made, given)| {
            let square = |(m, g): (&f32, &u8)| (f64::from(*m) - f64::from(*g) / 255.0).powi(2);
            let sum: f64 = made.iter().zip(given).map(square).sum();
            -10.0 * (sum / each as f64).log10()
        })
        .collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    let promised = promised["video_psnr_db"].as_f64().ok_or("no PSNR on the card")?;
    if ratios.len() != held.count || mean < promised - 2.5 {
        return Err(format!("pictures: PSNR {mean:.2} dB, the card says {promised:.2}").into());
    }
    Ok(())
}

/// Single hidden bytes of text.
fn masked_bytes(model: &Model, held: &Held, card: &Value) -> Outcome {
    let tensor = |name| Tensor::i64(held.shape(name), held.whole_numbers(name).to_vec());
    let found = run(
        model,
        vec![("input_ids", tensor("input_ids")?), ("attention_mask", tensor("attention_mask")?)],
    )?;
    let logits = &found["logits"];
    let &[_, length, words] = logits.shape() else {
        return Err("logits have another shape".into());
    };
    let scores = logits.as_f32().ok_or("no scores")?;
    let each = held.each("where");
    let places = held.whole_numbers("where").iter().enumerate();
    let (mut right, mut count) = (0, 0);
    for ((i, &place), &target) in places.zip(held.whole_numbers("target")) {
        if target >= 0 {
            let row = i / each * length + place as usize;
            count += 1;
            right += usize::from(best(&scores[row * words..][..words]) == target);
        }
    }
    hold("bytes", right, count, &card["accuracy_single_bytes"])
}

/// Places inside of solids, by points of their surface: intersection over union.
fn solids(model: &Model, held: &Held, card: &Value) -> Outcome {
    let floats = |name: &str| {
        let all = held.tensors[name].as_f32().expect("floats");
        Tensor::f32(held.shape(name), all[..held.count * held.each(name)].to_vec())
    };
    let names = ["pc", "sampled_pc", "queries"];
    let inputs = names.map(|name| Ok::<_, Failed>((name, floats(name)?)));
    let found = run(model, inputs.into_iter().collect::<Result<_, _>>()?)?;
    let scores = found["output"].as_f32().ok_or("no scores")?;
    let (mut both, mut either) = (0, 0);
    for (&score, &inside) in scores.iter().zip(held.bytes("inside")) {
        both += usize::from(score > 0.0 && inside == 1);
        either += usize::from(score > 0.0 || inside == 1);
    }
    hold("solids", both, either, &card["heldout"]["iou_worst"])?;
    if 10 * both < 9 * either {
        return Err(format!("solids: {both} of {either} places, at least nine tenths").into());
    }
    Ok(())
}

/// Mean end-point error as a part of that of "nothing moves".
fn flow(model: &Model, held: &Held, card: &Value) -> Outcome {
    let frames =
        Tensor::new(held.shape("frames"), perceiver::Data::U8(held.bytes("frames").to_vec()))?;
    let found = run(model, vec![("raw.frames", frames)])?;
    let found = found["logits"].as_f32().ok_or("no flow")?;
    let truth = held.tensors["flow"].as_f32().ok_or("no true flow")?;
    let truth = &truth[..held.count * held.each("flow")];
    if found.len() != truth.len() {
        return Err("the flow has another shape".into());
    }
    let each = held.each("flow");
    let mean = |pairs: &mut dyn Iterator<Item = (f32, f32)>| {
        let lengths: Vec<f64> = pairs.map(|(x, y)| f64::from(x.hypot(y))).collect();
        lengths.iter().sum::<f64>() / lengths.len() as f64
    };
    let (mut error, mut still) = (0.0, 0.0);
    for (i, (f, t)) in found.chunks_exact(each).zip(truth.chunks_exact(each)).enumerate() {
        let apart = f.chunks_exact(2).zip(t.chunks_exact(2));
        let apart = apart.map(|(f, t)| (f[0] * FLOW_SCALE - t[0], f[1] * FLOW_SCALE - t[1]));
        let own = mean(&mut { apart });
        // The class itself, in float32, on these very pairs.
        let promised = card["fixture_end_point_errors"][i]
            .as_f64()
            .ok_or("no error of this pair in results.json")?;
        if (own - promised).abs() > 0.02 * promised {
            return Err(
                format!("pair {i}: end-point error {own:.4}, the class has {promised:.4}").into()
            );
        }
        error += own;
        still += mean(&mut t.chunks_exact(2).map(|t| (t[0], t[1])));
    }
    let ratio = error / still;
    let promised = card["heldout"]["ratio"].as_f64().ok_or("no ratio on the card")?;
    if ratio > 1.6 * promised {
        return Err(format!("flow: error ratio {ratio:.3}, the card says {promised:.3}").into());
    }
    Ok(())
}

fn check(case: &Case, engine: &Engine, folded: bool, precision: Precision, most: usize) -> Outcome {
    let held = Held::read(case, most)?;
    let card = std::fs::read_to_string(held.folder.join("results.json"))?;
    let card: Value = serde_json::from_str(&card)?;
    let mut model = engine.load(&held.folder)?;
    model.set_folded(folded);
    model.set_precision(precision)?;
    (case.check)(&model, &held, &card)
}

fn main() {
    let arguments = Arguments::from_args();
    let adapter = common::device(ShaderChecks::Trusted).map(Engine::on);
    let engines = [("cpu", Ok(Engine::cpu())), ("adapter", adapter)];
    let routes = [
        ("plain", false, Precision::F32),
        ("folded", true, Precision::F32),
        ("folded f16", true, Precision::F16),
    ];
    let mut trials = Vec::new();
    for case in &CASES {
        for (label, engine) in &engines {
            let cpu = *label == "cpu";
            for (route, folded, precision) in routes {
                // Halves are for adapters.
                if cpu && precision == Precision::F16 {
                    continue;
                }
                let engine = engine.clone();
                let most = if cpu { usize::MAX } else { case.few };
                trials.push(Trial::test(format!("{} / {label} {route}", case.model), move || {
                    check(case, &engine?, folded, precision, most)
                }));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
