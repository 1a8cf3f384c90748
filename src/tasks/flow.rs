//! Optical flow of two frames of any size.
//!
//! `flow(x, y)` is where the point at (x, y) of the first frame has gone, in pixels to the right and
//! down: `first(p) = second(p + flow(p))`. Frames larger than the network's size are run in tiles
//! that overlap. Frames smaller than it, which the published pipeline does not allow, are
//! put in the middle of a frame of that size with their border pixels repeated outwards, and the
//! flow is cut out again. With [`FlowOptions::one_pass`] frames of any size go through whole.
//!
//! ```no_run
//! # fn example(model: &perceiver::Model) -> perceiver::Result<()> {
//! use perceiver::media::Frame;
//! use perceiver::tasks::{FlowOptions, OpticalFlow};
//! let first = Frame::from_fn(64, 48, |x, y| [(4 * x) as u8, (5 * y) as u8, 90])?;
//! let second = Frame::from_fn(64, 48, |x, y| [(4 * x + 4) as u8, (5 * y) as u8, 90])?;
//! let flow = OpticalFlow::new(model)?;
//! let found = flow.flow(&first, &second, &FlowOptions::default(), &mut |_, _| ())?;
//! println!("the corner moved by {:?} pixels", found.vectors()[0]);
//! # Ok(()) }
//! ```

use super::flow_tiles::{Blend, FLOW_SCALE, Tiles, pixel_rows, same_size};
use super::{Network, Run};
use crate::error::{Error, Result};
use crate::graph::{Waiting, blocking};
use crate::media::Frame;
use crate::model::{Model, RunOptions};
use crate::perceiver::Architecture;
use crate::perceiver::official::optical_flow::{FRAMES, PATCHES};
use crate::perceiver::official::{LONGEST_SIDE, optical_flow};
use crate::stream::Queries;
use crate::tensor::NamedTensors;

/// One vector for every pixel.
///
/// Invariant: both sides are at least one pixel and at most `i32::MAX`, and there are exactly
/// width × height vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowField {
    width: usize,
    height: usize,
    vectors: Vec<[f32; 2]>,
}

impl FlowField {
    /// A field of vectors (right, down) in pixels, rows from the top.
    ///
    /// # Errors
    /// [`Error::Input`] when a side is zero or more than `i32::MAX`, or the number of vectors is not
    /// width × height.
    pub fn new(width: usize, height: usize, vectors: Vec<[f32; 2]>) -> Result<Self> {
        let side = 1..=i32::MAX as usize;
        if !side.contains(&width)
            || !side.contains(&height)
            || width.checked_mul(height) != Some(vectors.len())
        {
            let what = format!("{} vectors for {width}×{height} pixels", vectors.len());
            return Err(Error::input("flow", what, "at least one pixel, and one vector for each"));
        }
        Ok(FlowField { width, height, vectors })
    }

    /// Vectors in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// All vectors, row by row: pixels to the right, pixels down.
    #[must_use]
    pub fn vectors(&self) -> &[[f32; 2]] {
        &self.vectors
    }

    /// The mean distance between the vectors of two fields, in pixels: the usual measure of optical
    /// flow.
    ///
    /// # Errors
    /// [`Error::Input`] when the fields differ in size.
    pub fn end_point_error(&self, other: &FlowField) -> Result<f64> {
        if (self.width, self.height) != (other.width, other.height) {
            let [a, b] = [self, other].map(|f| format!("{}×{}", f.width, f.height));
            let what = format!("{a} vectors and {b}");
            return Err(Error::input("flow", what, "two fields of one size"));
        }
        let distances = self.vectors.iter().zip(&other.vectors).map(|(a, b)| {
            let [x, y] = [0, 1].map(|i| f64::from(a[i]) - f64::from(b[i]));
            x.hypot(y)
        });
        Ok(distances.sum::<f64>() / self.vectors.len() as f64)
    }

    /// The part of `width` × `height` vectors at (left, top), which must be inside.
    fn crop(self, left: usize, top: usize, width: usize, height: usize) -> Result<FlowField> {
        if (width, height) == (self.width, self.height) {
            return Ok(self);
        }
        let rows = self.vectors.chunks_exact(self.width).skip(top).take(height);
        let vectors = rows.flat_map(|row| row.iter().skip(left).take(width).copied());
        FlowField::new(width, height, vectors.collect())
    }
}

/// How to compute flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowOptions {
    /// How many pixels neighbouring tiles share; `None` is the pipeline's 20, or a quarter of the
    /// tile's shorter side where that is less. More is smoother and slower.
    pub overlap: Option<usize>,
    /// How many tiles go through the network together. More need more memory.
    pub tiles_per_batch: usize,
    /// The whole frame in one pass instead of tiles, whatever its size: every pixel sees every other.
    /// Positions are interpolated, which the published weights were not trained for; rows and queries
    /// are streamed, so that memory hardly grows with the frame.
    pub one_pass: bool,
}

impl Default for FlowOptions {
    fn default() -> Self {
        FlowOptions { overlap: None, tiles_per_batch: 1, one_pass: false }
    }
}

/// The pipeline: a flow network that takes frames of any size.
#[derive(Debug, Clone)]
pub struct OpticalFlow {
    model: Model,
}

impl OpticalFlow {
    /// The pipeline with a model.
    ///
    /// # Errors
    /// [`Error::Input`] when the model is of another architecture.
    pub fn new(model: &Model) -> Result<Self> {
        super::expect_architecture(model, Architecture::OpticalFlow, "optical flow")?;
        Ok(OpticalFlow { model: model.clone() })
    }

    /// The flow from the first frame to the second.
    ///
    /// `progress` hears (done, total) in floating-point operations of all tiles.
    ///
    /// # Errors
    /// [`Error::Input`] when the frames differ in size, the overlap is not less than a tile's
    /// shorter side, `tiles_per_batch` is zero, or the network's answer is not finite; whatever
    /// [`Model::run`] reports.
    pub fn flow(
        &self,
        first: &Frame,
        second: &Frame,
        options: &FlowOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<FlowField> {
        if options.one_pass {
            return self.one_pass(first, second, progress);
        }
        let tile = self.model.config()?.train_size;
        let progress = |done, total| progress(done, total);
        let mut network = Network::Model(&self.model, Waiting::Block);
        blocking(flow_by(first, second, tile, options, progress, &mut network))
    }

    /// As [`OpticalFlow::flow`] in tiles, awaited as [`Model::run_async`] is.
    ///
    /// # Errors
    /// As [`OpticalFlow::flow`] and [`Model::run_async`]; [`Error::Input`] for one pass, which blocks.
    pub async fn flow_async(
        &self,
        first: &Frame,
        second: &Frame,
        options: &FlowOptions,
    ) -> Result<FlowField> {
        let tile = self.model.config()?.train_size;
        let mut network = Network::Model(&self.model, Waiting::Await);
        flow_by(first, second, tile, options, |_, _| {}, &mut network).await
    }

    /// The flow of whole frames: rows are pushed and queries decoded in chunks, each made when its
    /// turn comes. `progress` hears rows, counted once for encode and once for decode.
    fn one_pass(
        &self,
        first: &Frame,
        second: &Frame,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<FlowField> {
        same_size(first, second)?;
        let (width, height) = (first.width(), first.height());
        let sides = 1..=LONGEST_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            let what = format!("{width}×{height} pixels");
            return Err(Error::input("frame", what, format!("sides to {LONGEST_SIDE}")));
        }
        let sizes = optical_flow::sizes_of(self.model.config()?, [height, width]);
        let pixels = width * height;
        let total = 2 * pixels as u64;
        let mut encoder = self.model.encoder(&sizes)?;
        let chunk = encoder.chunk_rows(optical_flow::FRAME).unwrap_or(pixels);
        for from in (0..pixels).step_by(chunk.max(1)) {
            let to = pixels.min(from + chunk);
            let rows = pixel_rows(first, second, from..to)?;
            encoder.push(optical_flow::FRAME, from, &rows)?;
            progress(to as u64, total);
        }
        let latents = encoder.finish()?;
        let mut decoder = self.model.decoder(&sizes, &latents)?;
        let mut vectors = Vec::with_capacity(pixels);
        let queries = Queries::Range(0..pixels);
        for chunk in decoder.stream_with("logits", queries, |r| pixel_rows(first, second, r))? {
            let rows = chunk?.rows;
            for vector in rows.as_f32().unwrap_or(&[]).chunks_exact(2) {
                super::finite("logits", vector, |_| format!("at pixel {}", vectors.len()))?;
                let scaled = [vector[0], vector[1]].map(|x| (f64::from(x) * FLOW_SCALE) as f32);
                vectors.push(scaled);
            }
            progress((pixels + vectors.len()) as u64, total);
        }
        FlowField::new(width, height, vectors)
    }
}

/// [`OpticalFlow::flow`] with anything that answers as a network of size `tile` (height, width)
/// would.
///
/// # Errors
/// As [`OpticalFlow::flow`].
pub fn flow_with<'r>(
    first: &Frame,
    second: &Frame,
    tile: [usize; 2],
    options: &FlowOptions,
    progress: &mut dyn FnMut(u64, u64),
    run: &'r mut Run<'r>,
) -> Result<FlowField> {
    let progress = |done, total| progress(done, total);
    blocking(flow_by(first, second, tile, options, progress, &mut Network::Other(run)))
}

async fn flow_by(
    first: &Frame,
    second: &Frame,
    tile: [usize; 2],
    options: &FlowOptions,
    progress: impl FnMut(u64, u64),
    network: &mut Network<'_>,
) -> Result<FlowField> {
    same_size(first, second)?;
    if options.one_pass {
        let what = "is asked of a network of one size";
        let expected = "tiles; `OpticalFlow::flow` takes a model of any size";
        return Err(Error::input("one_pass", what, expected));
    }
    if options.tiles_per_batch == 0 {
        return Err(Error::input("tiles_per_batch", "0", "at least 1"));
    }
    let [height, width] = tile;
    if first.width() < width || first.height() < height {
        let (grown, left, top) = first.grown(width, height)?;
        let (second, _, _) = second.grown(width, height)?;
        let flow = flow_of_tiles(&grown, &second, tile, options, progress, network).await?;
        return flow.crop(left, top, first.width(), first.height());
    }
    flow_of_tiles(first, second, tile, options, progress, network).await
}

/// The flow of frames that are at least as large as the network.
async fn flow_of_tiles(
    first: &Frame,
    second: &Frame,
    tile: [usize; 2],
    options: &FlowOptions,
    mut progress: impl FnMut(u64, u64),
    network: &mut Network<'_>,
) -> Result<FlowField> {
    let [height, width] = tile;
    let tiles = Tiles::new(first.width(), first.height(), tile, options.overlap)?;
    let mut blend = Blend::new(&tiles);
    let mut before = 0u64;
    let mut left = tiles.as_slice().len();
    for batch in tiles.as_slice().chunks(options.tiles_per_batch) {
        left -= batch.len();
        let inputs = match network {
            // Several would go through one by one.
            Network::Model(..) if batch.len() == 1 => (FRAMES, tiles.frames(first, second, batch)?),
            _ => (PATCHES, tiles.patches(first, second, batch)?),
        };
        let inputs = NamedTensors::from([inputs].map(|(name, tensor)| (name.to_owned(), tensor)));
        let mut spent = 0;
        // What is still to come costs as much per tile as this batch does.
        let of_batch = |done, total: u64| {
            spent = total;
            let later = total / batch.len() as u64 * left as u64;
            let all = before.saturating_add(total).saturating_add(later);
            progress(before.saturating_add(done), all);
        };
        let outputs = network.run(inputs, RunOptions::default(), of_batch).await?;
        before = before.saturating_add(spent);
        let shape = [batch.len(), height, width, 2];
        let flows = super::output_f32(&outputs, "logits", &shape)?;
        for (tile, flow) in batch.iter().zip(flows.chunks_exact(height * width * 2)) {
            blend.add(tile, flow)?;
        }
    }
    FlowField::new(first.width(), first.height(), blend.finish())
}
