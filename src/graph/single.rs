//! Plans of one op, for the kernel table, measurements and tests.

use super::{Graph, Node, Plan, Source, Stage};
use crate::error::Result;
use crate::kernels::{Op, Role};
use crate::tensor::Extent;

/// A plan of one op: its operands are the inputs `operand 0`, `operand 1` and so on, its results the
/// outputs `result 0` and so on.
///
/// # Errors
/// None for ops whose arguments make sense.
pub fn single(op: &Op) -> Result<Plan> {
    let mut graph = Graph::default();
    let value = |graph: &mut Graph, label: String, extent: Extent, role: Role, source: Source| {
        let id = graph.push_value(label, extent, source);
        graph.values[id.index()].element = op.element(role);
        id
    };
    let mut inputs = Vec::new();
    let signature = op.signature();
    for (i, operand) in signature.present_operands().enumerate() {
        let name = format!("operand {i}");
        let source = Source::Input(name.clone());
        let id = value(&mut graph, name, operand.extent, operand.role, source);
        inputs.push(graph.view(id));
    }
    let mut outputs = Vec::new();
    for (i, result) in signature.present_results().enumerate() {
        let (name, extent) = (format!("result {i}"), result.extent);
        let id = value(&mut graph, name.clone(), extent, result.role, Source::Node);
        let shape = vec![extent.batch, extent.rows, extent.cols];
        graph.output(&name, vec![id], shape);
        outputs.push(id);
    }
    let (label, stage) = (op.describe(), Stage::Process);
    graph.nodes.push(Node { label, stage, op: *op, inputs, outputs });
    Plan::new(graph)
}
