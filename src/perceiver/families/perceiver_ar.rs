//! Perceiver AR: the last tokens of a text are the latents; they see the tokens before them, and themselves up to their own
//! place.

use super::super::blueprint::{
    AttentionStep, Blueprint, Content, KeySet, Make, MlpStep, Modality, Rotary, Stage, WaveOrder,
};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "perceiver_ar",
    models: "perceiver-ar-pytorch",
    task: "tokens to logits of what follows the last of them",
    licence: "MIT (code; no published weights)",
    weights: "none of this package",
    reference: "perceiver-ar-pytorch 0.0.10",
    signature: &["rotary_pos_emb.inv_freq", "perceive_layers.0.0.to_kv.weight", "to_logits.weight"],
    model_types: &[],
    blueprint,
};

const EPS: f32 = 1e-5;

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let [vocabulary, width] = [0, 1].map(|axis| part.dim("token_emb.weight", axis));
    let most = part.dim("pos_emb.weight", 0);
    let prefix = part.size("cross_attn_seq_len", most * 3 / 4)?;
    let inner = part.dim("perceive_layers.0.0.to_q.weight", 0);
    let [heads, head] = part.heads("heads", 8, inner)?;
    let mut draft = Draft::new();
    let mut tokens = Modality::bare("tokens", most);
    tokens.content = Content::Tokens {
        input: "x".to_owned(),
        table: part.name("token_emb.weight"),
        vocabulary,
        positions: part.name("pos_emb.weight"),
        most,
        channels: width,
    };
    tokens.varies = true;
    draft.push_input(tokens);
    let mut mask = Modality::bare("prefix mask", prefix);
    mask.mask = Some("prefix_mask".to_owned());
    draft.push_input(mask);
    draft.make("places", Make::Count("tokens".to_owned()));
    let tensor =
        Some((part.name("rotary_pos_emb.inv_freq"), part.dim("rotary_pos_emb.inv_freq", 0)));
    let (of, order) = ("places".to_owned(), WaveOrder::WavesAlone);
    draft.make("angles", Make::Waves { of, frequencies: vec![], tensor, half_turns: false, order });
    let first = i32::try_from(prefix).unwrap_or(i32::MAX);
    for (name, of, [first, rows]) in [
        ("prefix", "tokens", [0, first]),
        ("latents", "tokens", [first, 0]),
        ("prefix angles", "angles", [0, first]),
        ("own angles", "angles", [first, 0]),
    ] {
        draft.make(name, Make::Slice { of: of.to_owned(), first, rows });
    }
    let mut last = "latents".to_owned();
    let perceive = part.count(|i| format!("perceive_layers.{i}.0.to_q.weight"));
    let layers = part.count(|i| format!("layers.{i}.0.to_qkv.weight"));
    for i in 0..perceive + layers {
        let reads = i < perceive;
        let block =
            if reads { format!("perceive_layers.{i}") } else { format!("layers.{}", i - perceive) };
        let leaf = |leaf: &str| format!("{block}.{leaf}");
        let norm = |name: &str| Some(part.norm(&leaf(name), EPS));
        let set = KeySet::new(&last, norm("0.norm"));
        let own = KeySet { angles: Some("own angles".to_owned()), causal: true, ..set };
        let mut keys = vec![own];
        let projections = match reads {
            true => {
                let set = KeySet::new("prefix", norm("0.context_norm"));
                keys.insert(
                    0,
                    KeySet {
                        angles: Some("prefix angles".to_owned()),
                        mask: Some("prefix mask".to_owned()),
                        ..set
                    },
                );
                let [k, v] = part.plain(&leaf("0.to_kv")).split(inner, head);
                [part.layer(&leaf("0.to_q")), k, v]
            }
            false => part.plain(&leaf("0.to_qkv")).split(inner, head),
        };
        let output = leaf("0.to_out");
        let output = if reads { part.biased(&output) } else { part.layer(&output) };
        draft.stage(if reads { Stage::Encode } else { Stage::Process });
        let attended = format!("attention.{i}");
        draft.attention(
            &attended,
            AttentionStep {
                query_norm: norm("0.norm"),
                keys,
                rotary: Some(Rotary {
                    queries: "own angles".to_owned(),
                    neighbours: false,
                    values: false,
                }),
                residual: Some(last.clone()),
                output: Some((output, width)),
                ..AttentionStep::new(&last, heads, [head; 2], projections)
            },
        );
        last = format!("layer.{i}");
        let hidden = part.dim(&leaf("1.1.weight"), 0);
        let layers = [part.layer(&leaf("1.1")), part.layer(&leaf("1.4"))];
        draft.mlp(
            &last,
            MlpStep {
                norm: norm("1.0"),
                residual: true,
                ..MlpStep::new(&attended, hidden, layers, Activation::GeluErf)
            },
        );
        draft.intermediate(&last, &last);
    }
    draft.stage(Stage::Decode);
    draft.linear("logits", &last, part.layer("to_logits"), vocabulary);
    draft.output("output", "logits");
    Ok(draft.finish())
}
