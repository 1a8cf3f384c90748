//! One model used from eight threads, beside eight models with a thread each, on the CPU, in turns:
//!
//! `cargo run --release --example threads`

use std::thread;
use std::time::Instant;

use perceiver::{Engine, Model, NamedTensors, Result, Tensor};

const THREADS: usize = 8;
const TURNS: usize = 9;

fn main() -> Result<()> {
    let tokens = Tensor::i64(vec![1, 64], (10..74).collect())?;
    let frames = Tensor::f32(vec![1, 2, 27, 96, 128], vec![0.3; 2 * 27 * 96 * 128])?;
    for (name, input, tensor, runs) in
        [("text-tiny", "input_ids", tokens, 40), ("flow-tiny", "patches", frames, 1)]
    {
        let inputs = NamedTensors::from([(input.to_owned(), tensor)]);
        let load = || Engine::cpu().load(format!("models/{name}"));
        let models = (0..THREADS).map(|_| load()).collect::<Result<Vec<_>>>()?;
        let one = vec![load()?; THREADS];
        // The first turns read weights and make sessions.
        seconds(&one, &inputs, 1)?;
        seconds(&models, &inputs, 1)?;
        let mut ratios = Vec::new();
        for _ in 0..TURNS {
            ratios.push(seconds(&one, &inputs, runs)? / seconds(&models, &inputs, runs)?);
        }
        ratios.sort_by(f64::total_cmp);
        let [least, median, most] = [0, TURNS / 2, TURNS - 1].map(|i| ratios[i]);
        println!(
            "{name}: one model takes {median:.2} of the time of {THREADS}, {least:.2} to {most:.2}"
        );
    }
    Ok(())
}

/// Time that a thread for each of the models takes for so many runs each.
fn seconds(models: &[Model], inputs: &NamedTensors, runs: usize) -> Result<f64> {
    let start = Instant::now();
    thread::scope(|scope| {
        let run =
            |model: &Model| (0..runs).try_for_each(|_| model.run(inputs, &mut |_, _| {}).map(drop));
        let threads: Vec<_> = models.iter().map(|model| scope.spawn(move || run(model))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a run"))
    })?;
    Ok(start.elapsed().as_secs_f64())
}
