//! A model as data: what its rows are made of, which layers follow each other, what comes out.
//!
//! Every official model is a [`Blueprint`] (`crate::tasks` makes them from configurations), and
//! [`super::build`] makes graphs of any blueprint. All sizes are those of one item.

use serde::{Deserialize, Serialize};

use super::layer::AttentionLayer;
use crate::graph::{FourierPositions, Stage};

/// A whole model for items of known sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blueprint {
    /// The learned latents.
    pub latents: Latents,
    /// Channels C of every input row.
    pub channels: usize,
    /// Modalities of the input array, one after the other.
    pub inputs: Vec<RowArray>,
    /// What happens to the latents, in order; the first is a cross-attention.
    pub steps: Vec<Step>,
    /// What is decoded from the last latents.
    pub decoders: Vec<Decoder>,
}

/// The learned latent array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latents {
    /// Tensor name.
    pub tensor: String,
    /// Latents N.
    pub rows: usize,
    /// Channels D.
    pub channels: usize,
}

/// A step of encode and process. Layers with the same tensor names share their weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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

/// Rows of one modality: content, then positions, then a constant tail, each optional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowArray {
    /// Name of the modality.
    pub name: String,
    /// Rows.
    pub count: usize,
    /// First columns.
    #[serde(default)]
    pub content: Content,
    /// Columns that tell where a row is.
    #[serde(default)]
    pub positions: Positions,
    /// Learned vectors at the end, the same in every row: tensor names and channels.
    #[serde(default)]
    pub constant: Vec<(String, usize)>,
    /// Input with the grid position of every row, where they are not one after the other.
    #[serde(default)]
    pub points: Option<String>,
    /// Input that is 0 where a row does not count.
    #[serde(default)]
    pub mask: Option<String>,
    /// Whether a run may have more rows or fewer, as many as its tensor has; `count` are then the usual
    /// ones. Fourier positions span the grid that there is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub varies: bool,
}

/// What a row begins with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// Nothing.
    #[default]
    None,
    /// An input as it is.
    Given {
        /// Name of the input.
        input: String,
        /// Channels.
        channels: usize,
    },
    /// An input through a linear layer.
    Linear {
        /// Name of the input.
        input: String,
        /// Channels of the input.
        channels: usize,
        /// Tensor names begin with this.
        layer: String,
        /// Channels of the layer's result.
        out: usize,
        /// Whether the weight is stored as that of a 1×1 convolution.
        #[serde(default)]
        unit_window: bool,
    },
    /// Embedded tokens, learned positions added.
    Tokens {
        /// Name of the input, one number per token.
        input: String,
        /// Tensor name of the embeddings.
        table: String,
        /// Tokens that there are.
        vocabulary: usize,
        /// Tensor name of the positions.
        positions: String,
        /// Positions that there are.
        most: usize,
        /// Channels of both.
        channels: usize,
    },
    /// Features of a picture: 7×7 convolution of stride 2, batch norm, ReLU, 3×3 max pool of stride 2.
    Convolution {
        /// Name of the input.
        input: String,
        /// Height and width of the picture.
        image: [usize; 2],
        /// Channels of the picture.
        channels: usize,
        /// Tensor names begin with this.
        layer: String,
        /// Channels of the features.
        out: usize,
    },
    /// A learned table with a row for each row.
    Learned {
        /// Tensor name.
        tensor: String,
        /// Channels.
        channels: usize,
    },
}

impl Content {
    /// The input that it reads, if it reads one.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        match self {
            Content::Given { input, .. }
            | Content::Linear { input, .. }
            | Content::Tokens { input, .. }
            | Content::Convolution { input, .. } => Some(input),
            Content::None | Content::Learned { .. } => None,
        }
    }

    /// Columns.
    #[must_use]
    pub fn channels(&self) -> usize {
        match self {
            Content::None => 0,
            Content::Given { channels, .. }
            | Content::Tokens { channels, .. }
            | Content::Learned { channels, .. } => *channels,
            Content::Linear { out, .. } | Content::Convolution { out, .. } => *out,
        }
    }
}

/// How a row says where it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Positions {
    /// Not at all.
    #[default]
    None,
    /// Fourier features of the position on a grid (paper, appendix D).
    Fourier(FourierPositions),
    /// A learned vector per row, as it is.
    Table {
        /// Tensor name, a row for each row.
        tensor: String,
        /// Channels.
        channels: usize,
    },
    /// A learned vector per row, through a linear layer.
    Learned {
        /// Tensor name of the table.
        tensor: String,
        /// Rows of the table.
        stored: usize,
        /// Channels of the table.
        channels: usize,
        /// The grid that a table of a square grid is resized to.
        #[serde(default)]
        resized: Option<[usize; 2]>,
        /// Tensor names of the linear layer begin with this.
        layer: String,
        /// Channels of its result.
        out: usize,
    },
}

impl Positions {
    /// Columns.
    #[must_use]
    pub fn channels(&self) -> usize {
        match self {
            Positions::None => 0,
            Positions::Fourier(positions) => positions.channels(),
            Positions::Table { channels, .. } => *channels,
            Positions::Learned { out, .. } => *out,
        }
    }
}

impl RowArray {
    /// Rows of nothing yet.
    #[must_use]
    pub fn new(name: &str, count: usize) -> Self {
        RowArray {
            name: name.to_owned(),
            count,
            content: Content::None,
            positions: Positions::None,
            constant: Vec::new(),
            points: None,
            mask: None,
            varies: false,
        }
    }

    /// With this content.
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// With an input as content.
    #[must_use]
    pub fn with_input(self, input: &str, channels: usize) -> Self {
        self.with_content(Content::Given {
            input: input.to_owned(),
            channels,
        })
    }

    /// With Fourier features.
    #[must_use]
    pub fn with_fourier(mut self, positions: FourierPositions) -> Self {
        self.positions = Positions::Fourier(positions);
        self
    }

    /// With one more learned vector at the end.
    #[must_use]
    pub fn with_constant(mut self, tensor: &str, channels: usize) -> Self {
        self.constant.push((tensor.to_owned(), channels));
        self
    }

    /// Columns of a row.
    #[must_use]
    pub fn channels(&self) -> usize {
        let constant: usize = self.constant.iter().map(|(_, n)| n).sum();
        self.content.channels() + self.positions.channels() + constant
    }
}

/// A cross-attention from queries to the last latents, and what becomes of its rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoder {
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
    pub queries: Queries,
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
pub enum Queries {
    /// Rows of their own.
    Array(Box<RowArray>),
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

fn is_false(flag: &bool) -> bool {
    !flag
}

fn one() -> u32 {
    1
}

impl OutputLinear {
    /// Tensors `NAME.weight` and `NAME.bias`.
    #[must_use]
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

impl Blueprint {
    /// The rows that a head asks with.
    #[must_use]
    pub fn queries<'a>(&'a self, head: &'a Head) -> &'a RowArray {
        match &head.queries {
            Queries::Array(array) => array,
            Queries::Input(index) => &self.inputs[*index],
        }
    }

    /// The paper's cost [M + O + LN]·N·F (section 3.1) of one item with F the latent channels, two
    /// operations each.
    #[must_use]
    pub fn formula_flops(&self) -> u64 {
        let [inputs, outputs] = self.elements().map(|n| n as u64);
        let (n, f) = (self.latents.rows as u64, self.latents.channels as u64);
        let (mut crosses, mut layers) = (0, 0);
        for step in &self.steps {
            match step {
                Step::Cross(_) => crosses += 1,
                Step::Tower { layers: all, times } => layers += (all.len() * times) as u64,
            }
        }
        2 * (crosses * inputs + outputs + layers * n) * n * f
    }

    /// Input rows M and output rows O of one item.
    #[must_use]
    pub fn elements(&self) -> [usize; 2] {
        let heads = self.decoders.iter().flat_map(|d| &d.heads);
        [
            self.inputs.iter().map(|a| a.count).sum(),
            heads.map(|h| self.queries(h).count).sum(),
        ]
    }
}
