//! A model inside the program: no file is read when it runs.
//!
//! `cargo run --release --example from_bytes`

use perceiver::tasks::{FillMask, FillOptions};
use perceiver::{Engine, Result};

const CONFIG: &str = include_str!("../models/text-tiny/config.json");
const WEIGHTS: &[u8] = include_bytes!("../models/text-tiny/model.safetensors");

fn main() -> Result<()> {
    let model = Engine::auto()?.load_bytes(CONFIG, WEIGHTS)?;
    let texts = ["The comp[MASK]ler checks that every re[MASK]erence is val[MASK]d."];
    for text in FillMask::new(&model)?.fill(&texts, &FillOptions::default(), &mut |_, _| {})? {
        println!("{}", text.text);
    }
    Ok(())
}
