//! Sets of rows that a model leaves alone: they are found in what a run is given, and come out as they went in.

use super::Blueprint;
use crate::parallel::*;
use crate::tensor::{NamedTensors, Tensor};

/// Which sets of a run are left alone.
#[derive(Debug, Clone)]
pub(crate) struct Skipped {
    /// What all elements of such a set are, in inputs and in outputs.
    number: f32,
    /// All sets of all items.
    sets: Vec<bool>,
}

impl Blueprint {
    /// The sets that a run leaves alone, if any. A set are the rows along the last axis of an input.
    pub(crate) fn skipped(&self, inputs: &NamedTensors) -> Option<Skipped> {
        let marked =
            |array: &super::Modality| Some((array.content.input()?.to_owned(), array.skipped?));
        let (name, number) = self.inputs.iter().find_map(marked)?;
        let tensor = inputs.get(&name)?;
        let [.., rows, channels] = tensor.shape() else { return None };
        let set = (rows * channels).max(1);
        let alone = |set: &[f32]| set.iter().all(|&x| x == number);
        let sets: Vec<bool> = tensor.as_f32()?.par_chunks(set).map(alone).collect();
        sets.contains(&true).then_some(Skipped { number, sets })
    }
}

impl Skipped {
    /// Puts the number in place of what was computed.
    pub(crate) fn apply(&self, outputs: &mut NamedTensors) -> crate::error::Result<()> {
        for tensor in outputs.values_mut() {
            let Some(data) = tensor.as_f32().filter(|d| !d.is_empty()) else { continue };
            if !data.len().is_multiple_of(self.sets.len()) {
                continue;
            }
            let mut data = data.to_vec();
            let set = data.len() / self.sets.len();
            let alone = data.chunks_exact_mut(set).zip(&self.sets).filter(|(_, alone)| **alone);
            alone.for_each(|(set, _)| set.fill(self.number));
            *tensor = Tensor::f32(tensor.shape().to_vec(), data)?;
        }
        Ok(())
    }
}
