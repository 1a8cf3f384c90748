//! Divides the keys of attentions that have too few queries to fill a device, and adds the merge.

use crate::graph::{Graph, Node, Source, Value, ValueId, View};
use crate::kernels::Kernel;
use crate::kernels::Op;
use crate::kernels::attention_merge::AttentionMerge;
use crate::tensor::{Element, Extent};

/// Splits each attention into as many parts as `splits` says and merges them in a fixed order.
#[must_use]
pub fn split_attention(mut graph: Graph, splits: &dyn Fn(&Op) -> usize) -> Graph {
    let nodes = std::mem::take(&mut graph.nodes);
    for mut node in nodes {
        let keys = match &node.op {
            Op::Attention(a) => a.keys,
            Op::FactoredAttention(a) => a.keys,
            _ => 1,
        };
        let parts = match &node.op {
            Op::Attention(_) | Op::FactoredAttention(_) => splits(&node.op).clamp(1, keys.max(1)),
            _ => 1,
        };
        if parts <= 1 {
            graph.nodes.push(node);
            continue;
        }
        let (merge, extents) = match &mut node.op {
            Op::Attention(args) => {
                args.splits = parts;
                let merge = AttentionMerge {
                    parts,
                    batch: args.batch,
                    heads: args.heads,
                    queries: args.queries,
                    d_v: args.d_v,
                    finish: args.finish,
                    result: Element::F32,
                };
                (merge, args.signature().result_extents())
            }
            Op::FactoredAttention(args) => {
                args.splits = parts;
                let merge = AttentionMerge {
                    parts,
                    batch: args.batch,
                    heads: 1,
                    queries: args.queries,
                    d_v: args.columns,
                    finish: args.finish,
                    result: Element::F32,
                };
                (merge, args.signature().result_extents())
            }
            _ => continue,
        };
        let results = std::mem::take(&mut node.outputs);
        debug_assert_eq!(merge.signature().result_extents().len(), results.len());
        let states: Vec<ValueId> = extents
            .into_iter()
            .map(|extent| new_value(&mut graph, format!("{} parts", node.label), extent))
            .collect();
        let inputs: Vec<View> = states.iter().map(|&s| graph.view(s)).collect();
        let label = format!("{} merge", node.label);
        let stage = node.stage;
        node.outputs = states;
        graph.nodes.push(node);
        graph.nodes.push(Node {
            label,
            stage,
            op: Op::AttentionMerge(merge),
            inputs,
            outputs: results,
        });
    }
    graph
}

fn new_value(graph: &mut Graph, label: String, extent: Extent) -> ValueId {
    let id = ValueId(graph.values.len() as u32);
    graph.values.push(Value {
        label,
        extent,
        element: Element::F32,
        source: Source::Node,
    });
    id
}
