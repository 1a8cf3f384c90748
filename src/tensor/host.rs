//! A dense tensor in host memory.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Named tensors, as a safetensors file or a model run holds them.
pub type NamedTensors = BTreeMap<String, Tensor>;

/// The elements of a [`Tensor`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers (token ids, masks, point indices).
    I64(Vec<i64>),
    /// Bytes (texts, pictures).
    U8(Vec<u8>),
    /// 16-bit integers (sound).
    I16(Vec<i16>),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::U8(v) => v.len(),
            Data::I16(v) => v.len(),
        }
    }
}

/// A dense, row-major tensor in host memory.
///
/// ```
/// use perceiver::Tensor;
/// let t = Tensor::f32(vec![2, 3], vec![0.0; 6]).unwrap();
/// assert_eq!(t.shape(), [2, 3]);
/// assert!(Tensor::f32(vec![2, 3], vec![0.0; 5]).is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of any element type.
    ///
    /// # Errors
    /// [`Error::Input`] when the number of elements is not the product of the shape.
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Self> {
        let wanted = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        if wanted != Some(data.len()) {
            let what = format!("{} elements for shape {shape:?}", data.len());
            let expected = "as many elements as the product of the shape";
            return Err(Error::input("tensor", what, expected));
        }
        Ok(Tensor { shape, data })
    }

    /// A tensor of 32-bit floats.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn f32(shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        Tensor::new(shape, Data::F32(data))
    }

    /// A tensor of 64-bit integers.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn i64(shape: Vec<usize>, data: Vec<i64>) -> Result<Self> {
        Tensor::new(shape, Data::I64(data))
    }

    /// The shape, outermost dimension first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Shape and elements, without a copy.
    #[must_use]
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The elements as `f32`, or `None` for another type.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements as `i64`, or `None` for another type.
    #[must_use]
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            Data::I64(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if they are 16-bit integers.
    #[doc(hidden)]
    pub fn as_i16(&self) -> Option<&[i16]> {
        match &self.data {
            Data::I16(data) => Some(data),
            _ => None,
        }
    }

    /// The elements as bytes, or `None` for another type.
    #[doc(hidden)]
    pub fn as_u8(&self) -> Option<&[u8]> {
        match &self.data {
            Data::U8(v) => Some(v),
            _ => None,
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn reshape(self, shape: Vec<usize>) -> Result<Self> {
        Tensor::new(shape, self.data)
    }
}
