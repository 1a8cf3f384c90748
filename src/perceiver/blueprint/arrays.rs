//! Models that are none of encode, process and decode in a row, as a list of arrays, each made of those before it.
//!
//! What Perceivers inside other models are: resamplers whose latents see the context and each other, set encoders, decoders
//! of shapes. Every array is rows `[batch, rows, channels]`, or `[1, rows, channels]` where it does not depend on an input.

use serde::{Deserialize, Serialize};

use crate::graph::{Fused, Stage};
use crate::kernels::gemm::Activation;

/// A named array and how it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrayStep {
    /// Its name, by which later arrays and outputs refer to it.
    pub name: String,
    /// Where reports count it.
    #[serde(default = "encode")]
    pub stage: Stage,
    /// How it is made.
    pub make: Make,
}

fn encode() -> Stage {
    Stage::Encode
}

/// How an array is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Make {
    /// A tensor of the checkpoint; its last dimension are the channels.
    Learned {
        /// Tensor name.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A table of positions on a square grid, resized to another square grid (bicubic).
    Resized {
        /// Tensor name.
        tensor: String,
        /// Rows and channels of the tensor.
        shape: [usize; 2],
        /// The input whose rows are the other grid.
        of: String,
    },
    /// Rows of a table for all rows of an input that comes with axes, by their place on one of them.
    Spread {
        /// Tensor name.
        tensor: String,
        /// Its shape: one row for each place, or more.
        shape: Vec<usize>,
        /// The input.
        by: String,
        /// The axis.
        axis: usize,
    },
    /// The rows of each place on an input's first axis as items of their own.
    Split {
        /// The array.
        of: String,
        /// The input.
        by: String,
    },
    /// Items that [`Make::Split`] made, one after the other as rows again.
    Unite {
        /// The array.
        of: String,
        /// The input.
        by: String,
    },
    /// Two arrays, added row by row. One of a single item serves all, and as many rows as divide the other's serve again and
    /// again.
    Sum([String; 2]),
    /// Two arrays, multiplied element by element; rows as with [`Make::Sum`].
    Product {
        /// The arrays.
        of: [String; 2],
        /// Of the first.
        #[serde(default)]
        activation: Activation,
    },
    /// LayerNorm or RMSNorm.
    Norm {
        /// The array.
        of: String,
        /// The norm.
        norm: Norm,
    },
    /// A linear layer.
    Linear(Box<LinearStep>),
    /// A multi-layer perceptron.
    Mlp(Box<MlpStep>),
    /// Attention of some rows over others.
    Attention(Box<AttentionStep>),
    /// Some rows of every item. Models that have it take items one by one.
    Slice {
        /// The array.
        of: String,
        /// First row; below zero it is counted from the end, and the first where there are not so many.
        first: i32,
        /// How many; 0 for all that follow, below zero for all that follow but as many at the end. Where those are none, sets of
        /// keys are left out that are made of them.
        rows: i32,
    },
    /// One row of the same number.
    Filled {
        /// The number.
        value: f32,
        /// Channels.
        channels: usize,
    },
    /// The numbers of the rows of an array, from 0: `[1, rows, 1]`.
    Count(String),
    /// The mean over an array's rows, `[batch, 1, channels]`.
    Mean {
        /// The array.
        of: String,
        /// Input whose mask says which rows count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<String>,
    },
    /// Sines and cosines of coordinates.
    Waves {
        /// The coordinates.
        of: String,
        /// Frequencies, the same for every axis: the angle is coordinate · frequency, in half turns if `half_turns`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        frequencies: Vec<f32>,
        /// In place of `frequencies`, a tensor with them and how many it has; there is one axis then, and the columns are waves
        /// alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tensor: Option<(String, usize)>,
        /// Whether angles are in units of π.
        half_turns: bool,
        /// Order of the columns.
        order: WaveOrder,
    },
}

/// Order of the columns of [`Make::Waves`]; sines, and cosines, are axis by axis, each axis' frequencies in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaveOrder {
    /// Coordinates, sines, cosines.
    CoordinatesFirst,
    /// Sines, cosines, coordinates.
    CoordinatesLast,
    /// Sines, cosines.
    WavesAlone,
}

/// LayerNorm or RMSNorm of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Norm {
    /// Which.
    pub kind: NormKind,
    /// Tensor name of the gain; none is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Tensor name of the bias; none is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<String>,
    /// Added to the variance or mean square.
    pub eps: f32,
}

/// Kinds of norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NormKind {
    /// (x − mean)/√(variance + eps).
    Layer,
    /// x/√(mean of squares + eps).
    Rms,
    /// x/√(sum of squares), eps added to the mean of squares.
    Unit,
}

impl Norm {
    /// LayerNorm with `NAME.weight` and `NAME.bias`.
    #[must_use]
    pub fn layer(name: &str, eps: f32) -> Self {
        let [weight, bias] = ["weight", "bias"].map(|leaf| Some(format!("{name}.{leaf}")));
        Norm { kind: NormKind::Layer, weight, bias, eps }
    }

    /// RMSNorm with this tensor as its gain.
    #[must_use]
    pub fn rms(weight: &str, eps: f32) -> Self {
        Norm { kind: NormKind::Rms, weight: Some(weight.to_owned()), bias: None, eps }
    }
}

/// A linear layer of the checkpoint: `[out, in]` as PyTorch stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Tensor name of the weight.
    pub weight: String,
    /// Tensor name of the bias, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<String>,
    /// Where its rows are in tensors of several layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fused: Option<Fused>,
    /// Whether the weight is stored as `[in, out]`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transposed: bool,
    /// Whether the weight of a single input channel is stored as a vector.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vector: bool,
}

impl Projection {
    /// Weight `NAME.weight` without a bias.
    #[must_use]
    pub fn plain(name: &str) -> Self {
        let weight = format!("{name}.weight");
        Projection { weight, bias: None, fused: None, transposed: false, vector: false }
    }

    /// Weight `NAME.weight` and bias `NAME.bias`.
    #[must_use]
    pub fn biased(name: &str) -> Self {
        Projection { bias: Some(format!("{name}.bias")), ..Self::plain(name) }
    }

    /// The layers, of `rows` rows each, that lie one after the other in this one's tensor, with heads of `head` channels.
    #[must_use]
    pub fn split<const N: usize>(&self, rows: usize, head: usize) -> [Self; N] {
        std::array::from_fn(|index| {
            let first = index * rows;
            let fused = Fused { rows: N * rows, first, stride: head, repeated: false };
            Projection { fused: Some(fused), ..self.clone() }
        })
    }

    /// Layer `index` of `of` layers that take turns in one tensor, head by head, with heads of `width` channels.
    #[must_use]
    pub fn turn(self, index: usize, of: usize, heads: usize, width: usize) -> Self {
        let stride = of * width;
        let (rows, first) = (heads * stride, index * width);
        let fused = Fused { rows, first, stride, repeated: false };
        Projection { fused: Some(fused), ..self }
    }

    /// One stored row for each of `heads` heads, shared by all channels of the head.
    #[must_use]
    pub fn of_heads(self, heads: usize) -> Self {
        let fused = Fused { rows: heads, first: 0, stride: 1, repeated: true };
        Projection { fused: Some(fused), ..self }
    }
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// A linear layer of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearStep {
    /// The rows.
    pub of: String,
    /// Before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
    /// The layer.
    pub layer: Projection,
    /// Channels after.
    pub out: usize,
    /// Heads that the result is seen as, each of which becomes a row of its own; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub heads: usize,
    /// Of its result.
    #[serde(default)]
    pub activation: Activation,
    /// Rows that are added last; none where there are heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<String>,
}

impl LinearStep {
    /// A layer to `out` channels with nothing before or after.
    #[must_use]
    pub fn new(of: &str, layer: Projection, out: usize) -> Self {
        LinearStep {
            of: of.to_owned(),
            norm: None,
            layer,
            out,
            heads: 0,
            activation: Activation::None,
            residual: None,
        }
    }
}

impl AttentionStep {
    /// Attention of `queries`, with heads of `qk` and `v` channels and the projections of queries, keys and values; keys, and
    /// everything else, are to be added.
    #[must_use]
    pub fn new(
        queries: &str,
        heads: usize,
        [qk, v]: [usize; 2],
        [q, k, value]: [Projection; 3],
    ) -> Self {
        AttentionStep {
            queries: queries.to_owned(),
            query_norm: None,
            keys: Vec::new(),
            heads,
            key_heads: 0,
            qk,
            v,
            scale: None,
            q: Some(q),
            k,
            value,
            q_norm: None,
            k_norm: None,
            rotary: None,
            output: None,
            post_norm: None,
            residual: None,
        }
    }
}

impl MlpStep {
    /// Rows to `hidden` channels, through an activation, and back: no norms, no gate, nothing added.
    #[must_use]
    pub fn new(
        of: &str,
        hidden: usize,
        [widen, narrow]: [Projection; 2],
        activation: Activation,
    ) -> Self {
        MlpStep {
            of: of.to_owned(),
            norm: None,
            hidden,
            widen,
            gate: None,
            activation,
            narrow,
            out: 0,
            post_norm: None,
            residual: false,
        }
    }
}

/// Rows through two linear layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpStep {
    /// The rows.
    pub of: String,
    /// Before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
    /// Channels between the layers.
    pub hidden: usize,
    /// To the hidden channels.
    pub widen: Projection,
    /// Also to the hidden channels: through the activation, and multiplied with the others (GEGLU, SwiGLU).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Projection>,
    /// Of the gate if there is one, else of the hidden channels.
    pub activation: Activation,
    /// Back to the channels of the rows.
    pub narrow: Projection,
    /// Channels of the result; 0 for those of the rows.
    #[serde(default)]
    pub out: usize,
    /// Of the result, before it is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_norm: Option<Norm>,
    /// Whether the rows are added to the result.
    pub residual: bool,
}

/// Attention of some rows over one or several sets of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionStep {
    /// The rows that ask.
    pub queries: String,
    /// Of these rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_norm: Option<Norm>,
    /// What they attend to: all keys of all sets are one softmax.
    pub keys: Vec<KeySet>,
    /// Heads.
    pub heads: usize,
    /// Heads of keys and values where they are fewer: each serves as many query heads one after the other. 0 for `heads`.
    #[serde(default)]
    pub key_heads: usize,
    /// Query and key channels of a head.
    pub qk: usize,
    /// Value channels of a head.
    pub v: usize,
    /// Factor of the scores; 1/√qk where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// Query projection; without it the rows that ask are heads of projected queries, as many one after the other for a row
    /// of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<Projection>,
    /// Key projection.
    pub k: Projection,
    /// Value projection.
    pub value: Projection,
    /// Of projected queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q_norm: Option<HeadNorm>,
    /// Of projected keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k_norm: Option<HeadNorm>,
    /// How projected rows are turned by their positions, after norms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary: Option<Rotary>,
    /// Output projection and its channels; without it the result are the heads side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<(Projection, usize)>,
    /// Of the result, before the residual is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_norm: Option<Norm>,
    /// Rows that are added to the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<String>,
}

/// Rotary position embedding: pairs of channels of each head are turned by angles of their row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotary {
    /// Sines and cosines of the queries' angles, one of each for every pair: what [`Make::Waves`] makes.
    pub queries: String,
    /// Whether channels 2i and 2i + 1 are a pair; else i and i + the number of pairs.
    pub neighbours: bool,
    /// Whether values are turned as keys are, and the result back as queries are.
    pub values: bool,
}

/// Rows that are attended to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// The rows that keys are made of, and values if `values` says nothing else.
    pub rows: String,
    /// The rows that values are made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// Of these rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
    /// Input whose mask says which rows count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Sines and cosines of the keys' angles, where the attention is rotary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub angles: Option<String>,
    /// Whether query i does not see rows beyond row i.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub causal: bool,
}

impl KeySet {
    /// Rows without a mask.
    #[must_use]
    pub fn new(rows: &str, norm: Option<Norm>) -> Self {
        let (values, mask, angles, causal) = (None, None, None, false);
        KeySet { rows: rows.to_owned(), values, norm, mask, angles, causal }
    }
}

/// A norm of projected rows: of each head by itself, or of all its channels together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadNorm {
    /// The norm.
    pub norm: Norm,
    /// Whether every head is normalised by itself, all with the same gains.
    pub per_head: bool,
}

/// An array that a run returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrayOutput {
    /// Name of the output.
    pub name: String,
    /// Name of the array.
    pub array: String,
    /// Whether it is returned only where intermediate arrays are asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub intermediate: bool,
}
