//! Many at once: threads on one model, models of one file.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use perceiver::internals::gpu::ShaderChecks;
use perceiver::{
    Engine, Error, MemorySize, Model, NamedTensors, Result, RunOptions, Sizes, Tensor,
};

use crate::common;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/text-tiny");
const THREADS: usize = 8;

fn engines() -> [Engine; 2] {
    let device = common::device(ShaderChecks::Trusted).expect(common::INSTALL);
    [Engine::on(device), Engine::cpu()]
}

fn ids(first: i64) -> NamedTensors {
    let ids = Tensor::i64(vec![1, 32], (0..32).map(|i| 10 + first + i).collect());
    NamedTensors::from([("input_ids".to_owned(), ids.expect("ids"))])
}

fn run(model: &Model, inputs: &NamedTensors) -> Result<NamedTensors> {
    model.run(inputs, &mut |_, _| {})
}

/// Bytes of a session of a model that has run, and those of parameters among them.
fn bytes(model: &Model) -> [u64; 2] {
    let sizes = Sizes { length: 32, ..Sizes::default() };
    let report = model.report(1, sizes, RunOptions::default()).expect("report");
    [model.allocated_bytes(), report.parameter_bytes]
}

/// Those who have come to a place, and whoever waits there for the others.
#[derive(Default)]
struct Meeting {
    there: Mutex<usize>,
    came: Condvar,
}

impl Meeting {
    /// Waits until so many are there, for a minute at most.
    fn meet(&self, all: usize) -> bool {
        let mut there = self.there.lock().expect("no panic");
        *there += 1;
        self.came.notify_all();
        let missing = |there: &mut usize| *there < all;
        let minute = Duration::from_secs(60);
        let waited = self.came.wait_timeout_while(there, minute, missing);
        !waited.expect("no panic").1.timed_out()
    }
}

#[test]
fn threads_are_in_their_runs_of_one_model_at_once() {
    for engine in engines() {
        let mut model = engine.load(FOLDER).expect("model");
        let expected = run(&model, &ids(0)).expect("run");
        let [one, shared] = bytes(&model);
        // Without a budget, and with one that has room for all, who share the weights.
        for budget in [None, Some(one + (THREADS as u64 - 1) * (one - shared))] {
            model.set_memory_budget(budget.map(MemorySize));
            let meeting = Meeting::default();
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        let mut first = true;
                        let outputs = model.run(&ids(0), &mut |_, _| {
                            if std::mem::take(&mut first) {
                                assert!(meeting.meet(THREADS), "they take turns");
                            }
                        });
                        assert!(outputs.expect("run") == expected, "other bits");
                    });
                }
            });
        }
        // With less than that, all get their turn.
        model.set_memory_budget(Some(MemorySize(2 * one - shared)));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    (0..5).for_each(|_| assert!(run(&model, &ids(0)).expect("run") == expected));
                });
            }
        });
        // A byte less has room for one.
        model.set_memory_budget(Some(MemorySize(2 * one - shared - 1)));
        let mut inner = None;
        model
            .run(&ids(0), &mut |_, _| {
                inner.get_or_insert_with(|| run(&model, &ids(0)));
            })
            .expect("run");
        assert!(matches!(inner, Some(Err(Error::Limit { .. }))));
    }
}

#[test]
fn models_of_one_file_share_its_weights_until_it_is_another() {
    let [gpu, cpu] = engines();
    let device = gpu.device().expect("a device").wgpu_device().clone();
    let memory = || device.get_internal_counters().hal.buffer_memory.read() as u64;
    let model = gpu.load(FOLDER).expect("model");
    run(&model, &ids(0)).expect("run");
    let [one, shared] = bytes(&model);
    let before = memory();
    let again = gpu.clone().load(FOLDER).expect("model");
    run(&again, &ids(0)).expect("run");
    let grown = memory() - before;
    assert!(
        grown > 0 && grown < one - shared / 2,
        "{grown} more than {before}, {shared} of weights"
    );

    let folder = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        let from = std::path::Path::new(FOLDER).join(name);
        std::fs::copy(from, folder.path().join(name)).expect("copied");
    }
    let old = cpu.load(folder.path()).expect("model");
    let expected = run(&old, &ids(0)).expect("run");
    let mut weights =
        perceiver::checkpoint::read_tensors(folder.path().join("model.safetensors")).expect("read");
    for tensor in weights.values_mut() {
        let halved = tensor.as_f32().expect("floats").iter().map(|x| 0.5 * x).collect();
        *tensor = Tensor::f32(tensor.shape().to_vec(), halved).expect("a tensor");
    }
    let other = folder.path().join("other.safetensors");
    perceiver::checkpoint::write_tensors(&other, &weights).expect("written");
    std::fs::rename(other, folder.path().join("model.safetensors")).expect("replaced");
    let new = cpu.load(folder.path()).expect("model");
    assert!(run(&new, &ids(0)).expect("run") != expected, "the weights of before");
    assert!(run(&old, &ids(0)).expect("run") == expected);
    drop(old);
    let newer = cpu.load(folder.path()).expect("model");
    assert!(run(&newer, &ids(0)).expect("run") == run(&new, &ids(0)).expect("run"));
}
