//! Rows of inputs and of queries, as data.

use serde::{Deserialize, Serialize};

use crate::graph::{Factored, FourierPositions, Spacing};
use crate::kernels::convolution::Convolution;
use crate::kernels::max_pool::MaxPool;

/// Sides of pictures for a convolution.
pub(super) const PICTURE_SIDES: std::ops::RangeInclusive<usize> = 5..=1 << 14;

/// Rows of one modality, or rows that ask for an output: content, then positions, then a constant tail,
/// each optional.
///
/// The constructors here are for [`PerceiverBuilder`](super::PerceiverBuilder): they leave inputs without
/// names and give tensors names that the builder completes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modality {
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub varies: bool,
    /// Axes that given rows come with, the usual ones, in a list of arrays: its steps may take them apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<usize>,
    /// Sets of given rows whose elements all are this number come out as that number, whatever is made of them: a set are the
    /// rows along the last axis. Lists of arrays alone heed it, for inputs that the host writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<f32>,
}

/// What a row begins with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
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
    /// Sine and cosine positions of a grid that the user gives: i64 `[batch, 2]`, or `[2]` if all items share it, height and
    /// width. Half of the channels are of the column, half of the row; of each half the first half are sines. Rows beyond the
    /// grid are zeros, and a mask leaves them out.
    SinCos {
        /// Name of the input.
        input: String,
        /// The input whose rows lie on the grid, line by line.
        of: String,
        /// Channels, a multiple of four.
        channels: usize,
        /// Base of the wavelengths.
        base: u32,
        /// Whether all items have the same grid.
        shared: bool,
    },
    /// How many rows of another input count, from the first on: i64 `[1]`, which all items share; left out, all. It is one row
    /// of one channel, the natural logarithm of the number, and its mask has as many ones as there are rows that count. Of
    /// rows that come with axes it counts those along the last.
    FirstRows {
        /// Name of the input.
        input: String,
        /// The other input.
        of: String,
        /// Rows of the other input, the usual ones if they vary.
        rows: usize,
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
    #[doc(hidden)]
    pub fn input(&self) -> Option<&str> {
        match self {
            Content::Given { input, .. }
            | Content::Linear { input, .. }
            | Content::Tokens { input, .. }
            | Content::SinCos { input, .. }
            | Content::FirstRows { input, .. }
            | Content::Convolution { input, .. } => Some(input),
            Content::None | Content::Learned { .. } => None,
        }
    }

    /// Columns.
    #[doc(hidden)]
    pub fn channels(&self) -> usize {
        match self {
            Content::None => 0,
            Content::FirstRows { .. } => 1,
            Content::Given { channels, .. }
            | Content::SinCos { channels, .. }
            | Content::Tokens { channels, .. }
            | Content::Learned { channels, .. } => *channels,
            Content::Linear { out, .. } | Content::Convolution { out, .. } => *out,
        }
    }
}

/// How a row says where it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Positions {
    /// Not at all.
    #[default]
    None,
    /// Fourier features of the position on a grid (paper, appendix D).
    Fourier(FourierPositions),
    /// Sines, cosines and position on every axis that given rows come with, axis by axis; positions are from -1 to 1, and
    /// frequencies evenly from 1 to the highest, in half turns.
    Waves {
        /// How many axes.
        axes: usize,
        /// Frequencies of an axis.
        bands: usize,
        /// The highest frequency.
        highest: f32,
    },
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
    #[doc(hidden)]
    pub fn channels(&self) -> usize {
        match self {
            Positions::None => 0,
            Positions::Fourier(positions) => positions.channels(),
            Positions::Waves { axes, bands, .. } => {
                bands.saturating_mul(2).saturating_add(1).saturating_mul(*axes)
            }
            Positions::Table { channels, .. } => *channels,
            Positions::Learned { out, .. } => *out,
        }
    }
}

impl Modality {
    /// Rows that are nothing but their positions.
    #[must_use]
    pub fn bare(name: &str, rows: usize) -> Self {
        Modality {
            name: name.to_owned(),
            count: rows,
            content: Content::None,
            positions: Positions::None,
            constant: Vec::new(),
            points: None,
            mask: None,
            varies: false,
            axes: Vec::new(),
            skipped: None,
        }
    }

    /// An array `[batch, rows, channels]` as it is.
    #[must_use]
    pub fn given(name: &str, rows: usize, channels: usize) -> Self {
        Self::bare(name, rows).with_input("", channels)
    }

    /// An array `[batch, rows, channels]` through a linear layer to `out` channels.
    #[must_use]
    pub fn linear(name: &str, rows: usize, channels: usize, out: usize) -> Self {
        Self::bare(name, rows).with_content(Content::Linear {
            input: String::new(),
            channels,
            layer: "linear".to_owned(),
            out,
            unit_window: false,
        })
    }

    /// Numbers `[batch, length]` below `vocabulary`, embedded, with learned positions added.
    #[must_use]
    pub fn tokens(name: &str, length: usize, vocabulary: usize, channels: usize) -> Self {
        Self::bare(name, length).with_content(Content::Tokens {
            input: String::new(),
            table: "embeddings".to_owned(),
            vocabulary,
            positions: "added_positions".to_owned(),
            most: length,
            channels,
        })
    }

    /// Features of a picture `[batch, channels, height, width]` at a quarter of its size: 7×7
    /// convolution of stride 2, batch norm, ReLU, 3×3 max pool of stride 2.
    #[must_use]
    pub fn convolution(name: &str, image: [usize; 2], channels: usize, out: usize) -> Self {
        let rows = feature_grid(image).iter().product();
        Self::bare(name, rows).with_content(Content::Convolution {
            input: String::new(),
            image,
            channels,
            layer: String::new(),
            out,
        })
    }

    /// A learned vector for each row.
    #[must_use]
    pub fn learned(name: &str, rows: usize, channels: usize) -> Self {
        Self::bare(name, rows)
            .with_content(Content::Learned { tensor: "content".to_owned(), channels })
    }

    /// With a learned vector per row after the content.
    #[must_use]
    pub fn trainable_positions(mut self, channels: usize) -> Self {
        self.positions = Positions::Table { tensor: "positions".to_owned(), channels };
        self
    }

    /// With Fourier features of the row's place on a grid of 1 to 3 axes, slowest first: positions from
    /// -1 to 1, frequencies up to half of each axis' length (paper, appendix D).
    #[must_use]
    pub fn fourier(self, axes: &[usize], bands: usize) -> Self {
        self.fourier_of(axes, axes, bands, Spacing::Ends)
    }

    /// With Fourier features on a grid, frequencies up to half of `resolution`.
    pub(in crate::perceiver) fn fourier_of(
        self,
        axes: &[usize],
        resolution: &[usize],
        bands: usize,
        spacing: Spacing,
    ) -> Self {
        let (axes, max_resolution) = (axes.to_vec(), resolution.to_vec());
        self.fourier_with(FourierPositions { axes, max_resolution, bands, spacing })
    }

    /// With Fourier features of any kind.
    #[must_use]
    pub fn fourier_with(mut self, positions: FourierPositions) -> Self {
        self.positions = Positions::Fourier(positions);
        self
    }

    /// Rows are cells of the Fourier grid that the caller chooses: an input `NAME.points` (of an output
    /// `points.NAME`), i64 `[rows]`.
    #[must_use]
    pub fn points(mut self) -> Self {
        self.points = Some(String::new());
        self
    }

    /// Rows may be missing: an input `NAME.mask`, i64 `[batch, rows]`, 0 where a row does not count.
    #[must_use]
    pub fn mask(mut self) -> Self {
        self.mask = Some(format!("{}.mask", self.name));
        self
    }

    /// A run may have more rows or fewer, as many as its tensor has (tokens: no more than were said).
    /// Fourier positions then span the grid that there is: rows on a grid of several axes come as
    /// `[batch, axes.., channels]`, pictures in their size.
    #[must_use]
    pub fn varies(mut self) -> Self {
        self.varies = true;
        self
    }

    pub(in crate::perceiver) fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    pub(in crate::perceiver) fn with_input(self, input: &str, channels: usize) -> Self {
        self.with_content(Content::Given { input: input.to_owned(), channels })
    }

    /// With one more learned vector at the end.
    pub(in crate::perceiver) fn with_constant(mut self, tensor: &str, channels: usize) -> Self {
        self.constant.push((tensor.to_owned(), channels));
        self
    }

    /// With the builder's names, as an input or as queries.
    pub(super) fn named(&self, asks: bool) -> Self {
        let name = &self.name;
        let (prefix, own_input, points) = if asks {
            let prefix = format!("outputs.{name}.query");
            (prefix, format!("queries.{name}"), format!("points.{name}"))
        } else {
            let prefix = format!("inputs.{name}");
            (prefix, name.clone(), format!("{name}.points"))
        };
        let complete = |leaf: &mut String| *leaf = format!("{prefix}.{leaf}");
        let mut whole = self.clone();
        match &mut whole.content {
            Content::None => {}
            Content::Given { input, .. } => *input = own_input,
            Content::Linear { input, layer, .. } => {
                *input = own_input;
                complete(layer);
            }
            Content::SinCos { input, .. } | Content::FirstRows { input, .. } => *input = own_input,
            Content::Tokens { input, table, positions, .. } => {
                *input = own_input;
                complete(table);
                complete(positions);
            }
            Content::Convolution { input, layer, .. } => {
                *input = own_input;
                layer.clone_from(&prefix);
            }
            Content::Learned { tensor, .. } => complete(tensor),
        }
        match &mut whole.positions {
            Positions::None | Positions::Fourier(_) | Positions::Waves { .. } => {}
            Positions::Table { tensor, .. } => complete(tensor),
            Positions::Learned { tensor, layer, .. } => {
                complete(tensor);
                complete(layer);
            }
        }
        whole.points = self.points.as_ref().map(|_| points);
        whole
    }

    /// The array that says which rows count, if one does.
    pub(crate) fn mask_input(&self) -> Option<String> {
        match &self.content {
            Content::SinCos { input, shared: false, .. } | Content::FirstRows { input, .. } => {
                Some(format!("{input} mask"))
            }
            _ => self.mask.clone(),
        }
    }

    /// Columns of a row.
    #[doc(hidden)]
    pub fn channels(&self) -> usize {
        let constant: usize = self.constant.iter().map(|(_, n)| n).sum();
        self.content.channels() + self.positions.channels() + constant
    }

    /// What the rows are made of on the folded route. Rows with a vector each count as content.
    pub(crate) fn factored(&self) -> Factored {
        let positions = match &self.positions {
            Positions::None => None,
            Positions::Fourier(positions) => Some(positions.clone()),
            Positions::Learned { .. } | Positions::Table { .. } | Positions::Waves { .. } => {
                let content = self.channels();
                return Factored { content, positions: None, constant: Vec::new() };
            }
        };
        Factored { content: self.content.channels(), positions, constant: self.constant.clone() }
    }
}

/// Height and width of the features of [`Modality::convolution`]; 0 for pictures that are too small or
/// too large to have any.
#[doc(hidden)]
pub fn feature_grid(image: [usize; 2]) -> [usize; 2] {
    if image.iter().any(|side| !PICTURE_SIDES.contains(side)) {
        return [0, 0];
    }
    convolution(1, image, 1, 1).1.output()
}

/// Arguments of [`Content::Convolution`].
pub(in crate::perceiver) fn convolution(
    batch: usize,
    [height, width]: [usize; 2],
    inner: usize,
    cols: usize,
) -> (Convolution, MaxPool) {
    let args = Convolution {
        batch,
        height,
        width,
        inner,
        cols,
        side: 7,
        stride: 2,
        padding: 3,
        relu: true,
    };
    let [height, width] = args.output();
    let pool = MaxPool { batch, height, width, cols, side: 3, stride: 2 };
    (args, pool)
}
