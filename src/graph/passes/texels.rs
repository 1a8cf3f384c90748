//! Has inputs come from, and outputs go to, an app's textures and buffers.
//!
//! An input that is bound becomes the result of `from_texels`, whose operands are inputs of their own
//! ([`texels_of`], [`map_of`]); an output is what `to_texels` makes of it. So these are ops like all others:
//! checked, cut and counted with the rest of the plan.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Source, Stage, ValueId};
use crate::kernels::from_texels::FromTexels;
use crate::kernels::to_texels::{HUES, ToTexels};
use crate::kernels::{Op, Role};
use crate::tensor::{Element, Extent};

/// The input, or output, that an app's texels go through.
pub fn texels_of(name: &str) -> String {
    format!("{name}.texels")
}

/// The input that says what texels mean.
pub fn map_of(name: &str) -> String {
    format!("{name}.map")
}

/// The input with the colours of the wheel.
pub fn wheel_of(name: &str) -> String {
    format!("{name}.wheel")
}

/// Makes rows of an input of texels. `op` says what they are like; which rows, the graph's windows say.
///
/// # Errors
/// [`Error::Graph`] where the rows are other than the texels give.
pub fn from_texels(mut graph: Graph, input: &str, op: FromTexels) -> Result<Graph> {
    let arrays: Vec<(ValueId, Extent)> =
        graph.inputs().filter(|(n, ..)| *n == input).map(|(_, id, e)| (id, e)).collect();
    let lines = Extent::new(op.planes, op.height, op.line);
    let texels = add_input(&mut graph, texels_of(input), lines, op.texels);
    let mut operands = vec![graph.view(texels)];
    if op.mapped {
        let map = add_input(&mut graph, map_of(input), op.map_extent(), Element::F32);
        operands.push(graph.view(map));
    }
    let mut nodes = Vec::new();
    for (id, extent) in arrays {
        let first = match graph.value(id).source {
            Source::Part { first, .. } => first / extent.cols.max(1),
            _ => 0,
        };
        if extent.cols != op.cols() {
            let what = format!("has rows of {} channels, not {}", extent.cols, op.cols());
            return Err(Error::graph(input, what));
        }
        let op = Op::from(FromTexels { first, rows: extent.all_rows(), ..op });
        let label = format!("{input} from texels");
        let (inputs, outputs) = (operands.clone(), vec![id]);
        graph.values[id.index()].source = Source::Node;
        nodes.push(Node { label, stage: Stage::Preprocess, op, inputs, outputs });
    }
    nodes.append(&mut graph.nodes);
    graph.nodes = nodes;
    Ok(graph)
}

/// What one array of an output becomes: the op, which says where its pixels begin.
pub fn to_texels(
    mut graph: Graph,
    output: &str,
    make: &dyn Fn(usize, Extent) -> ToTexels,
) -> Result<Graph> {
    let unknown = || Error::graph(output, "is not an output");
    let at = graph.outputs.iter().position(|o| o.name == output).ok_or_else(unknown)?;
    let pieces = graph.outputs.remove(at).pieces;
    let mut parts = Vec::new();
    let (mut first, mut elements, mut constants) = (0, 0, None);
    for piece in pieces {
        let extent = graph.extent(piece);
        let op = make(first, extent);
        first += extent.all_rows();
        elements += op.lines() * op.line;
        let (map, wheel) = *constants.get_or_insert_with(|| {
            let extent = Extent::new(1, 2, op.channels);
            let map = add_input(&mut graph, map_of(output), extent, Element::F32);
            let wheel = op.wheel.then(|| {
                let extent = Extent::new(1, HUES, 3);
                add_input(&mut graph, wheel_of(output), extent, Element::F32)
            });
            (map, wheel)
        });
        let mut inputs = vec![graph.view(piece), graph.view(map)];
        inputs.extend(wheel.map(|id| graph.view(id)));
        let label = format!("{output} to texels");
        let made = graph.push_node(Stage::Postprocess, &label, op, inputs);
        for id in &made {
            graph.values[id.index()].element = Op::from(op).element(Role::Texels);
        }
        parts.extend(made);
    }
    graph.output(&texels_of(output), parts, vec![elements]);
    Ok(graph)
}

fn add_input(graph: &mut Graph, name: String, extent: Extent, element: Element) -> ValueId {
    let id = graph.push_value(name.clone(), extent, Source::Input(name));
    graph.values[id.index()].element = element;
    id
}
