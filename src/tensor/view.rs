//! Floats of a tensor, where someone else holds them.

use super::Tensor;
use super::host::counted;
use crate::error::Result;

/// A dense, row-major tensor of 32-bit floats in memory of the caller's, a [`Tensor`] or any other, of which nothing is copied: what
/// [`Encoder::push`](crate::stream::Encoder::push) reads.
///
/// ```
/// use perceiver::{Tensor, TensorView};
/// let samples = [0.5; 8];
/// TensorView::new(&[2, 3], &samples[2..])?;
/// assert!(TensorView::new(&[2, 3], &samples).is_err());
/// let tensor = Tensor::f32(vec![8], samples.to_vec())?;
/// let _ = TensorView::from(&tensor);
/// # Ok::<(), perceiver::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    shape: &'a [usize],
    /// Where the elements are 32-bit floats.
    data: Option<&'a [f32]>,
}

impl<'a> TensorView<'a> {
    /// A view of floats.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) when the number of elements is not the product of the shape.
    pub fn new(shape: &'a [usize], data: &'a [f32]) -> Result<Self> {
        counted(shape, data.len())?;
        Ok(TensorView { shape, data: Some(data) })
    }

    /// The shape, outermost dimension first.
    pub(crate) fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements, or `None` for a tensor of another type.
    pub(crate) fn as_f32(&self) -> Option<&'a [f32]> {
        self.data
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        TensorView { shape: tensor.shape(), data: tensor.as_f32() }
    }
}
