//! Divides the inner dimension of products with few rows, which fill no device otherwise, and adds the
//! merge, which takes over the epilogue.

use crate::graph::{Graph, Node, Source, Value, ValueId, View};
use crate::kernels::Op;
use crate::kernels::gemm::{Activation, Gemm};
use crate::kernels::gemm_merge::GemmMerge;
use crate::tensor::{Element, Extent};

/// Divides each product into as many parts as `parts` says and adds them up in a fixed order.
#[must_use]
pub fn split_products(mut graph: Graph, parts: &dyn Fn(&Gemm) -> usize) -> Graph {
    for mut node in std::mem::take(&mut graph.nodes) {
        let wanted = match &node.op {
            Op::Gemm(args) if !args.normalise => parts(args),
            _ => 1,
        };
        let Op::Gemm(args) = &mut node.op else {
            graph.nodes.push(node);
            continue;
        };
        if wanted <= 1 {
            graph.nodes.push(node);
            continue;
        }
        let merge = GemmMerge {
            parts: wanted,
            rows: args.rows,
            cols: args.cols,
            bias: args.bias,
            activation: args.activation,
            residual_rows: args.residual_rows,
            y: Element::F32,
        };
        args.splits = wanted;
        args.bias = false;
        args.activation = Activation::None;
        args.residual_rows = 0;
        let states = ValueId(graph.values.len() as u32);
        graph.values.push(Value {
            label: format!("{} parts", node.label),
            extent: Extent::new(wanted, merge.rows, merge.cols),
            element: Element::F32,
            source: Source::Node,
        });
        let rest: Vec<View> = node.inputs.split_off(2);
        let results = std::mem::replace(&mut node.outputs, vec![states]);
        let (label, stage) = (format!("{} merge", node.label), node.stage);
        graph.nodes.push(node);
        graph.nodes.push(Node {
            label,
            stage,
            op: Op::GemmMerge(merge),
            inputs: [vec![graph.view(states)], rest].concat(),
            outputs: results,
        });
    }
    graph
}
