//! The autoencoder of 3DShape2VecSet: sampled points ask all points, a tower, and points in space ask the latents.

use super::super::blueprint::{AttentionStep, Blueprint, Make, Stage, WaveOrder};
use super::pre_norm::{attention, mlp};
use super::{Draft, Family, Part};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "vecset",
    models: "3DShape2VecSet",
    task: "points of a surface to latents, and to occupancy at points",
    licence: "for academic research",
    weights: "github.com/1zb/3DShape2VecSet, *.pth, part model.",
    reference: "models_ae.py of 3DShape2VecSet",
    signature: &[
        "point_embed.mlp.weight",
        "decoder_cross_attn.fn.to_q.weight",
        "to_outputs.weight",
    ],
    model_types: &[],
    blueprint,
};

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let width = part.dim("point_embed.mlp.weight", 0);
    let mut draft = Draft::new();
    let variational = part.has("proj.weight");
    draft.input("pc", 3);
    draft.input("sampled_pc", 3);
    embed(&mut draft, part, "points", "pc", width);
    embed(&mut draft, part, "sampled", "sampled_pc", width);
    draft.attention("read", attention(part, "cross_attend_blocks.0", ["sampled", "points"], 1));
    // What a diffusion model makes is named x.
    let encoder = if variational { "encoder" } else { "x" };
    draft.mlp(encoder, mlp(part, "cross_attend_blocks.1", "read"));
    draft.intermediate("encoder", encoder);
    if variational {
        let channels = part.dim("mean_fc.weight", 0);
        draft.linear("x", "encoder", part.biased("mean_fc"), channels);
        draft.linear("logvar", "encoder", part.biased("logvar_fc"), channels);
        draft.intermediate("mean", "x");
        draft.intermediate("logvar", "logvar");
    }
    draft.input("queries", 3);
    draft.stage(Stage::Process);
    let mut last = "x".to_owned();
    if variational {
        draft.linear("projected", "x", part.biased("proj"), width);
        "projected".clone_into(&mut last);
    }
    let inner = part.dim("layers.0.0.fn.to_q.weight", 0);
    let [heads, _] = part.heads("heads", (inner / 64).max(1), inner)?;
    let count = part.count(|i| format!("layers.{i}.0.fn.to_q.weight"));
    for i in 0..count {
        let attended = format!("attention.{i}");
        let layer = format!("layers.{i}");
        let step = attention(part, &format!("{layer}.0"), [&last, &last], heads);
        draft.attention(&attended, step);
        last = if i + 1 == count { "last_latents".to_owned() } else { format!("layer.{i}") };
        draft.mlp(&last, mlp(part, &format!("{layer}.1"), &attended));
        draft.intermediate(&format!("layer.{i}"), &last);
    }
    draft.stage(Stage::Decode);
    embed(&mut draft, part, "asking", "queries", width);
    let step = attention(part, "decoder_cross_attn", ["asking", &last], 1);
    draft.attention("decoder", AttentionStep { residual: None, ..step });
    draft.intermediate("decoder", "decoder");
    let mut read = "decoder";
    if part.has("decoder_ff.norm.weight") {
        draft.mlp("refined", mlp(part, "decoder_ff", "decoder"));
        read = "refined";
    }
    let out = part.dim("to_outputs.weight", 0);
    draft.linear("logits", read, part.biased("to_outputs"), out);
    draft.output("output", "logits");
    Ok(draft.finish())
}

/// Sines, cosines and coordinates of points, through a linear layer.
fn embed(draft: &mut Draft, part: &Part<'_>, name: &str, of: &str, width: usize) {
    let features = format!("{name} features");
    let bands = (part.dim("point_embed.mlp.weight", 1) / 3).saturating_sub(1) / 2;
    let frequencies =
        (0..bands.min(64)).map(|i| std::f32::consts::PI * 2f32.powi(i as i32)).collect();
    let order = WaveOrder::CoordinatesLast;
    let waves =
        Make::Waves { of: of.to_owned(), frequencies, half_turns: false, order, tensor: None };
    draft.make(&features, waves);
    draft.linear(name, &features, part.biased("point_embed.mlp"), width);
}
