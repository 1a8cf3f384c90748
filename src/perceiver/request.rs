//! What a run of a model asks for.

use super::blueprint::RowSizes;
use super::config::PerceiverConfig;
use super::encoder::Route;

/// Sizes of one run that the caller decides; a model reads those that concern it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sizes {
    /// Tokens of a text.
    pub length: usize,
    /// Height and width of a picture; of frames, if `resize_positions`.
    pub image: [usize; 2],
    /// Whether positions are resized to the picture: learned ones, and those of frames.
    pub resize_positions: bool,
    /// Whether frames are given as bytes, whose neighbourhoods the plan makes rows of.
    pub bytes: bool,
    /// Audio patches and video pixels to decode.
    pub points: [usize; 2],
    /// Rows of a blueprint's arrays that vary.
    pub rows: RowSizes,
}

impl Sizes {
    /// What the published examples run a model with: the longest text, pictures of the training's
    /// size, one of 128 chunks of a clip.
    #[doc(hidden)]
    pub fn usual(config: &PerceiverConfig) -> Self {
        (config.architecture.class().usual_sizes)(config)
    }
}

/// What a graph is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// Items per run.
    pub batch: usize,
    /// Sizes of inputs and outputs.
    pub sizes: Sizes,
    /// Most bytes of one array in a window of inputs or queries.
    pub window_bytes: usize,
    /// Whether intermediate arrays are returned too.
    pub intermediates: bool,
    /// Whether projections are folded where that takes fewer operations.
    pub folded: bool,
}

impl Request {
    /// One item in one window by the plain route: for graphs that name tensors and are not run.
    pub(super) fn whole(sizes: Sizes, intermediates: bool) -> Self {
        Request { batch: 1, sizes, window_bytes: usize::MAX / 8, intermediates, folded: false }
    }

    /// How cross-attention is computed.
    pub(super) fn route(&self) -> Route {
        Route { folded: self.folded, keep_rows: self.intermediates }
    }

    /// Rows per window, if the widest row has `columns` columns. Several items have no common
    /// windows: the caller then runs them one by one.
    pub(super) fn window_rows(&self, columns: usize) -> usize {
        if self.batch > 1 {
            return usize::MAX / 2;
        }
        self.window_bytes / (4 * columns.next_multiple_of(4)).max(1)
    }
}
