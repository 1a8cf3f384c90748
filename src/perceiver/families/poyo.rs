//! POYO: events of neurons, latents and queries, each with a time by which its heads are turned, values too.

use super::super::blueprint::{
    AttentionStep, Blueprint, Content, KeySet, Make, Modality, Rotary, Stage, WaveOrder,
};
use super::pre_norm::geglu;
use super::{Draft, Family, Part};
use crate::error::Result;

pub(super) const FAMILY: Family = Family {
    name: "poyo",
    models: "POYO-mp, POYO-1",
    task: "spikes of neurons to behaviour",
    licence: "not stated (code Apache-2.0)",
    weights: "torch-brain's model zoo, poyo_mp.ckpt, part model.",
    reference: "torch-brain 0.2.1",
    signature: &[
        "rotary_emb.omega",
        "enc_atn.to_kv.weight",
        "proc_layers.0.0.to_qkv.weight",
        "readout.weight",
    ],
    model_types: &[],
    blueprint,
};

const EPS: f32 = 1e-5;

fn blueprint(part: &Part<'_>) -> Result<Blueprint> {
    let width = part.dim("enc_atn.to_q.weight", 1);
    let mut draft = Draft::new();
    draft.input("inputs", width).mask = Some("input_mask".to_owned());
    let mut latents = "latents";
    if part.has("latent_emb.weight") {
        let mut index = Modality::bare("latent rows", 256);
        index.content = Content::Tokens {
            input: "latent_index".to_owned(),
            table: part.name("latent_emb.weight"),
            vocabulary: part.dim("latent_emb.weight", 0),
            positions: String::new(),
            most: 1 << 20,
            channels: width,
        };
        index.varies = true;
        draft.push_input(index);
        latents = "latent rows";
    } else {
        draft.push_given("latents", 256, width);
    }
    draft.input("output_queries", width);
    for name in ["input_timestamps", "latent_timestamps", "output_timestamps"] {
        draft.input(name, 1).count =
            if name.starts_with("latent") { 256 } else { super::draft::USUAL_ROWS };
        let tensor = Some((part.name("rotary_emb.omega"), part.dim("rotary_emb.omega", 0)));
        let (of, order) = (name.to_owned(), WaveOrder::WavesAlone);
        let waves = Make::Waves { of, frequencies: vec![], tensor, half_turns: false, order };
        draft.make(&format!("{name} angles"), waves);
    }
    let inner = part.dim("enc_atn.to_q.weight", 0);
    let cross = part.heads("cross_heads", 2, inner)?;
    let own = part.dim("proc_layers.0.0.to_qkv.weight", 0) / 3;
    let heads = part.heads("self_heads", 8, own)?;
    let mut blocks = Blocks { draft, part };
    blocks.cross("enc_atn", "read", [latents, "inputs"], cross, ["latent", "input"]);
    blocks.mlp("enc_ffn", "encoder", "read");
    blocks.draft.intermediate("encoder", "encoder");
    blocks.draft.stage(Stage::Process);
    let mut last = "encoder".to_owned();
    let count = part.count(|i| format!("proc_layers.{i}.0.to_qkv.weight"));
    for i in 0..count {
        let attended = format!("attention.{i}");
        blocks.own(&format!("proc_layers.{i}.0"), &attended, &last, heads);
        last = if i + 1 == count { "last_latents".to_owned() } else { format!("layer.{i}") };
        blocks.mlp(&format!("proc_layers.{i}.1"), &last, &attended);
        blocks.draft.intermediate(&format!("layer.{i}"), &last);
    }
    blocks.draft.stage(Stage::Decode);
    blocks.cross("dec_atn", "asked", ["output_queries", &last], cross, ["output", "latent"]);
    blocks.mlp("dec_ffn", "decoder", "asked");
    let mut draft = blocks.draft;
    draft.intermediate("decoder", "decoder");
    let out = part.dim("readout.weight", 0);
    draft.linear("read out", "decoder", part.biased("readout"), out);
    draft.output("output", "read out");
    Ok(draft.finish())
}

struct Blocks<'a, 'b> {
    draft: Draft,
    part: &'a Part<'b>,
}

impl Blocks<'_, '_> {
    /// A cross-attention; the encoder's turns values too.
    fn cross(
        &mut self,
        block: &str,
        name: &str,
        [queries, keys]: [&str; 2],
        [heads, head]: [usize; 2],
        [asks, answers]: [&str; 2],
    ) {
        let part = self.part;
        let leaf = |leaf: &str| format!("{block}.{leaf}");
        let [k, v] = part.plain(&leaf("to_kv")).split(heads * head, head);
        let out = part.dim(&leaf("to_out.weight"), 0);
        let set = KeySet::new(keys, Some(part.norm(&leaf("norm_context"), EPS)));
        self.draft.attention(
            name,
            AttentionStep {
                query_norm: Some(part.norm(&leaf("norm"), EPS)),
                keys: vec![KeySet {
                    mask: (keys == "inputs").then(|| keys.to_owned()),
                    angles: Some(format!("{answers}_timestamps angles")),
                    ..set
                }],
                rotary: Some(Rotary {
                    queries: format!("{asks}_timestamps angles"),
                    neighbours: true,
                    values: block == "enc_atn",
                }),
                residual: Some(queries.to_owned()),
                output: Some((part.biased(&leaf("to_out")), out)),
                ..AttentionStep::new(queries, heads, [head; 2], [part.layer(&leaf("to_q")), k, v])
            },
        );
    }

    fn own(&mut self, block: &str, name: &str, of: &str, [heads, head]: [usize; 2]) {
        let part = self.part;
        let leaf = |leaf: &str| format!("{block}.{leaf}");
        let norm = || Some(part.norm(&leaf("norm"), EPS));
        let projections = part.plain(&leaf("to_qkv")).split(heads * head, head);
        let angles = "latent_timestamps angles".to_owned();
        let out = part.dim(&leaf("to_out.weight"), 0);
        let set = KeySet::new(of, norm());
        self.draft.attention(
            name,
            AttentionStep {
                query_norm: norm(),
                keys: vec![KeySet { angles: Some(angles.clone()), ..set }],
                rotary: Some(Rotary { queries: angles, neighbours: true, values: true }),
                residual: Some(of.to_owned()),
                output: Some((part.biased(&leaf("to_out")), out)),
                ..AttentionStep::new(of, heads, [head; 2], projections)
            },
        );
    }

    fn mlp(&mut self, block: &str, name: &str, of: &str) {
        let norm = Some(self.part.norm(&format!("{block}.0"), EPS));
        let net = format!("{block}.1.net");
        self.draft.mlp(name, geglu(self.part, norm, &net, ["0", "3"], of));
    }
}
