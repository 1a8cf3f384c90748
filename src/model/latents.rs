//! What a model knows about its inputs after encode and process.

use std::path::Path;

use crate::checkpoint::{read_tensors, tensors_from_bytes, tensors_to_bytes, write_tensors};
use crate::error::{Error, Result};
use crate::perceiver::chunks::LATENTS;
use crate::tensor::{NamedTensors, Tensor};

/// The last latents `[N, D]` of one item.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    rows: usize,
    channels: usize,
    data: Vec<f32>,
}

impl Latents {
    /// Latents from elements `[rows, channels]`.
    ///
    /// # Errors
    /// [`Error::Input`] when there are more or fewer elements, or one is not finite.
    pub fn new(rows: usize, channels: usize, data: Vec<f32>) -> Result<Self> {
        if rows.checked_mul(channels) != Some(data.len()) {
            let what = format!("has {} elements", data.len());
            return Err(Error::input(LATENTS, what, format!("{rows} × {channels}")));
        }
        if let Some(at) = data.iter().position(|x| !x.is_finite()) {
            let what = format!("has {} at element {at}", data[at]);
            return Err(Error::input(LATENTS, what, "finite numbers"));
        }
        Ok(Latents { rows, channels, data })
    }

    /// Latents N and channels D.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.channels]
    }

    /// The elements, row-major.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// Writes a safetensors file with the one tensor `last_latents`, `[1, N, D]`.
    ///
    /// # Errors
    /// Those of writing a file; none is left behind.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write_tensors(path.as_ref(), &self.tensors()?)
    }

    /// The bytes of the file that [`Latents::write`] writes.
    ///
    /// # Errors
    /// None for latents that fit memory twice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        tensors_to_bytes(&self.tensors()?)
    }

    fn tensors(&self) -> Result<NamedTensors> {
        let tensor = Tensor::f32(vec![1, self.rows, self.channels], self.data.clone())?;
        Ok(NamedTensors::from([(LATENTS.to_owned(), tensor)]))
    }

    /// Reads what [`Latents::write`] wrote.
    ///
    /// # Errors
    /// Those of reading a file; [`Error::Input`] when it holds no latents.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_tensors(&read_tensors(path.as_ref())?)
    }

    /// Reads what [`Latents::to_bytes`] gave.
    ///
    /// # Errors
    /// As [`Latents::read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_tensors(&tensors_from_bytes(bytes)?)
    }

    /// Latents among what was read of a file.
    ///
    /// # Errors
    /// [`Error::Input`] when it holds no latents.
    pub fn from_tensors(tensors: &NamedTensors) -> Result<Self> {
        let tensor = tensors.get(LATENTS);
        match tensor.and_then(|t| Some((t.shape(), t.as_f32()?))) {
            Some((&[1, rows, channels], data)) => Latents::new(rows, channels, data.to_vec()),
            _ => Err(Error::input(
                LATENTS,
                "is missing or has another shape or type",
                "f32 [1, latents, channels], as `Latents::write` and a run with intermediates give them",
            )),
        }
    }
}
