//! Checks of blueprints that are lists of arrays: names first, then sizes by themselves, then what the graph makes of them.

use super::check::{Key, MOST_ROWS, Names, array};
use super::sizes::MOST_VARYING;
use super::{
    AttentionStep, Blueprint, Content, LatentArray, Make, Modality, Positions, Projection,
};
use crate::error::{Error, Result};
use crate::perceiver::build;
use crate::perceiver::config::LARGEST;
use crate::perceiver::request::{Request, Sizes};

/// Most arrays: more than a thousand layers.
const MOST_ARRAYS: usize = 8192;
/// Most sets of keys of an attention, and most frequencies.
const MOST_SETS: usize = 64;

pub(super) fn arrays(top: &Key<'_>, b: &Blueprint) -> Result<()> {
    let alone = b.latents == LatentArray::default()
        && b.channels == 0
        && b.steps.is_empty()
        && b.decoders.is_empty();
    top.at("arrays").need(
        alone,
        "stand beside latents, channels, steps or decoders",
        "a blueprint is either encode, process and decode, or a list of arrays",
    )?;
    let mut inputs = Names::new();
    let mut names = Names::new();
    let key = top.at("inputs");
    key.parts(1, b.inputs.len())?;
    for (i, modality) in b.inputs.iter().enumerate() {
        array(&key.nth(i), modality, &mut inputs)?;
        key.nth(i).at("name").once(&modality.name, &mut names, "array")?;
        axes(&key.nth(i).at("axes"), modality)?;
        let skipped = modality.skipped.is_none_or(f32::is_finite);
        key.nth(i).at("skipped").need(skipped, "is no finite number", "give a finite number")?;
    }
    let varying = b.inputs.iter().filter(|a| a.varies).count();
    let hint = format!("at most {MOST_VARYING} are possible");
    key.need(varying <= MOST_VARYING, format!("have {varying} arrays that vary"), hint)?;
    let key = top.at("arrays");
    key.size(b.arrays.len(), MOST_ARRAYS)?;
    for (i, step) in b.arrays.iter().enumerate() {
        let key = key.nth(i);
        key.at("name").once(&step.name, &mut names, "array")?;
        make(&key.at("make"), &step.make)?;
    }
    let key = top.at("outputs");
    key.size(b.outputs.len(), MOST_ARRAYS)?;
    let mut outputs = Names::new();
    for (i, output) in b.outputs.iter().enumerate() {
        key.nth(i).at("name").once(&output.name, &mut outputs, "output")?;
    }
    // What does not fit is a graph that cannot be built, or one with an array that is too large.
    let graph = build::graph(b, &Request::whole(Sizes::default(), true));
    let graph = match graph {
        Err(Error::Graph { node, what }) => {
            return top.at("arrays").bad(
                format!("do not fit: `{node}`: {what}"),
                "compare the widths of that array's operands",
            );
        }
        other => other?,
    };
    for value in &graph.values {
        let e = value.extent;
        let elements = [e.batch, e.rows, e.stride()].into_iter().fold(1, usize::saturating_mul);
        key.at(&value.label).elements(elements)?;
    }
    super::check::tensors(top, b)
}

/// Axes that rows come with are those of rows that are given as they are.
fn axes(key: &Key<'_>, modality: &Modality) -> Result<()> {
    if modality.axes.is_empty() {
        return Ok(());
    }
    let given = matches!(modality.content, Content::Given { .. });
    key.need(
        given
            && modality.varies
            && matches!(modality.positions, Positions::None | Positions::Waves { .. }),
        "stand beside another content than given, other positions, or rows that do not vary",
        "leave axes out",
    )?;
    let most = if modality.skipped.is_some() { 2 } else { 3 };
    key.size(modality.axes.len(), most)?;
    let product = modality.axes.iter().fold(1, |a: usize, &n| a.saturating_mul(n));
    let what = format!("are {:?} for {} rows", modality.axes, modality.count);
    key.need(product == modality.count, what, "their product is the number of rows")
}

fn make(key: &Key<'_>, make: &Make) -> Result<()> {
    match make {
        Make::Learned { tensor, shape } => {
            let key = key.at("learned");
            key.at("tensor").name(tensor)?;
            key.at("shape").size(shape.len(), 8)?;
            for (i, &n) in shape.iter().enumerate() {
                key.at("shape").nth(i).size(n, MOST_ROWS)?;
            }
            let last = shape.last().copied().unwrap_or(1);
            key.at("shape").size(last, LARGEST)?;
            key.at("shape").elements(shape.iter().fold(1, |a, &n| a.saturating_mul(n)))
        }
        Make::Resized { tensor, shape, .. } => {
            let key = key.at("resized");
            key.at("tensor").name(tensor)?;
            key.at("shape").nth(0).size(shape[0], MOST_ROWS)?;
            key.at("shape").nth(1).size(shape[1], LARGEST)?;
            key.at("shape").elements(shape[0] * shape[1])
        }
        Make::Spread { tensor, shape, axis, .. } => {
            key.at("spread.axis").size(axis + 1, 3)?;
            let learned = Make::Learned { tensor: tensor.clone(), shape: shape.clone() };
            self::make(&key.at("spread"), &learned)
        }
        Make::Slice { first, rows, .. } => {
            let [first, rows] = [first, rows].map(|n| n.unsigned_abs() as usize);
            key.at("slice").size(first.saturating_add(rows).saturating_add(1), MOST_ROWS)
        }
        Make::Filled { value, channels } => {
            let key = key.at("filled");
            key.at("channels").size(*channels, LARGEST)?;
            key.at("value").need(value.is_finite(), "is not finite", "give a finite number")
        }
        Make::Count(_) | Make::Split { .. } | Make::Unite { .. } => Ok(()),
        Make::Sum(_) | Make::Product { .. } | Make::Norm { .. } | Make::Mean { .. } => Ok(()),
        Make::Linear(step) => {
            let key = key.at("linear");
            key.at("out").size(step.out, LARGEST)?;
            let what = format!("is {} for {} channels", step.heads, step.out);
            let divide = step.out.is_multiple_of(step.heads.max(1));
            key.at("heads").need(divide, what, "it must divide the channels")?;
            fused(&key, "layer", &step.layer)
        }
        Make::Mlp(step) => {
            key.at("mlp.hidden").size(step.hidden, LARGEST)?;
            key.at("mlp.out").size(step.out.max(1), LARGEST)
        }
        Make::Attention(step) => attention(&key.at("attention"), step),
        Make::Waves { frequencies, tensor, .. } => {
            if let Some((name, count)) = tensor {
                key.at("waves.tensor").name(name)?;
                key.at("waves.tensor").size(*count, LARGEST)?;
            }
            let key = key.at("waves.frequencies");
            key.size(frequencies.len() + usize::from(tensor.is_some()), MOST_SETS)?;
            let finite = frequencies.iter().all(|f| f.is_finite());
            key.need(finite, "are not all finite", "give finite numbers")
        }
    }
}

fn attention(key: &Key<'_>, step: &AttentionStep) -> Result<()> {
    key.at("keys").size(step.keys.len(), MOST_SETS)?;
    key.at("heads").size(step.heads, LARGEST)?;
    key.at("key_heads").need(
        step.key_heads == 0 || step.heads.is_multiple_of(step.key_heads),
        format!("is {} for {} heads", step.key_heads, step.heads),
        "it must divide the heads",
    )?;
    for (leaf, width) in [("qk", step.qk), ("v", step.v)] {
        key.at(leaf).size(width, LARGEST)?;
        key.at(leaf).size(width.saturating_mul(step.heads), LARGEST)?;
    }
    if let Some((_, out)) = &step.output {
        key.at("output").size(*out, LARGEST)?;
    }
    let scale = step.scale.unwrap_or(1.0);
    key.at("scale").need(scale.is_finite(), format!("is {scale}"), "give a finite number")?;
    for (leaf, layer) in
        [("q", step.q.as_ref()), ("k", Some(&step.k)), ("value", Some(&step.value))]
    {
        layer.map_or(Ok(()), |layer| fused(key, leaf, layer))?;
    }
    Ok(())
}

fn fused(key: &Key<'_>, leaf: &str, layer: &Projection) -> Result<()> {
    let rows = layer.fused.map_or(1, |f| f.rows);
    key.at(leaf).at("fused").size(rows, MOST_ROWS)
}
