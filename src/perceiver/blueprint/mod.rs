//! A model as data: what its rows are made of, which layers follow each other, what comes out.
//!
//! Every published model is a [`Blueprint`], made from its configuration, and graphs are made of any
//! blueprint. All sizes are those of one item.

mod arrays;
mod builder;
mod check;
mod check_arrays;
mod file;
mod inputs;
mod modality;
mod parts;
pub mod presets;
mod sizes;
mod skipped;

use serde::{Deserialize, Serialize};

pub use arrays::{
    ArrayOutput, ArrayStep, AttentionStep, HeadNorm, KeySet, LinearStep, Make, MlpStep, Norm,
    NormKind, Projection, Rotary, WaveOrder,
};
pub use builder::{Output, PerceiverBuilder, Sharing};
pub(super) use file::{is_blueprint, read_text};
pub use inputs::{InputKind, InputShape};
pub(crate) use inputs::{encoder_inputs, inputs};
pub(super) use modality::convolution;
pub use modality::{Content, Modality, Positions, feature_grid};
pub use sizes::RowSizes;
pub(crate) use skipped::Skipped;

pub use super::layer::AttentionLayer;
pub use crate::graph::{FourierPositions, Spacing, Stage};
pub use crate::kernels::gemm::Activation;

/// A whole model for items of known sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blueprint {
    /// The learned latents.
    #[serde(default, skip_serializing_if = "LatentArray::is_none")]
    pub latents: LatentArray,
    /// Channels C of every input row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub channels: usize,
    /// Modalities of the input array, one after the other.
    pub inputs: Vec<Modality>,
    /// What happens to the latents, in order; the first is a cross-attention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What is decoded from the last latents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decoders: Vec<DecoderBlueprint>,
    /// In place of latents, steps and decoders: arrays, each made of inputs and those before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrays: Vec<ArrayStep>,
    /// Which of the arrays a run returns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ArrayOutput>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The learned latent array.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentArray {
    /// Tensor name.
    pub tensor: String,
    /// Latents N.
    pub rows: usize,
    /// Channels D.
    pub channels: usize,
}

impl LatentArray {
    fn is_none(&self) -> bool {
        *self == LatentArray::default()
    }
}

/// A step of encode and process. Layers with the same tensor names share their weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Step {
    /// Cross-attention from all inputs to the latents.
    Cross(AttentionLayer),
    /// Self-attention layers of the latents, run this many times.
    Tower {
        /// The layers.
        layers: Vec<AttentionLayer>,
        /// Times.
        times: usize,
    },
}

/// A cross-attention from queries to the last latents, and what becomes of its rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderBlueprint {
    /// The layer.
    pub layer: AttentionLayer,
    /// What is asked, one after the other.
    pub heads: Vec<Head>,
    /// Shape of the decoder's result over all heads, without the batch.
    pub shape: Vec<usize>,
}

/// A named output and its queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Name of the output.
    pub output: String,
    /// What is asked.
    pub queries: QuerySource,
    /// Linear layers after the decoder's layer.
    pub layers: Vec<OutputLinear>,
    /// Shape of the output, without the batch.
    pub shape: Vec<usize>,
    /// Height and width of the block of pixels that a row stands for, if its channels are those of such a
    /// block, line by line: the output is then the picture `[height, width, channels]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upsample: Option<[usize; 2]>,
}

/// Rows that ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum QuerySource {
    /// Rows of their own.
    Array(Box<Modality>),
    /// The rows of the input of this index.
    Input(usize),
}

/// A linear layer of an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputLinear {
    /// For labels.
    pub label: String,
    /// Decode, if it belongs to the decoder, or postprocess.
    pub stage: Stage,
    /// Tensor name of the weight `[out, input]`.
    pub weight: String,
    /// Tensor name of the bias `[out]`.
    pub bias: String,
    /// Channels before.
    pub input: usize,
    /// Channels after.
    pub out: usize,
    /// Weight and bias are divided by this.
    #[serde(default = "one")]
    pub divisor: u32,
}

fn one() -> u32 {
    1
}

impl OutputLinear {
    /// Tensors `NAME.weight` and `NAME.bias`.
    #[doc(hidden)]
    pub fn plain(label: &str, stage: Stage, name: &str, input: usize, out: usize) -> Self {
        OutputLinear {
            label: label.to_owned(),
            stage,
            weight: format!("{name}.weight"),
            bias: format!("{name}.bias"),
            input,
            out,
            divisor: 1,
        }
    }
}

impl Head {
    /// An output of rows.
    pub(super) fn new(
        output: &str,
        queries: QuerySource,
        layers: Vec<OutputLinear>,
        shape: Vec<usize>,
    ) -> Self {
        Head { output: output.to_owned(), queries, layers, shape, upsample: None }
    }
}

impl From<Modality> for QuerySource {
    fn from(rows: Modality) -> Self {
        QuerySource::Array(Box::new(rows))
    }
}

impl DecoderBlueprint {
    /// Columns of the rows of one of its heads.
    pub(crate) fn columns(&self, head: &Head) -> usize {
        head.layers.last().map_or(self.layer.q_width, |l| l.out)
    }
}

impl Blueprint {
    /// A model of arrays. This one is a resampler: 8 latents see 64 channels of a context of any length, and themselves, in one
    /// softmax, with grouped queries and a gated MLP.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use perceiver::blueprint::*;
    /// use perceiver::{Engine, RandomTensors};
    ///
    /// let stage = Stage::Encode;
    /// let learned = Make::Learned { tensor: "latents".into(), shape: vec![8, 64] };
    /// let [q, k, v, o] = ["q", "k", "v", "o"].map(|name| Projection::plain(name));
    /// let norm = |name| Some(Norm::rms(name, 1e-6));
    /// let read = Make::Attention(Box::new(AttentionStep {
    ///     key_heads: 2,
    ///     query_norm: norm("latents_norm.weight"),
    ///     keys: vec![
    ///         KeySet::new("context", norm("context_norm.weight")),
    ///         KeySet::new("latents", norm("latents_norm.weight")),
    ///     ],
    ///     output: Some((o, 64)),
    ///     residual: Some("latents".into()),
    ///     ..AttentionStep::new("latents", 4, [16; 2], [q, k, v])
    /// }));
    /// let [up, gate, down] = ["up", "gate", "down"].map(|name| Projection::plain(name));
    /// let mlp = Make::Mlp(Box::new(MlpStep {
    ///     norm: norm("mlp_norm.weight"),
    ///     gate: Some(gate),
    ///     residual: true,
    ///     ..MlpStep::new("read", 256, [up, down], Activation::Silu)
    /// }));
    /// let arrays = [("latents", learned), ("read", read), ("tokens", mlp)];
    /// let blueprint = Blueprint::of_arrays(
    ///     vec![Modality::given("context", 100, 64).varies().mask()],
    ///     arrays.map(|(name, make)| ArrayStep { name: name.into(), stage, make }).into(),
    ///     vec![ArrayOutput { name: "tokens".into(), array: "tokens".into(), intermediate: false }],
    /// );
    /// let weights = RandomTensors::new(blueprint.tensors()?, 1);
    /// let model = Engine::cpu().load_blueprint(blueprint.clone(), Arc::new(weights))?;
    /// let tokens = &model.run(&blueprint.sample_inputs(2, 1)?, &mut |_, _| {})?["tokens"];
    /// assert_eq!(tokens.shape(), [2, 8, 64]);
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    #[must_use]
    pub fn of_arrays(
        mut inputs: Vec<Modality>,
        arrays: Vec<ArrayStep>,
        outputs: Vec<ArrayOutput>,
    ) -> Self {
        // Rows that a user gives are called as their array is, unless they have a name of their own.
        for rows in &mut inputs {
            if let Content::Given { input, .. } = &mut rows.content
                && input.is_empty()
            {
                input.clone_from(&rows.name);
            }
        }
        let (steps, decoders) = (Vec::new(), Vec::new());
        let latents = LatentArray::default();
        Blueprint { latents, channels: 0, inputs, steps, decoders, arrays, outputs }
    }

    /// Layers of the cross-attentions from the inputs.
    pub(super) fn crosses(&self) -> impl Iterator<Item = &AttentionLayer> {
        self.steps.iter().filter_map(|step| match step {
            Step::Cross(layer) => Some(layer),
            Step::Tower { .. } => None,
        })
    }

    /// The rows that a head asks with.
    #[doc(hidden)]
    pub fn queries<'a>(&'a self, head: &'a Head) -> &'a Modality {
        match &head.queries {
            QuerySource::Array(array) => array,
            QuerySource::Input(index) => &self.inputs[*index],
        }
    }

    /// Input rows M and output rows O of one item.
    #[doc(hidden)]
    pub fn elements(&self) -> [usize; 2] {
        let heads = self.decoders.iter().flat_map(|d| &d.heads);
        [self.inputs.iter().map(|a| a.count).sum(), heads.map(|h| self.queries(h).count).sum()]
    }
}
