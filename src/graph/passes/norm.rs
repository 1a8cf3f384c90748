//! Takes LayerNorms into the products that follow them.
//!
//! A product reads whole rows of its operand, so it can find out what a LayerNorm needs to know by
//! itself; gain and bias move into its weight and bias when a model is loaded. The normalised rows
//! are then never stored.

use crate::graph::{Graph, Recipe, Source, ValueId, View};
use crate::kernels::Op;

/// Fuses each LayerNorm into the products that read its result, where nothing else does.
pub fn fuse_norms(mut graph: Graph) -> Graph {
    let mut at = 0;
    while at < graph.nodes.len() {
        match plan(&graph, at) {
            Some(products) => {
                products.into_iter().for_each(|product| fuse(&mut graph, at, product));
                graph.nodes.remove(at);
            }
            None => at += 1,
        }
    }
    graph
}

/// The products that read the LayerNorm `at`, if it is one and nothing else reads it.
fn plan(graph: &Graph, at: usize) -> Option<Vec<usize>> {
    let node = &graph.nodes[at];
    let (Op::LayerNorm(args), &[result]) = (&node.op, node.outputs.as_slice()) else {
        return None;
    };
    let name = norm_name(graph, node.inputs.get(1)?.value)?;
    let bias = recipe(graph, node.inputs.get(2)?.value)?;
    let named = matches!(&bias, Recipe::Stored { name: b, .. } if *b == format!("{name}.bias"));
    if !(args.is_plain() && named) {
        return None;
    }
    if graph.outputs.iter().any(|o| o.pieces.contains(&result)) {
        return None;
    }
    let mut products = Vec::new();
    for (i, reader) in graph.nodes.iter().enumerate() {
        if !reader.inputs.iter().any(|v| v.value == result) {
            continue;
        }
        let Op::Gemm(args) = &reader.op else {
            return None;
        };
        let first = reader.inputs[0] == graph.view(result);
        let once = reader.inputs.iter().filter(|v| v.value == result).count() == 1;
        let weight = recipe(graph, reader.inputs[1].value).is_some();
        let bias = !args.bias || recipe(graph, reader.inputs[2].value).is_some();
        if !(first && once && weight && bias && !args.normalise) {
            return None;
        }
        products.push(i);
    }
    (!products.is_empty()).then_some(products)
}

fn recipe(graph: &Graph, id: ValueId) -> Option<Recipe> {
    match &graph.value(id).source {
        Source::Parameter(recipe) => Some(recipe.clone()),
        _ => None,
    }
}

/// What the LayerNorm's tensors begin with, from its gain.
fn norm_name(graph: &Graph, gain: ValueId) -> Option<String> {
    match recipe(graph, gain)? {
        Recipe::Stored { name, .. } => name.strip_suffix(".weight").map(str::to_owned),
        _ => None,
    }
}

/// Rewrites one product to normalise its rows itself.
fn fuse(graph: &mut Graph, norm: usize, product: usize) {
    let rows: View = graph.nodes[norm].inputs[0];
    let gain = graph.nodes[norm].inputs[1].value;
    let channels = rows.extent.cols;
    let Op::Gemm(args) = graph.nodes[product].op else {
        return;
    };
    let inputs = &graph.nodes[product].inputs;
    let bias = args.bias.then(|| recipe(graph, inputs[2].value)).flatten().map(Box::new);
    let weight = recipe(graph, inputs[1].value).map(Box::new);
    let (Some(norm), Some(weight)) = (norm_name(graph, gain), weight) else {
        return;
    };
    let new_weight = Recipe::NormWeight { norm: norm.clone(), channels, weight: weight.clone() };
    let bias = graph.parameter(Recipe::NormBias { norm, channels, weight, bias });
    let weight = graph.parameter(new_weight);
    let [weight, bias] = [weight, bias].map(|v| graph.view(v));
    let node = &mut graph.nodes[product];
    if let Op::Gemm(args) = &mut node.op {
        args.normalise = true;
        node.inputs[0] = rows;
        node.inputs[1] = weight;
        if args.bias {
            node.inputs[2] = bias;
        } else {
            node.inputs.insert(2, bias);
            args.bias = true;
        }
    }
}
