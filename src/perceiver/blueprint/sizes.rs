//! What a run decides about a blueprint: rows of arrays that vary, and pictures made of blocks.
//!
//! A blueprint with other rows is a blueprint again ([`Blueprint::fitted`]); everything behind it knows
//! fixed sizes only.

use crate::parallel::*;

use super::{Blueprint, Content, Head, Modality, Positions, QuerySource, feature_grid};
use crate::error::{Error, Result};
use crate::tensor::{NamedTensors, Tensor};

/// Arrays of a blueprint that may vary.
pub(super) const MOST_VARYING: usize = 8;

/// Sizes of a blueprint's varying arrays, in the order of inputs and then of heads: rows, or the axes
/// of their grid, or height and width of a picture. Zeros stand for what the blueprint says.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RowSizes(pub [[u32; 3]; MOST_VARYING]);

impl RowSizes {
    /// Whether every array is as the blueprint says.
    #[doc(hidden)]
    pub fn is_usual(&self) -> bool {
        *self == RowSizes::default()
    }
}

impl Blueprint {
    /// All arrays, inputs first.
    pub(super) fn arrays(&self) -> impl Iterator<Item = &Modality> {
        let heads = self.decoders.iter().flat_map(|d| &d.heads);
        let own = heads.filter_map(|h| match &h.queries {
            QuerySource::Array(array) => Some(&**array),
            QuerySource::Input(_) => None,
        });
        self.inputs.iter().chain(own)
    }

    /// The sizes that the tensors of a run ask for.
    ///
    /// # Errors
    /// [`Error::Input`] for rows of a grid that come without its axes.
    #[doc(hidden)]
    pub fn row_sizes(&self, inputs: &NamedTensors) -> Result<RowSizes> {
        let mut sizes = RowSizes::default();
        let varying = self.arrays().filter(|a| a.varies);
        for (size, array) in sizes.0.iter_mut().zip(varying) {
            *size = axes_of(array, inputs)?.unwrap_or_default();
        }
        Ok(sizes)
    }

    /// The same model for arrays of these sizes. It may not hold together:
    /// [`Blueprint::validate`] says so.
    #[doc(hidden)]
    pub fn fitted(&self, sizes: &RowSizes) -> Blueprint {
        let mut fitted = self.clone();
        if sizes.is_usual() {
            return fitted;
        }
        let mut sizes = sizes.0.iter();
        let mut fit = |array: &mut Modality| {
            if array.varies
                && let Some(size) = sizes.next()
                && *size != [0; 3]
            {
                set(array, *size);
            }
        };
        fitted.inputs.iter_mut().for_each(&mut fit);
        for head in fitted.decoders.iter_mut().flat_map(|d| &mut d.heads) {
            if let QuerySource::Array(array) = &mut head.queries {
                fit(array);
            }
        }
        let counts: Vec<(String, usize, usize)> = fitted
            .inputs
            .iter()
            .map(|a| (a.name.clone(), a.count, a.axes.last().copied().unwrap_or(a.count)))
            .collect();
        let counted = |of: &String| counts.iter().find(|(name, ..)| name == of);
        for array in &mut fitted.inputs {
            match &mut array.content {
                Content::SinCos { of, .. } => {
                    array.count = counted(of).map_or(array.count, |&(_, count, _)| count);
                }
                Content::FirstRows { of, rows, .. } => {
                    *rows = counted(of).map_or(*rows, |&(_, _, along)| along);
                }
                _ => {}
            }
        }
        let known = fitted.clone();
        for (decoder, usual) in fitted.decoders.iter_mut().zip(&self.decoders) {
            let mut changed = false;
            let mut rows = 0usize;
            for (head, before) in decoder.heads.iter_mut().zip(&usual.heads) {
                let count = known.queries(head).count;
                rows = rows.saturating_add(count);
                changed |= count != self.queries(before).count;
                if let Some(upsampling) = known.upsampling(head) {
                    let [height, width] = upsampling.image;
                    head.shape.splice(..head.shape.len().min(2), [height, width]);
                } else if count != self.queries(before).count {
                    head.shape.splice(..head.shape.len().min(1), [count]);
                }
            }
            if changed {
                decoder.shape.splice(..decoder.shape.len().min(1), [rows]);
            }
        }
        fitted
    }

    /// How the rows of a head become a picture, if they do.
    pub(crate) fn upsampling(&self, head: &Head) -> Option<Upsampling> {
        Upsampling::of(self.queries(head), head.upsample?)
    }

    /// Puts the blocks of upsampled outputs in their places.
    pub(crate) fn upsample(&self, outputs: &mut NamedTensors) -> Result<()> {
        for head in self.decoders.iter().flat_map(|d| &d.heads) {
            let Some(upsampling) = self.upsampling(head) else {
                continue;
            };
            if let Some(tensor) = outputs.get_mut(&head.output)
                && let Some(rows) = tensor.as_f32()
            {
                let items = tensor.shape().first().copied().unwrap_or(0);
                let mut shape = vec![items];
                shape.extend(&head.shape);
                *tensor = Tensor::f32(shape, upsampling.apply(rows, items))?;
            }
        }
        Ok(())
    }
}

/// Rows, axes or sides that an array's tensor has; `None` where it is as the blueprint says, missing or
/// of a shape that is refused later.
fn axes_of(array: &Modality, inputs: &NamedTensors) -> Result<Option<[u32; 3]>> {
    let input = array.content.input().or(array.points.as_deref());
    let Some((name, tensor)) = input.and_then(|n| Some((n, inputs.get(n)?))) else {
        return Ok(None);
    };
    let found: &[usize] =
        match (&array.content, tensor.shape()) {
            (
                Content::Given { channels, .. } | Content::Linear { channels, .. },
                [_, axes @ .., c],
            ) if c == channels && (1..=3).contains(&axes.len()) => axes,
            // One channel need not be an axis.
            (Content::Given { channels: 1, .. }, [_, axes @ ..]) if axes.len() == 1 => axes,
            // Rows that all items share.
            (
                Content::Given { channels, .. } | Content::Linear { channels, .. },
                [axes @ .., c],
            ) if c == channels && axes.len() == 1 => axes,
            (Content::Tokens { .. }, [_, axes @ ..]) if axes.len() == 1 => axes,
            (Content::Convolution { .. }, [_, _, axes @ ..]) if axes.len() == 2 => axes,
            (Content::None, axes) if axes.len() == 1 => axes,
            _ => return Ok(None),
        };
    if !array.axes.is_empty() {
        return Ok(of_axes(array, found));
    }
    let usual = match (&array.content, &array.positions, &array.points) {
        (Content::Convolution { image, .. }, ..) => found == image,
        (_, Positions::Fourier(grid), None) if grid.axes.len() > 1 => {
            if found != [array.count] && found.len() != grid.axes.len() {
                let what = format!("has shape {:?}", tensor.shape());
                let axes = format!("{} axes of the grid", grid.axes.len());
                let expected = format!("{axes} between batch and channels, since the rows vary");
                return Err(Error::input(name, what, expected));
            }
            found == [array.count] || found == grid.axes
        }
        _ => found == [array.count],
    };
    let mut sizes = [0; 3];
    for (size, &n) in sizes.iter_mut().zip(found) {
        *size = u32::try_from(n).unwrap_or(u32::MAX);
    }
    Ok((!usual).then_some(sizes))
}

/// The axes of a tensor that may have fewer than the array: those that come first are 1.
fn of_axes(array: &Modality, found: &[usize]) -> Option<[u32; 3]> {
    let missing = array.axes.len().checked_sub(found.len())?;
    let mut axes = vec![1; missing];
    axes.extend(found);
    let mut sizes = [0; 3];
    for (size, &n) in sizes.iter_mut().zip(&axes) {
        *size = u32::try_from(n).unwrap_or(u32::MAX);
    }
    (axes != array.axes).then_some(sizes)
}

/// Gives an array other rows.
fn set(array: &mut Modality, size: [u32; 3]) {
    let size = size.map(|n| n as usize);
    if !array.axes.is_empty() {
        let axes = array.axes.len().min(3);
        array.axes.copy_from_slice(&size[..axes]);
        array.count = array.axes.iter().fold(1, |a, &n| a.saturating_mul(n));
        return;
    }
    let mut rows = size[0];
    let mut grid = vec![rows];
    if let Content::Convolution { image, .. } = &mut array.content {
        *image = [size[0], size[1]];
        grid = feature_grid(*image).to_vec();
        rows = grid.iter().product();
    }
    if let (Positions::Fourier(positions), None) = (&mut array.positions, &array.points) {
        let axes = positions.axes.len();
        if axes > grid.len() {
            grid = size[..axes.min(3)].to_vec();
            rows = grid.iter().fold(1, |a, &n| a.saturating_mul(n));
        }
        positions.axes = grid;
    }
    array.count = rows;
}

/// Rows that are blocks of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upsampling {
    /// Blocks from top to bottom and from left to right.
    grid: [usize; 2],
    block: [usize; 2],
    /// Height and width.
    pub(crate) image: [usize; 2],
}

impl Upsampling {
    /// Blocks of this size in place of an array's rows: features of a picture give the picture's size,
    /// rows of another grid a whole number of blocks. `None` for rows that lie on no grid of two axes.
    pub(crate) fn of(array: &Modality, block: [usize; 2]) -> Option<Self> {
        let (grid, image) = match (&array.content, &array.positions, &array.points) {
            (Content::Convolution { image, .. }, ..) => (feature_grid(*image), *image),
            (_, Positions::Fourier(positions), None) => {
                let &[height, width] = positions.axes.as_slice() else {
                    return None;
                };
                let image = [height.checked_mul(block[0])?, width.checked_mul(block[1])?];
                ([height, width], image)
            }
            _ => return None,
        };
        let sides = grid.iter().chain(&block).chain(&image);
        sides.copied().all(|n| n > 0).then_some(Upsampling { grid, block, image })
    }

    /// `[items, blocks, pixels of a block · channels]` as `[items, height, width, channels]`. Pixels beyond
    /// the last block are those at its edge.
    fn apply(&self, rows: &[f32], items: usize) -> Vec<f32> {
        let [height, width] = self.image;
        let cells = self.grid[0] * self.grid[1];
        let row = rows.len() / (items * cells).max(1);
        let channels = row / (self.block[0] * self.block[1]);
        let place = |axis: usize, pixel: usize| {
            let block = (pixel / self.block[axis]).min(self.grid[axis] - 1);
            let within = pixel - block * self.block[axis];
            (block, within.min(self.block[axis] - 1))
        };
        let mut picture = vec![0.0; items * height * width * channels];
        picture.par_chunks_mut((width * channels).max(1)).enumerate().for_each(|(line, to)| {
            let (item, y) = (line / height, line % height);
            let (down, dy) = place(0, y);
            for (x, to) in to.chunks_exact_mut(channels.max(1)).enumerate() {
                let (right, dx) = place(1, x);
                let cell = item * cells + down * self.grid[1] + right;
                let at = cell * row + (dy * self.block[1] + dx) * channels;
                to.copy_from_slice(&rows[at..at + channels]);
            }
        });
        picture
    }
}

#[cfg(test)]
#[path = "../../../tests/unit/perceiver_blueprint_sizes.rs"]
mod tests;
