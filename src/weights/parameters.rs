//! From checkpoint tensors to the arrays of a graph: evaluates [`Recipe`]s.
//!
//! Each recipe is evaluated once per model and shared by all its plans.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::parallel::*;

use super::fold;
use super::positions::{fourier_tables, grid_waves, resized_positions};
use crate::error::{Error, Result};
use crate::graph::{
    HeadLayout, LinearPart, Pauses, Recipe, Unpaused, batch_norm_tensors, blocking,
};
use crate::kernels::{Real, waves};
use crate::memory::{collected, room, zeroed};
use crate::tensor::{Extent, NamedTensors};

/// What messages call an array that is made of tensors.
const WHAT: &str = "a parameter";

/// Where weights come from: a checkpoint on disk, or tensors made in memory.
pub trait TensorSource: Send + Sync {
    /// The elements of a tensor as `f32`, row-major.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    fn read_f32(&self, name: &str) -> Result<Vec<f32>>;
}

impl TensorSource for NamedTensors {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let found = self
            .get(name)
            .and_then(|t| t.as_f32())
            .map(|data| collected(name, data.iter().copied()));
        found.ok_or_else(|| Error::input(name, "is missing", "a tensor of 32-bit floats"))?
    }
}

/// Random weights for a configuration, for benchmarks and tests where no checkpoint is at hand: the
/// same seed and name give the same tensor. Gains are about one, other weights scaled so that
/// activations keep their size from layer to layer.
#[derive(Debug, Clone)]
pub struct RandomTensors {
    shapes: std::collections::BTreeMap<String, Vec<usize>>,
    seed: u64,
}

impl RandomTensors {
    /// Tensors of these names and shapes.
    pub fn new(shapes: impl IntoIterator<Item = (String, Vec<usize>)>, seed: u64) -> Self {
        RandomTensors { shapes: shapes.into_iter().collect(), seed }
    }
}

impl TensorSource for RandomTensors {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let missing = || Error::input(name, "is missing", "a tensor of the configuration");
        let shape = self.shapes.get(name).ok_or_else(missing)?;
        let elements = shape.iter().product();
        let (centre, scale) = match shape.as_slice() {
            [_] if name.contains("norm") && name.ends_with("weight") => (1.0, 0.1),
            // A variance is not negative.
            [_] if name.ends_with("running_var") => (1.0, 0.1),
            [_] => (0.0, 0.1),
            [.., inner] => (0.0, (3.0 / *inner as f32).sqrt()),
            [] => (0.0, 1.0),
        };
        // FNV-1a: each tensor has a stream of its own.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64 ^ self.seed, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut random = crate::random::Random::new(hash);
        Ok((0..elements).map(|_| centre + scale * random.signed()).collect())
    }
}

/// The parameters of a model, evaluated on demand.
pub struct ParameterStore<T> {
    source: Arc<dyn TensorSource>,
    known: Mutex<HashMap<Recipe, Arc<Vec<T>>>>,
}

impl<T: Real> ParameterStore<T> {
    /// A store over this source.
    pub fn new(source: Arc<dyn TensorSource>) -> Self {
        ParameterStore { source, known: Mutex::new(HashMap::new()) }
    }

    /// Where the weights come from.
    pub(crate) fn source(&self) -> &dyn TensorSource {
        &*self.source
    }

    /// The array of a recipe, rows padded to four elements.
    ///
    /// # Errors
    /// When a tensor cannot be read or has another size than the recipe says.
    pub fn get(&self, recipe: &Recipe) -> Result<Arc<Vec<T>>> {
        if let Some(array) = self.known().get(recipe) {
            return Ok(array.clone());
        }
        // Not under the lock: the source may be an app's, which may call anything.
        let array = blocking(evaluate(recipe, &*self.source, &mut Unpaused)).map(Arc::new)?;
        Ok(self.known().entry(recipe.clone()).or_insert(array).clone())
    }

    /// Drops arrays that nothing else holds; they are evaluated again when they are asked for.
    pub(crate) fn release(&self) {
        self.known().retain(|_, array| Arc::strong_count(array) > 1);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Recipe, Arc<Vec<T>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Evaluates a recipe: rows padded to four elements, padding zero.
pub(crate) async fn evaluate<T: Real>(
    recipe: &Recipe,
    source: &dyn TensorSource,
    pauses: &mut dyn Pauses,
) -> Result<Vec<T>> {
    threads_ready()?;
    let wanted = recipe.extent().padded_len();
    // What it is made of takes as much again in f32, and where it is folded in f64 too: is there room?
    drop(room::<[f32; 4]>(WHAT, wanted)?);
    let array = evaluated(recipe, source, pauses).await?;
    let found = array.len();
    if found != wanted {
        let message = format!("its recipe makes {found} elements, not {wanted}");
        return Err(Error::graph("parameter", message));
    }
    Ok(array)
}

async fn evaluated<T: Real>(
    recipe: &Recipe,
    source: &dyn TensorSource,
    pauses: &mut dyn Pauses,
) -> Result<Vec<T>> {
    let extent = recipe.extent();
    let read = |name: &str, wanted: usize| -> Result<Vec<f32>> {
        let data = source.read_f32(name)?;
        if data.len() != wanted {
            let what = format!("has {} elements", data.len());
            return Err(Error::input(name, what, format!("{wanted} elements")));
        }
        Ok(data)
    };
    match recipe {
        Recipe::Stored { name, .. } => pad(extent, &read(name, extent.len())?, T::from_f32),
        Recipe::LinearWeight { parts, input, divisor } => {
            let stride = extent.stride();
            let mut array = zeroed(WHAT, extent.padded_len())?;
            let (starts, _) = crate::graph::part_columns(parts);
            for (part, start) in parts.iter().zip(starts) {
                let weight = read(&part.weight, part.stored_rows() * input.channels())?;
                transpose(&weight, part, *input, *divisor, start, stride, &mut array);
            }
            Ok(array)
        }
        Recipe::LinearBias { parts, divisor } => {
            let mut array = zeroed(WHAT, extent.padded_len())?;
            let (starts, _) = crate::graph::part_columns(parts);
            for (part, start) in parts.iter().zip(starts) {
                let Some(bias) = &part.bias else { continue };
                let bias = read(bias, part.stored_rows())?;
                for channel in 0..part.out.channels() {
                    let b = bias[part.stored_row(channel)];
                    array[start + column(part.out, channel)] = divide(b, *divisor);
                }
            }
            Ok(array)
        }
        Recipe::Vector { name, layout } => {
            let mut array = zeroed(WHAT, extent.padded_len())?;
            for (channel, &x) in read(name, layout.channels())?.iter().enumerate() {
                array[column(*layout, channel)] = T::from_f32(x);
            }
            Ok(array)
        }
        Recipe::Spread { name, shape, axes, axis } => {
            let table = read(name, shape.iter().product())?;
            let within: usize = axes[axis + 1..].iter().product();
            let mut dense = room(WHAT, extent.len())?;
            for cell in 0..extent.rows {
                let place = cell / within % axes[*axis];
                dense.extend_from_slice(&table[place * extent.cols..][..extent.cols]);
            }
            pad(extent, &dense, T::from_f32)
        }
        Recipe::GridWaves { axes, bands, highest } => {
            let dense = grid_waves(axes, *bands, f32::from_bits(*highest))?;
            pad(extent, &dense, T::from_f64)
        }
        Recipe::Heads(layout) => {
            let mut array = zeroed(WHAT, extent.padded_len())?;
            for channel in 0..layout.channels() {
                let at = column(*layout, channel) * extent.stride() + channel;
                array[at] = T::from_f64(1.0);
            }
            Ok(array)
        }
        Recipe::Filled { bits, rows, columns } => pad(
            extent,
            &collected(WHAT, std::iter::repeat_n(f32::from_bits(*bits), rows * columns))?,
            T::from_f32,
        ),
        Recipe::Count { rows } => {
            let dense = collected(WHAT, (0..*rows).map(|i| i as f32))?;
            pad(extent, &dense, T::from_f32)
        }
        Recipe::WavesOf { name, count, half_turns } => {
            let unit = if *half_turns { 1.0 } else { std::f64::consts::FRAC_1_PI };
            let frequencies = read(name, *count)?;
            let split = frequencies.iter().map(|&f| waves::split(f64::from(f) * unit));
            let split: Vec<[f32; 3]> = split.collect();
            let twice = |i: usize| split.iter().chain(&split).map(move |parts| parts[i]);
            let kinds = [waves::SINE, waves::COSINE].into_iter();
            let kinds = kinds.flat_map(|kind| std::iter::repeat_n(kind, *count));
            let axes = std::iter::repeat_n(0.0, 2 * count);
            let dense: Vec<f32> = axes.chain((0..3).flat_map(twice)).chain(kinds).collect();
            pad(extent, &dense, T::from_f32)
        }
        Recipe::Waves(columns) => {
            let row = |i: usize| columns.iter().map(move |c| f32::from_bits(c[i]));
            let dense: Vec<f32> = (0..5).flat_map(row).collect();
            pad(extent, &dense, T::from_f32)
        }
        Recipe::FourierTables(p) => pad(extent, &fourier_tables(p)?, T::from_f32),
        Recipe::ConvolutionWeight { weight, norm, output, input, side } => {
            let (scale, _) = batch_norm(norm, *output, &read)?;
            let stored = read(weight, output * input * side * side)?;
            let mut array = zeroed(WHAT, extent.padded_len())?;
            let window = side * side;
            for (o, scale) in scale.iter().enumerate() {
                for c in 0..*input {
                    for at in 0..window {
                        let w = f64::from(stored[(o * input + c) * window + at]);
                        array[(at * input + c) * extent.stride() + o] = T::from_f64(w * scale);
                    }
                }
            }
            Ok(array)
        }
        Recipe::BatchNormShift { norm, channels } => {
            let (_, shift) = batch_norm(norm, *channels, &read)?;
            pad(extent, &shift, T::from_f64)
        }
        Recipe::Folded(folded) => {
            let dense = fold::evaluate(folded, &read, pauses).await?;
            pad(extent, &dense, T::from_f64)
        }
        Recipe::NormWeight { norm, channels, weight } => {
            let gain = read(&format!("{norm}.weight"), *channels)?;
            let mut wide = Box::pin(evaluate::<f64>(weight, source, pauses)).await?;
            norm_weight(&mut wide, extent.stride(), &gain);
            collected(WHAT, wide.into_iter().map(T::from_f64))
        }
        Recipe::NormBias { norm, channels, weight, bias } => {
            let shift = read(&format!("{norm}.bias"), *channels)?;
            let wide = Box::pin(evaluate::<f64>(weight, source, pauses)).await?;
            let mut sum = match bias {
                Some(bias) => Box::pin(evaluate::<f64>(bias, source, pauses)).await?,
                None => vec![0.0; extent.stride()],
            };
            let rows = wide.chunks_exact(extent.stride().max(1));
            for (row, &shift) in rows.zip(&shift) {
                for (sum, w) in sum.iter_mut().zip(row) {
                    *sum += w * f64::from(shift);
                }
            }
            collected(WHAT, sum.into_iter().map(T::from_f64))
        }
        Recipe::Window { of, rows, columns } => {
            let whole = Box::pin(evaluate::<T>(of, source, pauses)).await?;
            window(&whole, of.extent(), rows, columns)
        }
        Recipe::ResizedPositions { name, positions, channels, size } => {
            let side = positions.isqrt();
            let table = read(name, positions * channels)?;
            let resized = resized_positions(&table[..side * side * channels], *channels, *size)?;
            pad(extent, &resized, T::from_f64)
        }
    }
}

/// Multiplies the rows of a weight with gains and takes the mean off each column. Rows beyond the
/// gains are padding.
fn norm_weight(weight: &mut [f64], stride: usize, gain: &[f32]) {
    let rows = &mut weight[..gain.len() * stride];
    let mut mean = vec![0.0; stride];
    for (row, &gain) in rows.chunks_exact_mut(stride.max(1)).zip(gain) {
        for (w, mean) in row.iter_mut().zip(&mut mean) {
            *w *= f64::from(gain);
            *mean += *w;
        }
    }
    for mean in &mut mean {
        *mean /= gain.len().max(1) as f64;
    }
    for row in rows.chunks_exact_mut(stride.max(1)) {
        for (w, mean) in row.iter_mut().zip(&mean) {
            *w -= mean;
        }
    }
}

/// Some rows and columns of a padded array, padded again.
pub(crate) fn window<T: Real>(
    whole: &[T],
    extent: Extent,
    rows: &Range<usize>,
    columns: &Range<usize>,
) -> Result<Vec<T>> {
    let part = Extent::new(1, rows.len(), columns.len());
    let mut array = zeroed(WHAT, part.padded_len())?;
    let from = whole.chunks_exact(extent.stride().max(1)).skip(rows.start);
    for (to, from) in array.chunks_exact_mut(part.stride().max(1)).zip(from) {
        to[..columns.len()].copy_from_slice(&from[columns.clone()]);
    }
    Ok(array)
}

/// Scale and shift per channel of a batch norm at inference.
fn batch_norm(
    norm: &str,
    channels: usize,
    read: &dyn Fn(&str, usize) -> Result<Vec<f32>>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    /// PyTorch's default, which Hugging Face keeps.
    const EPSILON: f64 = 1e-5;
    let [gain, bias, mean, variance] = batch_norm_tensors(norm);
    let (gain, bias) = (read(&gain, channels)?, read(&bias, channels)?);
    let (mean, variance) = (read(&mean, channels)?, read(&variance, channels)?);
    let deviation = |&v: &f32| (f64::from(v) + EPSILON).sqrt();
    let scale = gain.iter().zip(&variance).map(|(&g, v)| f64::from(g) / deviation(v));
    let scale: Vec<f64> = scale.collect();
    let shift = bias.iter().zip(&mean).zip(&scale);
    let shift = shift.map(|((&b, &m), s)| f64::from(b) - f64::from(m) * s).collect();
    Ok((scale, shift))
}

/// Column of a channel in a padded head layout.
fn column(layout: HeadLayout, channel: usize) -> usize {
    let stored = channel / layout.width.max(1);
    let of_group = layout.heads / layout.groups;
    let head = stored % layout.groups * of_group + stored / layout.groups;
    head * layout.stride() + channel % layout.width.max(1)
}

fn divide<T: Real>(x: f32, divisor: u32) -> T {
    T::from_f32(x) / T::from_f64(f64::from(divisor))
}

/// Writes weight `[out, in]` as columns `start..` of a `[in, ..]` array, in blocks that suit caches.
fn transpose<T: Real>(
    weight: &[f32],
    part: &LinearPart,
    input: HeadLayout,
    divisor: u32,
    start: usize,
    stride: usize,
    array: &mut [T],
) {
    let (outs, ins, rows_stored) = (part.out.channels(), input.channels(), part.stored_rows());
    if outs == 0 || ins == 0 {
        return;
    }
    const BLOCK: usize = 32;
    array.par_chunks_mut(BLOCK * stride).enumerate().for_each(|(block, rows)| {
        let first = block * BLOCK;
        for (r, row) in rows.chunks_exact_mut(stride).enumerate() {
            let Some(i) = channel_of(input, first + r) else {
                continue;
            };
            for o in 0..outs {
                let stored = part.stored_row(o);
                let at = if part.transposed { i * rows_stored + stored } else { stored * ins + i };
                row[start + column(part.out, o)] = divide(weight[at], divisor);
            }
        }
    });
}

/// Channel of a column in a padded head layout, `None` for padding.
fn channel_of(layout: HeadLayout, column: usize) -> Option<usize> {
    let (head, within) = (column / layout.stride().max(1), column % layout.stride().max(1));
    (head < layout.heads && within < layout.width)
        .then(|| layout.stored(head) * layout.width + within)
}

/// A dense array with rows padded to four elements.
fn pad<S: Copy, T: Real>(extent: Extent, dense: &[S], convert: impl Fn(S) -> T) -> Result<Vec<T>> {
    let mut array = zeroed(WHAT, extent.padded_len())?;
    let rows = array.chunks_exact_mut(extent.stride().max(1));
    for (to, from) in rows.zip(dense.chunks_exact(extent.cols.max(1))) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = convert(from);
        }
    }
    Ok(array)
}
