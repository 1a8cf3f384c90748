//! Encode of three published models at full size, by the folded and by the plain route.
//!
//! One case is everything from the input rows to the latents after the cross-attention layer, its MLP
//! included; what depends on parameters alone is done at load, as in a model. The two routes of a model
//! run right after each other, and the ratio of their fastest runs is printed on stderr. See README.md
//! in this folder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use perceiver::graph::Plan;
use perceiver::graph::passes::split_attention;
use perceiver::perceiver::build;
use perceiver::perceiver::parameters::{ParameterStore, RandomTensors};
use perceiver::perceiver::stack::Request;
use perceiver::{
    Architecture, DEVICE_VARIABLE, DeviceChoice, Engine, PerceiverConfig, Result, Sizes,
    attention_splits, cpu, gpu, model_blueprint,
};

/// The models, as published (`docs/performance.md` has the sizes of their inputs).
fn models() -> [(&'static str, PerceiverConfig); 3] {
    let config = |architecture, num_latents, d_latents| PerceiverConfig {
        num_latents,
        d_latents,
        num_cross_attention_heads: 1,
        ..PerceiverConfig::new(architecture)
    };
    [
        (
            "Fourier 50176x512x261",
            config(Architecture::ImageFourier, 512, 1024),
        ),
        (
            "flow 182528x2048x322",
            config(Architecture::OpticalFlow, 2048, 512),
        ),
        (
            "multimodal 52097x784x704",
            config(Architecture::Multimodal, 784, 512),
        ),
    ]
}

/// A plan that is ready to run.
enum Session {
    Cpu(Box<cpu::Session<f32>>),
    Gpu(Box<gpu::Session>),
}

impl Session {
    fn new(config: &PerceiverConfig, folded: bool, device: Option<&gpu::Device>) -> Result<Self> {
        let request = Request {
            batch: 1,
            sizes: Sizes::usual(config),
            window_bytes: if device.is_some() { 32 << 20 } else { 8 << 20 },
            intermediates: false,
            folded,
        };
        let mut blueprint = model_blueprint(config, &request.sizes);
        blueprint.steps.truncate(1);
        let graph = build::encoder(&blueprint, &request)?;
        let plan = Plan::new(match device {
            Some(device) => split_attention(graph, &|a| attention_splits(a, device.traits())),
            None => graph,
        })?;
        let tensors = plan.graph.parameters().flat_map(|(_, r)| r.tensors());
        let weights = Arc::new(RandomTensors::new(tensors.collect::<Vec<_>>(), 1));
        let inputs: Vec<(String, usize)> = plan
            .graph
            .inputs()
            .map(|(name, _, e)| (name.to_owned(), e.len()))
            .collect();
        let noise = |n: usize| -> Vec<f32> {
            let x = (0..n).map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0);
            x.collect()
        };
        Ok(match device {
            None => {
                let mut session = cpu::Session::new(plan, &ParameterStore::new(weights))?;
                for (name, n) in inputs {
                    session.write(&name, &noise(n))?;
                }
                Session::Cpu(Box::new(session))
            }
            Some(device) => {
                let parameters = gpu::Parameters::new(device.clone(), weights);
                let mut session = gpu::Session::new(plan, &parameters)?;
                for (name, n) in inputs {
                    session.write(&name, &noise(n))?;
                }
                // Brings the inputs to the device, where `compute` finds them.
                session.run(&mut |_, _| {})?;
                Session::Gpu(Box::new(session))
            }
        })
    }

    fn seconds(&mut self) -> Result<f64> {
        let start = Instant::now();
        match self {
            Session::Cpu(s) => s.run(&mut |_, _| {})?,
            Session::Gpu(s) => s.compute(&mut |_, _| {})?,
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

/// An adapter, if one is asked for: by `PERCEIVER_DEVICE`, or the best one with `PERCEIVER_BENCH=full`.
fn device() -> Option<gpu::Device> {
    let named = std::env::var(DEVICE_VARIABLE).ok();
    let full = std::env::var("PERCEIVER_BENCH").is_ok_and(|v| v == "full");
    let choice = match named {
        Some(text) => text.parse().unwrap_or(DeviceChoice::Cpu),
        None if full => DeviceChoice::Gpu,
        None => return None,
    };
    let engine = Engine::choose(&choice).unwrap_or_else(|e| panic!("{e}"));
    engine.device().cloned()
}

fn encodes(criterion: &mut Criterion) {
    let device = device();
    let mut places = vec![("cpu", None)];
    places.extend(device.as_ref().map(|d| (d.name(), Some(d))));
    for (place, device) in places {
        for (model, config) in models() {
            let mut group = criterion.benchmark_group(format!("encode {model} {place}"));
            group.sampling_mode(SamplingMode::Flat).sample_size(10);
            group.warm_up_time(Duration::from_millis(200));
            group.measurement_time(Duration::from_secs(2));
            let mut fastest = Vec::new();
            for (route, folded) in [("folded", true), ("plain", false)] {
                let mut session = Session::new(&config, folded, device)
                    .unwrap_or_else(|e| panic!("{model} {route}: {e}"));
                let mut best = f64::INFINITY;
                group.bench_function(route, |b| {
                    b.iter_custom(|n| {
                        let mut total = Duration::ZERO;
                        for _ in 0..n {
                            let seconds = session
                                .seconds()
                                .unwrap_or_else(|e| panic!("{model} {route}: {e}"));
                            best = best.min(seconds);
                            total += Duration::from_secs_f64(seconds);
                        }
                        total
                    });
                });
                fastest.push(best);
            }
            group.finish();
            // A filter on the command line may have left one out.
            if let [folded, plain] = fastest[..]
                && folded.is_finite()
                && plain.is_finite()
            {
                eprintln!(
                    "{model} on {place}: folded {:.1} ms, plain {:.1} ms, ratio 1/{:.1}",
                    1e3 * folded,
                    1e3 * plain,
                    plain / folded
                );
            }
        }
    }
}

criterion_group!(benches, encodes);
criterion_main!(benches);
