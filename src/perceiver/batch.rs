//! Inputs of a run, checked and in the form that a graph reads.

use std::borrow::Cow;

use crate::parallel::*;

use super::request::Sizes;
use crate::error::{Error, Result};
use crate::memory::{collected, zeroed};
use crate::tensor::{NamedTensors, Tensor, TensorView};

/// One input array.
#[derive(Clone)]
pub(crate) struct Array {
    /// Name of the graph's input.
    pub(crate) name: Cow<'static, str>,
    /// Elements of one item; `None` for an array that all items share.
    pub(crate) each: Option<usize>,
    /// Elements of all items.
    pub(crate) data: Vec<f32>,
}

impl Array {
    /// An array with `each` elements per item.
    pub(crate) fn per_item(
        name: impl Into<Cow<'static, str>>,
        each: usize,
        data: Vec<f32>,
    ) -> Self {
        Array { name: name.into(), each: Some(each), data }
    }

    /// An array that all items share.
    pub(crate) fn shared(name: impl Into<Cow<'static, str>>, data: Vec<f32>) -> Self {
        Array { name: name.into(), each: None, data }
    }

    /// Elements of some items.
    pub(crate) fn of_items(&self, first: usize, items: usize) -> &[f32] {
        match self.each {
            Some(each) => &self.data[first * each..(first + items) * each],
            None => &self.data,
        }
    }
}

/// Inputs of a run as the graph wants them.
pub(crate) struct Batch {
    /// Items.
    pub(crate) items: usize,
    /// Sizes of every item.
    pub(crate) sizes: Sizes,
    /// What to write.
    pub(crate) arrays: Vec<Array>,
}

/// Refuses names that a model does not know and finds those it must have.
pub(crate) fn named<'a, const N: usize>(
    inputs: &'a NamedTensors,
    required: [&str; N],
    optional: &[&str],
) -> Result<[&'a Tensor; N]> {
    let known = || {
        let mut names: Vec<String> = required.iter().map(|n| format!("`{n}`")).collect();
        names.extend(optional.iter().map(|n| format!("`{n}` (optional)")));
        names.join(", ")
    };
    if let Some(name) =
        inputs.keys().find(|n| !required.contains(&n.as_str()) && !optional.contains(&n.as_str()))
    {
        return Err(Error::input(name, "is unknown to this model", known()));
    }
    let mut found = Vec::with_capacity(N);
    for name in required {
        let tensor = inputs.get(name);
        found.push(tensor.ok_or_else(|| Error::input(name, "is missing", known()))?);
    }
    found.try_into().map_err(|_| Error::input("inputs", "are incomplete", known()))
}

/// The error for a tensor of the wrong shape.
pub(crate) fn wrong_shape(name: &str, tensor: &Tensor, expected: impl Into<String>) -> Error {
    Error::input(name, format!("has shape {:?}", tensor.shape()), expected)
}

/// Whole numbers from 0 to below `limit`, as the floats that kernels read; they hold whole numbers to
/// 2²⁴. `place` names an element.
pub(crate) fn whole_numbers(
    name: &str,
    tensor: &Tensor,
    limit: usize,
    place: &dyn Fn(usize) -> String,
    expected: &dyn Fn() -> String,
) -> Result<Vec<f32>> {
    let numbers = tensor
        .as_i64()
        .ok_or_else(|| Error::input(name, "holds no 64-bit integers", expected()))?;
    let fits = |&n: &i64| usize::try_from(n).is_ok_and(|n| n < limit);
    if let Some(at) = numbers.iter().position(|n| !fits(n)) {
        let what = format!("has {} at {}", numbers[at], place(at));
        return Err(Error::input(name, what, expected()));
    }
    collected(name, numbers.iter().map(|&n| n as f32))
}

/// The floats of a tensor, all finite.
pub(crate) fn finite<'a>(
    name: &str,
    tensor: impl Into<TensorView<'a>>,
    expected: &dyn Fn() -> String,
) -> Result<&'a [f32]> {
    let data = tensor
        .into()
        .as_f32()
        .ok_or_else(|| Error::input(name, "holds no 32-bit floats", expected()))?;
    match not_finite(data) {
        None => Ok(data),
        Some(at) => {
            let what = format!("has {} at element {at}", data[at]);
            Err(Error::input(name, what, "finite numbers"))
        }
    }
}

/// The first of some numbers that is not finite.
pub(crate) fn not_finite(data: &[f32]) -> Option<usize> {
    // Chunks without an early end, which compilers turn into vectors; the first odd one is looked at again.
    let odd = |chunk: &[f32]| chunk.iter().filter(|x| !x.is_finite()).count() > 0;
    match data.par_chunks(1 << 16).any(odd) {
        true => data.iter().position(|x| !x.is_finite()),
        false => None,
    }
}

/// Reorders planes `[items, channels, pixels]` to rows `[items, pixels, channels]`.
///
/// `planes.len()` must be a multiple of `channels · pixels`.
pub(crate) fn planes_to_rows(planes: &[f32], channels: usize, pixels: usize) -> Result<Vec<f32>> {
    const BLOCK: usize = 1024;
    let mut rows = zeroed("rows of pixels", planes.len())?;
    let each = channels * pixels;
    if each == 0 {
        return Ok(rows);
    }
    for (item, rows) in rows.chunks_exact_mut(each).enumerate() {
        let planes = &planes[item * each..][..each];
        rows.par_chunks_mut(BLOCK * channels).enumerate().for_each(|(block, rows)| {
            for (i, row) in rows.chunks_exact_mut(channels).enumerate() {
                let pixel = block * BLOCK + i;
                for (c, value) in row.iter_mut().enumerate() {
                    *value = planes[c * pixels + pixel];
                }
            }
        });
    }
    Ok(rows)
}
