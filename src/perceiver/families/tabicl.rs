//! TabICL's embedding of columns: induced self-attention over the rows of each column, with queries scaled by the number of
//! keys (scalable softmax).

use super::super::blueprint::{
    AttentionStep, Blueprint, Content, KeySet, LinearStep, Make, MlpStep, Modality, Projection,
};
use super::draft::USUAL_ROWS;
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "tabicl",
    models: "TabICL 1, 1.1 and 2",
    task: "columns of a table, row by row, to their embeddings",
    licence: "BSD-3-Clause",
    weights: "jingang/TabICL, tabicl-classifier-v2-20260212.ckpt, part col_embedder.tf_col.",
    reference: "tabicl 2.2.0",
    signature: &[
        "blocks.0.ind_vectors",
        "blocks.0.multihead_attn1.attn.in_proj_weight",
        "blocks.0.multihead_attn2.attn.in_proj_weight",
    ],
    model_types: &[],
    blueprint,
};

const EPS: f32 = 1e-5;
/// What all elements of a column are that is to be skipped.
const SKIPPED: f32 = -100.0;
/// The input with the number of rows that are keys.
const TRAINED: &str = "train_size";

struct Blocks<'a, 'b> {
    draft: Draft,
    part: &'a Part<'b>,
    width: usize,
    heads: usize,
    head: usize,
    norm_first: bool,
    activation: Activation,
}

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let width = part.dim("blocks.0.ind_vectors", 1);
    let [heads, head] = part.heads("nhead", usual_heads(part, width), width)?;
    let mut draft = Draft::new();
    let source = draft.input("src", width);
    // Columns, and rows of each.
    source.axes = vec![1, USUAL_ROWS];
    source.skipped = Some(SKIPPED);
    let mut trained = Modality::bare(TRAINED, 1);
    let (input, of) = (TRAINED.to_owned(), "src".to_owned());
    trained.content = Content::FirstRows { input, of, rows: USUAL_ROWS };
    draft.push_input(trained);
    draft.make("columns", Make::Split { of: "src".to_owned(), by: "src".to_owned() });
    let norm_first = part.switch("norm_first", true)?;
    let activation = part.activation("activation", Activation::GeluErf)?;
    let mut blocks = Blocks { draft, part, width, heads, head, norm_first, activation };
    let mut last = "columns".to_owned();
    for k in 0..part.count(|k| format!("blocks.{k}.ind_vectors")) {
        let inducing = format!("blocks.{k}.ind_vectors");
        blocks.draft.learned(&inducing, part.name(&inducing), part.shape(&inducing));
        let [hidden, rows] = [2 * k, 2 * k + 1].map(|i| format!("layer.{i}"));
        let attention = |a: usize| format!("blocks.{k}.multihead_attn{a}");
        blocks.attend(&attention(1), &hidden, [&inducing, &last], Some(TRAINED));
        blocks.attend(&attention(2), &rows, [&last, &hidden], None);
        last = rows;
    }
    blocks.draft.output("output", &last);
    Ok(blocks.draft.finish())
}

/// Heads as the scaled softmax tells them, or those of the first version.
fn usual_heads(part: &Part<'_>, width: usize) -> usize {
    let leaf = |leaf: &str| format!("blocks.0.multihead_attn1.attn.ssmax_layer.{leaf}");
    if part.has(&leaf("query_mlp.0.weight")) {
        return width / part.dim(&leaf("query_mlp.0.weight"), 1).max(1);
    }
    if part.has(&leaf("scales")) { part.dim(&leaf("scales"), 0) } else { 4 }
}

impl Blocks<'_, '_> {
    /// Attention and MLP of one block; `name` is the result's.
    fn attend(&mut self, block: &str, name: &str, [queries, keys]: [&str; 2], mask: Option<&str>) {
        let (part, width, head) = (self.part, self.width, self.head);
        let leaf = |leaf: &str| format!("{block}.{leaf}");
        let norm = |name: &str| part.norm_as_stored(&leaf(name), EPS);
        let before = |name: &str| self.norm_first.then(|| norm(name));
        let projections = part.packed(&leaf("attn"), width, head);
        let set = KeySet::new(keys, before("norm1"));
        let mut step = AttentionStep {
            query_norm: before("norm1"),
            keys: vec![KeySet { mask: mask.map(str::to_owned), ..set }],
            residual: Some(queries.to_owned()),
            output: Some((part.biased(&leaf("attn.out_proj")), width)),
            ..AttentionStep::new(queries, self.heads, [head; 2], projections)
        };
        let mlp = MlpStep {
            norm: before("norm2"),
            residual: true,
            ..MlpStep::new(
                "",
                part.dim(&leaf("linear1.weight"), 0),
                [part.biased(&leaf("linear1")), part.biased(&leaf("linear2"))],
                self.activation,
            )
        };
        let after = [norm("norm1"), norm("norm2")];
        if let Some(base) = self.base(&leaf("attn.ssmax_layer"))
            && let Some(q) = step.q.take()
        {
            let projected = leaf("query");
            let layer = LinearStep::new(queries, q, width);
            let norm = step.query_norm.take();
            self.draft.layer(&projected, LinearStep { norm, heads: self.heads, ..layer });
            step.queries = self.scaled(&leaf("attn.ssmax_layer"), &projected, &base);
        }
        let attended = leaf("attention");
        self.draft.attention(&attended, step);
        let [first, second] = after;
        if self.norm_first {
            self.draft.mlp(name, MlpStep { of: attended, ..mlp });
        } else {
            let [rows, whole] = [leaf("rows"), leaf("mlp")];
            self.draft.norm(&rows, &attended, first);
            self.draft.mlp(&whole, MlpStep { of: rows, ..mlp });
            self.draft.norm(name, &whole, second);
        }
        self.draft.intermediate(name, name);
    }

    /// Factors of the queries' heads that the number of keys makes, a row for each head; returns the array's name.
    fn base(&mut self, layer: &str) -> Option<String> {
        let part = self.part;
        let name = format!("{layer} base");
        let scales = format!("{layer}.scales");
        let (mut of, mut last) = (TRAINED.to_owned(), None);
        if part.has(&scales) {
            let weight = Projection { weight: part.name(&scales), ..Projection::plain("") };
            last = Some(Projection { vector: true, ..weight }.of_heads(self.heads));
        }
        for mlp in ["mlp", "base_mlp"].map(|mlp| format!("{layer}.{mlp}")) {
            if part.has(&format!("{mlp}.0.weight")) {
                of = self.hidden(&mlp, TRAINED);
                last = Some(self.shared(&format!("{mlp}.2"), self.width, self.heads));
            }
        }
        let step = LinearStep::new(&of, last?, self.width);
        self.draft.layer(&name, LinearStep { heads: self.heads, ..step });
        Some(name)
    }

    /// Projected queries, a row for each head, times their factors; returns the array's name.
    fn scaled(&mut self, layer: &str, queries: &str, base: &str) -> String {
        let scaled = format!("{layer} scaled");
        self.draft.product(&scaled, [queries, base], Activation::None);
        let mlp = format!("{layer}.query_mlp");
        if !self.part.has(&format!("{mlp}.0.weight")) {
            return scaled;
        }
        // The factor is 1 + tanh.
        let of = self.hidden(&mlp, queries);
        let names = ["own", "more", "whole"].map(|name| format!("{layer} {name}"));
        let [own, more, whole] = &names;
        let last = self.shared(&format!("{mlp}.2"), self.head, 1);
        self.draft.linear(own, &of, last, self.head);
        self.draft.product(more, [own, &scaled], Activation::Tanh);
        self.draft.sum(whole, [&scaled, more]);
        whole.clone()
    }

    /// The hidden rows of a factor's MLP; returns the array's name.
    fn hidden(&mut self, mlp: &str, of: &str) -> String {
        let name = format!("{mlp} hidden");
        let out = self.part.dim(&format!("{mlp}.0.weight"), 0);
        let layer = LinearStep::new(of, self.part.biased(&format!("{mlp}.0")), out);
        self.draft.layer(&name, LinearStep { activation: Activation::GeluErf, ..layer });
        name
    }

    /// A layer to `out` channels that may have one for each head only.
    fn shared(&self, leaf: &str, out: usize, heads: usize) -> Projection {
        let layer = self.part.biased(leaf);
        let rows = self.part.dim(&format!("{leaf}.weight"), 0);
        if rows < out { layer.of_heads(heads) } else { layer }
    }
}
