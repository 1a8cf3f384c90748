//! `perceiver latents`: encode once, decode any queries later.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::runner;
use clap::{Args, Subcommand};
use perceiver::blueprint::RowSizes;
use perceiver::checkpoint::{read_tensors, write_tensors};
use perceiver::internals::memory::{allow, room};
use perceiver::internals::output::check_place;
use perceiver::stream::{Latents, Queries};
use perceiver::tasks::PerceiverImageProcessor;
use perceiver::{
    Architecture, Description, Error, Model, NamedTensors, Result, RunOptions, Sizes, Tensor,
};
use serde_json::json;

use crate::models::{DeviceOption, folder, load};
use crate::{Outcome, show};

/// Encodes inputs to latents, or decodes queries from latents.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Writes the latents of one input, and what its queries will need
    Encode(Encode),
    /// Decodes some queries of one output
    Decode(Decode),
}

#[derive(Args)]
struct Encode {
    /// Checkpoint folder, or a name (`perceiver models` lists them; ORGANISATION/NAME/FILE is a file of the hub)
    #[arg(long)]
    model: PathBuf,
    /// Input tensors as `perceiver run` takes them (points are not needed)
    #[arg(long)]
    inputs: PathBuf,
    /// Which item, counted from 0; needed where there are several
    #[arg(long)]
    item: Option<usize>,
    /// Where the latents go
    #[arg(short, long)]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Decode {
    /// Checkpoint folder or name of the model that the latents are of
    #[arg(long)]
    model: PathBuf,
    /// What `latents encode` wrote
    latents: PathBuf,
    /// Output to decode: `logits`, `logits.image`, …; may be left out where there is one
    #[arg(long)]
    output: Option<String>,
    /// Queries by number: `0..1000,5000..6000,7` [default: all]
    #[arg(long, conflicts_with = "region")]
    queries: Option<String>,
    /// Queries by position on the output's grid, a range for each axis: `0..16,100..200,100..200`
    #[arg(long)]
    region: Option<String>,
    /// A file with one tensor `[queries, channels]`: what the queries bring along, for models whose
    /// queries come from the user
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,
    /// Where the rows go, and the numbers of their queries
    #[arg(short, long)]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Tensor of a latents file: text length, height and width of the picture, whether positions are
/// resized.
const SIZES: &str = "sizes";
/// Tensor of a latents file: rows, axes or sides of a blueprint's arrays that vary.
const VARYING: &str = "sizes.rows";
/// Tensors of a latents file that begin so are rows that queries bring along.
const ROWS: &str = "rows.";

pub(crate) fn run(options: &Options) -> Outcome {
    match &options.what {
        What::Encode(options) => encode(options),
        What::Decode(options) => decode(options),
    }
}

fn encode(options: &Encode) -> Outcome {
    check_place(&options.out)?;
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let mut inputs = NamedTensors::new();
    let given = read_tensors(&options.inputs)?;
    let processor = match model.architecture().is_some_and(Architecture::is_image) {
        true => Some(PerceiverImageProcessor::read_for(folder(&options.model)?, model.config()?)?),
        false => None,
    };
    for (name, tensor) in runner::prepared(&model, &given, processor.as_ref())? {
        // Points are for decoders, and all items share them.
        if !name.starts_with("points.") && !name.ends_with(".points") {
            let tensor = one(&name, &tensor, options.item)?;
            inputs.insert(name, tensor);
        }
    }
    let how = RunOptions::default();
    let bar = show::Bar::new("encoding");
    let (sizes, latents) = model.encode(&inputs, how, &mut bar.progress())?;
    drop(bar);
    let [latents] = latents.as_slice() else {
        return Err(bad("inputs", "are not one item", "one item"));
    };
    let [n, d] = latents.shape();
    let flags = [sizes.length, sizes.image[0], sizes.image[1], usize::from(sizes.resize_positions)];
    let mut tensors = NamedTensors::from([
        ("last_latents".to_owned(), Tensor::f32(vec![1, n, d], latents.as_slice().to_vec())?),
        (SIZES.to_owned(), Tensor::i64(vec![4], flags.map(|n| n as i64).to_vec())?),
    ]);
    if !sizes.rows.is_usual() {
        let rows: Vec<i64> = sizes.rows.0.as_flattened().iter().map(|&n| n.into()).collect();
        let shape = vec![sizes.rows.0.len(), 3];
        tensors.insert(VARYING.to_owned(), Tensor::i64(shape, rows)?);
    }
    if latents_array(&model).is_some() {
        // They say nothing of queries: what is made of the latents takes its own inputs.
        tensors.remove(SIZES);
    } else if model.decoder(&sizes, latents)?.outputs().iter().any(|o| o.2 > 0) {
        let (_, rows) = model.input_rows(&inputs, how)?;
        let rows = rows.into_iter().map(|(name, t)| (format!("{ROWS}{name}"), t));
        tensors.extend(rows);
    }
    write_tensors(&options.out, &tensors)?;
    let device = engine.device_name();
    let (file, text) = (&options.out, format!("{n} latents of {d} channels"));
    let report = json!({ "latents": [n, d], "device": device, "file": show::path(file) });
    tell(options.json, &report, &format!("{text} on {device} -> {}", file.display()))
}

/// One of the two forms of a result.
fn tell(json: bool, report: &serde_json::Value, text: &str) -> Outcome {
    if json {
        show::json(report)?;
    } else {
        show::text(text)?;
    }
    Ok(true)
}

/// One item of a tensor of items.
fn one(name: &str, tensor: &Tensor, item: Option<usize>) -> Result<Tensor> {
    let items = tensor.shape().first().copied().unwrap_or(0);
    let at = match item {
        None if items == 1 => return Ok(tensor.clone()),
        Some(at) if at < items => at,
        _ => {
            let what = format!("has {items} items");
            return Err(bad(name, &what, "--item with a number below that"));
        }
    };
    let mut shape = tensor.shape().to_vec();
    shape[0] = 1;
    let each: usize = shape.iter().product();
    let of = at * each..(at + 1) * each;
    match (tensor.as_f32(), tensor.as_i64()) {
        (Some(data), _) => Tensor::f32(shape, data[of].to_vec()),
        (_, Some(data)) => Tensor::i64(shape, data[of].to_vec()),
        _ => Ok(tensor.clone()),
    }
}

fn decode(options: &Decode) -> Outcome {
    check_place(&options.out)?;
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let tensors = read_tensors(&options.latents)?;
    if let Some(array) = latents_array(&model) {
        return decode_arrays(options, &model, array, &Latents::from_tensors(&tensors)?);
    }
    let own = match &options.content {
        Some(path) => Some(own_content(path)?),
        None => None,
    };
    let sizes = sizes(&model, &tensors)?;
    let latents = Latents::from_tensors(&tensors)?;
    let mut decoder = model.decoder(&sizes, &latents)?;
    let outputs: Vec<String> = decoder.outputs().iter().map(|o| o.0.to_owned()).collect();
    let output = match (&options.output, outputs.as_slice()) {
        (Some(name), _) => name.clone(),
        (None, [only]) => only.clone(),
        _ => {
            return Err(bad("--output", "is missing", &format!("one of {outputs:?}")));
        }
    };
    let found = decoder.outputs().into_iter().find(|o| o.0 == output);
    let Some((_, count, channels, columns)) = found else {
        let what = format!("`{output}` is not there");
        return Err(bad("--output", &what, &format!("one of {outputs:?}")));
    };
    if channels > 0 && own.is_none() {
        // There must be rows to choose from, before any are counted.
        content(&tensors, &[], channels)?;
    }
    if options.queries.is_none() && options.region.is_none() && own.is_none() {
        // Their numbers, twice, and their rows.
        allow(&output, (count as u64).saturating_mul(3 * 8 + 4 * (columns + channels) as u64))?;
    }
    let points = match (&options.queries, &options.region) {
        (None, None) if own.is_some() => (0..own.as_ref().map_or(0, |t| t.shape()[0])).collect(),
        (Some(list), _) => numbers(list, count)?,
        (None, Some(region)) => on_grid(region, &decoder.grid(&output))?,
        (None, None) => (0..count).collect(),
    };
    let content = match channels {
        0 => own,
        _ if own.is_some() => own,
        _ => Some(content(&tensors, &points, channels)?),
    };
    let bar = show::Bar::new("decoding");
    let mut data = Vec::new();
    let queries = Queries::Points(points.clone());
    {
        let mut progress = bar.progress();
        for chunk in decoder.stream(&output, queries, content.as_ref())? {
            let chunk = chunk?;
            data.extend_from_slice(chunk.rows.as_f32().unwrap_or(&[]));
            progress(chunk.queries.end as u64, points.len() as u64);
        }
    }
    drop(bar);
    let rows = points.len();
    let numbers = points.iter().map(|&p| p as i64).collect();
    let tensors = NamedTensors::from([
        (output.clone(), Tensor::f32(vec![rows, columns], data)?),
        ("queries".to_owned(), Tensor::i64(vec![rows], numbers)?),
    ]);
    write_tensors(&options.out, &tensors)?;
    let device = engine.device_name();
    let (file, text) = (&options.out, format!("{rows} rows of {output}, {columns} columns,"));
    let report = json!({
        "output": output,
        "queries": rows,
        "columns": columns,
        "device": device,
        "file": show::path(file),
    });
    tell(options.json, &report, &format!("{text} on {device} -> {}", file.display()))
}

/// Where a model of arrays has its latents.
fn latents_array(model: &Model) -> Option<&str> {
    match model.description() {
        Description::Blueprint(blueprint) => blueprint.latents_array(),
        _ => None,
    }
}

/// What a model of arrays makes of kept latents and of a file with its other inputs.
fn decode_arrays(options: &Decode, model: &Model, array: &str, latents: &Latents) -> Outcome {
    let [n, d] = latents.shape();
    let mut inputs = match &options.content {
        Some(path) => read_tensors(path)?,
        None => NamedTensors::new(),
    };
    let rows = Tensor::f32(vec![1, n, d], latents.as_slice().to_vec())?;
    inputs.insert(array.to_owned(), rows);
    let bar = show::Bar::new("decoding");
    let part = model.starting_at(array)?;
    let outputs = part.run_with(&inputs, RunOptions::default(), &mut bar.progress())?;
    drop(bar);
    write_tensors(&options.out, &outputs)?;
    let shapes: serde_json::Map<_, _> =
        outputs.iter().map(|(name, t)| (name.clone(), json!(t.shape()))).collect();
    let report = json!({ "outputs": shapes, "file": show::path(&options.out) });
    tell(options.json, &report, &format!("{} written", options.out.display()))
}

fn bad(name: &str, what: &str, expected: &str) -> Error {
    Error::Input { name: name.to_owned(), what: what.to_owned(), expected: expected.to_owned() }
}

/// Sizes that the latents were made with, within what a model can have.
fn sizes(model: &Model, tensors: &NamedTensors) -> Result<Sizes> {
    const LONGEST_SIDE: usize = 1 << 14;
    let expected = "what `perceiver latents encode` wrote";
    // A blueprint has sizes of its own.
    let longest = model.config().map_or(0, |c| c.max_position_embeddings);
    let list = tensors.get(SIZES).and_then(|t| t.as_i64());
    let list: Option<Vec<usize>> =
        list.into_iter().flatten().map(|&n| usize::try_from(n).ok()).collect();
    let mut rows = RowSizes::default();
    if let Some(found) = tensors.get(VARYING) {
        let numbers = found.as_i64().unwrap_or_default();
        if numbers.len() != rows.0.as_flattened().len() || model.config().is_ok() {
            return Err(bad(VARYING, "makes no sense", expected));
        }
        for (row, &n) in rows.0.as_flattened_mut().iter_mut().zip(numbers) {
            *row = u32::try_from(n).map_err(|_| bad(VARYING, "makes no sense", expected))?;
        }
        let sizes = Sizes { rows, ..Sizes::default() };
        model.description().blueprint(&sizes).validate(VARYING)?;
    }
    match list.as_deref() {
        Some(&[length, height, width, resize @ (0 | 1)])
            if length <= longest
                && height.max(width) <= LONGEST_SIDE
                && (resize == 0 || height.min(width) > 0) =>
        {
            Ok(Sizes {
                length,
                image: [height, width],
                resize_positions: resize == 1,
                points: [1, 1],
                rows,
                ..Sizes::default()
            })
        }
        _ => Err(bad(SIZES, "is missing or makes no sense", expected)),
    }
}

/// The one tensor of a file, `[queries, channels]` or the same with a batch of one.
fn own_content(path: &Path) -> Result<Tensor> {
    let tensors = read_tensors(path)?;
    let name = path.display().to_string();
    let mut all = tensors.into_values();
    match (all.next(), all.next()) {
        (Some(tensor), None) => match *tensor.shape() {
            [_, _] => Ok(tensor),
            [1, rows, channels] => tensor.reshape(vec![rows, channels]),
            _ => {
                let what = format!("has a tensor of shape {:?}", tensor.shape());
                Err(bad(&name, &what, "[queries, channels]"))
            }
        },
        _ => Err(bad(&name, "has not one tensor", "one tensor [queries, channels]")),
    }
}

/// Rows of the input that these queries are made of.
fn content(tensors: &NamedTensors, points: &[usize], channels: usize) -> Result<Tensor> {
    let found = tensors.iter().find(|(name, _)| name.starts_with(ROWS));
    let rows = found.and_then(|(_, t)| match t.shape() {
        &[_, c] if c == channels => t.as_f32(),
        _ => None,
    });
    let missing = || {
        bad(
            &format!("{ROWS}*"),
            "is missing or too small",
            "what `perceiver latents encode` wrote, of an output whose queries are made of the input's \
             rows; queries of the user's own come with --content FILE",
        )
    };
    let rows = rows.ok_or_else(missing)?;
    let mut data = room("content", points.len().saturating_mul(channels))?;
    for &p in points {
        let at = p * channels;
        data.extend_from_slice(rows.get(at..at + channels).ok_or_else(missing)?);
    }
    Tensor::f32(vec![points.len(), channels], data)
}

/// A number or a range with its end left out, below `count`.
fn range(text: &str, count: usize, option: &str) -> Result<Range<usize>> {
    let expected = format!("a number or a range such as 0..{count}, not beyond {count}");
    let whole = |part: &str| part.trim().parse::<usize>().ok();
    let range = match text.split_once("..") {
        Some((a, b)) => whole(a).zip(whole(b)).map(|(a, b)| a..b),
        None => whole(text).and_then(|a| Some(a..a.checked_add(1)?)),
    };
    range
        .filter(|r| r.start < r.end && r.end <= count)
        .ok_or_else(|| bad(option, &format!("has `{}`", text.trim()), &expected))
}

fn numbers(list: &str, count: usize) -> Result<Vec<usize>> {
    let mut points = Vec::new();
    for part in list.split(',') {
        points.extend(range(part, count, "--queries")?);
    }
    Ok(points)
}

fn on_grid(region: &str, axes: &[usize]) -> Result<Vec<usize>> {
    let parts: Vec<&str> = region.split(',').collect();
    if axes.is_empty() || parts.len() != axes.len() {
        let what = format!("has {} ranges", parts.len());
        let expected = format!("one for each axis of the output's grid, {axes:?}");
        return Err(bad("--region", &what, &expected));
    }
    let mut points = vec![0];
    for (part, &length) in parts.iter().zip(axes) {
        let range = range(part, length, "--region")?;
        points = points.iter().flat_map(|p| range.clone().map(move |i| p * length + i)).collect();
    }
    Ok(points)
}
