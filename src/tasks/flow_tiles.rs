//! Tiles: how frames of any size go through a network of one size, and how the results are joined.
//!
//! This is the pipeline of DeepMind's notebook (Perceiver IO, arXiv 2107.14795, appendix on optical
//! flow): overlapping tiles, each weighted by the distance to its own border. Invariants: tiles lie
//! inside the frame and cover it; every pixel's weights are positive.

use std::ops::Range;

use crate::parallel::*;

use crate::error::{Error, Result};
use crate::media::Frame;
use crate::memory::room;
pub use crate::perceiver::official::optical_flow::{FLOW_SCALE, scaled};
use crate::tensor::{Data, Tensor};

/// The overlap of the published pipeline, in pixels.
pub const OVERLAP: usize = 20;
/// Channels of a pixel's 3×3 neighbourhood in one frame.
const CHANNELS: usize = 27;

/// A place of the network in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// How often the tile counts. The pipeline's last step back to the border may land on another
    /// tile; such tiles count twice there, and are run once here.
    pub count: usize,
}

/// The tiles of a frame, and their common size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiles {
    width: usize,
    height: usize,
    tile: [usize; 2],
    tiles: Vec<Tile>,
}

impl Tiles {
    /// Tiles of `tile` (height, width) for a frame of `width` × `height`, rows of tiles from the
    /// top. Neighbours share at least `overlap` pixels; without a number it is [`OVERLAP`], or a
    /// quarter of the tile's shorter side where that is less.
    ///
    /// # Errors
    /// [`Error::Input`] when the frame is smaller than a tile, a size is zero, or the overlap is not
    /// less than the tile.
    pub fn new(
        width: usize,
        height: usize,
        tile: [usize; 2],
        overlap: Option<usize>,
    ) -> Result<Self> {
        let [tile_height, tile_width] = tile;
        let side = tile_height.min(tile_width);
        let overlap = overlap.unwrap_or(OVERLAP.min(side / 4));
        if overlap >= side {
            return Err(Error::input(
                "overlap",
                format!("{overlap} pixels"),
                format!("less than the shorter side of a {tile_width}×{tile_height} tile"),
            ));
        }
        if width < tile_width || height < tile_height {
            let expected = format!("at least one tile of {tile_width}×{tile_height}");
            return Err(Error::input("frame", format!("{width}×{height} pixels"), expected));
        }
        let columns = starts(width, tile_width, overlap);
        let tiles = starts(height, tile_height, overlap).into_iter().flat_map(|(top, rows)| {
            columns.iter().map(move |&(left, cols)| Tile { left, top, count: rows * cols })
        });
        Ok(Tiles { width, height, tile, tiles: tiles.collect() })
    }

    /// Some tiles of two frames as bytes `[tiles, 2, height, width, 3]`, which devices make the network's input of: what
    /// lies outside a tile counts as outside the frame.
    ///
    /// # Errors
    /// [`Error::Input`] when a tile is not inside the frames.
    pub fn frames(&self, first: &Frame, second: &Frame, tiles: &[Tile]) -> Result<Tensor> {
        let [height, width] = self.tile;
        let mut bytes = room("tiles", tiles.len() * 2 * height * width * 3)?;
        for (first, second) in self.parts(first, second, tiles)? {
            bytes.extend_from_slice(first.rgb());
            bytes.extend_from_slice(second.rgb());
        }
        Tensor::new(vec![tiles.len(), 2, height, width, 3], Data::U8(bytes))
    }

    /// The network's input for some tiles of two frames, as [`patches`] makes it.
    ///
    /// # Errors
    /// As [`Tiles::frames`].
    pub fn patches(&self, first: &Frame, second: &Frame, tiles: &[Tile]) -> Result<Tensor> {
        let parts = self.parts(first, second, tiles)?;
        let pairs: Vec<(&Frame, &Frame)> = parts.iter().map(|(a, b)| (a, b)).collect();
        patches(&pairs)
    }

    fn parts(&self, first: &Frame, second: &Frame, tiles: &[Tile]) -> Result<Vec<(Frame, Frame)>> {
        let [height, width] = self.tile;
        let part = |frame: &Frame, t: &Tile| frame.crop(t.left, t.top, width, height);
        tiles.iter().map(|t| Ok((part(first, t)?, part(second, t)?))).collect()
    }

    /// All tiles, at least one, in the order in which [`Blend`] wants their flow.
    pub fn as_slice(&self) -> &[Tile] {
        &self.tiles
    }
}

/// Where tiles start along one axis, and how often each start counts.
fn starts(length: usize, tile: usize, overlap: usize) -> Vec<(usize, usize)> {
    let last = length - tile;
    // As published, but a start beyond `last` is moved back: the published code fails there
    // (1920 pixels with tiles of 496).
    let mut all: Vec<usize> = (0..length).step_by(tile - overlap).map(|s| s.min(last)).collect();
    if let Some(end) = all.last_mut() {
        *end = last;
    }
    let mut counted: Vec<(usize, usize)> = Vec::new();
    for start in all {
        match counted.last_mut() {
            Some((same, count)) if *same == start => *count += 1,
            _ => counted.push((start, 1)),
        }
    }
    counted
}

/// Joins the flow of tiles: a mean in which a tile's pixel weighs as much as it is far from the
/// tile's border.
#[derive(Debug, Clone)]
pub struct Blend<'t> {
    tiles: &'t Tiles,
    sums: Vec<[f64; 2]>,
    weights: Vec<f64>,
}

impl<'t> Blend<'t> {
    /// Nothing joined yet.
    pub fn new(tiles: &'t Tiles) -> Self {
        let pixels = tiles.width * tiles.height;
        Blend { tiles, sums: vec![[0.0; 2]; pixels], weights: vec![0.0; pixels] }
    }

    /// Adds a tile's flow: two numbers for each of its pixels, as the network gives them (without
    /// [`FLOW_SCALE`]).
    ///
    /// # Errors
    /// [`Error::Input`] when there are too few or too many numbers, or one is not finite.
    pub fn add(&mut self, tile: &Tile, flow: &[f32]) -> Result<()> {
        let [height, width] = self.tiles.tile;
        if flow.len() != height * width * 2 {
            let what = format!("{} numbers for a tile", flow.len());
            return Err(Error::input("logits", what, format!("2 × {width} × {height}")));
        }
        let place = |_| format!("in the tile at ({}, {})", tile.left, tile.top);
        super::finite("logits", flow, place)?;
        for (y, row) in flow.chunks_exact(width * 2).enumerate() {
            let first = (tile.top + y) * self.tiles.width + tile.left;
            let sums = self.sums.iter_mut().skip(first);
            let weights = self.weights.iter_mut().skip(first);
            let pixels = row.chunks_exact(2).zip(sums).zip(weights);
            for (x, ((vector, sum), total)) in pixels.enumerate() {
                let border = (x + 1).min(width - x).min(y + 1).min(height - y);
                let weight = (border * tile.count) as f64;
                for (sum, &value) in sum.iter_mut().zip(vector) {
                    *sum += f64::from(value) * FLOW_SCALE * weight;
                }
                *total += weight;
            }
        }
        Ok(())
    }

    /// The joined flow in pixels, row by row. Pixels of tiles that were not added have none: zero.
    pub fn finish(self) -> Vec<[f32; 2]> {
        let sums = self.sums.iter().zip(&self.weights);
        let mean = |(sum, &weight): (&[f64; 2], &f64)| match weight > 0.0 {
            true => sum.map(|s| (s / weight) as f32),
            false => [0.0; 2],
        };
        sums.map(mean).collect()
    }
}

/// The network's input for pairs of frames of one size: `[pairs, 2, 27, height, width]`, where
/// channel `(dy * 3 + dx) * 3 + colour` at (x, y) is the colour at (x + dx - 1, y + dy - 1), scaled
/// to [-1, 1], and zero outside the frame.
///
/// # Errors
/// [`Error::Input`] when there is no pair or the frames differ in size.
pub fn patches(pairs: &[(&Frame, &Frame)]) -> Result<Tensor> {
    let Some((one, _)) = pairs.first() else {
        return Err(Error::input("frames", "there are none", "at least one pair"));
    };
    let (width, height) = (one.width(), one.height());
    let frames: Vec<&Frame> = pairs.iter().flat_map(|&(a, b)| [a, b]).collect();
    for frame in &frames {
        same_size(one, frame)?;
    }
    let scaled = scaled();
    let pixels = width * height;
    let mut values = vec![0.0f32; frames.len() * CHANNELS * pixels];
    values.par_chunks_exact_mut(pixels).enumerate().for_each(|(plane, out)| {
        let (frame, channel) = (plane / CHANNELS, plane % CHANNELS);
        let rgb = frames[frame].rgb();
        let (dy, dx, colour) = (channel / 9, channel / 3 % 3, channel % 3);
        for (y, row) in out.chunks_exact_mut(width).enumerate() {
            let Some(from_y) = (y + dy).checked_sub(1).filter(|&y| y < height) else {
                continue;
            };
            let from = &rgb[from_y * width * 3..][..width * 3];
            for (x, value) in row.iter_mut().enumerate() {
                if let Some(from_x) = (x + dx).checked_sub(1).filter(|&x| x < width) {
                    *value = scaled[usize::from(from[from_x * 3 + colour])];
                }
            }
        }
    });
    Tensor::f32(vec![pairs.len(), 2, CHANNELS, height, width], values)
}

/// The network's input for some pixels of a pair, counted row by row: `[pixels, 54]`, the 27 channels of
/// the first frame that [`patches`] describes, then those of the second.
///
/// # Errors
/// [`Error::Input`] when the frames differ in size or the pixels are not all within them.
pub fn pixel_rows(first: &Frame, second: &Frame, pixels: Range<usize>) -> Result<Tensor> {
    same_size(first, second)?;
    let (width, height) = (first.width(), first.height());
    if pixels.start > pixels.end || pixels.end > width * height {
        let what = format!("{} to {}", pixels.start, pixels.end);
        let expected = format!("pixels within 0 to {}", width * height);
        return Err(Error::input("pixels", what, expected));
    }
    let scaled = scaled();
    let mut values = vec![0.0f32; pixels.len() * 2 * CHANNELS];
    values.par_chunks_exact_mut(2 * CHANNELS).zip(pixels).for_each(|(row, pixel)| {
        let (x, y) = (pixel % width, pixel / width);
        for (frame, row) in [first, second].into_iter().zip(row.chunks_exact_mut(CHANNELS)) {
            for (at, colours) in row.chunks_exact_mut(3).enumerate() {
                let (from_x, from_y) = ((x + at % 3).wrapping_sub(1), (y + at / 3).wrapping_sub(1));
                if let Some(pixel) = frame.pixel(from_x, from_y) {
                    for (to, colour) in colours.iter_mut().zip(pixel) {
                        *to = scaled[usize::from(colour)];
                    }
                }
            }
        }
    });
    Tensor::f32(vec![values.len() / (2 * CHANNELS), 2 * CHANNELS], values)
}

/// An error unless both frames have one size.
pub(super) fn same_size(first: &Frame, second: &Frame) -> Result<()> {
    let ((a, b), (c, d)) = (first.size(), second.size());
    if (a, b) == (c, d) {
        return Ok(());
    }
    Err(Error::input("frames", format!("{a}×{b} pixels and {c}×{d}"), "two frames of one size"))
}
