//! Which nodes depend on parameters only, and can therefore run once when the model is loaded.
//!
//! In every official model the latents are learned constants, so LayerNorm and query projection of
//! the encoder's cross-attention are; so are the decoder's where its queries are learned.

use crate::graph::{Graph, Source};

/// For each node, whether it can run once: all its operands are parameters, inputs that are kept, or
/// results of such nodes.
pub fn hoist(graph: &Graph) -> Vec<bool> {
    let mut constant: Vec<bool> =
        graph.values.iter().map(|v| matches!(v.source, Source::Parameter(_))).collect();
    for kept in &graph.kept {
        constant[kept.index()] = true;
    }
    let runs_once = graph.nodes.iter().map(|node| {
        let once = node.inputs.iter().all(|v| constant[v.value.index()]);
        for o in &node.outputs {
            constant[o.index()] = once;
        }
        once
    });
    runs_once.collect()
}
