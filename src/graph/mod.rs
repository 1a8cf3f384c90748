//! Graphs are data: values, nodes and outputs. A model builds one, passes rewrite it, and a
//! [`Plan`] schedules it for either executor.
//!
//! Invariants: nodes are in an order in which they can run; every value is written by exactly one
//! node, or is an input, or is a parameter.

mod builder;
mod control;
mod executor;
mod fold;
mod parameter;
pub mod passes;
mod plan;
mod report;
mod single;
mod stage;
mod transfer;
mod waiting;

pub use builder::{AttentionSource, Heads, Linear, Parts};
pub use control::Control;
pub(crate) use executor::sealed;
pub use executor::{Executor, Running, Span, Spans};
pub use fold::{Factored, Fold, Folded, Named};
pub(crate) use parameter::batch_norm_tensors;
pub use parameter::{
    FourierPositions, Fused, HeadLayout, LinearPart, Recipe, Spacing, part_columns,
};
pub(crate) use plan::WORD_BYTES;
pub use plan::{Placement, Plan, SlotId};
pub use report::{NodeReport, PlanReport, StageReport, WindowReport};
pub use single::single;
pub use stage::Stage;
pub(crate) use transfer::{input_parts, output, repeat_to};
pub(crate) use waiting::{Pauses, Unpaused};
pub use waiting::{Waiting, blocking};

use std::collections::HashMap;

use crate::kernels::Op;
use crate::tensor::{Element, Extent};

/// Bytes of an element as sizes are bounded, before it is known what will be stored as f16.
pub(crate) const ELEMENT_BYTES: u64 = Element::F32.bytes() as u64;

/// Index of a value in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// Written by the host before each run, under this name.
    Input(String),
    /// Some elements of an input that is held by several arrays.
    Part {
        /// The input's name.
        input: String,
        /// Which of its elements come first, without padding.
        first: usize,
        /// Elements of the input.
        whole: usize,
    },
    /// Made from the checkpoint once, by this recipe.
    Parameter(Recipe),
    /// Written by a node.
    Node,
}

/// An array of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// For messages and object labels.
    pub label: String,
    /// Shape.
    pub extent: Extent,
    /// How its numbers lie in memory.
    pub element: Element,
    /// Origin.
    pub source: Source,
}

impl Value {
    /// Words of 32 bits that it takes, padding included.
    pub const fn words(&self) -> usize {
        self.element.words(self.extent.padded_len())
    }

    /// Bytes that it takes, padding included.
    pub const fn bytes(&self) -> u64 {
        4 * self.words() as u64
    }
}

/// Rows of the input array that are there at once, and all that is computed of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
}

/// Some rows of a value, seen as an array of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The value.
    pub value: ValueId,
    /// First row, counted over all batch items.
    pub first_row: usize,
    /// Shape of the window.
    pub extent: Extent,
}

/// One operation with its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// For messages, object labels and reports.
    pub label: String,
    /// The part of the model that it belongs to.
    pub stage: Stage,
    /// What it does.
    pub op: Op,
    /// Operands in the order that the op documents.
    pub inputs: Vec<View>,
    /// Results in the order that the op documents.
    pub outputs: Vec<ValueId>,
}

/// A named result: row windows of one array, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The name under which it is returned.
    pub name: String,
    /// The values whose rows, one after the other, are the result.
    pub pieces: Vec<ValueId>,
    /// Shape under which it is returned. A learned array with one item is repeated to fill it.
    pub shape: Vec<usize>,
}

/// A directed acyclic graph of ops over [`Extent`]-shaped arrays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// All arrays.
    pub values: Vec<Value>,
    /// All operations, in an order in which they can run.
    pub nodes: Vec<Node>,
    /// What a run returns.
    pub outputs: Vec<Output>,
    /// Inputs that the host writes rarely: what depends on them and on parameters alone is computed
    /// when a session is told to, not in every run.
    pub kept: Vec<ValueId>,
    /// Parameters by recipe, so that the same recipe gives the same value.
    known: HashMap<Recipe, ValueId>,
}

impl Graph {
    /// The value behind an id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// Shape of a value.
    pub fn extent(&self, id: ValueId) -> Extent {
        self.value(id).extent
    }

    /// The whole of a value.
    pub fn view(&self, id: ValueId) -> View {
        View { value: id, first_row: 0, extent: self.extent(id) }
    }

    /// The whole of a value, if it is one of this graph.
    pub(crate) fn checked_view(&self, id: ValueId) -> Option<View> {
        (id.index() < self.values.len()).then(|| self.view(id))
    }

    /// Names and shapes of the inputs; one that several arrays hold comes several times.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, ValueId, Extent)> {
        self.values.iter().enumerate().filter_map(|(i, v)| match &v.source {
            Source::Input(name) | Source::Part { input: name, .. } => {
                Some((name.as_str(), ValueId(i as u32), v.extent))
            }
            _ => None,
        })
    }

    /// Ids and recipes of the parameters.
    pub fn parameters(&self) -> impl Iterator<Item = (ValueId, &Recipe)> {
        self.values.iter().enumerate().filter_map(|(i, v)| match &v.source {
            Source::Parameter(recipe) => Some((ValueId(i as u32), recipe)),
            _ => None,
        })
    }
}
