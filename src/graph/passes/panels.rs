//! Lays the weights of products in panels, for the CPU.
//!
//! What its kernel reads is then in order, and no run packs it. The array has the same size: its elements change places.

use crate::graph::{Graph, Recipe, Source, View};
use crate::kernels::Op;
use crate::kernels::gemm::Gemm;

/// Rows of a weight that are worth it: with fewer, a product is bound by reading and writing its rows, and `flow-tiny` took a
/// tenth longer.
const DEEP: usize = 512;

/// Puts every parameter that is nothing but the whole weight of products into panels.
pub fn panels(mut graph: Graph) -> Graph {
    let parameter = |source: &Source| matches!(source, Source::Parameter(_));
    let mut fits: Vec<bool> = graph.values.iter().map(|v| parameter(&v.source)).collect();
    for piece in graph.outputs.iter().flat_map(|o| &o.pieces) {
        fits[piece.index()] = false;
    }
    for node in &graph.nodes {
        for (operand, view) in node.inputs.iter().enumerate() {
            fits[view.value.index()] &= match &node.op {
                Op::Gemm(args) if operand == 1 => is_whole(&graph, args, view),
                _ => false,
            };
        }
    }
    for node in &mut graph.nodes {
        if let (Op::Gemm(args), Some(weight)) = (&mut node.op, node.inputs.get(1)) {
            args.panels = fits[weight.value.index()];
        }
    }
    for (value, _) in graph.values.iter_mut().zip(fits).filter(|(_, fits)| *fits) {
        if let Source::Parameter(recipe) = &mut value.source {
            *recipe = Recipe::Panels(Box::new(recipe.clone()));
        }
    }
    graph
}

fn is_whole(graph: &Graph, args: &Gemm, view: &View) -> bool {
    let sizes = [args.inner.next_multiple_of(4), args.cols];
    !args.normalise
        && args.inner >= DEEP
        && *view == graph.view(view.value)
        && [view.extent.rows, view.extent.cols] == sizes
}
