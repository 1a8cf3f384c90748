//! What inputs and outputs of a plan look like from outside: which arrays hold them, and what is wrong
//! with a name or a size.

use std::ops::Range;

use super::{Output, Plan, Source, ValueId};
use crate::error::{Error, Result};
use crate::tensor::Extent;

/// The arrays that hold input `name` of a plan, each with the elements that it takes, if `elements` is
/// the input's size.
pub(crate) fn input_parts(
    plan: &Plan,
    name: &str,
    elements: usize,
) -> Result<Vec<(ValueId, Extent, Range<usize>)>> {
    let mut parts = Vec::new();
    let mut wanted = None;
    for (known, id, extent) in plan.graph().inputs() {
        if known != name {
            continue;
        }
        let (first, whole) = match plan.graph().value(id).source {
            Source::Part { first, whole, .. } => (first, whole),
            _ => (0, extent.len()),
        };
        parts.push((id, extent, first..first + extent.len()));
        wanted = Some((whole, extent));
    }
    let Some((whole, extent)) = wanted else {
        let mut known: Vec<&str> = plan.graph().inputs().map(|(n, ..)| n).collect();
        known.dedup();
        return Err(Error::input(name, "is unknown", format!("one of {known:?}")));
    };
    if whole != elements {
        let expected = match parts.len() {
            1 => format!("{whole} elements ({extent})"),
            _ => format!("{whole} elements"),
        };
        return Err(Error::input(name, format!("has {elements} elements"), expected));
    }
    Ok(parts)
}

/// The output of this name, or the error for one that the plan does not have.
pub(crate) fn output<'a>(plan: &'a Plan, name: &str) -> Result<&'a Output> {
    let outputs = &plan.graph().outputs;
    outputs.iter().find(|o| o.name == name).ok_or_else(|| {
        let known: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        Error::input(name, "is not an output of this plan", format!("one of {known:?}"))
    })
}

/// Repeats learned arrays, which have one item, to the size of the whole batch.
pub(crate) fn repeat_to(elements: usize, data: Vec<f32>) -> Vec<f32> {
    if data.is_empty() || data.len() >= elements || !elements.is_multiple_of(data.len()) {
        return data;
    }
    data.repeat(elements / data.len())
}
