//! The resampler of MiniCPM-V, MiniCPM-o and OmniLMM: sine and cosine positions of each picture's own grid on the keys, or, in
//! the first version, a table of them that is resized to the picture's square grid.

use super::super::blueprint::{Blueprint, Content, Make, Modality};
use super::{Draft, Family, Part, pool};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "minicpmv",
    models: "MiniCPM-V 1, 2, 2.5, 2.6; MiniCPM-o 2.6; OmniLMM",
    task: "features of pictures to tokens of a language model",
    licence: "MiniCPM Model License",
    weights: "openbmb/MiniCPM-V-2_6, part resampler.",
    reference: "resampler.py of MiniCPM-V 2.6 and of OmniLMM",
    signature: &["query", "attn.in_proj_weight", "ln_kv.weight", "ln_post.weight", "proj"],
    model_types: &["minicpmv", "minicpmo", "omnilmm"],
    blueprint,
};

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let width = part.dim("query", 1);
    let channels = if part.has("kv_proj.weight") { part.dim("kv_proj.weight", 1) } else { width };
    // The second version has one grid for all pictures, and positions of its queries; so has the first, whose tensors have the
    // same names and shapes, but whose configuration knows of no slices.
    let second = part.has("pos_embed");
    let kind = part.value("model_type").and_then(serde_json::Value::as_str).unwrap_or_default();
    let slices = part.value("slice_mode").is_some() || !FAMILY.model_types.contains(&kind);
    let mut draft = Draft::new();
    draft.input("x", channels);
    if second && !part.switch("adaptive", slices)? {
        let rows = part.dim("pos_embed", 0);
        let (tensor, of) = (part.name("pos_embed"), "x".to_owned());
        draft.make("positions", Make::Resized { tensor, shape: [rows, width], of });
        let width = pool::attend(&mut draft, part, "", ("positions", true), None)?;
        pool::project(&mut draft, part, width);
        return Ok(draft.finish());
    }
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
