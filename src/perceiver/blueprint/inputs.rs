//! Inputs of a blueprint: named tensors, checked and in the form that its graph reads.

use super::{Blueprint, Content, Make, Modality, Positions};
use crate::error::{Error, Result};
use crate::memory::{room, zeroed};
use crate::perceiver::batch::{Array, Batch, finite, planes_to_rows, whole_numbers};
use crate::perceiver::request::Sizes;
use crate::random::Random;
use crate::tensor::{NamedTensors, Tensor};

/// One named input and what it must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputShape {
    /// Name.
    pub name: String,
    /// Type and shape.
    pub kind: InputKind,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether a run may have more rows or fewer.
    pub varies: bool,
}

/// Type and shape of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputKind {
    /// f32 `[batch, rows, channels]`; rows that vary may come as `[rows, channels]`, which all items then share.
    Rows {
        /// Rows of one item.
        rows: usize,
        /// Channels of a row.
        channels: usize,
    },
    /// f32 `[batch, channels, height, width]`.
    Picture {
        /// Channels.
        channels: usize,
        /// Height and width.
        size: [usize; 2],
    },
    /// i64 `[batch, length]`, each below `vocabulary`.
    Tokens {
        /// Tokens of one item.
        length: usize,
        /// Tokens that there are.
        vocabulary: usize,
    },
    /// i64 `[rows]`, which all items share: each a cell of a grid.
    Points {
        /// Rows.
        rows: usize,
        /// Cells of the grid.
        cells: usize,
    },
    /// i64 `[batch, 2]`, or `[2]` where all items share it: height and width of a grid that rows lie on.
    Grid {
        /// Most cells.
        rows: usize,
        /// Channels of the positions that are made of it.
        channels: usize,
        /// Base of their wavelengths.
        base: u32,
        /// Whether all items share it.
        shared: bool,
    },
    /// i64 `[1]`, which all items share: how many rows count, from the first on. Left out: all.
    FirstRows {
        /// Rows that there are.
        rows: usize,
    },
    /// i64 `[batch, rows]`: 1 keeps a row, 0 removes it. Left out: all are kept.
    Mask {
        /// Rows of one item.
        rows: usize,
    },
}

impl InputKind {
    /// Shape of one item, or the whole shape where all items share it; and whether they do.
    fn shape(self) -> (Vec<usize>, bool) {
        match self {
            InputKind::Rows { rows, channels } => (vec![rows, channels], false),
            InputKind::Picture { channels, size: [height, width] } => {
                (vec![channels, height, width], false)
            }
            InputKind::Tokens { length: n, .. } | InputKind::Mask { rows: n } => (vec![n], false),
            InputKind::Points { rows, .. } => (vec![rows], true),
            InputKind::Grid { shared, .. } => (vec![2], shared),
            InputKind::FirstRows { .. } => (vec![1], true),
        }
    }

    /// What its whole numbers are below; `None` where it has floats.
    pub(crate) fn limit(self) -> Option<usize> {
        match self {
            InputKind::Rows { .. } | InputKind::Picture { .. } => None,
            InputKind::Tokens { vocabulary: limit, .. }
            | InputKind::Points { cells: limit, .. } => Some(limit),
            InputKind::Grid { rows, .. } | InputKind::FirstRows { rows } => Some(rows + 1),
            InputKind::Mask { .. } => Some(2),
        }
    }

    /// As a message says it.
    fn expected(self) -> String {
        let (shape, shared) = self.shape();
        let mut words: Vec<String> = shape.iter().map(usize::to_string).collect();
        if !shared {
            words.insert(0, "batch".to_owned());
        }
        let shape = words.join(", ");
        match (self, self.limit()) {
            (_, None) => format!("f32 [{shape}]"),
            (InputKind::Grid { rows, .. }, _) => {
                format!("i64 [{shape}], height and width of at most {rows} cells")
            }
            (InputKind::Mask { .. }, _) => format!("i64 [{shape}], 0 (removed) or 1"),
            (_, Some(limit)) => format!("i64 [{shape}], each from 0 to {}", limit - 1),
        }
    }
}

impl InputShape {
    /// Whether the shape of an item is this one; rows that vary, and their mask, may come with the axes of their grid.
    fn fits(&self, found: &[usize], wanted: &[usize]) -> bool {
        if found == wanted {
            return true;
        }
        if let (InputKind::Rows { rows, channels }, [n]) = (self.kind, found)
            && ((channels == 1 && *n == rows) || (rows == 1 && *n == channels))
        {
            return true;
        }
        let product = |axes: &[usize]| axes.iter().fold(1usize, |a, &n| a.saturating_mul(n));
        match (self.kind, found) {
            (InputKind::Rows { rows, channels }, [axes @ .., c]) if self.varies => {
                *c == channels && product(axes) == rows
            }
            (InputKind::Mask { rows }, axes) if self.varies => product(axes) == rows,
            _ => false,
        }
    }

    /// Whether a tensor of this shape is rows that all items share.
    fn shared(&self, found: &[usize]) -> bool {
        let rows = matches!(self.kind, InputKind::Rows { .. });
        rows && self.varies && *found == self.kind.shape().0
    }

    /// Numbers of this shape that a seed repeats: floats uniform in [-1, 1), whole numbers over all
    /// that are possible, points one after the other where the grid has as many cells.
    ///
    /// # Errors
    /// [`Error::Input`] when the shape has too many elements.
    #[doc(hidden)]
    pub fn sample(&self, batch: usize, seed: u64) -> Result<Tensor> {
        let (mut shape, shared) = self.kind.shape();
        if !shared {
            shape.insert(0, batch);
        }
        let elements = shape.iter().product();
        let mut random = Random::new(seed);
        match (self.kind, self.kind.limit()) {
            (_, None) => Tensor::f32(shape, (0..elements).map(|_| random.signed()).collect()),
            (InputKind::Points { cells, .. }, _) if cells == elements => {
                Tensor::i64(shape, (0..elements as i64).collect())
            }
            (InputKind::FirstRows { rows }, _) => Tensor::i64(shape, vec![rows as i64]),
            (InputKind::Grid { rows, .. }, _) => {
                Tensor::i64(shape, [1, rows as i64].repeat(elements / 2))
            }
            (_, Some(limit)) => {
                Tensor::i64(shape, (0..elements).map(|_| random.below(limit) as i64).collect())
            }
        }
    }
}

impl Blueprint {
    /// Inputs of a run that a seed repeats, for timing and tests.
    ///
    /// # Errors
    /// As [`InputShape::sample`].
    pub fn sample_inputs(&self, batch: usize, seed: u64) -> Result<NamedTensors> {
        let shapes = self.input_shapes().into_iter().zip(seed..);
        shapes.map(|(shape, seed)| Ok((shape.name.clone(), shape.sample(batch, seed)?))).collect()
    }

    /// The inputs of a run, in the order of their modalities and heads.
    #[must_use]
    pub fn input_shapes(&self) -> Vec<InputShape> {
        let mut list = Vec::new();
        self.arrays().for_each(|array| push(&mut list, array));
        list
    }

    /// Whether several items can go through one graph: every modality differs from item to item.
    pub(crate) fn batches(&self) -> bool {
        let slices = self.arrays.iter().any(|step| matches!(step.make, Make::Slice { .. }));
        !slices && self.inputs.iter().all(|a| a.content.input().is_some())
    }
}

fn push(list: &mut Vec<InputShape>, array: &Modality) {
    let rows = array.count;
    let mut add = |name: &str, kind, optional| {
        list.push(InputShape { name: name.to_owned(), kind, optional, varies: array.varies });
    };
    match &array.content {
        Content::None | Content::Learned { .. } => {}
        Content::Given { input, channels } | Content::Linear { input, channels, .. } => {
            add(input, InputKind::Rows { rows, channels: *channels }, false);
        }
        Content::SinCos { input, channels, base, shared, .. } => {
            let (channels, base, shared) = (*channels, *base, *shared);
            add(input, InputKind::Grid { rows, channels, base, shared }, false);
        }
        Content::FirstRows { input, rows, .. } => {
            add(input, InputKind::FirstRows { rows: *rows }, true);
        }
        Content::Tokens { input, vocabulary, .. } => {
            add(input, InputKind::Tokens { length: rows, vocabulary: *vocabulary }, false);
        }
        Content::Convolution { input, image, channels, .. } => {
            add(input, InputKind::Picture { channels: *channels, size: *image }, false);
        }
    }
    if let (Some(points), Positions::Fourier(grid)) = (&array.points, &array.positions) {
        let cells = grid.axes.iter().product();
        add(points, InputKind::Points { rows, cells }, false);
    }
    if let Some(mask) = &array.mask {
        add(mask, InputKind::Mask { rows }, true);
    }
}

/// Checks what an encoder of a blueprint is given. What decoders read may be there or not.
pub(crate) fn encoder_inputs(blueprint: &Blueprint, given: &NamedTensors) -> Result<Batch> {
    let mut encoder = blueprint.clone();
    encoder.decoders.clear();
    let read = encoder.input_shapes();
    let decoded = blueprint.input_shapes();
    let of_decoder =
        |name: &str| decoded.iter().any(|s| s.name == name) && read.iter().all(|s| s.name != name);
    let own = given.iter().filter(|(name, _)| !of_decoder(name));
    let own = own.map(|(name, t)| (name.clone(), t.clone())).collect();
    checked(&encoder, blueprint, &own)
}

/// Checks what a run of a blueprint is given.
pub(crate) fn inputs(blueprint: &Blueprint, given: &NamedTensors) -> Result<Batch> {
    checked(blueprint, blueprint, given)
}

/// Checks the inputs of a part of a model; rows that vary must suit the whole.
fn checked(part: &Blueprint, whole: &Blueprint, given: &NamedTensors) -> Result<Batch> {
    let rows = part.row_sizes(given)?;
    if !rows.is_usual() {
        whole.fitted(&rows).validate("inputs")?;
    }
    let fitted = part.fitted(&rows);
    let blueprint = &fitted;
    let shapes = blueprint.input_shapes();
    let known = || {
        let names = shapes.iter().map(|s| {
            let optional = if s.optional { " (optional)" } else { "" };
            format!("`{}`{optional}", s.name)
        });
        names.collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = given.keys().find(|n| shapes.iter().all(|s| s.name != **n)) {
        return Err(Error::input(name, "is unknown to this model", known()));
    }
    let mut items: Option<(&str, usize)> = None;
    let mut found = Vec::new();
    for shape in &shapes {
        let Some(tensor) = given.get(&shape.name) else {
            if shape.optional {
                continue;
            }
            return Err(Error::input(&shape.name, "is missing", known()));
        };
        let (wanted, shared) = shape.kind.shape();
        let wrong = |mut expected: String| {
            if shape.varies {
                expected.push_str("; the number of rows may vary");
            }
            let what = format!("has shape {:?}", tensor.shape());
            Err(Error::input(&shape.name, what, expected))
        };
        match tensor.shape() {
            whole if (shared && *whole == wanted) || shape.shared(whole) => {}
            [n, rest @ ..] if !shared && *n > 0 && shape.fits(rest, &wanted) => match items {
                Some((first, items)) if items != *n => {
                    let as_many = format!("as many items as `{first}`, {items}");
                    return wrong(format!("{}, {as_many}", shape.kind.expected()));
                }
                Some(_) => {}
                None => items = Some((&shape.name, *n)),
            },
            _ => return wrong(shape.kind.expected()),
        }
        found.push((shape, tensor));
    }
    let items = items.map_or(1, |(_, n)| n);
    let mut arrays = Vec::with_capacity(shapes.len());
    for (shape, tensor) in found {
        arrays.extend(elements(shape, tensor, items)?);
    }
    for shape in shapes.iter().filter(|shape| !given.contains_key(&shape.name)) {
        match shape.kind {
            InputKind::Mask { rows } => {
                let ones = vec![1.0; items * rows];
                arrays.push(Array::per_item(shape.name.clone(), rows, ones));
            }
            InputKind::FirstRows { rows } => arrays.extend(first_rows(&shape.name, rows, rows)),
            _ => {}
        }
    }
    Ok(Batch { items, sizes: Sizes { rows, ..Sizes::default() }, arrays })
}

/// The elements of a tensor whose shape is right, as the arrays that graphs read.
fn elements(shape: &InputShape, tensor: &Tensor, items: usize) -> Result<Vec<Array>> {
    let name = &shape.name;
    let expected = || shape.kind.expected();
    let (each, shared) = shape.kind.shape();
    let each: usize = each.iter().product();
    let place = |at: usize| format!("element {at}");
    let data = match (shape.kind, shape.kind.limit()) {
        (InputKind::Grid { rows, channels, base, shared }, Some(limit)) => {
            let sizes = whole_numbers(name, tensor, limit, &place, &expected)?;
            return grids(shape, &sizes, [rows, channels], base, shared);
        }
        (InputKind::FirstRows { rows }, Some(limit)) => {
            let number = whole_numbers(name, tensor, limit, &place, &expected)?;
            return Ok(first_rows(name, number[0] as usize, rows).into());
        }
        (_, Some(limit)) => whole_numbers(name, tensor, limit, &place, &expected)?,
        (InputKind::Picture { channels, size }, None) => {
            let planes = finite(name, tensor, &expected)?;
            planes_to_rows(planes, channels, size[0] * size[1])?
        }
        (_, None) => {
            let numbers = finite(name, tensor, &expected)?;
            let times = if shape.shared(tensor.shape()) { items } else { 1 };
            let mut data = room(name, times * numbers.len())?;
            (0..times).for_each(|_| data.extend_from_slice(numbers));
            data
        }
    };
    Ok(vec![Array { name: name.clone().into(), each: (!shared).then_some(each), data }])
}

/// The logarithm of a number of rows, and which rows those are.
fn first_rows(name: &str, number: usize, rows: usize) -> [Array; 2] {
    let logarithm = (number.max(1) as f64).ln() as f32;
    let mask = (0..rows).map(|row| f32::from(u8::from(row < number))).collect();
    let array = |name: String, data| Array { name: name.into(), each: None, data };
    [array(name.to_owned(), vec![logarithm]), array(format!("{name} mask"), mask)]
}

/// Positions of grids of these heights and widths, and which rows they have.
fn grids(
    shape: &InputShape,
    sizes: &[f32],
    [rows, channels]: [usize; 2],
    base: u32,
    shared: bool,
) -> Result<Vec<Array>> {
    let mut table = zeroed(&shape.name, sizes.len() / 2 * rows * channels)?;
    let mut mask = zeroed(&shape.name, sizes.len() / 2 * rows)?;
    let items = table.chunks_exact_mut(rows * channels).zip(mask.chunks_exact_mut(rows));
    for (size, (table, mask)) in sizes.chunks_exact(2).zip(items) {
        let grid = [size[0] as usize, size[1] as usize];
        let cells = grid[0] * grid[1];
        if cells == 0 || cells > rows || (shared && cells != rows) {
            let what = format!("has a grid of {} by {} for {rows} rows", grid[0], grid[1]);
            return Err(Error::input(&shape.name, what, shape.kind.expected()));
        }
        positions(grid[1], channels, f64::from(base), &mut table[..cells * channels]);
        mask[..cells].fill(1.0);
    }
    let name = shape.name.clone();
    let each = (!shared).then_some(rows * channels);
    let mut arrays = vec![Array { name: name.clone().into(), each, data: table }];
    if !shared {
        arrays.push(Array::per_item(format!("{name} mask"), rows, mask));
    }
    Ok(arrays)
}

/// Sine and cosine positions of the cells of a grid (MAE's `get_2d_sincos_pos_embed`), line by line: of the column, then of
/// the row; of each, the sines of place·base^(−i/n), then the cosines.
fn positions(width: usize, channels: usize, base: f64, table: &mut [f32]) {
    let quarter = channels / 4;
    for (cell, row) in table.chunks_exact_mut(channels).enumerate() {
        for (half, place) in row.chunks_exact_mut(2 * quarter).zip([cell % width, cell / width]) {
            let (sines, cosines) = half.split_at_mut(quarter);
            for (i, (sine, cosine)) in sines.iter_mut().zip(cosines).enumerate() {
                let angle = place as f64 / base.powf(i as f64 / quarter as f64);
                (*sine, *cosine) = (angle.sin() as f32, angle.cos() as f32);
            }
        }
    }
}
