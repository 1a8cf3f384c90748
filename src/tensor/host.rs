//! A dense tensor in host memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Named tensors, as a safetensors file or a model run holds them.
pub type NamedTensors = BTreeMap<String, Tensor>;

/// The elements of a [`Tensor`]. Floats are equal wherever they lie.
#[derive(Debug, Clone)]
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
    /// 32-bit floats of the app's own, see [`Tensor::lent`].
    Lent(Lent),
}

/// Floats that an app lends.
#[doc(hidden)]
#[derive(Clone)]
pub struct Lent(Arc<dyn AsRef<[f32]> + Send + Sync>);

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl Lent {
    pub(crate) fn as_slice(&self) -> &[f32] {
        (*self.0).as_ref()
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Data::I64(a), Data::I64(b)) => a == b,
            (Data::U8(a), Data::U8(b)) => a == b,
            (Data::I16(a), Data::I16(b)) => a == b,
            _ => matches!((self.as_f32(), other.as_f32()), (Some(a), Some(b)) if a == b),
        }
    }
}

impl Data {
    fn as_f32(&self) -> Option<&[f32]> {
        match self {
            Data::F32(v) => Some(v),
            Data::Lent(v) => Some(v.as_slice()),
            _ => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::U8(v) => v.len(),
            Data::I16(v) => v.len(),
            Data::Lent(v) => v.as_slice().len(),
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
        counted(&shape, data.len())?;
        Ok(Tensor { shape, data })
    }

    /// A tensor of 32-bit floats.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn f32(shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        Tensor::new(shape, Data::F32(data))
    }

    /// As [`Tensor::f32`], of floats that stay where they are: a foreign array, memory that is shared or mapped. They must
    /// not change while the tensor is in use.
    ///
    /// ```
    /// # use perceiver::Tensor;
    /// let samples: std::sync::Arc<[f32]> = vec![0.5; 6].into();
    /// let tensor = Tensor::lent(vec![2, 3], samples.clone())?;
    /// assert_eq!(tensor.as_f32().map(<[f32]>::as_ptr), Some(samples.as_ptr()));
    /// assert_eq!(tensor, Tensor::f32(vec![2, 3], vec![0.5; 6])?);
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn lent(
        shape: Vec<usize>,
        floats: impl AsRef<[f32]> + Send + Sync + 'static,
    ) -> Result<Self> {
        Tensor::new(shape, Data::Lent(Lent(Arc::new(floats))))
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
        self.data.as_f32()
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

/// An error where a shape has another number of elements.
pub(super) fn counted(shape: &[usize], elements: usize) -> Result<()> {
    let wanted = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
    if wanted == Some(elements) {
        return Ok(());
    }
    let what = format!("{elements} elements for shape {shape:?}");
    Err(Error::input("tensor", what, "as many elements as the product of the shape"))
}
