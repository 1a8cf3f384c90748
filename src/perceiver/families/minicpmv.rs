//! The resampler of MiniCPM-V and MiniCPM-o: sine and cosine positions of each picture's own grid on the keys.

use super::super::blueprint::{Blueprint, Content, Modality};
use super::{Draft, Family, Part, pool};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "minicpmv",
    models: "MiniCPM-V 2, 2.5, 2.6; MiniCPM-o 2.6",
    task: "features of pictures to tokens of a language model",
    licence: "MiniCPM Model License",
    weights: "openbmb/MiniCPM-V-2_6, part resampler.",
    reference: "resampler.py of MiniCPM-V 2.6",
    signature: &["query", "attn.in_proj_weight", "ln_kv.weight", "ln_post.weight", "proj"],
    model_types: &["minicpmv", "minicpmo"],
    blueprint,
};

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let width = part.dim("query", 1);
    let channels = if part.has("kv_proj.weight") { part.dim("kv_proj.weight", 1) } else { width };
    // The second version has one grid for all pictures, and positions of its queries.
    let second = part.has("pos_embed");
    let mut draft = Draft::new();
    draft.input("x", channels);
    let grid = if second { "tgt_size" } else { "tgt_sizes" };
    let mut positions = Modality::bare("positions", super::draft::USUAL_ROWS);
    let (input, of) = (grid.to_owned(), "x".to_owned());
    positions.content =
        Content::SinCos { input, of, channels: width, base: 10_000, shared: second };
    draft.push_input(positions);
    let mask = if second { None } else { Some("positions") };
    let width = pool::attend(&mut draft, part, "", ("positions", second), mask)?;
    pool::project(&mut draft, part, width);
    Ok(draft.finish())
}
