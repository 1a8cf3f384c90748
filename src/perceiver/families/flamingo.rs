//! Resamplers of Flamingo: OpenFlamingo and `flamingo-pytorch`, with embeddings of frames and of pictures in a sequence.
//!
//! Latents attend to the features and to themselves (one softmax); LayerNorms before, exact GELU, no biases but the norms'.

use super::super::blueprint::{AttentionStep, Blueprint, KeySet, Make, MlpStep};
use super::draft::USUAL_ROWS;
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "flamingo",
    models: "OpenFlamingo 3B, 4B, 9B; flamingo-pytorch",
    task: "features of pictures and films to tokens of a language model",
    licence: "MIT",
    weights: "openflamingo/OpenFlamingo-*, checkpoint.pt, part perceiver.",
    reference: "open-flamingo 2.0.1, flamingo-pytorch 0.1.2",
    signature: &[
        "layers.0.0.norm_media.weight",
        "layers.0.0.to_kv.weight",
        "latents",
        "norm.weight",
    ],
    model_types: &[],
    blueprint,
};

const EPS: f32 = 1e-5;

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [rows, width] = [0, 1].map(|axis| part.dim("latents", axis));
    let inner = part.dim("layers.0.0.to_q.weight", 0);
    let [heads, head] = part.heads("heads", 8, inner)?;
    let mut draft = Draft::new();
    let rows_of = placed(&mut draft, part, width);
    draft.learned("latents", part.name("latents"), vec![rows, width]);
    let mut last = "latents".to_owned();
    for i in 0..part.count(|i| format!("layers.{i}.0.to_q.weight")) {
        let leaf = |leaf: &str| format!("layers.{i}.{leaf}");
        let norm = |name: &str| Some(part.norm(&leaf(name), EPS));
        let [k, v] = part.plain(&leaf("0.to_kv")).split(inner, head);
        let attended = format!("attention.{i}");
        draft.attention(
            &attended,
            AttentionStep {
                query_norm: norm("0.norm_latents"),
                keys: vec![
                    KeySet::new(rows_of, norm("0.norm_media")),
                    KeySet::new(&last, norm("0.norm_latents")),
                ],
                residual: Some(last.clone()),
                output: Some((part.layer(&leaf("0.to_out")), width)),
                ..AttentionStep::new(&last, heads, [head; 2], [part.layer(&leaf("0.to_q")), k, v])
            },
        );
        last = format!("layer.{i}");
        draft.mlp(
            &last,
            MlpStep {
                norm: norm("1.0"),
                residual: true,
                ..MlpStep::new(
                    &attended,
                    part.dim(&leaf("1.1.weight"), 0),
                    [part.layer(&leaf("1.1")), part.layer(&leaf("1.3"))],
                    Activation::GeluErf,
                )
            },
        );
        draft.intermediate(&last, &last);
    }
    draft.norm("normed", &last, part.norm("norm", EPS));
    draft.output("output", "normed");
    Ok(draft.finish())
}

/// The input with what places it in a sequence, each picture or film an item of its own; returns the array's name.
fn placed(draft: &mut Draft, part: &Part<'_>, width: usize) -> &'static str {
    let lucidrains = part.has("media_pos_emb");
    let media = if lucidrains { "media_pos_emb" } else { "media_time_embs" };
    let x = draft.input("x", width);
    // Pictures, frames of each where there are films, features of a frame.
    x.axes = if lucidrains { vec![1, USUAL_ROWS] } else { vec![1, 1, USUAL_ROWS] };
    let mut last = "x";
    for (name, sum, axis) in [("frame_embs", "x with frames", 1), (media, "x with media", 0)] {
        if part.has(name) {
            let (tensor, shape) = (part.name(name), part.shape(name));
            draft.make(name, Make::Spread { tensor, shape, by: "x".to_owned(), axis });
            draft.sum(sum, [last, name]);
            last = sum;
        }
    }
    draft.make("media", Make::Split { of: last.to_owned(), by: "x".to_owned() });
    "media"
}
