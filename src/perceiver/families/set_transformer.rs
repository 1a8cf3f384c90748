//! The Set Transformer: induced self-attention, pooling by attention, self-attention, as `enc` and `dec` have them in a row.
//!
//! What is added to a block's result are its projected queries, and scores are divided by the root of all channels.

use super::super::blueprint::{AttentionStep, Blueprint, KeySet, LinearStep, Stage};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "set_transformer",
    models: "Set Transformer",
    task: "sets of rows to a few rows",
    licence: "MIT (code; no published weights)",
    weights: "none; github.com/juho-lee/set_transformer saves state_dict",
    reference: "modules.py of set_transformer",
    signature: &["enc.0.I", "enc.0.mab0.fc_q.weight", "enc.0.mab1.fc_q.weight"],
    model_types: &[],
    blueprint,
};

/// Layers that `enc` and `dec` are searched for; dropouts leave gaps.
const MOST: usize = 64;

struct Blocks<'a, 'b> {
    draft: Draft,
    part: &'a Part<'b>,
    made: usize,
}

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let mut blocks = Blocks { draft: Draft::new(), part, made: 0 };
    blocks.draft.input("X", part.dim("enc.0.mab0.fc_k.weight", 1));
    let mut last = "X".to_owned();
    for i in 0..MOST {
        let leaf = |leaf: &str| format!("enc.{i}.{leaf}");
        if part.has(&leaf("I")) {
            let inducing = leaf("I");
            blocks.draft.learned(&inducing, part.name(&inducing), part.shape(&inducing));
            let hidden = blocks.attend(&leaf("mab0"), &inducing, &last)?;
            last = blocks.attend(&leaf("mab1"), &last, &hidden)?;
        }
    }
    blocks.draft.stage(Stage::Decode);
    for i in 0..MOST {
        let leaf = |leaf: &str| format!("dec.{i}.{leaf}");
        if part.has(&leaf("S")) {
            let seeds = leaf("S");
            blocks.draft.learned(&seeds, part.name(&seeds), part.shape(&seeds));
            last = blocks.attend(&leaf("mab"), &seeds, &last)?;
        } else if part.has(&leaf("mab.fc_q.weight")) {
            last = blocks.attend(&leaf("mab"), &last.clone(), &last)?;
        } else if part.has(&leaf("weight")) {
            let name = format!("dec.{i}");
            let out = part.dim(&leaf("weight"), 0);
            blocks.draft.linear(&name, &last, part.biased(&name), out);
            last = name;
        }
    }
    blocks.draft.output("output", &last);
    Ok(blocks.draft.finish())
}

impl Blocks<'_, '_> {
    /// One attention block; returns the array's name.
    fn attend(&mut self, block: &str, queries: &str, keys: &str) -> Result<String> {
        let part = self.part;
        let layer = |leaf: &str| part.biased(&format!("{block}.{leaf}"));
        let width = part.dim(&format!("{block}.fc_q.weight"), 0);
        let [heads, head] = part.heads("num_heads", 4, width)?;
        let draft = &mut self.draft;
        let [projected, attended] = ["query", "attention"].map(|n| format!("{block} {n}"));
        draft.linear(&projected, queries, layer("fc_q"), width);
        let scale = Some((1.0 / (width as f64).sqrt()) as f32);
        let projections = ["fc_q", "fc_k", "fc_v"].map(layer);
        draft.attention(
            &attended,
            AttentionStep {
                keys: vec![KeySet::new(keys, None)],
                scale,
                residual: Some(projected),
                ..AttentionStep::new(queries, heads, [head; 2], projections)
            },
        );
        let mut last = attended;
        if let Some(norm) = part.norm_if(&format!("{block}.ln0"), 1e-5) {
            let name = format!("{block} ln0");
            draft.norm(&name, &last, norm);
            last = name;
        }
        let mut name = format!("{block} rows");
        draft.layer(
            &name,
            LinearStep {
                activation: Activation::Relu,
                residual: Some(last.clone()),
                ..LinearStep::new(&last, layer("fc_o"), width)
            },
        );
        if let Some(norm) = part.norm_if(&format!("{block}.ln1"), 1e-5) {
            let normed = format!("{block} ln1");
            draft.norm(&normed, &name, norm);
            name = normed;
        }
        draft.intermediate(&format!("layer.{}", self.made), &name);
        self.made += 1;
        Ok(name)
    }
}
