//! Where the time of a run goes: every kernel launch, beside what the device can do at best.
//!
//! On a GPU the times are those of its own clock where it has timestamps. They are written at the ends of
//! passes, so a profiled run gives every dispatch a pass of its own; nothing overlaps, and the sum is
//! somewhat more than the time of an ordinary run. The ceilings are measured in the same call: what a
//! kernel that only copies moves, and what a large square product reaches. A launch can take no less
//! than its operations at the one and its bytes at the other; its *share* is that time over what it took.
//!
//! ```
//! use perceiver::{Engine, NamedTensors, RunOptions, Tensor};
//!
//! let model = Engine::cpu().load("models/text-tiny")?;
//! let ids = Tensor::i64(vec![1, 64], vec![70; 64])?;
//! let inputs = NamedTensors::from([("input_ids".to_owned(), ids)]);
//! let profile = model.profile(&inputs, RunOptions::default())?;
//! for kernel in profile.kernels() {
//!     println!("{} {:.1} µs", kernel.kernel, 1e6 * kernel.seconds);
//! }
//! std::fs::write(std::env::temp_dir().join("trace.json"), profile.trace().to_string()).ok();
//! # Ok::<(), perceiver::Error>(())
//! ```

use std::collections::BTreeMap;
use web_time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

pub use super::ceiling::Ceiling;
use super::ceiling::ceiling;
use crate::error::Result;
use crate::gpu::Device;
use crate::graph::{Executor, NodeReport, Span, Stage, Waiting, blocking};
use crate::model::{Model, RunOptions};
use crate::tensor::NamedTensors;

/// Whose clock a profile was measured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// The GPU's, pass by pass.
    Timestamps,
    /// The host's, submission by submission: the GPU has no timestamps.
    Host,
    /// The CPU executor's, kernel by kernel.
    Cpu,
}

/// One kernel launch.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Launch {
    /// The part of the model.
    pub stage: &'static str,
    /// The node.
    pub label: String,
    /// The kernel.
    pub kernel: &'static str,
    /// How it was run; "cpu" on the CPU.
    pub variant: String,
    /// Shape of its first result.
    pub output: String,
    /// Operations.
    pub flops: u64,
    /// Bytes read and written at least.
    pub bytes: u64,
    /// Parts that it was cut into.
    pub parts: usize,
    /// When it began, from the beginning of the run.
    pub start_seconds: f64,
    /// How long it took, all parts together.
    pub seconds: f64,
    /// Achieved operations per second, in thousands of millions.
    pub gflop_per_second: f64,
    /// Achieved bytes per second, in thousands of millions.
    pub gigabytes_per_second: f64,
    /// Least time by the ceilings over this time.
    pub share: f64,
}

/// All launches of one kernel by one variant.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KernelTotal {
    /// The kernel.
    pub kernel: &'static str,
    /// How it was run.
    pub variant: String,
    /// Launches.
    pub launches: usize,
    /// Operations.
    pub flops: u64,
    /// Bytes read and written at least.
    pub bytes: u64,
    /// How long they took.
    pub seconds: f64,
    /// Part of the time of all kernels.
    pub part: f64,
    /// Achieved operations per second, in thousands of millions.
    pub gflop_per_second: f64,
    /// Achieved bytes per second, in thousands of millions.
    pub gigabytes_per_second: f64,
    /// Least time by the ceilings over this time.
    pub share: f64,
}

/// Something the host did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HostSpan {
    /// What: "record", "submit", "wait".
    pub name: &'static str,
    /// When it began, from the beginning of the run.
    pub start_seconds: f64,
    /// How long it took.
    pub seconds: f64,
}

/// Where the time of a run went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// The device.
    pub device: String,
    /// Whose clock.
    pub timer: Timer,
    /// What the device can do at best, measured in the same call.
    pub ceiling: Ceiling,
    /// Seconds of an ordinary run just before: transfers included, nothing timed within.
    pub run_seconds: f64,
    /// Sum of all launches.
    pub kernel_seconds: f64,
    /// Every launch in order.
    pub launches: Vec<Launch>,
    /// What the host did meanwhile; nothing on the CPU.
    pub host: Vec<HostSpan>,
}

impl Model {
    /// Runs the model and says where the time goes; inputs as for [`Model::run_with`], of which only the
    /// items that fit one run are used.
    ///
    /// # Errors
    /// As [`Model::run_with`].
    pub fn profile(&self, inputs: &NamedTensors, options: RunOptions) -> Result<Profile> {
        let batch = self.batch(inputs, options)?;
        let items = self.most_items(&batch, options)?.clamp(1, batch.items.max(1));
        let request = self.request(items, batch.sizes, options)?;
        let mut lease = blocking(self.lend(&request, Waiting::Block, |_, _| {}))?;
        let measured = lease.executor().and_then(|session| {
            for array in &batch.arrays {
                session.write(&array.name, array.of_items(0, items))?;
            }
            session.run(&mut |_, _| {})?;
            // The staging memory still holds the inputs.
            let start = Instant::now();
            session.run(&mut |_, _| {})?;
            let run_seconds = start.elapsed().as_secs_f64();
            measure(session, self.store.device().as_ref(), run_seconds)
        });
        let mut measured = lease.end(measured)?;
        measured.device = self.device_name().to_owned();
        Ok(measured)
    }
}

fn measure(
    session: &mut dyn Executor,
    device: Option<&Device>,
    run_seconds: f64,
) -> Result<Profile> {
    let measured = session.profile()?;
    let timer = match device {
        Some(_) if measured.timestamps => Timer::Timestamps,
        Some(_) => Timer::Host,
        None => Timer::Cpu,
    };
    let host = measured.host.into_iter();
    let host = host.map(|(name, start_seconds, seconds)| HostSpan { name, start_seconds, seconds });
    let mut profile = Profile {
        device: String::new(),
        timer,
        ceiling: ceiling(device)?,
        run_seconds,
        kernel_seconds: 0.0,
        launches: Vec::new(),
        host: host.collect(),
    };
    let (report, variants) = (session.plan().report(), session.variant_names());
    for Span { node, start, seconds } in measured.device {
        let of = &report.nodes[node];
        match profile.launches.last_mut() {
            Some(last) if last.parts > 0 && last.label == of.label => {
                last.parts += 1;
                last.seconds += seconds;
            }
            _ => profile.launches.push(launch(of, variants[node], start, seconds)),
        }
    }
    for launch in &mut profile.launches {
        let (flops, bytes) = (launch.flops, launch.bytes);
        (launch.gflop_per_second, launch.gigabytes_per_second) =
            rates(flops, bytes, launch.seconds);
        launch.share = share(&profile.ceiling, flops, bytes, launch.seconds);
    }
    profile.kernel_seconds = profile.launches.iter().map(|l| l.seconds).sum();
    Ok(profile)
}

fn launch(node: &NodeReport, variant: &str, start_seconds: f64, seconds: f64) -> Launch {
    Launch {
        stage: node.stage,
        label: node.label.clone(),
        kernel: node.kernel,
        variant: variant.to_owned(),
        output: node.output.clone(),
        flops: node.flops,
        bytes: node.bytes,
        parts: 1,
        start_seconds,
        seconds,
        ..Launch::default()
    }
}

/// Thousands of millions of operations and bytes per second; 0 where no time was seen.
fn rates(flops: u64, bytes: u64, seconds: f64) -> (f64, f64) {
    if seconds > 0.0 {
        (flops as f64 / 1e9 / seconds, bytes as f64 / 1e9 / seconds)
    } else {
        (0.0, 0.0)
    }
}

fn share(ceiling: &Ceiling, flops: u64, bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { ceiling.seconds(flops, bytes) / seconds } else { 0.0 }
}

impl Profile {
    /// Times by kernel and variant, the longest first.
    #[must_use]
    pub fn kernels(&self) -> Vec<KernelTotal> {
        let mut totals: BTreeMap<(&str, &str), KernelTotal> = BTreeMap::new();
        for launch in &self.launches {
            let total = totals.entry((launch.kernel, &launch.variant)).or_default();
            total.kernel = launch.kernel;
            total.variant.clone_from(&launch.variant);
            total.launches += 1;
            total.flops += launch.flops;
            total.bytes += launch.bytes;
            total.seconds += launch.seconds;
            // For now the least time of each launch: what bounds one may not bound another.
            total.share += launch.share * launch.seconds;
        }
        let mut totals: Vec<KernelTotal> = totals.into_values().collect();
        for total in &mut totals {
            (total.gflop_per_second, total.gigabytes_per_second) =
                rates(total.flops, total.bytes, total.seconds);
            if total.seconds > 0.0 {
                total.share /= total.seconds;
                total.part = total.seconds / self.kernel_seconds;
            }
        }
        totals.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        totals
    }

    /// Seconds by stage ("preprocess", "encode", "process", "decode", "postprocess"): those that have
    /// launches, in the order of a run.
    #[must_use]
    pub fn stages(&self) -> Vec<(&'static str, f64)> {
        let each = Stage::ALL.iter().filter_map(|stage| {
            let launches = self.launches.iter().filter(|l| l.stage == stage.name());
            let seconds: Vec<f64> = launches.map(|l| l.seconds).collect();
            (!seconds.is_empty()).then(|| (stage.name(), seconds.iter().sum()))
        });
        each.collect()
    }

    /// The run as a Chrome trace, which <https://ui.perfetto.dev> opens: a lane of the device with every
    /// launch, and on a GPU one of the host.
    #[must_use]
    pub fn trace(&self) -> Value {
        const DEVICE: u32 = 1;
        const HOST: u32 = 2;
        let micro = |seconds: f64| 1e6 * seconds;
        let name = |lane: u32, name: &str| {
            json!({
                "ph": "M", "pid": lane, "tid": lane, "name": "process_name",
                "args": { "name": name },
            })
        };
        let mut events = vec![name(DEVICE, &self.device)];
        if !self.host.is_empty() {
            events.push(name(HOST, "host"));
        }
        events.extend(self.launches.iter().map(|l| {
            json!({
                "ph": "X", "pid": DEVICE, "tid": DEVICE, "name": l.label, "cat": l.stage,
                "ts": micro(l.start_seconds), "dur": micro(l.seconds),
                "args": {
                    "kernel": l.kernel, "variant": l.variant, "result": l.output,
                    "flops": l.flops, "bytes": l.bytes, "parts": l.parts,
                    "GFLOP/s": l.gflop_per_second, "GB/s": l.gigabytes_per_second,
                    "share of the ceiling": l.share,
                },
            })
        }));
        events.extend(self.host.iter().map(|h| {
            json!({
                "ph": "X", "pid": HOST, "tid": HOST, "name": h.name, "cat": "host",
                "ts": micro(h.start_seconds), "dur": micro(h.seconds),
            })
        }));
        json!({ "traceEvents": events, "displayTimeUnit": "ms" })
    }
}
