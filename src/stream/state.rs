//! The state of a streamed encoder: weighted sums relative to a maximum, per latent.
//!
//! Two states over different rows merge into that over all of them: the larger maximum counts, and
//! the other's sums are scaled down to it (the same rule that merges the parts of one attention).

use std::path::Path;

use crate::checkpoint::{read_tensors, tensors_from_bytes, tensors_to_bytes, write_tensors};
use crate::error::{Error, Result};
use crate::kernels::attention::LOWEST_SCORE;
use crate::perceiver::chunks::{STATISTICS, SUMS, StateShape};
use crate::tensor::{NamedTensors, Tensor};

/// Tensor of a state's file: which model it is of.
const MODEL: &str = "state.model";

/// What an encoder knows of the rows so far. Its size depends on the model alone.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderState {
    pub(super) shape: StateShape,
    /// Of the model, its weights, the sizes of its inputs, and the route.
    model: i64,
    /// `[rows, columns]`.
    pub(super) sums: Vec<f32>,
    /// `[rows, groups, 2]`: maximum, sum of weights.
    pub(super) statistics: Vec<f32>,
}

impl EncoderState {
    /// The state before any row.
    pub(super) fn empty(shape: StateShape, model: i64) -> Self {
        EncoderState {
            shape,
            model,
            sums: vec![0.0; shape.rows * shape.columns],
            statistics: [LOWEST_SCORE, 0.0].repeat(shape.rows * shape.groups),
        }
    }

    /// Bytes of the state.
    #[doc(hidden)]
    pub fn bytes(&self) -> usize {
        4 * (self.sums.len() + self.statistics.len())
    }

    /// The state after the rows of both. Which is first does not matter.
    ///
    /// # Errors
    /// [`Error::Input`] when they are not of the same model, weights, sizes of inputs and route.
    pub fn merge(&self, other: &EncoderState) -> Result<EncoderState> {
        self.check(other)?;
        let mut merged = self.clone();
        let groups = merged
            .groups_mut()
            .zip(self.groups_of(&self.sums).zip(self.statistics.chunks(2)))
            .zip(other.groups_of(&other.sums).zip(other.statistics.chunks(2)));
        for (((sums, statistics), a), b) in groups {
            let maximum = a.1[0].max(b.1[0]);
            let factor = |s: &[f32]| f64::from(s[0] - maximum).exp();
            let (of_a, of_b) = (factor(a.1), factor(b.1));
            for ((to, &a), &b) in sums.iter_mut().zip(a.0).zip(b.0) {
                *to = (f64::from(a) * of_a + f64::from(b) * of_b) as f32;
            }
            statistics[0] = maximum;
            statistics[1] = (f64::from(a.1[1]) * of_a + f64::from(b.1[1]) * of_b) as f32;
        }
        Ok(merged)
    }

    /// The attention's result; `None` before any row.
    pub(super) fn normalised(&self) -> Option<Vec<f32>> {
        let mut whole = self.clone();
        for (sums, statistics) in whole.groups_mut() {
            if statistics[1] <= 0.0 {
                return None;
            }
            for x in sums {
                *x = (f64::from(*x) / f64::from(statistics[1])) as f32;
            }
        }
        Some(whole.sums)
    }

    fn width(&self) -> usize {
        (self.shape.columns / self.shape.groups.max(1)).max(1)
    }

    fn groups_of<'a>(&self, sums: &'a [f32]) -> std::slice::Chunks<'a, f32> {
        sums.chunks(self.width())
    }

    fn groups_mut(&mut self) -> impl Iterator<Item = (&mut [f32], &mut [f32])> {
        let width = self.width();
        self.sums.chunks_mut(width).zip(self.statistics.chunks_mut(2))
    }

    pub(super) fn check(&self, other: &EncoderState) -> Result<()> {
        if self.shape == other.shape && self.model == other.model {
            return Ok(());
        }
        let same = "a state of the same model, weights, sizes of inputs and route";
        if self.shape == other.shape {
            let what = format!("is of another model ({:016x})", other.model);
            let expected = format!("{same} ({:016x})", self.model);
            return Err(Error::input("encoder state", what, expected));
        }
        let text = |s: StateShape| {
            let StateShape { rows, columns, groups } = s;
            format!("{rows} rows of {columns} columns in {groups} groups")
        };
        let what = format!("has {}", text(other.shape));
        Err(Error::input("encoder state", what, format!("{}: {same}", text(self.shape))))
    }

    /// Writes the state as a safetensors file.
    ///
    /// # Errors
    /// Those of writing a file; none is left behind.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write_tensors(path.as_ref(), &self.tensors()?)
    }

    /// The bytes of the file that [`EncoderState::write`] writes.
    ///
    /// # Errors
    /// None for states that fit memory twice.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        tensors_to_bytes(&self.tensors()?)
    }

    fn tensors(&self) -> Result<NamedTensors> {
        let StateShape { rows, columns, groups } = self.shape;
        let sums = Tensor::f32(vec![rows, columns], self.sums.clone())?;
        let statistics = Tensor::f32(vec![rows, groups, 2], self.statistics.clone())?;
        let model = Tensor::i64(vec![1], vec![self.model])?;
        let tensors = [(SUMS, sums), (STATISTICS, statistics), (MODEL, model)];
        let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor));
        Ok(NamedTensors::from(tensors))
    }

    /// Reads what [`EncoderState::write`] wrote.
    ///
    /// # Errors
    /// Those of reading a file; [`Error::Input`] when it holds no state.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(&read_tensors(path.as_ref())?)
    }

    /// Reads what [`EncoderState::to_bytes`] gave.
    ///
    /// # Errors
    /// As [`EncoderState::read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::of(&tensors_from_bytes(bytes)?)
    }

    fn of(tensors: &NamedTensors) -> Result<Self> {
        let wrong = |name: &str| {
            let what = "is missing or has another shape, type or values";
            Error::input(name, what, "a file that a streamed encoder's state was written to")
        };
        let get = |name: &str| {
            let tensor = tensors.get(name).ok_or_else(|| wrong(name))?;
            let data = tensor.as_f32().ok_or_else(|| wrong(name))?;
            if data.iter().any(|x| !x.is_finite()) {
                return Err(wrong(name));
            }
            Ok((tensor.shape(), data.to_vec()))
        };
        let ((sums_shape, sums), (shape, statistics)) = (get(SUMS)?, get(STATISTICS)?);
        let model = tensors.get(MODEL).and_then(|t| t.as_i64());
        let &[model] = model.unwrap_or_default() else {
            return Err(wrong(MODEL));
        };
        let (&[rows, columns], &[other, groups, 2]) = (sums_shape, shape) else {
            return Err(wrong(STATISTICS));
        };
        if rows != other || groups == 0 || !columns.is_multiple_of(groups) {
            return Err(wrong(STATISTICS));
        }
        Ok(EncoderState { shape: StateShape { rows, columns, groups }, model, sums, statistics })
    }
}
