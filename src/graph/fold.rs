//! Input rows as factors, and the layers whose projections are folded into them, as data.
//!
//! A fold is algebra on trained weights, done once when a model is loaded (docs/architecture.md, "The
//! fold"). What is here says which tensors take part; the arithmetic is in
//! the layer of weights.

use super::parameter::{FourierPositions, HeadLayout};
use crate::kernels::factored_attention::Factors;

/// What the rows of one modality are made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Factored {
    /// Content channels.
    pub content: usize,
    /// Grid of the features that follow.
    pub positions: Option<FourierPositions>,
    /// Learned vectors at the end, the same in every row: tensor names and channels.
    pub constant: Vec<(String, usize)>,
}

impl Factored {
    /// Channels of the learned vectors.
    pub fn constant_channels(&self) -> usize {
        self.constant.iter().map(|(_, n)| n).sum()
    }

    /// Channels of a row.
    pub fn channels(&self) -> usize {
        let features = self.positions.as_ref().map_or(0, FourierPositions::channels);
        self.content + features + self.constant_channels()
    }

    /// The columns that stand for the row.
    pub fn factors(&self) -> Factors {
        let mut axes = [1; 3];
        let lengths = self.positions.as_ref().map_or(&[][..], |p| &p.axes);
        axes[..lengths.len()].copy_from_slice(lengths);
        Factors { content: self.content, dimensions: lengths.len(), axes }
    }

    /// Channel of entry `entry` of the table of an axis: the position, the sines, the cosines.
    pub fn feature_channel(&self, axis: usize, entry: usize) -> usize {
        let Some(p) = &self.positions else {
            return self.content;
        };
        let (d, bands) = (p.axes.len(), p.bands);
        self.content
            + match entry {
                0 => axis,
                e if e <= bands => d + axis * bands + (e - 1),
                e => d + (d + axis) * bands + (e - 1 - bands),
            }
    }
}

/// The long side of a cross-attention: modalities side by side, each with columns of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fold {
    /// The LayerNorm of the rows: its tensors begin with this.
    pub norm: String,
    /// Channels of a row, the same in all modalities.
    pub channels: usize,
    /// The modalities, in the order of their columns.
    pub modalities: Vec<Factored>,
}

impl Fold {
    /// First column of each modality, and the columns of all.
    pub fn columns(&self) -> (Vec<usize>, usize) {
        let mut starts = Vec::with_capacity(self.modalities.len());
        let mut end = 0;
        for modality in &self.modalities {
            starts.push(end);
            end += modality.factors().columns();
        }
        (starts, end)
    }

    /// Names and shapes of the tensors that every use of it needs.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = vec![
            (format!("{}.weight", self.norm), vec![self.channels]),
            (format!("{}.bias", self.norm), vec![self.channels]),
        ];
        let constants = self.modalities.iter().flat_map(|m| &m.constant);
        tensors.extend(constants.map(|(name, channels)| (name.clone(), vec![1, *channels])));
        tensors
    }
}

/// A linear layer by name: weight `NAME.weight` `[output, input]` and bias `NAME.bias` `[output]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Named {
    /// The tensors begin with this.
    pub name: String,
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
}

impl Named {
    pub(super) fn tensors(&self) -> [(String, Vec<usize>); 2] {
        [
            (format!("{}.weight", self.name), vec![self.output, self.input]),
            (format!("{}.bias", self.name), vec![self.output]),
        ]
    }
}

/// A folded array.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Folded {
    /// Encoder: from projected queries to folded queries, `[heads·pad(width), heads·columns]`, each
    /// head by itself. `key` projects the rows.
    Keys {
        /// The rows.
        fold: Fold,
        /// Key projection.
        key: Named,
        /// Heads of queries and keys.
        heads: HeadLayout,
    },
    /// Encoder: from sums over the rows to the attention's output, `[heads·columns, output]`.
    Values {
        /// The rows.
        fold: Fold,
        /// Value projection.
        value: Named,
        /// Output projection.
        output: Named,
        /// Heads.
        heads: usize,
    },
    /// Decoder: from normalised latents to folded keys, `[latent channels, columns]`, and the score
    /// that a key has whatever the query, in the column after each constant.
    Queries {
        /// The rows.
        fold: Fold,
        /// Query projection.
        query: Named,
        /// Key projection of the latents.
        key: Named,
    },
    /// Two linear layers as one: weight `[input, output]`.
    Composed {
        /// Applied first.
        first: Named,
        /// Applied to its result.
        second: Named,
    },
    /// The bias `[1, columns]` that goes with one of these weights.
    Bias(Box<Folded>),
    /// Sum and sum of squares of each table row, axis after axis, and of the constant:
    /// `[Σ axes + 1, 2]`.
    Moments {
        /// The rows.
        rows: Factored,
    },
    /// Learned vectors one after the other, `[1, Σ channels]`.
    Constant {
        /// Tensor names and channels.
        parts: Vec<(String, usize)>,
    },
}

impl Folded {
    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Folded::Keys { fold, heads, .. } => {
                [heads.heads * heads.stride(), heads.heads * fold.columns().1]
            }
            Folded::Values { fold, output, heads, .. } => [heads * fold.columns().1, output.output],
            Folded::Queries { fold, key, .. } => [key.input, fold.columns().1],
            Folded::Composed { first, second } => [first.input, second.output],
            Folded::Bias(weight) => [1, weight.shape()[1]],
            Folded::Moments { rows } => {
                let axes = rows.positions.as_ref().map_or(0, |p| p.axes.iter().sum());
                [axes + 1, 2]
            }
            Folded::Constant { parts } => [1, parts.iter().map(|(_, n)| n).sum()],
        }
    }

    /// Names and shapes of the tensors that it needs.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (fold, layers) = match self {
            Folded::Keys { fold, key, .. } => (Some(fold), vec![key]),
            Folded::Values { fold, value, output, .. } => (Some(fold), vec![value, output]),
            Folded::Queries { fold, query, key } => (Some(fold), vec![query, key]),
            Folded::Composed { first, second } => (None, vec![first, second]),
            Folded::Bias(weight) => return weight.tensors(),
            Folded::Moments { rows: Factored { constant: parts, .. } }
            | Folded::Constant { parts } => {
                return parts.iter().map(|(name, n)| (name.clone(), vec![1, *n])).collect();
            }
        };
        let rows = fold.map_or_else(Vec::new, Fold::tensors);
        rows.into_iter().chain(layers.into_iter().flat_map(Named::tensors)).collect()
    }
}
