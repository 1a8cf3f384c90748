//! A Perceiver of one's own: two modalities in, two outputs, random weights.
//!
//! `cargo run --release --example own_perceiver` prints its configuration and the shapes of a run; with
//! trained weights under the same names, that configuration beside `model.safetensors` is a model for
//! `Engine::load` and for `perceiver run`.

use std::sync::Arc;

use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
use perceiver::internals::weights::RandomTensors;
use perceiver::{Engine, Result};

fn main() -> Result<()> {
    let query = Modality::learned("class", 1, 32);
    let blueprint = PerceiverBuilder::new(32, 64)
        .input(Modality::given("sound", 800, 16).fourier(&[800], 8))
        .input(Modality::linear("sensors", 20, 6, 16).trainable_positions(16))
        .cross("read", 1)
        .tower("think", 2, 8, 4)
        .output(Output::new("class", query).linear(10).shape(&[10]))
        .decoder(1, false)
        .output(Output::per_row("sensor", "sensors").linear(1))
        .build()?;
    println!("{}", blueprint.to_json());
    for (name, shape) in blueprint.tensors()? {
        println!("{name} {shape:?}");
    }
    let weights = RandomTensors::new(blueprint.tensors()?, 1);
    let model = Engine::auto()?.load_blueprint(blueprint.clone(), Arc::new(weights))?;
    let outputs = model.run(&blueprint.sample_inputs(2, 1)?, &mut |_, _| {})?;
    for (name, tensor) in outputs {
        println!("{name}: {:?}", tensor.shape());
    }
    Ok(())
}
