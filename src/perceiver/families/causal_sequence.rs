//! Perceiver AR of the package perceiver-io: the last tokens are the latents; they see the tokens before them, and themselves
//! up to their own place. Logits are products with the embeddings.

use super::super::blueprint::{
    AttentionStep, Blueprint, Content, KeySet, Make, MlpStep, Modality, Projection, Rotary, Stage,
    WaveOrder,
};
use super::{Draft, Family, Part};
use crate::error::Result;
use crate::kernels::gemm::Activation;

pub(super) const FAMILY: Family = Family {
    name: "causal_sequence",
    models: "perceiver-io's CausalLanguageModel and SymbolicAudioModel (Perceiver AR)",
    task: "tokens to logits of what follows each of the last of them",
    licence: "Apache-2.0",
    weights: "krasserm/perceiver-ar-clm-base, perceiver-ar-sam-giant-midi",
    reference: "perceiver-io 0.11.0",
    signature: &[
        "input_adapter.txt_embedding.weight",
        "input_adapter.frq_pos_encoding.inv_freq",
        "cross_attention.0.module.kv_norm.weight",
        "self_attention.0.0.module.norm.weight",
    ],
    model_types: &["perceiver-ar-causal-language-model", "perceiver-ar-symbolic-audio-model"],
    blueprint,
};

const EPS: f32 = 1e-5;

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    // A model of the hub has the package's own configuration within transformers'.
    let within = part.value("model_config").is_some();
    let setting = |key: &str| if within { format!("model_config.{key}") } else { key.to_owned() };
    let table = "input_adapter.txt_embedding";
    let [vocabulary, width] = [0, 1].map(|axis| part.dim(&format!("{table}.weight"), axis));
    let positions = "input_adapter.pos_embedding.weight";
    let learned = part.has(positions);
    let most = if learned { part.dim(positions, 0) } else { 1 << 20 };
    let usual = if learned { most } else { part.size(&setting("max_seq_len"), 4096)? };
    let latents = part.size(&setting("max_latents"), 512)?;
    let [heads, head] = part.heads(&setting("num_heads"), 8, width)?;
    // Layers of the tower that are rotary, from the first on; below zero all.
    let rotary = part.number(&setting("num_self_attention_rotary_layers"), 1.0)?;
    let mut draft = Draft::new();
    let mut tokens = Modality::bare("tokens", usual);
    tokens.content = Content::Tokens {
        input: "x".to_owned(),
        table: part.name(&format!("{table}.weight")),
        vocabulary,
        positions: if learned { part.name(positions) } else { String::new() },
        most,
        channels: width,
    };
    tokens.varies = true;
    draft.push_input(tokens);
    draft.make("places", Make::Count("tokens".to_owned()));
    let frequencies = "input_adapter.frq_pos_encoding.inv_freq";
    let tensor = Some((part.name(frequencies), part.dim(frequencies, 0)));
    let (of, order) = ("places".to_owned(), WaveOrder::WavesAlone);
    draft.make("angles", Make::Waves { of, frequencies: vec![], tensor, half_turns: false, order });
    let last = -i32::try_from(latents).unwrap_or(i32::MAX);
    for (name, of, [first, rows]) in [
        ("prefix", "tokens", [0, last]),
        ("latents", "tokens", [last, 0]),
        ("prefix angles", "angles", [0, last]),
        ("own angles", "angles", [last, 0]),
    ] {
        draft.make(name, Make::Slice { of: of.to_owned(), first, rows });
    }
    let mut last = "latents".to_owned();
    let layers = part.count(|i| format!("self_attention.{i}.0.module.norm.weight"));
    for i in 0..=layers {
        let (block, norm) = match i {
            0 => ("cross_attention".to_owned(), "q_norm"),
            _ => (format!("self_attention.{}", i - 1), "norm"),
        };
        let leaf = |leaf: &str| format!("{block}.{leaf}");
        let norm = Some(part.norm(&leaf(&format!("0.module.{norm}")), EPS));
        let turned = i == 0 || rotary < 0.0 || ((i - 1) as f32) < rotary;
        let angles = |name: &str| turned.then(|| name.to_owned());
        let own = KeySet::new(&last, norm.clone());
        let mut keys = vec![KeySet { angles: angles("own angles"), causal: true, ..own }];
        if i == 0 {
            let set = KeySet::new("prefix", Some(part.norm(&leaf("0.module.kv_norm"), EPS)));
            keys.insert(0, KeySet { angles: angles("prefix angles"), ..set });
        }
        let layer = |name: &str| part.layer(&leaf(&format!("0.module.attention.{name}")));
        draft.stage(if i == 0 { Stage::Encode } else { Stage::Process });
        let attended = format!("attention.{i}");
        let projections = ["q_proj", "k_proj", "v_proj"].map(layer);
        draft.attention(
            &attended,
            AttentionStep {
                query_norm: norm,
                keys,
                rotary: angles("own angles").map(|queries| Rotary {
                    queries,
                    neighbours: true,
                    values: false,
                }),
                residual: Some(last.clone()),
                output: Some((layer("o_proj"), width)),
                ..AttentionStep::new(&last, heads, [head; 2], projections)
            },
        );
        last = format!("layer.{i}");
        let [widen, narrow] = [1, 3].map(|place| leaf(&format!("1.module.{place}")));
        let hidden = part.dim(&format!("{widen}.weight"), 0);
        let layers = [part.layer(&widen), part.layer(&narrow)];
        draft.mlp(
            &last,
            MlpStep {
                norm: Some(part.norm(&leaf("1.module.0"), EPS)),
                residual: true,
                ..MlpStep::new(&attended, hidden, layers, Activation::GeluErf)
            },
        );
        draft.intermediate(&last, &last);
    }
    draft.stage(Stage::Decode);
    if let Some(norm) = part.norm_if("out_norm", EPS) {
        draft.norm("normed", &last, norm);
        last = "normed".to_owned();
    }
    let bias = "output_adapter.bias";
    let bias = part.has(bias).then(|| part.name(bias));
    let layer = Projection { bias, ..part.plain(table) };
    draft.linear("logits", &last, layer, vocabulary);
    draft.output("output", "logits");
    Ok(draft.finish())
}
