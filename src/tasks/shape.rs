//! Shapes from latents: signed distances or occupancy at any points, and on a grid layer by layer.
//!
//! Points go through in chunks of a few sizes, so that memory depends on a chunk and on two layers of the grid, not on the
//! grid.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::model::{Latents, Model, RunOptions};
use crate::perceiver::Description;
use crate::perceiver::blueprint::InputKind;
use crate::tensor::{NamedTensors, Tensor};

/// Points of a chunk.
const CHUNK: usize = 1 << 14;
/// Points that are gathered from layers before they are read: the last chunk is then a small part of them.
const TOGETHER: usize = 4 * CHUNK;
/// Numbers of the layers that are gathered at most.
const LAYERS: usize = 1 << 22;
/// Most cells along a side of a grid.
const MOST_CELLS: usize = 4096;

/// Reads a shape from its latents; works for every model of arrays that makes one number of a point's three coordinates.
///
/// ```
/// # use perceiver::{Engine, tasks::{Grid, ShapeDecoder}, stream::Latents, NamedTensors, RunOptions};
/// # use perceiver::checkpoint::read_tensors;
/// let model = Engine::cpu().load("models/shape-tiny")?;
/// let points = read_tensors("models/shape-tiny/example.safetensors")?;
/// let (_, latents) = model.encode(&points, RunOptions::default(), &mut |_, _| {})?;
/// let mut shape = ShapeDecoder::new(&model, &latents[0])?;
/// let values = shape.values(&[[0.0, 0.0, 0.0], [0.9, 0.9, 0.9]], &mut |_, _| {})?;
/// assert!(values[1] < 0.0, "far outside");
/// # Ok::<(), perceiver::Error>(())
/// ```
#[derive(Debug)]
pub struct ShapeDecoder {
    model: Model,
    /// The latents, and points while they are read.
    inputs: NamedTensors,
    /// Names of the points and of the output.
    points: String,
    output: String,
}

/// A cube of space, divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Cells along a side; points are one more.
    pub cells: usize,
    /// Where it begins and ends, on every axis.
    pub bounds: [f32; 2],
    /// Cells along a side of a block that is looked at as a whole first: only blocks that the surface passes, and their
    /// neighbours, are read point by point. 1 reads every point.
    pub block: usize,
}

impl Grid {
    /// Points along a side.
    #[must_use]
    pub fn points(&self) -> usize {
        self.cells + 1
    }

    fn place(&self, i: usize) -> f32 {
        let [from, to] = self.bounds;
        from + (to - from) * (i as f32 / self.cells as f32)
    }

    fn check(&self) -> Result<()> {
        let [from, to] = self.bounds;
        let within = (1..=MOST_CELLS).contains(&self.cells)
            && (from.is_finite() && to.is_finite() && from < to)
            && self.block >= 1
            && self.cells.is_multiple_of(self.block);
        if within {
            return Ok(());
        }
        let what = format!("is {self:?}");
        let expected = format!(
            "1 to {MOST_CELLS} cells, in whole blocks, between two finite numbers of which the first is less"
        );
        Err(Error::input("grid", what, expected))
    }
}

impl ShapeDecoder {
    /// A decoder of one item's latents.
    ///
    /// # Errors
    /// [`Error::Input`] for models that do not make one number of a point, and latents of another shape.
    pub fn new(model: &Model, latents: &Latents) -> Result<Self> {
        let expected = "a model of arrays that makes one number of latents and points";
        let bad = |what: String| Error::input("model", what, expected);
        let whole = match model.description() {
            Description::Blueprint(blueprint) => blueprint.latents_array(),
            Description::Config(_) => None,
        };
        let array = whole.ok_or_else(|| bad("is no model of arrays".to_owned()))?;
        let part = model.starting_at(array)?;
        let Description::Blueprint(blueprint) = part.description() else {
            return Err(bad("is no model of arrays".to_owned()));
        };
        let inputs = blueprint.input_shapes();
        let points = inputs.iter().find(|shape| shape.name != array);
        let is_point = |kind| matches!(kind, InputKind::Rows { channels: 3, .. });
        let points = points.filter(|p| inputs.len() == 2 && p.varies && is_point(p.kind));
        let points = points.ok_or_else(|| bad("reads other inputs than points".to_owned()))?;
        let results: Vec<_> = blueprint.outputs.iter().filter(|o| !o.intermediate).collect();
        let [output] = results.as_slice() else {
            return Err(bad(format!("has {} outputs", results.len())));
        };
        let [rows, channels] = latents.shape();
        let latents = Tensor::f32(vec![1, rows, channels], latents.as_slice().to_vec())?;
        let inputs = NamedTensors::from([(array.to_owned(), latents)]);
        let (points, output) = (points.name.clone(), output.name.clone());
        Ok(ShapeDecoder { inputs, points, output, model: part })
    }

    /// The model's number at each of these points.
    ///
    /// # Errors
    /// Those of [`Model::run_with`]; [`Error::Input`] where it makes several numbers of a point.
    pub fn values(
        &mut self,
        points: &[[f32; 3]],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(points.len());
        for chunk in points.chunks(CHUNK) {
            // Few different sizes, for each of which a session is kept.
            let size = chunk.len().next_power_of_two().max(64);
            let mut rows = chunk.as_flattened().to_vec();
            rows.resize(3 * size, 0.0);
            self.inputs.insert(self.points.clone(), Tensor::f32(vec![1, size, 3], rows)?);
            let options = RunOptions::default();
            let outputs = self.model.run_with(&self.inputs, options, &mut |_, _| {})?;
            let found = outputs.get(&self.output).and_then(|t| t.as_f32()).unwrap_or(&[]);
            if found.len() != size {
                let what = format!("makes {} numbers of {size} points", found.len());
                return Err(Error::input("model", what, "one number of a point"));
            }
            values.extend_from_slice(&found[..chunk.len()]);
            progress(values.len() as u64, points.len() as u64);
        }
        Ok(values)
    }

    /// The numbers on a grid, layer by layer along the last axis: `layer` gets each layer's, the first axis fastest. Points of
    /// blocks that were not read have the number of a corner of their block.
    ///
    /// # Errors
    /// As [`ShapeDecoder::values`]; [`Error::Input`] for a grid that makes no sense; what `layer` gives.
    pub fn grid(
        &mut self,
        grid: &Grid,
        layer: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        grid.check()?;
        let blocks = if grid.block > 1 { Some(self.blocks(grid)?) } else { None };
        let n = grid.points();
        let most = (LAYERS / (n * n)).max(1);
        let mut next = 0;
        while next < n {
            // Layers with few points to read go together, since the last chunk of a reading is filled up.
            let first = next;
            let (mut values, mut wanted, mut points) = (Vec::new(), Vec::new(), Vec::new());
            while next < n && next - first < most && points.len() < TOGETHER {
                for (y, x) in (0..n).flat_map(|y| (0..n).map(move |x| (y, x))) {
                    let corner = blocks.as_ref().and_then(|blocks| blocks.corner([x, y, next]));
                    if corner.is_none() {
                        wanted.push(values.len());
                        points.push([x, y, next].map(|i| grid.place(i)));
                    }
                    values.push(corner.unwrap_or(0.0));
                }
                next += 1;
            }
            let found = self.values(&points, &mut |_, _| {})?;
            for (at, value) in wanted.into_iter().zip(found) {
                values[at] = value;
            }
            for (z, values) in (first..next).zip(values.chunks_exact(n * n)) {
                layer(z, values)?;
                progress(z as u64 + 1, n as u64);
            }
        }
        Ok(())
    }

    /// The corners of all blocks, and which blocks are to be read.
    fn blocks(&mut self, grid: &Grid) -> Result<Blocks> {
        let side = grid.cells / grid.block;
        let n = side + 1;
        // Corners, where they are, and which blocks are read.
        crate::memory::allow("the corners of blocks", (n * n * n) as u64 * (4 + 12 + 1))?;
        let at = |i: usize| [i % n, i / n % n, i / (n * n)];
        let points: Vec<[f32; 3]> =
            (0..n * n * n).map(|i| at(i).map(|i| grid.place(i * grid.block))).collect();
        let corners = self.values(&points, &mut |_, _| {})?;
        let inside = |[x, y, z]: [usize; 3]| corners[(z * n + y) * n + x] > 0.0;
        let mut read = vec![false; side * side * side];
        for block in 0..read.len() {
            let [x, y, z] = [block % side, block / side % side, block / (side * side)];
            let first = inside([x, y, z]);
            let passes =
                (1..8).any(|c| inside([x + (c & 1), y + (c >> 1 & 1), z + (c >> 2)]) != first);
            if !passes {
                continue;
            }
            // The surface may bulge into a neighbour between its corners.
            let around = |i: usize| -> Range<usize> { i.saturating_sub(1)..(i + 2).min(side) };
            for (z, y) in around(z).flat_map(|z| around(y).map(move |y| (z, y))) {
                for x in around(x) {
                    read[(z * side + y) * side + x] = true;
                }
            }
        }
        Ok(Blocks { side, block: grid.block, corners, read })
    }
}

/// Blocks of cells: what their corners have, and which are to be read.
struct Blocks {
    side: usize,
    block: usize,
    corners: Vec<f32>,
    read: Vec<bool>,
}

impl Blocks {
    /// The corner's number for a point of which no block is to be read.
    fn corner(&self, point: [usize; 3]) -> Option<f32> {
        // A point on the border belongs to the blocks on both sides.
        let of = |i: usize| -> Range<usize> {
            let last = (i / self.block).min(self.side - 1);
            let first = if i.is_multiple_of(self.block) { last.saturating_sub(1) } else { last };
            if i / self.block == self.side { last..last + 1 } else { first..last + 1 }
        };
        let [x, y, z] = point.map(of);
        for (z, y) in z.clone().flat_map(|z| y.clone().map(move |y| (z, y))) {
            if x.clone().any(|x| self.read[(z * self.side + y) * self.side + x]) {
                return None;
            }
        }
        let n = self.side + 1;
        let [x, y, z] = [x.start, y.start, z.start];
        Some(self.corners[(z * n + y) * n + x])
    }
}
