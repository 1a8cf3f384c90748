//! Perceiver and Perceiver IO of `perceiver-pytorch`, with the names of its versions up to 0.8 and of later ones.

use super::super::blueprint::{Blueprint, Make, Positions, Stage};
use super::pre_norm::{self, EPS};
use super::{Draft, Family, Part};
use crate::error::Result;

/// Perceiver, names of versions up to 0.8.
pub(super) const FAMILY: Family = Family {
    name: "perceiver_pytorch",
    models: "Perceiver and Perceiver IO of perceiver-pytorch",
    task: "rows, pictures or films to latents, classes or answers to queries",
    licence: "MIT (code; no published weights)",
    weights: "none; users' own state_dict",
    reference: "perceiver-pytorch 0.11.0 and 0.8.8",
    signature: &["latents", "layers.0.0.norm_context.weight", "layers.0.0.fn.to_kv.weight"],
    model_types: &[],
    blueprint,
};

/// Perceiver, later names.
pub(super) const LATER: Family =
    Family { signature: &["latents", "layers.0.cross_attn.fn.to_kv.weight"], ..FAMILY };

/// Perceiver IO, names of versions up to 0.8.
pub(super) const IO: Family = Family {
    signature: &[
        "latents",
        "cross_attend_blocks.0.fn.to_kv.weight",
        "decoder_cross_attn.fn.to_kv.weight",
    ],
    ..FAMILY
};

/// Perceiver IO, later names.
pub(super) const LATER_IO: Family = Family {
    signature: &[
        "latents",
        "cross_attend_block.cross_attn.fn.to_kv.weight",
        "decoder_cross_attn.fn.to_kv.weight",
    ],
    ..FAMILY
};

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let io = part.has("decoder_cross_attn.fn.to_q.weight");
    let latents = part.shape("latents");
    let mut blocks = Blocks { draft: Draft::new(), part };
    blocks.draft.learned("latents", part.name("latents"), latents);
    let last = if io { blocks.io()? } else { blocks.perceiver()? };
    blocks.draft.output("output", &last);
    Ok(blocks.draft.finish())
}

/// The first of two names under which a tensor is there.
fn either<'a>(part: &Part<'_>, leaf: &str, [early, late]: [&'a str; 2]) -> &'a str {
    if part.has(&format!("{early}.{leaf}")) { early } else { late }
}

struct Blocks<'a, 'b> {
    draft: Draft,
    part: &'a Part<'b>,
}

impl Blocks<'_, '_> {
    /// Data with its mask and positions, read by every layer; returns the array of the results.
    fn perceiver(&mut self) -> Result<String> {
        let part = self.part;
        let first = either(part, "fn.to_kv.weight", ["layers.0.0", "layers.0.cross_attn"]);
        let columns = part.dim(&format!("{first}.fn.to_kv.weight"), 1);
        let axes = part.size("input_axis", 2)?.min(3);
        let mut positions = Positions::None;
        if part.switch("fourier_encode_data", true)? {
            let bands = part.size("num_freq_bands", 6)?;
            let highest = part.number("max_freq", 10.0)? / 2.0;
            positions = Positions::Waves { axes, bands, highest };
        }
        let data = self.draft.input("data", columns.saturating_sub(positions.channels()));
        data.axes = [[1, 1, 256], [1, 16, 16], [1, 16, 16]][axes - 1][3 - axes..].to_vec();
        data.positions = positions;
        data.mask = Some("mask".to_owned());
        let later = first.ends_with("cross_attn");
        let [attn, ff, selves] =
            if later { ["cross_attn", "cross_ff", "self_attns"] } else { ["0", "1", "2"] };
        // Layers that share weights may be stored once: those after the first are then the second's.
        let depth = part.count(|i| format!("layers.{i}.{attn}.fn.to_q.weight"));
        let mut last = "latents".to_owned();
        for i in 0..part.size("depth", depth.max(1))? {
            let stored = if i < depth { i } else { 1 };
            let leaf = |leaf: &str| format!("layers.{stored}.{leaf}");
            let name = |leaf: &str| format!("{leaf}.{i}");
            last = self.attend(&leaf(attn), &name("read"), [&last, "data"], true)?;
            last = self.mlp(&leaf(ff), &name("crossed"), &last);
            let count = part.count(|m| leaf(&format!("{selves}.{m}.0.fn.to_q.weight")));
            for m in 0..count {
                let block = leaf(&format!("{selves}.{m}"));
                last = self.own(
                    &block,
                    [&format!("attention.{i}.{m}"), &format!("own.{i}.{m}")],
                    &last,
                )?;
            }
            self.draft.intermediate(&format!("layer.{i}"), &last);
        }
        if !part.has("to_logits.2.weight") {
            return Ok(last);
        }
        self.draft.stage(Stage::Decode);
        self.draft.make("mean", Make::Mean { of: last, mask: None });
        self.draft.norm("normed", "mean", part.norm("to_logits.1", EPS));
        let classes = part.dim("to_logits.2.weight", 0);
        self.draft.linear("logits", "normed", part.biased("to_logits.2"), classes);
        Ok("logits".to_owned())
    }

    /// Data read once, a tower, and queries; returns the array of the results.
    fn io(&mut self) -> Result<String> {
        let part = self.part;
        let names = [
            ["cross_attend_blocks.0", "cross_attend_block.cross_attn"],
            ["cross_attend_blocks.1", "cross_attend_block.cross_ff"],
        ];
        let attn = either(part, "fn.to_kv.weight", names[0]);
        let ff = either(part, "fn.net.0.weight", names[1]);
        let data = self.draft.input("data", part.dim(&format!("{attn}.fn.to_kv.weight"), 1));
        data.mask = Some("mask".to_owned());
        self.draft.input("queries", part.dim("decoder_cross_attn.fn.to_q.weight", 1));
        let mut last = self.attend(attn, "read", ["latents", "data"], true)?;
        last = self.mlp(ff, "cross", &last);
        self.draft.intermediate("cross", &last);
        self.draft.stage(Stage::Process);
        let later = part.has("layers.0.self_attns.0.0.fn.to_q.weight");
        let within = if later { ".self_attns.0" } else { "" };
        // Layers that share weights may be stored once.
        let depth = part.count(|i| format!("layers.{i}{within}.0.fn.to_q.weight"));
        for i in 0..part.size("depth", depth.max(1))? {
            let stored = if i < depth { i } else { 0 };
            let block = format!("layers.{stored}{within}");
            let layer = format!("layer.{i}");
            last = self.own(&block, [&format!("attention.{i}"), &layer], &last)?;
            self.draft.intermediate(&layer, &last);
        }
        self.draft.stage(Stage::Decode);
        last = self.attend("decoder_cross_attn", "asked", ["queries", &last], false)?;
        if part.has("decoder_ff.fn.net.0.weight") {
            last = self.mlp("decoder_ff", "answers", &last);
        }
        if part.has("to_logits.weight") {
            let out = part.dim("to_logits.weight", 0);
            self.draft.linear("logits", &last, part.biased("to_logits"), out);
            "logits".clone_into(&mut last);
        }
        Ok(last)
    }

    /// Attention of the latents over themselves, and what follows; the names are those of both arrays.
    fn own(&mut self, block: &str, [attended, name]: [&str; 2], of: &str) -> Result<String> {
        let last = self.attend(&format!("{block}.0"), attended, [of, of], true)?;
        Ok(self.mlp(&format!("{block}.1"), name, &last))
    }

    /// Attention, queries added where `residual` says so; returns the array's name.
    fn attend(
        &mut self,
        block: &str,
        name: &str,
        [queries, keys]: [&str; 2],
        residual: bool,
    ) -> Result<String> {
        let part = self.part;
        let inner = part.dim(&format!("{block}.fn.to_q.weight"), 0);
        let (path, usual) = if queries == keys { ("latent_heads", 8) } else { ("cross_heads", 1) };
        let [heads, _] = part.heads(path, usual, inner)?;
        let mut step = pre_norm::attention(part, block, [queries, keys], heads);
        step.keys[0].mask = (keys == "data").then(|| keys.to_owned());
        step.residual = step.residual.filter(|_| residual);
        self.draft.attention(name, step);
        Ok(name.to_owned())
    }

    /// The MLP, rows added; returns the array's name.
    fn mlp(&mut self, block: &str, name: &str, of: &str) -> String {
        self.draft.mlp(name, pre_norm::mlp(self.part, block, of));
        name.to_owned()
    }
}
