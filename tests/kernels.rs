//! Every row of the kernel table with every variant, against the f64 twin: on the fast CPU twins and
//! on an adapter, a software one where there is no other.
//!
//! Seeds are fresh in every run; `PERCEIVER_SEED` repeats one.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::num::NonZero;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};
use perceiver::internals::gpu::{Device, ShaderChecks, try_variant};
use perceiver::internals::kernels::{self, Op, Outcome, Problem, Variant};

mod common;

fn verdict(outcome: &Outcome, seed: u64) -> Result<(), Failed> {
    if outcome.passed {
        return Ok(());
    }
    Err(format!("seed {seed}: {outcome:#?}").into())
}

/// One adapter, with few workgroups along a dimension, so that most dispatches have two; a software one once for each
/// processor, since each time it compiles on a thread of its own.
#[derive(Clone)]
struct Devices {
    first: Device,
    idle: Arc<Mutex<Vec<Device>>>,
}

impl Devices {
    fn open(checks: ShaderChecks) -> Result<Self, String> {
        let first = common::device_within(checks, 1000)?;
        let mut idle = vec![first.clone()];
        if first.traits().software {
            let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
            for _ in 1..processors {
                idle.push(common::device_within(checks, 1000)?);
            }
        }
        Ok(Devices { first, idle: Arc::new(Mutex::new(idle)) })
    }

    /// Does something on one that nobody else uses, if there is one.
    fn with<T>(&self, work: impl FnOnce(&Device) -> T) -> T {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let result = work(idle.as_ref().unwrap_or(&self.first));
        if let (Some(device), Ok(mut all)) = (idle, self.idle.lock()) {
            all.push(device);
        }
        result
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let seed = match std::env::var("PERCEIVER_SEED").map(|s| s.parse()) {
        Ok(Ok(seed)) => seed,
        _ => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_nanos() as u64),
    };
    let (run, mut trials) = (seed, Vec::new());
    let devices = [ShaderChecks::Trusted, ShaderChecks::Checked].map(Devices::open);
    let devices = ["trusted", "checked"].into_iter().zip(devices).collect::<Vec<_>>();
    for (i, row) in kernels::table().into_iter().enumerate() {
        let seed = seed.wrapping_add(i as u64);
        let name = format!("{} {}", row.op.kernel(), row.shape());
        let kernel = kernels::NAMES.iter().position(|n| *n == row.op.kernel());
        // The reference is computed once for all variants of a mode, when the first needs it.
        let solved = || {
            let (row, problem) = (row.clone(), OnceLock::new());
            Arc::new(move |problem_of: &dyn Fn(&Problem) -> Outcome| {
                verdict(&problem_of(problem.get_or_init(|| Problem::new(&row, seed))), seed)
            })
        };
        for (order, (mode, devices)) in devices.iter().enumerate() {
            let solved = solved();
            let traits = devices.as_ref().map(|d| *d.first.traits());
            let list = traits.as_ref().map(|t| row.op.candidates(t)).unwrap_or_default();
            let key = |variant: Option<&Variant>| {
                let of_variant = variant.map(|v| (v.mode.name, v.f16.to_vec()));
                (kernel, order, of_variant)
            };
            if order == 0 {
                let cpu = solved.clone();
                let trial = Trial::test(format!("{name} / cpu"), move || cpu(&Problem::on_cpu));
                trials.push((key(list.first()), trial));
            }
            let (Ok(devices), Ok(traits)) = (devices, traits.as_ref()) else { continue };
            // A software adapter compiles each tile for seconds: as in the table, of products and attentions with f16
            // some are enough, another with every seed.
            let sampled = matches!(row.op, Op::Gemm(_) | Op::Attention(_)) && traits.software;
            let tile = |v: &Variant| v.tiled() && v.cooperative.is_none() && !v.f16.is_empty();
            let (tiles, mut list): (Vec<_>, Vec<_>) =
                list.into_iter().partition(|v| sampled && tile(v));
            let draw = |v: &Variant| {
                BuildHasherDefault::<DefaultHasher>::default().hash_one((run, v.name))
            };
            list.extend(tiles.into_iter().min_by_key(draw));
            // One of the tiles that tuning searches, another with every seed and row; a software adapter, which takes
            // minutes to compile all that rows draw, has the rows of a run share four.
            if order == 0 {
                let drawn = if traits.software { run.wrapping_add(i as u64 % 4) } else { seed };
                let of_row = |v: &Variant| {
                    BuildHasherDefault::<DefaultHasher>::default().hash_one((drawn, v.name))
                };
                list.extend(row.op.tile_candidates(traits).into_iter().min_by_key(of_row));
            }
            for variant in list {
                // How numbers are unpacked has nothing to do with indices.
                if *mode == "checked" && !variant.f16.is_empty() {
                    continue;
                }
                let (solved, devices) = (solved.clone(), devices.clone());
                let title = format!("{name} / {} {mode}", variant.title());
                let trial = Trial::test(title, move || {
                    solved(&|p| devices.with(|device| try_variant(p, device, variant)))
                });
                trials.push((key(Some(&variant)), trial));
            }
        }
    }
    // Mesa forgets compiled shaders when it has too many: rows that need the same ones stand together.
    trials.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut trials: Vec<Trial> = trials.into_iter().map(|(_, trial)| trial).collect();
    for (mode, devices) in devices {
        trials.push(Trial::test(format!("an adapter is there / {mode}"), move || {
            devices.map(|_| ()).map_err(Failed::from)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
