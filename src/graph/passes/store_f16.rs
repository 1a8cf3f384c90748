//! Stores arrays as f16 where that is safe, for `Precision::F16`.
//!
//! Weights, projected rows, hidden rows and inputs are stored as f16. These stay f32:
//! the residual stream, whose roundings would add up over all layers; states, sums and statistics of
//! attention; row scales, masks, positions; tables of folded scores, whose entries are large and
//! cancel; and results. No array has two types: one that any reader needs in f32 is f32.

use crate::graph::{Folded, Graph, Node, Recipe, Source, Value};
use crate::kernels::{Op, Role};
use crate::tensor::Element;

/// Chooses the type of every array. On software adapters attention sums up in its result, which is
/// therefore f32 (`wide_attention`).
pub fn store_f16(mut graph: Graph, wide_attention: bool) -> Graph {
    // What has to be f32.
    let stays = |v: &Value| matches!(&v.source, Source::Parameter(r) if stays_wide(r));
    let mut wide: Vec<bool> = graph.values.iter().map(stays).collect();
    for piece in graph.outputs.iter().flat_map(|o| &o.pieces) {
        wide[piece.index()] = true;
    }
    for node in &graph.nodes {
        for (view, role) in node.inputs.iter().zip(node.op.operand_roles()) {
            let parameter = matches!(graph.value(view.value).source, Source::Parameter(_));
            // Learned rows are small, and read where the residual stream begins.
            let learned = parameter && role == Role::Rows && matches!(node.op, Op::Gemm(_));
            if role == Role::Wide || learned {
                wide[view.value.index()] = true;
            }
        }
        for (id, role) in node.outputs.iter().zip(node.op.result_roles()) {
            if role == Role::Wide || (wide_attention && matches!(node.op, Op::Attention(_))) {
                wide[id.index()] = true;
            }
        }
    }
    // All rows of an attention have one type, and keys follow rows that are f32.
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for node in &graph.nodes {
            let operands = || node.inputs.iter().zip(node.op.operand_roles());
            if operands().any(|(v, role)| role == Role::Rows && wide[v.value.index()]) {
                for (view, _) in operands().filter(|o| matches!(o.1, Role::Rows | Role::Keys)) {
                    changed |= !std::mem::replace(&mut wide[view.value.index()], true);
                }
            }
        }
    }
    let narrow = |&wide: &bool| if wide { Element::F32 } else { Element::F16 };
    let mut elements: Vec<Element> = wide.iter().map(narrow).collect();
    let roles = |node: &Node| -> Vec<(usize, Role)> {
        let inputs = node.inputs.iter().map(|v| v.value.index()).zip(node.op.operand_roles());
        let outputs = node.outputs.iter().map(|o| o.index()).zip(node.op.result_roles());
        inputs.chain(outputs).collect()
    };
    // Texels have the type of the app's memory.
    for node in &graph.nodes {
        for (index, role) in roles(node).into_iter().filter(|(_, role)| *role == Role::Texels) {
            elements[index] = node.op.element(role);
        }
    }
    for (value, element) in graph.values.iter_mut().zip(&elements) {
        value.element = *element;
    }
    for node in &mut graph.nodes {
        for (index, role) in roles(node) {
            node.op.set_element(role, elements[index]);
        }
    }
    graph
}

/// Weights whose products are scores or parts of them.
fn stays_wide(recipe: &Recipe) -> bool {
    match recipe {
        Recipe::Folded(folded) => matches!(folded, Folded::Keys { .. } | Folded::Queries { .. }),
        Recipe::NormWeight { weight, .. } => stays_wide(weight),
        _ => false,
    }
}
