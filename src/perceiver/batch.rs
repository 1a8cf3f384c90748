//! Inputs of a run, checked and in the form that a graph reads.

use crate::error::{Error, Result};
use crate::tensor::{NamedTensors, Tensor};

/// Inputs of a run as the graph wants them.
pub(crate) struct Batch {
    /// Items.
    pub(crate) items: usize,
    /// Input elements of an item, where the caller decides.
    pub(crate) length: usize,
    /// Name, elements of one item, elements of all items.
    pub(crate) arrays: Vec<(&'static str, usize, Vec<f32>)>,
}

/// Refuses names that a model does not know and finds those it must have.
pub(crate) fn named<'a>(
    inputs: &'a NamedTensors,
    required: &str,
    optional: &[&str],
) -> Result<&'a Tensor> {
    let known = || {
        let mut names = vec![format!("`{required}`")];
        names.extend(optional.iter().map(|n| format!("`{n}` (optional)")));
        names.join(", ")
    };
    if let Some(name) = inputs
        .keys()
        .find(|n| *n != required && !optional.contains(&n.as_str()))
    {
        return Err(Error::input(name, "is unknown to this model", known()));
    }
    inputs
        .get(required)
        .ok_or_else(|| Error::input(required, "is missing", known()))
}
