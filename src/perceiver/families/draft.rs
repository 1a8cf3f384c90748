//! A blueprint of arrays in the making.

use super::super::blueprint::{
    ArrayOutput, ArrayStep, AttentionStep, Blueprint, LinearStep, Make, MlpStep, Modality, Norm,
    Projection, Stage,
};
use crate::kernels::gemm::Activation;

/// Rows that a run is usually planned with where nothing says how many it has.
pub(super) const USUAL_ROWS: usize = 256;

/// A blueprint of arrays in the making.
pub(super) struct Draft {
    stage: Stage,
    inputs: Vec<Modality>,
    arrays: Vec<ArrayStep>,
    outputs: Vec<ArrayOutput>,
}

impl Draft {
    pub(super) fn new() -> Self {
        Draft { stage: Stage::Encode, inputs: vec![], arrays: vec![], outputs: vec![] }
    }

    /// What follows is counted here.
    pub(super) fn stage(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Rows that a user gives, as many as there are.
    pub(super) fn input(&mut self, name: &str, channels: usize) -> &mut Modality {
        let mut rows = Modality::given(name, USUAL_ROWS, channels).varies();
        if let super::super::blueprint::Content::Given { input, .. } = &mut rows.content {
            name.clone_into(input);
        }
        self.push_input(rows)
    }

    pub(super) fn push_input(&mut self, rows: Modality) -> &mut Modality {
        self.inputs.push(rows);
        let last = self.inputs.len() - 1;
        &mut self.inputs[last]
    }

    /// Rows that a user gives, usually as many.
    pub(super) fn push_given(&mut self, name: &str, count: usize, channels: usize) {
        self.input(name, channels).count = count;
    }

    pub(super) fn first_input(&mut self) -> &mut Modality {
        &mut self.inputs[0]
    }

    pub(super) fn make(&mut self, name: &str, make: Make) {
        self.arrays.push(ArrayStep { name: name.to_owned(), stage: self.stage, make });
    }

    pub(super) fn learned(&mut self, name: &str, tensor: String, shape: Vec<usize>) {
        self.make(name, Make::Learned { tensor, shape });
    }

    pub(super) fn norm(&mut self, name: &str, of: &str, norm: Norm) {
        self.make(name, Make::Norm { of: of.to_owned(), norm });
    }

    pub(super) fn sum(&mut self, name: &str, of: [&str; 2]) {
        self.make(name, Make::Sum(of.map(str::to_owned)));
    }

    pub(super) fn linear(&mut self, name: &str, of: &str, layer: Projection, out: usize) {
        self.layer(name, LinearStep::new(of, layer, out));
    }

    /// A linear layer with something before or after.
    pub(super) fn layer(&mut self, name: &str, step: LinearStep) {
        self.make(name, Make::Linear(Box::new(step)));
    }

    /// Two arrays multiplied, the first through an activation.
    pub(super) fn product(&mut self, name: &str, of: [&str; 2], activation: Activation) {
        self.make(name, Make::Product { of: of.map(str::to_owned), activation });
    }

    pub(super) fn mlp(&mut self, name: &str, step: MlpStep) {
        self.make(name, Make::Mlp(Box::new(step)));
    }

    pub(super) fn attention(&mut self, name: &str, step: AttentionStep) {
        self.make(name, Make::Attention(Box::new(step)));
    }

    pub(super) fn output(&mut self, name: &str, array: &str) {
        self.push_output(name, array, false);
    }

    /// An output that is returned where intermediate arrays are asked for.
    pub(super) fn intermediate(&mut self, name: &str, array: &str) {
        self.push_output(name, array, true);
    }

    fn push_output(&mut self, name: &str, array: &str, intermediate: bool) {
        let (name, array) = (name.to_owned(), array.to_owned());
        self.outputs.push(ArrayOutput { name, array, intermediate });
    }

    pub(super) fn finish(self) -> Blueprint {
        Blueprint::of_arrays(self.inputs, self.arrays, self.outputs)
    }
}
