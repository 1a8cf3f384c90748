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

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    AxisScale, BenchmarkGroup, BenchmarkId, Criterion, PlotConfiguration, SamplingMode, Throughput,
    criterion_group, criterion_main,
};
use perceiver::graph::passes::split_attention;
use perceiver::graph::{Graph, Plan, Recipe, Stage, ValueId};
use perceiver::kernels::gemm::Activation;
use perceiver::perceiver::decoder::decode;
use perceiver::perceiver::encoder::{Route, encode};
use perceiver::perceiver::layer::AttentionLayer;
use perceiver::perceiver::parameters::{ParameterStore, RandomTensors};
use perceiver::perceiver::rows::Rows;
use perceiver::{
    DEVICE_VARIABLE, DeviceChoice, Engine, Extent, Result, attention_splits, cpu, gpu,
};

/// Latents N, where they do not grow.
const LATENTS: usize = 256;
/// Channels D of a latent.
const LATENT_CHANNELS: usize = 512;
/// Rows of content alone have nothing to fold.
const PLAIN: Route = Route {
    folded: false,
    keep_rows: false,
};
/// Channels of an input element (C) and of an output query (E).
const CHANNELS: usize = 256;
/// Heads of all self-attention; cross-attention has one, as in the image and flow models.
const HEADS: usize = 8;

/// Bytes of the widest array of a window, as in the models.
const CPU_WINDOW: usize = 8 << 20;
const GPU_WINDOW: usize = 32 << 20;

/// What grows, and what is built around it.
#[derive(Clone, Copy)]
enum Shape {
    /// M inputs.
    Encode,
    /// N latents.
    Process,
    /// O outputs.
    Decode,
    /// Elements that all see each other.
    Full,
}

fn cross(stage: Stage, q_width: usize, kv_width: usize) -> AttentionLayer {
    AttentionLayer {
        prefix: "cross".to_owned(),
        stage,
        label: "cross".to_owned(),
        heads: 1,
        qk: kv_width,
        v: kv_width,
        q_width,
        kv_width,
        widening: 1,
        residual: matches!(stage, Stage::Encode),
        activation: Activation::GeluErf,
    }
}

fn full_layer(width: usize) -> AttentionLayer {
    AttentionLayer {
        prefix: "self".to_owned(),
        stage: Stage::Process,
        label: "self".to_owned(),
        heads: HEADS,
        qk: width,
        v: width,
        q_width: width,
        kv_width: width,
        widening: 1,
        residual: true,
        activation: Activation::GeluErf,
    }
}

/// The graph for `size` elements with an input `x`, in windows of `window_bytes`.
fn graph(shape: Shape, size: usize, window_bytes: usize) -> Result<Graph> {
    let mut g = Graph::default();
    let rows = |columns: usize| window_bytes / (4 * columns);
    let outputs: Vec<ValueId> = match shape {
        Shape::Encode => {
            let x = g.input("x", Extent::new(1, size, CHANNELS));
            // Learned latents, so that their queries are made at load, as in the models.
            let latents = g.parameter(Recipe::Stored {
                name: "latents".to_owned(),
                shape: vec![LATENTS, LATENT_CHANNELS],
            });
            let latents = g.view(latents);
            let layer = cross(Stage::Encode, LATENT_CHANNELS, CHANNELS);
            let inputs = [Rows::of_array("input", size, CHANNELS, x)];
            let most = rows(2 * CHANNELS);
            vec![encode(&mut g, &layer, latents, &inputs, most, PLAIN)?.0]
        }
        Shape::Process => {
            let x = g.input("x", Extent::new(1, size, LATENT_CHANNELS));
            let x = g.view(x);
            vec![full_layer(LATENT_CHANNELS).self_attention(&mut g, x)?]
        }
        Shape::Decode => {
            let x = g.input("x", Extent::new(1, size, CHANNELS));
            let latents = g.parameter(Recipe::Stored {
                name: "latents".to_owned(),
                shape: vec![LATENTS, LATENT_CHANNELS],
            });
            let layer = cross(Stage::Decode, CHANNELS, LATENT_CHANNELS);
            let queries = Rows::of_array("query", size, CHANNELS, x);
            let most = rows(LATENT_CHANNELS);
            let mut hidden = Vec::new();
            decode(
                &mut g,
                &layer,
                latents,
                &[&queries],
                most,
                None,
                PLAIN,
                &mut |_, d| {
                    hidden.push(d.hidden);
                    Ok(())
                },
            )?;
            hidden
        }
        Shape::Full => {
            let x = g.input("x", Extent::new(1, size, CHANNELS));
            let x = g.view(x);
            vec![full_layer(CHANNELS).self_attention(&mut g, x)?]
        }
    };
    let rows = outputs.iter().map(|&o| g.extent(o).rows).sum();
    let cols = g.extent(outputs[0]).cols;
    g.output("y", outputs, vec![1, rows, cols]);
    Ok(g)
}

/// Where a series runs.
enum Place {
    Cpu,
    Gpu(gpu::Device),
}

impl Place {
    fn name(&self) -> &str {
        match self {
            Place::Cpu => "cpu",
            Place::Gpu(device) => device.name(),
        }
    }

    fn plan(&self, shape: Shape, size: usize) -> Result<Plan> {
        Plan::new(match self {
            Place::Cpu => graph(shape, size, CPU_WINDOW)?,
            Place::Gpu(device) => {
                let graph = graph(shape, size, GPU_WINDOW)?;
                split_attention(graph, &|a| attention_splits(a, device.traits()))
            }
        })
    }
}

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
            Ok(engine) => engine.device().cloned(),
            Err(e) => {
                eprintln!("{e}");
                None
            }
        },
        // Someone who names an adapter does not want figures of another.
        named => Engine::choose(&named)
            .unwrap_or_else(|e| panic!("{e}"))
            .device()
            .cloned(),
    };
    match &device {
        Some(d) => eprintln!("adapter: {} ({})", d.name(), d.kind().name()),
        None => eprintln!("adapter: none, CPU only"),
    }
    device
}

/// A plan that is ready to run, its input in place.
enum Session {
    Cpu(Box<cpu::Session<f32>>),
    Gpu(Box<gpu::Session>),
}

impl Session {
    fn new(place: &Place, plan: Plan) -> Result<Self> {
        let tensors = plan.graph.parameters().flat_map(|(_, r)| r.tensors());
        let weights = Arc::new(RandomTensors::new(tensors.collect::<Vec<_>>(), 1));
        let elements = plan.graph.inputs().map(|(_, _, e)| e.len()).sum();
        // Any numbers of about unit size do: no kernel is faster or slower for their values.
        let x: Vec<f32> = (0..elements)
            .map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0)
            .collect();
        Ok(match place {
            Place::Cpu => {
                let mut session = cpu::Session::new(plan, &ParameterStore::new(weights))?;
                session.write("x", &x)?;
                Session::Cpu(Box::new(session))
            }
            Place::Gpu(device) => {
                let parameters = gpu::Parameters::new(device.clone(), weights);
                let mut session = gpu::Session::new(plan, &parameters)?;
                session.write("x", &x)?;
                // Brings the input to the device, where `compute` finds it.
                session.run(&mut |_, _| {})?;
                Session::Gpu(Box::new(session))
            }
        })
    }

    fn compute(&mut self) -> Result<()> {
        match self {
            Session::Cpu(s) => s.run(&mut |_, _| {}),
            Session::Gpu(s) => s.compute(&mut |_, _| {}),
        }
    }

    /// Seconds of one run.
    fn seconds(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.compute()?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Exponent of the cost over the last three sizes of a series, by least squares on logarithms.
/// Smaller sizes are left out: what does not grow still counts there.
fn exponent(points: &[(usize, f64)]) -> Option<f64> {
    let last = &points[points.len().saturating_sub(3)..];
    if last.len() < 2 {
        return None;
    }
    let logs: Vec<(f64, f64)> = last
        .iter()
        .map(|&(n, s)| ((n as f64).ln(), s.ln()))
        .collect();
    let n = logs.len() as f64;
    let (mx, my) = logs
        .iter()
        .fold((0.0, 0.0), |(x, y), l| (x + l.0 / n, y + l.1 / n));
    let (xy, xx) = logs.iter().fold((0.0, 0.0), |(xy, xx), l| {
        (xy + (l.0 - mx) * (l.1 - my), xx + (l.0 - mx).powi(2))
    });
    Some(xy / xx)
}

/// Which sizes, and how many seconds a run may take.
struct Range {
    sizes: Vec<usize>,
    seconds: f64,
}

/// Sizes from 2^`from` on, doubling.
fn range(from: u32, to: u32, seconds: f64) -> Range {
    Range {
        sizes: (from..=to).map(|i| 1 << i).collect(),
        seconds,
    }
}

fn series(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    shape: Shape,
    place: &Place,
    range: &Range,
) {
    let label = format!("{name} {}", place.name());
    let mut points: Vec<(usize, f64)> = Vec::new();
    let mut rate: Option<f64> = None;
    for &size in &range.sizes {
        let plan = place
            .plan(shape, size)
            .unwrap_or_else(|e| panic!("{label} {size}: {e}"));
        let flops = plan.report().total_flops as f64;
        if rate.is_some_and(|r| flops / r > range.seconds) {
            eprintln!(
                "{label}: {size} and more would take longer than {} s",
                range.seconds
            );
            break;
        }
        let mut session = match Session::new(place, plan) {
            Ok(session) => session,
            // A device that cannot hold the input ends its series, not the benchmark.
            Err(e) => {
                eprintln!("{label}: ends before {size}: {e}");
                break;
            }
        };
        // The first run warms caches up.
        let once = |s: &mut Session| {
            s.seconds()
                .unwrap_or_else(|e| panic!("{label} {size}: {e}"))
        };
        let seconds = once(&mut session).min(once(&mut session));
        rate = Some(flops / seconds);
        points.push((size, seconds));
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new(&label, size), |b| {
            b.iter(|| {
                session
                    .compute()
                    .unwrap_or_else(|e| panic!("{label} {size}: {e}"))
            });
        });
    }
    if let Some(exponent) = exponent(&points) {
        let (first, last) = (
            points[points.len().saturating_sub(3)].0,
            points[points.len() - 1].0,
        );
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
    for (name, shape, range, beside) in [
        ("encode", Shape::Encode, &long, Some(&baseline)),
        ("process", Shape::Process, &short, None),
        ("decode", Shape::Decode, &long, Some(&baseline)),
    ] {
        let mut group = c.benchmark_group(name);
        group
            .sample_size(10)
            .sampling_mode(SamplingMode::Flat)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(if full { 2000 } else { 500 }))
            .plot_config(PlotConfiguration::default().summary_scale(AxisScale::Logarithmic));
        for place in &places {
            series(&mut group, name, shape, place, range);
            if let Some(range) = beside {
                series(&mut group, "full self-attention", Shape::Full, place, range);
            }
        }
        group.finish();
    }
}

criterion_group!(scaling, all);
criterion_main!(scaling);
