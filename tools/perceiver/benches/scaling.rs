//! Cost of encode, process and decode against their sizes, beside full self-attention.
//!
//! * `encode`: one cross-attention layer from M inputs to N latents, for growing M;
//! * `process`: one latent self-attention layer, for growing N;
//! * `decode`: one cross-attention layer from N latents to O output queries, for growing O.
//!
//! `encode` and `decode` stand beside one self-attention layer over the same M or O elements, which
//! is what a transformer would do; `process` is such a layer itself. The throughput is in elements
//! (inputs, latents, outputs): a level line over the sizes means linear cost. Sizes double until a
//! run would take too long. See README.md in this folder.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    AxisScale, BenchmarkGroup, BenchmarkId, Criterion, PlotConfiguration, SamplingMode, Throughput,
    criterion_group, criterion_main,
};
use perceiver::internals::gpu;
use perceiver::internals::model::DEVICE_VARIABLE;
use perceiver::{DeviceChoice, Engine};
use perceiver_cli::study::{Place, Series, Trial, Widths, exponent};

/// The adapter that `PERCEIVER_DEVICE` names, else the best one, a software one if there is no
/// other. `None` where there is none or the variable asks for the CPU.
fn device() -> Option<gpu::Device> {
    let text = std::env::var(DEVICE_VARIABLE).unwrap_or_default();
    let asked = match text.parse() {
        Ok(choice) => choice,
        Err(never) => match never {},
    };
    let device = match asked {
        DeviceChoice::Auto => match Engine::choose(&DeviceChoice::Gpu) {
            Ok(engine) => engine.device(),
            Err(e) => {
                eprintln!("{e}");
                None
            }
        },
        // Someone who names an adapter does not want figures of another.
        named => Engine::choose(&named).unwrap_or_else(|e| panic!("{e}")).device(),
    };
    match &device {
        Some(d) => eprintln!("adapter: {} ({})", d.name(), d.kind().name()),
        None => eprintln!("adapter: none, CPU only"),
    }
    device
}

/// Which sizes, and how many seconds a run may take.
struct Range {
    sizes: Vec<usize>,
    seconds: f64,
}

/// Sizes from 2^`from` on, doubling.
fn range(from: u32, to: u32, seconds: f64) -> Range {
    Range { sizes: (from..=to).map(|i| 1 << i).collect(), seconds }
}

fn series(group: &mut BenchmarkGroup<'_, WallTime>, kind: Series, place: &Place, range: &Range) {
    let label = format!("{} {}", kind.name(), place.name());
    let mut points: Vec<(usize, f64)> = Vec::new();
    let mut rate: Option<f64> = None;
    for &size in &range.sizes {
        let plan = place
            .plan(&Widths::default(), kind, size)
            .unwrap_or_else(|e| panic!("{label} {size}: {e}"));
        let flops = plan.report().total_flops as f64;
        if rate.is_some_and(|r| flops / r > range.seconds) {
            eprintln!("{label}: {size} and more would take longer than {} s", range.seconds);
            break;
        }
        let mut session = match Trial::new(place, plan) {
            Ok(session) => session,
            // A device that cannot hold the input ends its series, not the benchmark.
            Err(e) => {
                eprintln!("{label}: ends before {size}: {e}");
                break;
            }
        };
        // The first run warms caches up.
        let once = |s: &mut Trial| s.seconds().unwrap_or_else(|e| panic!("{label} {size}: {e}"));
        let seconds = once(&mut session).min(once(&mut session));
        rate = Some(flops / seconds);
        points.push((size, seconds));
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new(&label, size), |b| {
            b.iter(|| session.compute().unwrap_or_else(|e| panic!("{label} {size}: {e}")));
        });
    }
    if let Some(exponent) = exponent(&points, 3) {
        let (first, last) = (points[points.len().saturating_sub(3)].0, points[points.len() - 1].0);
        eprintln!(
            "{label}: cost grows with the power {exponent:.2} of the size from {first} to {last}"
        );
    }
}

fn all(c: &mut Criterion) {
    let full = std::env::var("PERCEIVER_BENCH").is_ok_and(|v| v == "full");
    let (long, short, baseline) = if full {
        (range(10, 19, 10.0), range(7, 13, 10.0), range(10, 19, 2.0))
    } else {
        (range(10, 13, 1.0), range(7, 10, 1.0), range(10, 13, 1.0))
    };
    let mut places = vec![Place::Cpu];
    places.extend(device().map(Place::Gpu));
    for (kind, range, beside) in [
        (Series::Encode, &long, Some(&baseline)),
        (Series::Process, &short, None),
        (Series::Decode, &long, Some(&baseline)),
    ] {
        let mut group = c.benchmark_group(kind.name());
        group
            .sample_size(10)
            .sampling_mode(SamplingMode::Flat)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(if full { 2000 } else { 500 }))
            .plot_config(PlotConfiguration::default().summary_scale(AxisScale::Logarithmic));
        for place in &places {
            series(&mut group, kind, place, range);
            if let Some(range) = beside {
                series(&mut group, Series::SelfAttention, place, range);
            }
        }
        group.finish();
    }
}

criterion_group!(scaling, all);
criterion_main!(scaling);
