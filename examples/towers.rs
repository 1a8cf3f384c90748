//! Times the latent self-attention towers of the published models on the CPU executor, random weights, one line each:
//! `cargo run --release --example towers -- [RUNS] [NAME]`. `tools/reference/towers.py` runs it beside ONNX Runtime.

use std::sync::Arc;
use std::time::Instant;

use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
use perceiver::{Engine, RandomTensors, Result};

/// Layers that are timed, and those of a second tower whose time is taken off.
const LAYERS: [usize; 2] = [7, 1];

/// Name, latents, channels, heads.
const TOWERS: [(&str, usize, usize, usize); 3] =
    [("imagenet", 512, 1024, 8), ("flow", 2048, 512, 16), ("language", 256, 1280, 8)];

/// Median seconds of six layers: those of seven, with the little that is around a tower, less those of one.
fn layers([latents, channels, heads]: [usize; 3], runs: usize) -> Result<f64> {
    let models = LAYERS.map(|layers| -> Result<_> {
        let blueprint = PerceiverBuilder::new(latents, channels)
            .input(Modality::given("x", 4, 16))
            .cross("read", 1)
            .tower("tower", layers, heads, 1)
            .decoder(1, false)
            .output(Output::new("y", Modality::learned("y", 1, 32)).linear(10))
            .build()?;
        let weights = RandomTensors::new(blueprint.tensors()?, 1);
        let inputs = blueprint.sample_inputs(1, 1)?;
        Ok((Engine::cpu().load_blueprint(blueprint, Arc::new(weights))?, inputs))
    });
    let [seven, one] = models;
    let models = [seven?, one?];
    let mut seconds = [vec![], vec![]];
    for run in 0..=runs {
        for ((model, inputs), seconds) in models.iter().zip(&mut seconds) {
            let start = Instant::now();
            model.run(inputs, &mut |_, _| {})?;
            if run > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let [seven, one] = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[runs / 2]
    });
    Ok(seven - one)
}

fn main() -> Result<()> {
    let runs = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(5).max(1);
    let only = std::env::args().nth(2);
    for (name, latents, channels, heads) in TOWERS {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        println!("{name} {:.6}", layers([latents, channels, heads], runs)?);
    }
    Ok(())
}
