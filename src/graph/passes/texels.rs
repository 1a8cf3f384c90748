//! Has inputs come from, and outputs go to, an app's textures and buffers.
//!
//! An input that is bound becomes the result of `from_texels`, whose operands are inputs of their own
//! ([`texels_of`], [`map_of`]); an output is what `to_texels` makes of it, or a picture
//! that `warp` brings back by it, beside what `finite` says of it. So these are ops like all others: checked, cut and counted with the rest of
//! the plan.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Source, Stage, ValueId, View};
use crate::kernels::finite::Finite;
use crate::kernels::from_texels::FromTexels;
use crate::kernels::to_texels::{HUES, ToTexels};
use crate::kernels::warp::Warp;
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
///
/// # Errors
/// [`Error::Graph`] where there is no such output.
pub fn to_texels(
    graph: Graph,
    output: &str,
    make: &dyn Fn(usize, Extent) -> ToTexels,
) -> Result<Graph> {
    let mut constants = None;
    instead(graph, output, "to texels", &mut |graph, first, rows| {
        let op = make(first, rows.extent);
        let (map, wheel) = *constants.get_or_insert_with(|| {
            let extent = Extent::new(1, 2, op.channels);
            let map = add_input(graph, map_of(output), extent, Element::F32);
            let wheel = op.wheel.then(|| {
                let extent = Extent::new(1, HUES, 3);
                add_input(graph, wheel_of(output), extent, Element::F32)
            });
            (map, wheel)
        });
        let mut inputs = vec![rows, graph.view(map)];
        inputs.extend(wheel.map(|id| graph.view(id)));
        (op.into(), inputs, op.lines() * op.line)
    })
}

/// An output of vectors becomes a picture brought back by them, one of those that `input` has been made of by
/// [`from_texels`]: the op for each array, which says where its pixels begin.
///
/// # Errors
/// [`Error::Graph`] where there is no such output, or no pictures of this input.
pub fn warp(
    graph: Graph,
    output: &str,
    input: &str,
    make: &dyn Fn(usize, Extent) -> Warp,
) -> Result<Graph> {
    let name = texels_of(input);
    let frames = graph.inputs().find(|(n, ..)| *n == name).map(|(_, id, _)| id);
    let frames = frames.ok_or_else(|| Error::graph(input, "has no pictures"))?;
    let mut constant = None;
    instead(graph, output, "warped", &mut |graph, first, rows| {
        let op = make(first, rows.extent);
        let extent = Extent::new(1, 1, 2);
        let scale =
            *constant.get_or_insert_with(|| add_input(graph, map_of(output), extent, Element::F32));
        let inputs = vec![rows, graph.view(scale), graph.view(frames)];
        (op.into(), inputs, op.lines() * op.into_line)
    })
}

/// What an array of an output becomes: the op, what it reads, and the elements that it makes. It is told how many rows
/// are before the array.
type Replacement<'f> = dyn FnMut(&mut Graph, usize, View) -> (Op, Vec<View>, usize) + 'f;

/// The graph with lines of texels in place of an output.
fn instead(
    mut graph: Graph,
    output: &str,
    becomes: &str,
    make: &mut Replacement<'_>,
) -> Result<Graph> {
    let unknown = || Error::graph(output, "is not an output");
    let at = graph.outputs.iter().position(|o| o.name == output).ok_or_else(unknown)?;
    let pieces = graph.outputs.remove(at).pieces;
    let label = format!("{output} {becomes}");
    let (mut parts, mut first, mut elements) = (Vec::new(), 0, 0);
    for piece in pieces {
        let rows = graph.view(piece);
        let (op, inputs, made) = make(&mut graph, first, rows);
        first += rows.extent.all_rows();
        elements += made;
        for id in graph.push_node(Stage::Postprocess, &label, op, inputs) {
            graph.values[id.index()].element = op.element(Role::Texels);
            parts.push(id);
        }
    }
    graph.output(&texels_of(output), parts, vec![elements]);
    Ok(graph)
}

/// The output that says whether the numbers of another are finite.
pub fn finite_of(name: &str) -> String {
    format!("{name}.finite")
}

/// Adds an output that holds a number other than zero where `output` has infinities or what is no number.
///
/// # Errors
/// [`Error::Graph`] where there is no such output.
pub fn finite(mut graph: Graph, output: &str) -> Result<Graph> {
    let unknown = || Error::graph(output, "is not an output");
    let found = graph.outputs.iter().find(|o| o.name == output).ok_or_else(unknown)?;
    let (mut parts, mut flags) = (Vec::new(), 0);
    for piece in found.pieces.clone() {
        let rows = graph.view(piece);
        let op = Finite { extent: rows.extent };
        flags += op.groups();
        let label = format!("{output} finite");
        parts.extend(graph.push_node(Stage::Postprocess, &label, op, vec![rows]));
    }
    graph.output(&finite_of(output), parts, vec![flags]);
    Ok(graph)
}

fn add_input(graph: &mut Graph, name: String, extent: Extent, element: Element) -> ValueId {
    let id = graph.push_value(name.clone(), extent, Source::Input(name));
    graph.values[id.index()].element = element;
    id
}
