//! Graphs of blueprints. Widths that do not fit are [`Error::Graph`].

use super::arrays;
use super::blueprint::{
    Blueprint, DecoderBlueprint, Head, Modality, OutputLinear, QuerySource, Step,
};
use super::decoder::{Decoded, decode};
use super::encoder::{encode, windows};
use super::layer::AttentionLayer;
use super::official::optical_flow;
use super::processor::process;
use super::request::{Request, Sizes};
use super::rows::{Rows, learned};
use crate::error::{Error, Result};
use crate::graph::passes::from_texels;
use crate::graph::{
    Folded, Graph, HeadLayout, Linear, LinearPart, Named, Stage, ValueId, View, WindowReport,
};

/// The graph that takes a blueprint's inputs to its outputs.
pub fn graph(blueprint: &Blueprint, request: &Request) -> Result<Graph> {
    if !blueprint.arrays.is_empty() {
        return arrays::graph(blueprint, request);
    }
    let mut g = Graph::default();
    let inputs = input_rows(&mut g, blueprint, request)?;
    let (last, assembled) = latents(&mut g, blueprint, request, &inputs)?;
    for decoder in &blueprint.decoders {
        outputs(&mut g, blueprint, decoder, request, &inputs, (last, &assembled))?;
    }
    of_bytes(g, request)
}

/// The graph that takes a blueprint's inputs to the output `last_latents` `[batch, N, D]`.
pub fn encoder(blueprint: &Blueprint, request: &Request) -> Result<Graph> {
    let mut g = Graph::default();
    let inputs = input_rows(&mut g, blueprint, request)?;
    let (last, _) = latents(&mut g, blueprint, request, &inputs)?;
    let e = g.extent(last);
    let shape = vec![request.batch, e.rows, e.cols];
    g.output(super::chunks::LATENTS, vec![last], shape);
    of_bytes(g, request)
}

/// Has rows of frames made of bytes, where these are given.
fn of_bytes(g: Graph, request: &Request) -> Result<Graph> {
    let Sizes { bytes, image, .. } = request.sizes;
    if !bytes {
        return Ok(g);
    }
    from_texels(g, optical_flow::PATCHES, optical_flow::neighbourhoods(image))
}

fn input_rows(g: &mut Graph, blueprint: &Blueprint, request: &Request) -> Result<Vec<Rows>> {
    let rows = blueprint.inputs.iter().map(|array| {
        let channels = array.channels();
        if channels != blueprint.channels {
            let what = format!("has rows of {channels} channels, not {}", blueprint.channels);
            return Err(Error::graph(&array.name, what));
        }
        Rows::new(g, array, request.batch)
    });
    rows.collect()
}

/// Encode and process. Returns the last latents and the windows of input rows, where there are any.
fn latents(
    g: &mut Graph,
    blueprint: &Blueprint,
    request: &Request,
    inputs: &[Rows],
) -> Result<(ValueId, Vec<View>)> {
    let [n, d] = [blueprint.latents.rows, blueprint.latents.channels];
    let mut last = learned(g, &blueprint.latents.tensor, n, d);
    let mut assembled = Vec::new();
    let (mut crossed, mut processed) = (None, None);
    for step in &blueprint.steps {
        match step {
            Step::Cross(layer) => {
                let view = g.view(last);
                let rows = encode_window_rows(layer, request);
                let (value, views) = encode(g, layer, view, inputs, rows, request.route())?;
                last = value;
                if crossed.is_none() {
                    crossed = Some(value);
                    assembled = views;
                }
            }
            Step::Tower { layers, times } => {
                let result = process(g, layers, *times, last)?;
                last = result.last;
                processed.get_or_insert(result);
            }
        }
    }
    if request.intermediates {
        let rows = inputs.iter().map(|m| m.modality.count).sum();
        // Windows of one array are that array.
        let mut pieces: Vec<ValueId> = assembled.iter().map(|v| v.value).collect();
        pieces.dedup();
        let shape = vec![request.batch, rows, blueprint.channels];
        g.output("encoder_input", pieces, shape);
        let values = [
            ("latents_after_cross", crossed),
            ("latents_after_layer1", processed.map(|p| p.after_layer1)),
            ("latents_after_block1", processed.map(|p| p.after_block1)),
            ("last_latents", Some(last)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                g.output(name, vec![value], vec![request.batch, n, d]);
            }
        }
    }
    Ok((last, assembled))
}

/// Steps that need no inputs. Returns the last latents.
pub(super) fn towers(g: &mut Graph, steps: &[Step], latents: ValueId) -> Result<ValueId> {
    let mut last = latents;
    for step in steps {
        match step {
            Step::Tower { layers, times } => last = process(g, layers, *times, last)?.last,
            Step::Cross(layer) => return Err(Error::graph(&layer.label, "has no inputs here")),
        }
    }
    Ok(last)
}

/// One decoder and all its outputs.
pub(super) fn outputs(
    g: &mut Graph,
    blueprint: &Blueprint,
    decoder: &DecoderBlueprint,
    request: &Request,
    inputs: &[Rows],
    (latents, assembled): (ValueId, &[View]),
) -> Result<()> {
    let batch = request.batch;
    let mut queries: Vec<Rows> = Vec::with_capacity(decoder.heads.len());
    // One window: queries that are the encoder's input are still at hand. Several: they are made
    // again, which costs less than keeping them.
    let mut known = None;
    for head in &decoder.heads {
        match &head.queries {
            QuerySource::Array(array) => queries.push(Rows::new(g, array, batch)?),
            QuerySource::Input(index) => {
                queries.extend(inputs.get(*index).cloned());
                if inputs.len() == 1 && assembled.len() == 1 && decoder.heads.len() == 1 {
                    known = assembled.first().copied();
                }
            }
        }
    }
    let rows: usize = queries.iter().map(|q| q.modality.count).sum();
    let mut pieces: Vec<Vec<ValueId>> = vec![Vec::new(); decoder.heads.len()];
    let (mut all_queries, mut hiddens, mut decoded_rows) = (Vec::new(), Vec::new(), Vec::new());
    let window_rows = decode_window_rows(&decoder.layer, request);
    let mut rest = |g: &mut Graph, decoded: Decoded| -> Result<()> {
        let layers = &decoder.heads[decoded.modality].layers;
        let (row, of_decoder) = finish(g, request, layers, decoded)?;
        pieces[decoded.modality].push(row);
        all_queries.extend(decoded.queries.map(|q| q.value));
        hiddens.push(decoded.hidden);
        decoded_rows.push(of_decoder);
        Ok(())
    };
    let (layer, route) = (&decoder.layer, request.route());
    decode(g, layer, latents, &queries, window_rows, known, route, &mut rest)?;
    // Blocks of pixels become a picture when they are read.
    let shape_of = |head: &Head| match head.upsample {
        Some(_) => vec![blueprint.queries(head).count, decoder.columns(head)],
        None => head.shape.clone(),
    };
    let with_batch = |shape: &[usize]| {
        let mut whole = vec![batch];
        whole.extend(shape);
        whole
    };
    for (head, pieces) in decoder.heads.iter().zip(pieces) {
        g.output(&head.output, pieces, with_batch(&shape_of(head)));
    }
    if request.intermediates && blueprint.decoders.len() == 1 {
        let shape = vec![batch, rows, decoder.layer.q_width];
        all_queries.dedup();
        g.output("decoder_query", all_queries, shape.clone());
        g.output("decoder_hidden", hiddens, shape);
        g.output("decoder_output", decoded_rows, with_batch(&decoder.shape));
    }
    Ok(())
}

/// The linear layers after a decoder's layer. Returns the output's rows and those of the decoder.
fn finish(
    g: &mut Graph,
    request: &Request,
    layers: &[OutputLinear],
    decoded: Decoded,
) -> Result<(ValueId, ValueId)> {
    let mut row = decoded.hidden;
    if let ([first, second], true, false) = (layers, request.folded, request.intermediates)
        && (first.divisor, second.divisor) == (1, 1)
        && let (Some(a), Some(b)) = (named(first), named(second))
    {
        // Two linear layers in a row are one.
        let weight = Folded::Composed { first: a, second: b };
        let row = g.product(second.stage, &second.label, g.view(row), weight, true, None)?;
        return Ok((row, row));
    }
    let mut of_decoder = row;
    for layer in layers {
        row = g.linear(layer.stage, &layer.label, g.view(row), linear(layer))?;
        if layer.stage == Stage::Decode {
            of_decoder = row;
        }
    }
    Ok((row, of_decoder))
}

/// The layer by its one name, if weight and bias have one.
fn named(layer: &OutputLinear) -> Option<Named> {
    let name = layer.weight.strip_suffix(".weight")?;
    (layer.bias.strip_suffix(".bias") == Some(name)).then(|| Named {
        name: name.to_owned(),
        input: layer.input,
        output: layer.out,
    })
}

fn linear(layer: &OutputLinear) -> Linear {
    let part = LinearPart {
        weight: layer.weight.clone(),
        bias: Some(layer.bias.clone()),
        ..LinearPart::plain("", layer.out)
    };
    Linear { divisor: layer.divisor, ..Linear::new(vec![part], HeadLayout::plain(layer.input)) }
}

/// Rows of inputs that a window has: keys and values side by side are the widest array.
fn encode_window_rows(layer: &AttentionLayer, request: &Request) -> usize {
    request.window_rows(layer.qk + layer.v + 8)
}

/// Rows of queries that a window has.
fn decode_window_rows(layer: &AttentionLayer, request: &Request) -> usize {
    request.window_rows(layer.qk.max(layer.v).max(layer.q_width))
}

/// The largest number of windows that one item's inputs or queries need.
pub(crate) fn window_count(blueprint: &Blueprint, request: &Request) -> usize {
    let one = Request { batch: 1, ..*request };
    let encode = blueprint.crosses().flat_map(|layer| {
        let rows = encode_window_rows(layer, &one);
        blueprint.inputs.iter().map(move |a| windows(a.count, rows).len())
    });
    let decode = blueprint.decoders.iter().flat_map(|d| {
        let rows = decode_window_rows(&d.layer, &one);
        d.heads.iter().map(move |h| windows(blueprint.queries(h).count, rows).len())
    });
    encode.chain(decode).max().unwrap_or(1)
}

/// How one item's inputs and queries are divided.
pub(crate) fn window_report(blueprint: &Blueprint, request: &Request) -> Vec<WindowReport> {
    let report = |stage, name: &str, array: &Modality, most: usize| {
        let windows = array.windows(most);
        WindowReport {
            stage,
            name: name.to_owned(),
            rows: array.count,
            window_rows: windows.iter().map(|w| w.rows).max().unwrap_or(0),
            windows: windows.len(),
        }
    };
    let mut reports = Vec::new();
    for layer in blueprint.crosses().take(1) {
        let most = encode_window_rows(layer, request);
        let inputs = blueprint.inputs.iter();
        reports.extend(inputs.map(|array| report(Stage::Encode.name(), &array.name, array, most)));
    }
    for decoder in &blueprint.decoders {
        let most = decode_window_rows(&decoder.layer, request);
        reports.extend(decoder.heads.iter().map(|head| {
            let queries = blueprint.queries(head);
            report(Stage::Decode.name(), &head.output, queries, most)
        }));
    }
    reports
}
