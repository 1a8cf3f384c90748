//! Floats of a tensor, where someone else holds them.

use super::Tensor;
use super::host::counted;
use crate::error::Result;

/// A dense, row-major tensor of 32-bit floats in memory of the caller's, a [`Tensor`] or any other, of which nothing is copied.
///
/// ```
/// use perceiver::{Tensor, TensorView};
/// let samples = [0.5; 8];
/// let view = TensorView::new(&[2, 3], &samples[2..])?;
/// assert_eq!(view.as_f32(), Some(&[0.5; 6][..]));
/// let tensor = Tensor::i64(vec![1], vec![7])?;
/// assert_eq!(TensorView::from(&tensor).as_f32(), None);
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
    #[must_use]
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements, or `None` for a tensor of another type.
    #[must_use]
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        self.data
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        TensorView { shape: tensor.shape(), data: tensor.as_f32() }
    }
}
