//! Models of the papers that have no published weights, as folders for `perceiver run`.
//!
//! `cargo run --release --example paper_models -- flow my-flow` writes `config.json`, random weights and
//! some inputs; then `perceiver run --model my-flow --inputs my-flow/inputs.safetensors --outputs
//! out.safetensors` runs it. The others are `glue`, `audio-set`, `audio-set-mel` and `entities`. Sizes are
//! small here; the documentation of `perceiver::blueprint::presets` has the papers'.

use std::path::PathBuf;

use perceiver::blueprint::Blueprint;
use perceiver::blueprint::presets::{Size, Sound, audio_set, convolution_flow, entity_set, glue};
use perceiver::checkpoint::write_tensors;
use perceiver::{Engine, Error, NamedTensors, Result, Tensor};
use perceiver::{RandomTensors, TensorSource};

const NAMES: &str = "glue, audio-set, audio-set-mel, entities or flow";

fn blueprint(name: &str) -> Result<Blueprint> {
    let size = Size { latents: 32, channels: 64, layers: 4, times: 1, heads: 8 };
    // Patches of 2×8×8 pixels.
    let (grid, channels, classes) = ([4, 7, 7], 384, 527);
    match name {
        "glue" => glue(size, 512, &[("cola", 2), ("mnli", 3), ("stsb", 1)]),
        "audio-set" => {
            let (samples, patch) = (6144, 128);
            audio_set(size, grid, channels, Sound::Raw { samples, patch }, classes)
        }
        "audio-set-mel" => {
            let (frames, bands) = (40, 64);
            audio_set(size, grid, channels, Sound::Mel { frames, bands }, classes)
        }
        "entities" => entity_set(size, 512, 32, 256),
        "flow" => convolution_flow(size, [92, 124]),
        _ => Err(Error::input("model", format!("`{name}`"), NAMES)),
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "glue".to_owned());
    let blueprint = blueprint(&name)?;
    let weights = RandomTensors::new(blueprint.tensors()?, 1);
    let inputs = blueprint.sample_inputs(1, 1)?;
    if let Some(folder) = arguments.next().map(PathBuf::from) {
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        blueprint.write(&folder)?;
        let mut tensors = NamedTensors::new();
        for (name, shape) in blueprint.tensors()? {
            let data = weights.read_f32(&name)?;
            tensors.insert(name, Tensor::f32(shape, data)?);
        }
        write_tensors(folder.join("model.safetensors"), &tensors)?;
        write_tensors(folder.join("inputs.safetensors"), &inputs)?;
        println!("{} written", folder.display());
    }
    for shape in blueprint.input_shapes() {
        println!("input {}: {:?}", shape.name, shape.kind);
    }
    let model = Engine::auto()?.load_blueprint(blueprint, std::sync::Arc::new(weights))?;
    for (name, tensor) in model.run(&inputs, &mut |_, _| {})? {
        println!("output {name}: {:?}", tensor.shape());
    }
    Ok(())
}
