//! Autotune: the fastest variant of every kernel on a model's own shapes.
//!
//! Shapes are tuned in the order of what they cost, within bounded time: first the variants that have names, then, while
//! time is left, tiles of the kernel's space beside them, those that a prediction (`measure::predict`) finds fastest on
//! a GPU with the device's limits. Each variant that the device allows is checked against the f64 reference in a small
//! case before it is timed; a wrong one is denied from then on. What is found goes to the device ([`Device::tuning`]), to new sessions of all its models,
//! and to the cache on disk if there is one; what is not reached keeps its heuristic.

use std::time::Duration;

use web_time::Instant;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gpu::{Denied, Device, TunedChoice, bucket, session_of};
use crate::graph::{Executor, Waiting, blocking};
use crate::kernels::{DeviceTraits, Op, Variant, random_operands};
use crate::measure::predict::Card;
use crate::model::{Model, RunOptions, Store};
use crate::tensor::NamedTensors;

/// Tiles that are tried for a range of shapes beside those that have names.
const MOST_TILES: usize = 12;

/// How long to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TuneOptions {
    /// No shape is begun after this time, and no variant of one. What has begun is finished, compiling
    /// a kernel too, which takes seconds on some drivers.
    pub time: Duration,
}

impl Default for TuneOptions {
    /// A minute.
    fn default() -> Self {
        TuneOptions { time: Duration::from_secs(60) }
    }
}

/// How a variant did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// The variant.
    pub variant: String,
    /// Seconds of its fastest run; `None` if it was wrong or could not run.
    pub seconds: Option<f64>,
    /// Why it could not be timed.
    pub failure: Option<String>,
}

/// A range of shapes that was tuned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TunedShape {
    /// The kernel.
    pub kernel: String,
    /// The range of shapes.
    pub bucket: String,
    /// Launches of one run that it is about.
    pub launches: usize,
    /// What was chosen before: the first of `tried`.
    pub before: String,
    /// What is chosen now.
    pub variant: String,
    /// What was tried, in order.
    pub tried: Vec<Tried>,
}

impl TunedShape {
    /// Time of what was chosen before over the time of what is chosen now.
    #[doc(hidden)]
    pub fn gain(&self) -> f64 {
        match (self.seconds(&self.before), self.seconds(&self.variant)) {
            (Some(before), Some(now)) if now > 0.0 => before / now,
            _ => 1.0,
        }
    }

    fn seconds(&self, variant: &str) -> Option<f64> {
        self.tried.iter().find(|t| t.variant == variant)?.seconds
    }
}

/// What tuning found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TuneReport {
    /// The device.
    pub device: String,
    /// Ranges of shapes in the order of what they cost.
    pub shapes: Vec<TunedShape>,
    /// Ranges of shapes that there was no time for.
    pub left: usize,
    /// All variants that are wrong on this device.
    pub denied: Vec<Denied>,
}

impl Model {
    /// Tries the variants of every kernel on the shapes of a run with these inputs, and has later
    /// sessions use the fastest that are right. Only the shapes of the inputs matter. `progress` hears how
    /// many of how many ranges of shapes are done.
    ///
    /// # Errors
    /// [`Error::Input`] on the CPU, which has nothing to tune; otherwise as [`Model::run_with`].
    ///
    /// ```no_run
    /// use perceiver::tune::TuneOptions;
    /// use perceiver::{Engine, NamedTensors, RunOptions, Tensor};
    ///
    /// let engine = Engine::named("gpu")?;
    /// let model = engine.load("models/text-tiny")?;
    /// let ids = Tensor::i64(vec![1, 512], vec![0; 512])?;
    /// let inputs = NamedTensors::from([("input_ids".to_owned(), ids)]);
    /// model.tune(&inputs, RunOptions::default(), &TuneOptions::default(), &mut |_, _| {})?;
    /// // An app can ship what was found, and apply it where the same adapter and driver are.
    /// if let Some(device) = engine.device() {
    ///     device.tuning().save("tuned.json")?;
    ///     device.apply_tuning(&perceiver::internals::gpu::Tuning::load("tuned.json")?)?;
    /// }
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    pub fn tune(
        &self,
        inputs: &NamedTensors,
        options: RunOptions,
        tuning: &TuneOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<TuneReport> {
        let Store::Gpu(parameters) = &*self.store else {
            let what = format!("is `{}`", self.device_name());
            return Err(Error::input("device", what, "a GPU: the CPU executor has no variants"));
        };
        let batch = self.batch(inputs, options)?;
        let items = self.most_items(&batch, options)?.clamp(1, batch.items.max(1));
        let plan = self.plan(&self.request(items, batch.sizes, options)?)?;
        let ops = plan.graph().nodes[plan.once()..].iter().map(|n| n.op);
        let report = tune(&parameters.device(), ops, tuning, progress)?;
        // Sessions made before have the variants of before.
        self.drop_sessions();
        Ok(report)
    }
}

/// Ops of one range of shapes.
struct Group {
    /// The one that costs most.
    op: Op,
    bucket: String,
    launches: usize,
    /// Of all of them.
    work: u64,
}

/// Tunes a device on some ops.
///
/// # Errors
/// What the device gives.
#[doc(hidden)]
pub fn tune(
    device: &Device,
    ops: impl IntoIterator<Item = Op>,
    options: &TuneOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<TuneReport> {
    let start = Instant::now();
    let mut groups: Vec<Group> = Vec::new();
    for op in ops {
        let Some(bucket) = bucket(&op) else { continue };
        let work = op.cost().flops + op.cost().bytes;
        let known = groups.iter_mut().find(|g| g.op.kernel() == op.kernel() && g.bucket == bucket);
        match known {
            Some(group) => {
                if work > group.op.cost().flops + group.op.cost().bytes {
                    group.op = op;
                }
                group.launches += 1;
                group.work += work;
            }
            None => groups.push(Group { op, bucket, launches: 1, work }),
        }
    }
    groups.retain(|g| device.candidates(&g.op).len() > 1);
    groups.sort_by_key(|g| std::cmp::Reverse(g.work));
    let total = groups.len();
    let expired = || start.elapsed() > options.time;
    let mut shapes: Vec<TunedShape> = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        progress(i as u64, 2 * total as u64);
        if expired() {
            break;
        }
        let candidates = device.candidates(&group.op);
        if let Some(shape) = tune_group(device, group, &candidates, &expired)? {
            choose(device, &shape);
            shapes.push(shape);
        }
    }
    for (i, shape) in shapes.iter_mut().enumerate() {
        progress((total + i) as u64, 2 * total as u64);
        let group =
            groups.iter().find(|g| g.bucket == shape.bucket && g.op.kernel() == shape.kernel);
        let (false, Some(group)) = (expired(), group) else { break };
        let mut tiles = tiles(device.traits(), &group.op, &device.candidates(&group.op));
        tiles.retain(|v| !device.tuning().denies(v.kernel, &v.title()));
        if tiles.is_empty() {
            continue;
        }
        // Beside what is chosen now, timed again.
        let chosen = device.candidates(&group.op).into_iter().take(1);
        let candidates: Vec<Variant> = chosen.chain(tiles).collect();
        if let Some(found) = tune_group(device, group, &candidates, &expired)? {
            // Faster than what was chosen has been at any time.
            let (now, before) = (found.seconds(&found.variant), shape.seconds(&shape.variant));
            let faster = now.zip(before).is_some_and(|(now, before)| now < 0.95 * before);
            shape.tried.extend(found.tried.into_iter().skip(1));
            if faster && found.variant != shape.variant {
                shape.variant = found.variant;
                choose(device, shape);
            }
        }
    }
    progress(2 * total as u64, 2 * total as u64);
    device.keep_tuning();
    Ok(TuneReport {
        device: device.name().to_owned(),
        left: total - shapes.len(),
        shapes,
        denied: device.tuning().denied,
    })
}

/// Has sessions use what was found.
fn choose(device: &Device, shape: &TunedShape) {
    let TunedShape { kernel, bucket, variant, .. } = shape.clone();
    device.change_tuning(|t| t.choose(TunedChoice { kernel, bucket, variant }));
}

/// Tiles of the kernel's space that are not known yet, the fastest by prediction first, and not all of them. None on
/// software adapters, which have better variants and take seconds to compile a tile.
fn tiles(traits: &DeviceTraits, op: &Op, known: &[Variant]) -> Vec<Variant> {
    if traits.software {
        return Vec::new();
    }
    let card = Card::of(traits);
    let same = |a: &Variant, b: &Variant| a.source == b.source && a.constants == b.constants;
    let all = op.tile_candidates(traits).into_iter();
    let new = all.filter(|tile| !known.iter().any(|v| same(v, tile)));
    let mut timed: Vec<(f64, Variant)> =
        new.map(|tile| (card.predict(op, &tile, None).seconds, tile)).collect();
    timed.sort_by(|a, b| a.0.total_cmp(&b.0));
    timed.into_iter().map(|(_, tile)| tile).take(MOST_TILES).collect()
}

/// Tries some variants of one range of shapes; `None` if time ran out before a second was tried.
fn tune_group(
    device: &Device,
    group: &Group,
    candidates: &[Variant],
    expired: &dyn Fn() -> bool,
) -> Result<Option<TunedShape>> {
    let operands = random_operands(&group.op, 1);
    let mut tried: Vec<Tried> = Vec::new();
    let mut best: Option<(f64, Variant)> = None;
    for &variant in candidates {
        if expired() && !tried.is_empty() {
            break;
        }
        let name = variant.name.to_owned();
        let failure = device.failure(&group.op, variant, Waiting::Block);
        let failure = match blocking(failure) {
            Err(e @ Error::Limit { .. }) => Some(e.to_string()),
            failure => failure?,
        };
        if let Some(why) = failure {
            device.deny(variant, why.clone());
            tried.push(Tried { variant: name, seconds: None, failure: Some(why) });
            continue;
        }
        let limit = best.map(|(seconds, _)| seconds);
        match seconds(device, &group.op, variant, &operands, limit) {
            Ok(seconds) => {
                // A gain of a few per cent is within noise, which must not decide.
                if best.is_none_or(|(least, _)| seconds < 0.95 * least) {
                    best = Some((seconds, variant));
                }
                tried.push(Tried { variant: name, seconds: Some(seconds), failure: None });
            }
            Err(error @ Error::DeviceLost { .. }) => return Err(error),
            Err(error) => {
                tried.push(Tried { variant: name, seconds: None, failure: Some(error.to_string()) })
            }
        }
    }
    let best = best.filter(|_| tried.len() > 1);
    Ok(best.map(|(_, variant)| TunedShape {
        kernel: group.op.kernel().to_owned(),
        bucket: group.bucket.clone(),
        launches: group.launches,
        before: candidates[0].name.to_owned(),
        variant: variant.name.to_owned(),
        tried,
    }))
}

/// Seconds of the fastest of several runs. One that is far beyond `limit` is not repeated.
fn seconds(
    device: &Device,
    op: &Op,
    variant: Variant,
    operands: &[Vec<f32>],
    limit: Option<f64>,
) -> Result<f64> {
    const MOST_RUNS: usize = 8;
    const ENOUGH: f64 = 0.1;
    let mut session = blocking(session_of(device, op, variant, operands, Waiting::Block))?;
    // Copies the operands; and drivers finish compiling in the first run.
    session.run(&mut |_, _| {})?;
    let (mut best, mut sum) = (f64::INFINITY, 0.0);
    for _ in 0..MOST_RUNS {
        let start = Instant::now();
        session.compute(&mut |_, _| {})?;
        let seconds = start.elapsed().as_secs_f64();
        best = best.min(seconds);
        sum += seconds;
        if sum > ENOUGH || limit.is_some_and(|limit| best > 2.0 * limit) {
            break;
        }
    }
    Ok(best)
}

#[cfg(test)]
#[path = "../../tests/unit/tune.rs"]
mod tests;
