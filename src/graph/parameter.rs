//! Parameters as recipes: how an array of the graph is made from the tensors of a checkpoint.
//!
//! A recipe knows its shape and which tensors it needs before any weight is read, so that a plan
//! can be made from a `config.json` alone. Evaluation is in the layer of weights.

use std::ops::Range;

use super::fold::Folded;
use crate::tensor::Extent;

/// Channels of one side of a linear layer, seen as heads of equal width that are padded to a
/// multiple of four each. Padding heads once, in the weights, lets every kernel read whole vectors
/// at any head width (261, 322, 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeadLayout {
    /// Number of heads; 1 for channels that are no heads.
    pub heads: usize,
    /// Channels of one head, unpadded.
    pub width: usize,
    /// Heads that share a key head, one after the other in the checkpoint: in the graph the first of each group come first,
    /// then the second. So a row of queries is as many rows of `heads / groups` heads.
    pub groups: usize,
}

impl HeadLayout {
    /// Plain channels.
    pub const fn plain(width: usize) -> Self {
        HeadLayout::heads(1, width)
    }

    /// Heads in the checkpoint's order.
    pub const fn heads(heads: usize, width: usize) -> Self {
        HeadLayout { heads, width, groups: 1 }
    }

    /// Head of the checkpoint that is head `head` of the graph.
    pub(crate) const fn stored(&self, head: usize) -> usize {
        let of_group = self.heads / self.groups;
        head % of_group * self.groups + head / of_group
    }

    /// Channels in the checkpoint.
    pub const fn channels(&self) -> usize {
        self.heads * self.width
    }

    /// Columns in the graph: the last head is padded only by the row itself.
    pub const fn columns(&self) -> usize {
        self.heads * self.stride()
    }

    /// Columns of one head in the graph.
    pub const fn stride(&self) -> usize {
        if self.heads == 1 { self.width } else { self.width.next_multiple_of(4) }
    }
}

/// One linear layer of the checkpoint: weight `[out, in]` and bias `[out]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinearPart {
    /// Tensor name of the weight.
    pub weight: String,
    /// Tensor name of the bias, if there is one.
    pub bias: Option<String>,
    /// Layout of the output channels.
    pub out: HeadLayout,
    /// Whether the weight is stored as that of a convolution with a 1×1 window, `[out, in, 1, 1]`.
    pub unit_window: bool,
    /// Whether the weight is stored as `[in, out]`.
    pub transposed: bool,
    /// Whether the weight of one input channel is stored as a vector.
    pub vector: bool,
    /// Where its rows are in tensors of several layers.
    pub fused: Option<Fused>,
}

/// Rows of a weight, and elements of a bias, that several layers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fused {
    /// Rows of all layers.
    pub rows: usize,
    /// First row of this one.
    pub first: usize,
    /// Rows from one head to the next: their width where each layer's are together, more where layers take turns.
    pub stride: usize,
    /// Whether a head has one row, which all its channels share.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

impl LinearPart {
    /// Plain channels, weight `NAME.weight` and bias `NAME.bias`.
    pub fn plain(name: &str, out: usize) -> Self {
        LinearPart {
            weight: format!("{name}.weight"),
            bias: Some(format!("{name}.bias")),
            out: HeadLayout::plain(out),
            unit_window: false,
            transposed: false,
            vector: false,
            fused: None,
        }
    }

    /// Rows of the stored weight.
    pub(crate) fn stored_rows(&self) -> usize {
        self.fused.map_or(self.out.channels(), |f| f.rows)
    }

    /// Row of the stored weight that output channel `channel`, counted without padding, is.
    pub(crate) fn stored_row(&self, channel: usize) -> usize {
        match self.fused {
            None => channel,
            Some(f) => {
                let width = self.out.width.max(1);
                let within = if f.repeated { 0 } else { channel % width };
                f.first + channel / width * f.stride + within
            }
        }
    }
}

/// Where the positions of an axis of n elements lie in [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// From -1 to 1, both included: grids that are read or decoded whole.
    Ends,
    /// -1 + 2·i/n: points that are picked from a grid (Hugging Face's subsampled queries).
    Cells,
}

/// Fourier position features of a grid (paper, appendix D).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FourierPositions {
    /// Lengths of the axes, slowest first: 1 to 3.
    pub axes: Vec<usize>,
    /// Highest resolution per axis: half of it is the highest frequency.
    pub max_resolution: Vec<usize>,
    /// Frequency bands per axis.
    pub bands: usize,
    /// Where positions lie.
    pub spacing: Spacing,
}

impl FourierPositions {
    /// Feature channels.
    #[doc(hidden)]
    pub fn channels(&self) -> usize {
        self.axes.len() * (1 + 2 * self.bands)
    }
}

/// How a parameter array is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recipe {
    /// A tensor as stored, its last dimension as columns.
    Stored {
        /// Tensor name.
        name: String,
        /// Shape in the checkpoint.
        shape: Vec<usize>,
    },
    /// Weights `[in, out]` of linear layers that read the same rows, side by side, transposed from
    /// Hugging Face's `[out, in]`; each part starts at a multiple of four columns.
    LinearWeight {
        /// The layers.
        parts: Vec<LinearPart>,
        /// Layout of the input channels.
        input: HeadLayout,
        /// All weights are divided by this (1 for none).
        divisor: u32,
    },
    /// The biases that go with [`Recipe::LinearWeight`], zero where there is none.
    LinearBias {
        /// The layers.
        parts: Vec<LinearPart>,
        /// All biases are divided by this (1 for none).
        divisor: u32,
    },
    /// A stored vector `[1, channels]` in heads, each padded to a multiple of four.
    Vector {
        /// Tensor name.
        name: String,
        /// The heads.
        layout: HeadLayout,
    },
    /// For each cell of some axes, the last fastest, the row of a stored table that its place on one of them has.
    Spread {
        /// Tensor name.
        name: String,
        /// Its shape, the channels last.
        shape: Vec<usize>,
        /// Lengths of the axes.
        axes: Vec<usize>,
        /// Which axis.
        axis: usize,
    },
    /// The numbers from 0 on, one a row.
    Count {
        /// How many.
        rows: usize,
    },
    /// The table of [`waves`](crate::kernels::waves) for frequencies of one axis that a tensor has: sines, then cosines.
    WavesOf {
        /// Tensor name.
        name: String,
        /// How many there are.
        count: usize,
        /// Whether they are in half turns.
        half_turns: bool,
    },
    /// Sines, cosines and position on every axis of a grid, axis by axis, for each of its cells, the last axis fastest.
    /// Positions are from -1 to 1, and frequencies evenly from 1 to the highest, in half turns.
    GridWaves {
        /// Lengths of the axes.
        axes: Vec<usize>,
        /// Frequencies of an axis.
        bands: usize,
        /// The bits of the highest frequency.
        highest: u32,
    },
    /// Zeros and ones that take padded heads to plain channels, `[columns, channels]`.
    Heads(HeadLayout),
    /// The same number everywhere.
    Filled {
        /// The bits of the number.
        bits: u32,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// The table `[5, columns]` of [`waves`](crate::kernels::waves): bits of its numbers.
    Waves(Vec<[u32; 5]>),
    /// Fourier feature tables, see [`crate::kernels::assemble`].
    FourierTables(FourierPositions),
    /// Weight `[side²·input, output]` of a convolution stored as `[output, input, side, side]`, scaled
    /// per output channel by the batch norm that follows.
    ConvolutionWeight {
        /// Tensor name of the weight.
        weight: String,
        /// The batch norm's tensors begin with this.
        norm: String,
        /// Output channels.
        output: usize,
        /// Input channels.
        input: usize,
        /// Height and width of the window.
        side: usize,
    },
    /// The shift `[1, channels]` that a batch norm leaves behind a scaled convolution.
    BatchNormShift {
        /// The batch norm's tensors begin with this.
        norm: String,
        /// Channels.
        channels: usize,
    },
    /// An array that is folded from several tensors.
    Folded(Folded),
    /// A weight that rows are multiplied with after a LayerNorm, for rows that are only scaled and
    /// shifted: each row of the weight times the gain of its channel, then each column less its mean,
    /// so that the mean of the rows does not matter.
    NormWeight {
        /// The LayerNorm's tensors begin with this.
        norm: String,
        /// Channels of the rows.
        channels: usize,
        /// The weight as it is.
        weight: Box<Recipe>,
    },
    /// The bias that goes with `NormWeight`: the bias as it is, and the LayerNorm's bias through the
    /// weight.
    NormBias {
        /// The LayerNorm's tensors begin with this.
        norm: String,
        /// Channels of the rows.
        channels: usize,
        /// The weight as it is.
        weight: Box<Recipe>,
        /// The bias as it is, if there is one.
        bias: Option<Box<Recipe>>,
    },
    /// Some rows and columns of another array, as an array of its own.
    Window {
        /// The array.
        of: Box<Recipe>,
        /// Its rows, padding rows included.
        rows: Range<usize>,
        /// Its columns.
        columns: Range<usize>,
    },
    /// A table of positions on a square grid, resized to another grid (bicubic, as
    /// `interpolate_pos_encoding` does).
    ResizedPositions {
        /// Tensor name of the table `[positions, channels]`.
        name: String,
        /// Positions of the table, a square grid of ⌊√positions⌋ a side.
        positions: usize,
        /// Channels.
        channels: usize,
        /// Height and width of the result.
        size: [usize; 2],
    },
}

/// Tensor names of a batch norm, all `[channels]`.
pub(crate) fn batch_norm_tensors(norm: &str) -> [String; 4] {
    ["weight", "bias", "running_mean", "running_var"].map(|leaf| format!("{norm}.{leaf}"))
}

/// First column of each part and the columns of all, when parts stand side by side.
pub fn part_columns(parts: &[LinearPart]) -> (Vec<usize>, usize) {
    let mut starts = Vec::with_capacity(parts.len());
    let mut end = 0usize;
    for part in parts {
        let start = end.next_multiple_of(4);
        starts.push(start);
        end = start + part.out.columns();
    }
    (starts, end)
}

impl Recipe {
    /// Shape of the array.
    pub fn extent(&self) -> Extent {
        match self {
            Recipe::Stored { shape, .. } => {
                let cols = shape.last().copied().unwrap_or(1);
                let rows = shape[..shape.len().saturating_sub(1)].iter().product();
                Extent::new(1, rows, cols)
            }
            // Rows are padded like the columns of the array that is multiplied with them.
            Recipe::LinearWeight { parts, input, .. } => {
                Extent::new(1, input.columns().next_multiple_of(4), part_columns(parts).1)
            }
            Recipe::LinearBias { parts, .. } => Extent::new(1, 1, part_columns(parts).1),
            Recipe::Vector { layout, .. } => Extent::new(1, 1, layout.columns()),
            Recipe::Spread { shape, axes, .. } => {
                Extent::new(1, axes.iter().product(), shape.last().copied().unwrap_or(1))
            }
            Recipe::GridWaves { axes, bands, .. } => {
                let cells = axes.iter().fold(1, |a: usize, &n| a.saturating_mul(n));
                Extent::new(1, cells, axes.len() * (2 * bands + 1))
            }
            Recipe::Heads(layout) => {
                Extent::new(1, layout.columns().next_multiple_of(4), layout.channels())
            }
            Recipe::Filled { rows, columns, .. } => Extent::new(1, *rows, *columns),
            Recipe::Count { rows } => Extent::new(1, *rows, 1),
            Recipe::WavesOf { count, .. } => Extent::new(1, 5, 2 * count),
            Recipe::Waves(columns) => Extent::new(1, 5, columns.len()),
            Recipe::FourierTables(p) => Extent::new(1, p.axes.iter().sum(), 1 + 2 * p.bands),
            Recipe::ConvolutionWeight { output, input, side, .. } => {
                Extent::new(1, (side * side * input).next_multiple_of(4), *output)
            }
            Recipe::BatchNormShift { channels, .. } => Extent::new(1, 1, *channels),
            Recipe::Folded(folded) => {
                let [rows, cols] = folded.shape();
                // Rows of a weight are padded like the columns that they meet.
                let rows = if rows == 1 { 1 } else { rows.next_multiple_of(4) };
                Extent::new(1, rows, cols)
            }
            Recipe::Window { rows, columns, .. } => Extent::new(1, rows.len(), columns.len()),
            Recipe::ResizedPositions { channels, size, .. } => {
                Extent::new(1, size[0] * size[1], *channels)
            }
            Recipe::NormWeight { weight, .. } => weight.extent(),
            Recipe::NormBias { weight, .. } => Extent::new(1, 1, weight.extent().cols),
        }
    }

    /// Names and shapes of the tensors that it needs.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Recipe::Stored { name, shape } | Recipe::Spread { name, shape, .. } => {
                vec![(name.clone(), shape.clone())]
            }
            Recipe::LinearWeight { parts, input, .. } => parts
                .iter()
                .map(|p| {
                    let mut shape = vec![p.stored_rows(), input.channels()];
                    if p.transposed {
                        shape.reverse();
                    }
                    if p.vector {
                        shape.pop();
                    }
                    if p.unit_window {
                        shape.extend([1, 1]);
                    }
                    (p.weight.clone(), shape)
                })
                .collect(),
            Recipe::LinearBias { parts, .. } => parts
                .iter()
                .filter_map(|p| p.bias.clone().map(|b| (b, vec![p.stored_rows()])))
                .collect(),
            Recipe::WavesOf { name, count, .. } => vec![(name.clone(), vec![*count])],
            Recipe::Vector { name, layout } => vec![(name.clone(), vec![layout.channels()])],
            Recipe::FourierTables(_)
            | Recipe::GridWaves { .. }
            | Recipe::Filled { .. }
            | Recipe::Waves(_)
            | Recipe::Count { .. }
            | Recipe::Heads(_) => Vec::new(),
            Recipe::ConvolutionWeight { weight, norm, output, input, side } => {
                let mut tensors = vec![(weight.clone(), vec![*output, *input, *side, *side])];
                tensors.extend(batch_norm_tensors(norm).map(|name| (name, vec![*output])));
                tensors
            }
            Recipe::BatchNormShift { norm, channels } => {
                batch_norm_tensors(norm).map(|name| (name, vec![*channels])).to_vec()
            }
            Recipe::Folded(folded) => folded.tensors(),
            Recipe::Window { of, .. } => of.tensors(),
            Recipe::ResizedPositions { name, positions, channels, .. } => {
                vec![(name.clone(), vec![*positions, *channels])]
            }
            Recipe::NormWeight { norm, channels, weight } => {
                let mut tensors = weight.tensors();
                tensors.push((format!("{norm}.weight"), vec![*channels]));
                tensors
            }
            Recipe::NormBias { norm, channels, weight, bias } => {
                let mut tensors = bias.as_ref().map_or_else(Vec::new, |b| b.tensors());
                tensors.push((format!("{norm}.bias"), vec![*channels]));
                tensors.extend(weight.tensors());
                tensors
            }
        }
    }
}
