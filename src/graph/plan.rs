//! Plans: a graph in running order with a place in memory for every value.
//!
//! A plan is data and belongs to no device. Values that live at the same time never share a slot;
//! a node's results never share a slot with its operands, so that no executor needs a buffer for
//! reading and writing at once.

use std::collections::BTreeMap;

use super::passes::hoist;
use super::{Graph, Node, Source, Value};
use crate::error::{Error, Result};

/// Bytes of a word, in which plans count memory.
pub(crate) const WORD_BYTES: u64 = 4;

/// Index of a memory slot that several values use one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub usize);

/// Where a value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Among the model's parameters, shared by all plans of a model.
    Parameter,
    /// In memory of its own: inputs, and results of nodes that run once.
    Own,
    /// In a shared slot.
    Slot(SlotId),
    /// Nowhere: nothing reads it.
    Unused,
}

/// A scheduled graph. It cannot be changed, and its ops have been compared with the arrays that they
/// read and write: executors lean on that.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    graph: Graph,
    once: usize,
    placements: Vec<Placement>,
    slots: Vec<usize>,
}

impl Plan {
    /// Schedules a graph: drops what no output needs, puts nodes that depend on parameters only
    /// first, and shares memory between values that never live together.
    ///
    /// # Errors
    /// [`Error::Graph`] when a node reads a value before it is written, or an op's signature does not
    /// fit the arrays that it is given.
    pub fn new(mut graph: Graph) -> Result<Self> {
        for node in &graph.nodes {
            check(&graph, node)?;
        }
        for value in &graph.values {
            if let Source::Parameter(recipe) = &value.source
                && recipe.extent() != value.extent
            {
                let what = format!("is {}, its recipe makes {}", value.extent, recipe.extent());
                return Err(Error::graph(&value.label, what));
            }
        }
        drop_unneeded(&mut graph);
        let once_flags = hoist(&graph);
        let once = once_flags.iter().filter(|&&o| o).count();
        let nodes = std::mem::take(&mut graph.nodes);
        let (first, rest): (Vec<_>, Vec<_>) =
            nodes.into_iter().zip(once_flags).partition(|(_, o)| *o);
        graph.nodes = first.into_iter().chain(rest).map(|(n, _)| n).collect();

        let lives = lifetimes(&graph)?;
        let mut placements = vec![Placement::Unused; graph.values.len()];
        let mut shared: Vec<(usize, Life)> = Vec::new();
        for (i, value) in graph.values.iter().enumerate() {
            placements[i] = match (&value.source, lives[i]) {
                (Source::Parameter(_), Some(_)) => Placement::Parameter,
                (Source::Input(_) | Source::Part { .. }, _) => Placement::Own,
                (_, None) => Placement::Unused,
                // Results of the load-time part that the run reads must survive all runs.
                (Source::Node, Some(life)) if life.from < once && life.to >= once => Placement::Own,
                (Source::Node, Some(life)) => {
                    shared.push((i, life));
                    Placement::Unused
                }
            };
        }
        // Largest first: each goes into the first slot in which nothing lives at the same time.
        shared.sort_by_key(|&(i, life)| (std::cmp::Reverse(graph.values[i].words()), life.from, i));
        let mut slots: Vec<usize> = Vec::new();
        // Lives of a slot's tenants, from first node to last: they never overlap.
        let mut tenants: Vec<BTreeMap<usize, usize>> = Vec::new();
        let free = |tenants: &BTreeMap<usize, usize>, life: Life| {
            let before = tenants.range(..=life.to).next_back();
            before.is_none_or(|(_, &to)| to < life.from)
        };
        for (i, life) in shared {
            let size = graph.values[i].words();
            let slot = tenants.iter().position(|t| free(t, life)).unwrap_or_else(|| {
                slots.push(0);
                tenants.push(BTreeMap::new());
                slots.len() - 1
            });
            slots[slot] = slots[slot].max(size);
            tenants[slot].insert(life.from, life.to);
            placements[i] = Placement::Slot(SlotId(slot));
        }
        Ok(Plan { graph, once, placements, slots })
    }

    /// The graph; nodes that run once come first.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How many of the first nodes run once, when the plan is prepared.
    pub fn once(&self) -> usize {
        self.once
    }

    /// Place of each value.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// Words of 32 bits of each slot: elements, where they are f32.
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }

    /// Words of values with memory of their own (inputs and results that are kept).
    pub fn own_words(&self) -> usize {
        self.words_in(Placement::Own)
    }

    /// Words of the parameters.
    pub fn parameter_words(&self) -> usize {
        self.words_in(Placement::Parameter)
    }

    fn words_in(&self, place: Placement) -> usize {
        let values = self.placements.iter().zip(&self.graph.values);
        values.filter(|(p, _)| **p == place).map(|(_, v)| v.words()).sum()
    }

    /// Words of all slots.
    pub fn slot_words(&self) -> usize {
        self.slots.iter().sum()
    }

    /// Bytes that a session allocates for its arrays: parameters, kept arrays, slots.
    pub fn array_bytes(&self) -> u64 {
        let words = self.parameter_words() + self.own_words() + self.slot_words();
        WORD_BYTES * words as u64
    }
}

/// Compares an op with its views: each operand and result that the signature names is there, is stored as
/// the op says, and has at least the words that the op reads or writes.
fn check(graph: &Graph, node: &Node) -> Result<()> {
    let refuse = |what: String| Err(Error::graph(&node.label, what));
    node.op.check(&node.label)?;
    let signature = node.op.signature();
    let results = node.outputs.iter().map(|&o| graph.checked_view(o));
    let inputs = node.inputs.iter().map(|&v| Some(v));
    let sides = [
        (signature.present_operands().collect::<Vec<_>>(), inputs.collect::<Vec<_>>()),
        (signature.present_results().collect(), results.collect()),
    ];
    for (operands, views) in sides {
        if operands.len() != views.len() {
            let (wanted, found) = (operands.len(), views.len());
            return refuse(format!("`{}` takes {wanted} arrays, not {found}", node.op.kernel()));
        }
        for (operand, view) in operands.into_iter().zip(views) {
            let found = view.and_then(|v| Some((v, graph.values.get(v.value.index())?)));
            let Some((view, value)) = found else {
                return refuse(format!("`{}` is no value of the graph", operand.name));
            };
            let element = node.op.element(operand.role);
            let end = view.first_row * view.extent.stride() + view.extent.padded_len();
            let needed = operand.extent.padded_len();
            if value.element != element {
                let what = format!("`{}` is {:?}, not {element:?}", operand.name, value.element);
                return refuse(what);
            }
            if end > value.extent.padded_len() || needed > view.extent.padded_len() {
                return refuse(format!(
                    "`{}` is {} of {}, the op needs {}",
                    operand.name, view.extent, value.extent, operand.extent
                ));
            }
        }
    }
    Ok(())
}

/// First and last node that a value must be there for, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// When each value is needed; `None` for values that nothing writes or reads.
pub(crate) fn lifetimes(graph: &Graph) -> Result<Vec<Option<Life>>> {
    let begin = |v: &Value| (v.source != Source::Node).then_some(Life { from: 0, to: 0 });
    let mut lives: Vec<Option<Life>> = graph.values.iter().map(begin).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        for view in &node.inputs {
            let Some(life) = &mut lives[view.value.index()] else {
                let what =
                    format!("reads `{}` before it is written", graph.value(view.value).label);
                return Err(Error::graph(&node.label, what));
            };
            life.to = i;
        }
        for o in &node.outputs {
            lives[o.index()] = Some(Life { from: i, to: i });
        }
    }
    for piece in graph.outputs.iter().flat_map(|o| &o.pieces) {
        if let Some(life) = &mut lives[piece.index()] {
            life.to = graph.nodes.len();
        }
    }
    Ok(lives)
}

/// Removes nodes whose results nothing needs.
fn drop_unneeded(graph: &mut Graph) {
    let mut needed = vec![false; graph.values.len()];
    for piece in graph.outputs.iter().flat_map(|o| &o.pieces) {
        needed[piece.index()] = true;
    }
    let mut keep = vec![false; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if node.outputs.iter().any(|o| needed[o.index()]) {
            keep[i] = true;
            for view in &node.inputs {
                needed[view.value.index()] = true;
            }
        }
    }
    let mut keep = keep.into_iter();
    graph.nodes.retain(|_| keep.next().unwrap_or(false));
    // Inputs stay: a caller may hand them in though a particular set of outputs ignores them.
    for (value, needed) in graph.values.iter_mut().zip(needed) {
        if !needed && matches!(value.source, Source::Parameter(_)) {
            value.source = Source::Node;
        }
    }
}
