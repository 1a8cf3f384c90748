//! One stored tensor: what it is, where its elements are, and how they are read.
//!
//! Invariant: [`Entry::new`] is the only way to make one, and it has checked that every element lies in
//! the bytes that the tensor may use.

use std::borrow::Cow;

use crate::parallel::*;
use half::{bf16, f16};

use crate::error::Error;
use crate::memory::room;
use crate::tensor::{DType, Data};

/// Elements that one thread converts at least.
const LEAST: usize = 1 << 16;

/// Name, type and shape of a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Element type.
    pub dtype: DType,
    /// Shape, outermost dimension first.
    pub shape: Vec<usize>,
    layout: Layout,
}

/// Why elements are not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// They are integers, floats are wanted.
    Whole,
    /// There is no memory for them, or not within the limit.
    NoMemory(Error),
}

/// Axes of a tensor; models have fewer.
pub(super) const MOST_AXES: usize = 8;

/// Where elements are in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// First and last byte in the file.
    pub(super) range: (usize, usize),
    /// Elements before the first one.
    pub(super) offset: usize,
    /// Elements from one to the next, by axis.
    pub(super) strides: Vec<usize>,
    pub(super) big_endian: bool,
    /// The bytes are kept as UTF-8, one character each.
    pub(super) encoded: bool,
}

impl Layout {
    /// Row-major and little-endian, as most are.
    pub(super) fn dense(range: (usize, usize), shape: &[usize]) -> Self {
        Layout { range, offset: 0, strides: row_major(shape), big_endian: false, encoded: false }
    }
}

/// Strides of an array whose last axis varies fastest. Products that overflow are zero; [`Entry::new`]
/// refuses their shapes.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut step = 1usize;
    for (stride, &n) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.checked_mul(n.max(1)).unwrap_or(0);
    }
    strides
}

/// Product of a shape.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b))
}

impl Entry {
    /// A tensor, unless it reaches out of `available` elements or has more than those. The error is
    /// what is wrong with it.
    pub(super) fn new(
        dtype: DType,
        shape: Vec<usize>,
        layout: Layout,
        available: usize,
    ) -> Result<Self, String> {
        let Some(elements) = count(&shape).filter(|&n| n <= available) else {
            return Err(format!(
                "has shape {shape:?}, more than the {available} elements that are there"
            ));
        };
        if shape.len() != layout.strides.len() {
            return Err(format!("has shape {shape:?} and strides {:?}", layout.strides));
        }
        let last =
            shape.iter().zip(&layout.strides).try_fold(layout.offset, |at, (&n, &stride)| {
                at.checked_add(n.saturating_sub(1).checked_mul(stride)?)
            });
        if elements > 0 && last.is_none_or(|last| last >= available) {
            return Err(format!(
                "has shape {shape:?}, strides {:?} and offset {}, which reach out of the {available} \
                 elements that are there",
                layout.strides, layout.offset
            ));
        }
        Ok(Entry { dtype, shape, layout })
    }

    /// Elements.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// First byte in the file, and the one after the last.
    #[cfg(feature = "hub")]
    pub(crate) fn range(&self) -> (usize, usize) {
        self.layout.range
    }

    /// Bytes as a dense array.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// True for what cannot be a weight.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64)
    }

    #[cfg(feature = "torch")]
    /// The same elements with all axes in reverse order.
    pub(super) fn transposed(mut self) -> Self {
        self.shape.reverse();
        self.layout.strides.reverse();
        self
    }

    #[cfg(feature = "torch")]
    /// The same elements without axes of length one.
    pub(super) fn squeezed(mut self) -> Self {
        let axes = self.shape.into_iter().zip(self.layout.strides);
        (self.shape, self.layout.strides) = axes.filter(|&(n, _)| n != 1).unzip();
        self
    }

    /// The bytes that the elements are in.
    fn stored<'a>(&self, file: &'a [u8]) -> Cow<'a, [u8]> {
        let bytes = &file[self.layout.range.0..self.layout.range.1];
        if self.layout.encoded { Cow::Owned(decoded(bytes)) } else { Cow::Borrowed(bytes) }
    }

    /// The elements as `f32`.
    pub(super) fn floats(&self, file: &[u8]) -> Result<Vec<f32>, Unread> {
        if self.is_whole() {
            return Err(Unread::Whole);
        }
        let bytes = &*self.stored(file);
        match self.dtype {
            DType::F16 => self.elements(bytes, |b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => self.elements(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            DType::F64 => self.elements(bytes, |b| f64::from_le_bytes(b) as f32),
            _ => self.elements(bytes, f32::from_le_bytes),
        }
    }

    /// The elements in the types that [`Data`] has.
    pub(super) fn data(&self, file: &[u8]) -> Result<Data, Unread> {
        if !self.is_whole() {
            return self.floats(file).map(Data::F32);
        }
        let bytes = &*self.stored(file);
        Ok(match self.dtype {
            DType::I16 => Data::I16(self.elements(bytes, i16::from_le_bytes)?),
            DType::I32 => Data::I64(self.elements(bytes, |b| i64::from(i32::from_le_bytes(b)))?),
            DType::I64 => Data::I64(self.elements(bytes, i64::from_le_bytes)?),
            _ => Data::U8(self.elements(bytes, |[b]| b)?),
        })
    }

    /// Elements of N bytes each, at any alignment, converted on all threads.
    fn elements<const N: usize, T: Send + Default + Clone>(
        &self,
        bytes: &[u8],
        convert: impl Fn([u8; N]) -> T + Sync,
    ) -> Result<Vec<T>, Unread> {
        let big_endian = self.layout.big_endian;
        let convert = |mut element: [u8; N]| {
            if big_endian {
                element.reverse();
            }
            convert(element)
        };
        let (stored, _) = bytes.as_chunks::<N>();
        let elements = self.len();
        if elements == 0 {
            return Ok(Vec::new());
        }
        // A sparse file may be longer than the memory there is: that is an error, not the end.
        let mut all = room("a tensor", elements).map_err(Unread::NoMemory)?;
        if self.layout.strides == row_major(&self.shape) {
            let stored = &stored[self.layout.offset..self.layout.offset + elements];
            let each = stored.par_iter().with_min_len(LEAST);
            all.par_extend(each.map(|&element| convert(element)));
            return Ok(all);
        }
        // At least one axis, or it would be dense.
        let inner = self.shape.last().copied().unwrap_or(1);
        let step = self.layout.strides.last().copied().unwrap_or(1);
        all.resize(elements, T::default());
        let rows = all.par_chunks_mut(inner).with_min_len(LEAST.div_ceil(inner));
        rows.enumerate().for_each(|(row, to)| {
            let first = self.row(row);
            for (i, to) in to.iter_mut().enumerate() {
                *to = convert(stored[first + i * step]);
            }
        });
        Ok(all)
    }

    /// Where the row of this number begins; rows are along the last axis.
    fn row(&self, row: usize) -> usize {
        let axes = self.shape.len().saturating_sub(1);
        let outer = self.shape[..axes].iter().zip(&self.layout.strides[..axes]);
        let mut rest = row;
        let mut at = self.layout.offset;
        for (&n, &stride) in outer.rev() {
            at += rest % n * stride;
            rest /= n;
        }
        at
    }
}

/// Bytes that are kept as UTF-8, one character each; `decoded_len` has refused what is none.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&first) = rest.next() {
        bytes.push(if first < 0x80 {
            first
        } else {
            // 110000ab 10cdefgh
            let second = rest.next().copied().unwrap_or(0);
            (first & 0b11) << 6 | second & 0b11_1111
        });
    }
    bytes
}

#[cfg(feature = "torch")]
/// Bytes that a text stands for; `None` when it has characters that no byte has.
pub(super) fn decoded_len(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?;
    // 0xC4 begins the first character beyond U+00FF.
    let bytes = text.iter().all(|&b| b < 0xC4);
    let first = |b: &&u8| **b & 0xC0 != 0x80;
    bytes.then(|| text.iter().filter(first).count())
}

/// A name as messages show it: short and without control characters.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(120).flat_map(char::escape_debug).collect()
}
