//! Encode of three published models at full size, by the folded and by the plain route.
//!
//! One case is everything from the input rows to the latents after the cross-attention layer, its MLP
//! included; what depends on parameters alone is done at load, as in a model. The two routes of a model
//! run right after each other, and the ratio of their fastest runs is printed on stderr. See README.md
//! in this folder.

use std::time::Duration;

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use perceiver::internals::gpu;
use perceiver::internals::model::DEVICE_VARIABLE;
use perceiver::internals::perceiver::{Request, build};
use perceiver::{Architecture, DeviceChoice, Engine, PerceiverConfig, Result, Sizes};
use perceiver_cli::study::{Place, Trial};

/// The models, as published (`docs/performance.md` has the sizes of their inputs).
fn models() -> [(&'static str, PerceiverConfig); 3] {
    let config = |architecture, num_latents, d_latents| PerceiverConfig {
        num_latents,
        d_latents,
        num_cross_attention_heads: 1,
        ..PerceiverConfig::new(architecture)
    };
    [
        ("Fourier 50176x512x261", config(Architecture::ImageFourier, 512, 1024)),
        ("flow 182528x2048x322", config(Architecture::OpticalFlow, 2048, 512)),
        ("multimodal 52097x784x704", config(Architecture::Multimodal, 784, 512)),
    ]
}

/// The encoder of a model on one route, ready to be timed.
fn trial(config: &PerceiverConfig, folded: bool, place: &Place) -> Result<Trial> {
    let request = Request {
        batch: 1,
        sizes: Sizes::usual(config),
        window_bytes: place.window_bytes(),
        intermediates: false,
        folded,
    };
    let mut blueprint = config.blueprint(&request.sizes);
    blueprint.steps.truncate(1);
    let graph = build::encoder(&blueprint, &request)?;
    Trial::new(place, place.plan_of(graph)?)
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
    engine.device()
}

fn encodes(criterion: &mut Criterion) {
    let mut places = vec![Place::Cpu];
    places.extend(device().map(Place::Gpu));
    for place in &places {
        for (model, config) in models() {
            let name = place.name();
            let mut group = criterion.benchmark_group(format!("encode {model} {name}"));
            group.sampling_mode(SamplingMode::Flat).sample_size(10);
            group.warm_up_time(Duration::from_millis(200));
            group.measurement_time(Duration::from_secs(2));
            let mut fastest = Vec::new();
            for (route, folded) in [("folded", true), ("plain", false)] {
                let mut trial = trial(&config, folded, place)
                    .unwrap_or_else(|e| panic!("{model} {route}: {e}"));
                let mut best = f64::INFINITY;
                group.bench_function(route, |b| {
                    b.iter_custom(|n| {
                        let mut total = Duration::ZERO;
                        for _ in 0..n {
                            let seconds =
                                trial.seconds().unwrap_or_else(|e| panic!("{model} {route}: {e}"));
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
                    "{model} on {name}: folded {:.1} ms, plain {:.1} ms, ratio 1/{:.1}",
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
