//! The Perceiver inside a larger model, from that model's own checkpoint: what it takes and what it gives.
//!
//! `cargo run --release --example part_of_a_model -- XTTS-v2/model.pth gpt.conditioning_perceiver`
//!
//! Without arguments it takes the shipped autoencoder of shapes, and tells which of some points are inside of one.

use perceiver::checkpoint::{Checkpoint, read_tensors};
use perceiver::tasks::ShapeDecoder;
use perceiver::{Description, Engine, Result, RunOptions};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "models/shape-tiny".to_owned());
    let part = arguments.next();
    let checkpoint = Checkpoint::open_part(&path, part.as_deref())?;
    if let Some(family) = checkpoint.family() {
        println!("{}: {} ({})", family.name, family.task, family.models);
    }
    let model = Engine::auto()?.load_part(&path, part.as_deref())?;
    if let Description::Blueprint(blueprint) = model.description() {
        for input in blueprint.input_shapes() {
            println!("  takes {}: {:?}", input.name, input.kind);
        }
        let outputs = model.run(&blueprint.sample_inputs(1, 7)?, &mut |_, _| {})?;
        for (name, tensor) in &outputs {
            println!("  gives {name}: {:?}, of random inputs", tensor.shape());
        }
    }
    if path == "models/shape-tiny" {
        let points = read_tensors("models/shape-tiny/example.safetensors")?;
        let (_, latents) = model.encode(&points, RunOptions::default(), &mut |_, _| {})?;
        let mut shape = ShapeDecoder::new(&model, &latents[0])?;
        let line: Vec<[f32; 3]> = (-8..=8).map(|i| [i as f32 / 8.0, 0.0, 0.0]).collect();
        let inside = shape.values(&line, &mut |_, _| {})?;
        let marks: String = inside.iter().map(|&v| if v > 0.0 { '#' } else { '.' }).collect();
        println!("  along the first axis: {marks}");
    }
    Ok(())
}
