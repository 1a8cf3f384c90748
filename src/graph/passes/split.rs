//! Split-K and split-KV: divides what has too few rows to fill a device along the dimension that it sums
//! over, and adds the merge, in a fixed order.

use crate::graph::{Graph, Node, Source, View};
use crate::kernels::Op;
use crate::kernels::attention_merge::AttentionMerge;
use crate::kernels::gemm::Activation;
use crate::kernels::gemm_merge::GemmMerge;
use crate::tensor::Element;

/// Splits the inner dimension of each product and the keys of each attention into as many parts as
/// `parts` says. The merge of a product takes over its epilogue; products that normalise their rows stay
/// whole.
pub fn split(mut graph: Graph, parts: &dyn Fn(&Op) -> usize) -> Graph {
    for mut node in std::mem::take(&mut graph.nodes) {
        let parts = parts(&node.op);
        let states = |heads, queries, d_v, batch, finish| AttentionMerge {
            parts,
            batch,
            heads,
            queries,
            d_v,
            finish,
            result: Element::F32,
        };
        let mut epilogue = Vec::new();
        let merge: Op = match &mut node.op {
            Op::Attention(a) if parts > 1 => {
                a.splits = parts;
                states(a.heads, a.queries, a.d_v, a.batch, a.finish).into()
            }
            Op::FactoredAttention(a) if parts > 1 => {
                a.splits = parts;
                states(1, a.queries, a.columns, a.batch, a.finish).into()
            }
            Op::Gemm(a) if parts > 1 && !a.normalise => {
                let merge = GemmMerge {
                    parts,
                    rows: a.rows,
                    cols: a.cols,
                    bias: a.bias,
                    activation: a.activation,
                    residual_rows: a.residual_rows,
                    y: Element::F32,
                };
                a.splits = parts;
                (a.bias, a.residual_rows) = (false, 0);
                a.activation = Activation::None;
                epilogue = node.inputs.split_off(2);
                merge.into()
            }
            _ => {
                graph.nodes.push(node);
                continue;
            }
        };
        let mut part = |e| graph.push_value(format!("{} parts", node.label), e, Source::Node);
        let sums = node.op.signature().result_extents().into_iter().map(&mut part).collect();
        let (label, stage) = (format!("{} merge", node.label), node.stage);
        let outputs = std::mem::replace(&mut node.outputs, sums);
        let sums = node.outputs.iter().map(|&s| graph.view(s));
        let inputs: Vec<View> = sums.chain(epilogue).collect();
        graph.nodes.push(node);
        graph.nodes.push(Node { label, stage, op: merge, inputs, outputs });
    }
    graph
}
