//! Checks of blueprints, which may come from a hostile file.
//!
//! Invariant: a blueprint that [`Blueprint::validate`] accepts makes a graph; no size of it overflows,
//! and the number of nodes is bounded.

use std::collections::BTreeMap;

use super::modality::PICTURE_SIDES;
use super::sizes::{MOST_VARYING, Upsampling};
use super::{
    AttentionLayer, Blueprint, Content, DecoderBlueprint, FourierPositions, Head, Modality,
    OutputLinear, Positions, QuerySource, Stage, Step, feature_grid,
};
use crate::error::{Error, Result};
use crate::perceiver::build;
use crate::perceiver::config::{LARGEST, MOST_ELEMENTS};
use crate::perceiver::request::{Request, Sizes};

/// Most rows of an array: floats, in which indices travel, hold whole numbers to 2²⁴.
pub(super) const MOST_ROWS: usize = 1 << 24;
/// Most modalities, decoders, and heads of all decoders.
const MOST_PARTS: usize = 256;
/// Most cross-attends.
const MOST_CROSSES: usize = 64;
/// Most attention layers with weights of their own.
const MOST_LAYERS: usize = 1024;
/// Most attention layers that are run.
const MOST_RUNS: usize = 16_384;
/// Longest name.
const LONGEST_NAME: usize = 256;

impl Blueprint {
    /// Checks that sizes fit each other and are within reason, and that names are used once.
    ///
    /// # Errors
    /// [`Error::Config`] with the path of the first key that does not fit; `origin` names the file.
    pub fn validate(&self, origin: &str) -> Result<()> {
        blueprint(&Key { origin, path: String::new() }, self)
    }

    /// Names and shapes of the tensors that the model needs.
    ///
    /// # Errors
    /// [`Error::Graph`] when widths do not fit; [`Error::Config`] when a name stands for two shapes.
    pub fn tensors(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let request = Request::whole(Sizes::default(), true);
        let graph = build::graph(self, &request)?;
        let mut tensors: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (name, shape) in graph.parameters().flat_map(|(_, r)| r.tensors()) {
            let known = tensors.entry(name.clone()).or_insert_with(|| shape.clone());
            if *known != shape {
                let what = format!("is a tensor of shape {known:?} and one of {shape:?}");
                let hint = "give one of them another name";
                return Err(Error::config("blueprint", name, what, hint));
            }
        }
        Ok(tensors.into_iter().collect())
    }
}

/// Names that must be used once, and where they were used.
pub(super) type Names<'a> = BTreeMap<&'a str, String>;

/// A key of a blueprint and the file that it is in; checks what stands there.
pub(super) struct Key<'o> {
    origin: &'o str,
    path: String,
}

impl Key<'_> {
    /// A key below this one.
    pub(super) fn at(&self, leaf: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Key { origin: self.origin, path: format!("{}{dot}{leaf}", self.path) }
    }

    /// An entry of the list that stands here.
    pub(super) fn nth(&self, i: usize) -> Self {
        Key { origin: self.origin, path: format!("{}[{i}]", self.path) }
    }

    pub(super) fn bad<T>(&self, what: impl Into<String>, hint: impl Into<String>) -> Result<T> {
        Err(Error::config(self.origin, &self.path, what, hint))
    }

    pub(super) fn need(
        &self,
        holds: bool,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Result<()> {
        if holds { Ok(()) } else { self.bad(what, hint) }
    }

    pub(super) fn size(&self, size: usize, most: usize) -> Result<()> {
        let fits = (1..=most).contains(&size);
        self.need(fits, format!("is {size}"), format!("1 to {most} is possible"))
    }

    pub(super) fn elements(&self, elements: usize) -> Result<()> {
        let what = format!("makes an array of {elements} elements");
        self.need(elements <= MOST_ELEMENTS, what, format!("at most {MOST_ELEMENTS} are possible"))
    }

    pub(super) fn parts(&self, least: usize, count: usize) -> Result<()> {
        let fits = (least..=MOST_PARTS).contains(&count);
        let hint = format!("{least} to {MOST_PARTS} are possible");
        self.need(fits, format!("has {count} entries"), hint)
    }

    pub(super) fn name(&self, name: &str) -> Result<()> {
        let fits = (1..=LONGEST_NAME).contains(&name.len());
        let what = format!("is a name of {} bytes", name.len());
        let hint = format!("1 to {LONGEST_NAME} bytes without control characters are possible");
        self.need(fits && !name.chars().any(char::is_control), what, hint)
    }

    /// A name that is used for the first time.
    pub(super) fn once<'a>(&self, name: &'a str, known: &mut Names<'a>, kind: &str) -> Result<()> {
        self.name(name)?;
        if let Some(before) = known.insert(name, self.path.clone()) {
            let what = format!("names the {kind} `{name}`, as `{before}` does");
            return self.bad(what, format!("give each {kind} a name of its own"));
        }
        Ok(())
    }

    pub(super) fn shape(&self, shape: &[usize], elements: usize) -> Result<()> {
        let product = shape.iter().try_fold(1usize, |a, &n| a.checked_mul(n));
        let fits = (1..=8).contains(&shape.len()) && product == Some(elements);
        let product = format!("whose product is {elements}, rows times channels");
        let hint = format!("at most 8 numbers {product}, are possible");
        self.need(fits, format!("is {shape:?}"), hint)
    }

    /// The shape of rows that vary begins with their number.
    pub(super) fn first(&self, shape: &[usize], rows: usize) -> Result<()> {
        let what = format!("is {shape:?}, but the rows vary");
        let hint = format!("it must begin with the rows, {rows}");
        self.need(shape.first() == Some(&rows), what, hint)
    }
}

fn blueprint(top: &Key<'_>, b: &Blueprint) -> Result<()> {
    if !(b.arrays.is_empty() && b.outputs.is_empty()) {
        return super::check_arrays::arrays(top, b);
    }
    top.at("latents.rows").size(b.latents.rows, LARGEST)?;
    top.at("latents.channels").size(b.latents.channels, LARGEST)?;
    top.at("channels").size(b.channels, LARGEST)?;
    top.at("latents.tensor").name(&b.latents.tensor)?;
    top.at("latents.rows").elements(b.latents.rows * b.latents.channels)?;
    let (mut inputs, mut outputs) = (Names::new(), Names::new());
    let key = top.at("inputs");
    key.parts(1, b.inputs.len())?;
    for (i, modality) in b.inputs.iter().enumerate() {
        let key = key.nth(i);
        array(&key, modality, &mut inputs)?;
        let channels = modality.channels();
        key.need(
            channels == b.channels,
            format!("has rows of {channels} channels, `channels` says {}", b.channels),
            "content, positions and constant together must be as wide as every other input",
        )?;
    }
    key.need(
        b.inputs.iter().any(|a| a.content.input().is_some()),
        "read nothing that comes from outside",
        "give at least one of them a content of kind given, linear, tokens or convolution",
    )?;
    let of_lists = |a: &&Modality| {
        let number = matches!(a.content, Content::FirstRows { .. });
        number || !a.axes.is_empty() || a.skipped.is_some()
    };
    let odd = b.arrays().find(of_lists);
    let what = odd.map_or("", |array| array.name.as_str());
    key.need(
        odd.is_none(),
        format!("have `{what}` with axes, skipped or first_rows"),
        "these are for lists of arrays",
    )?;
    steps(&top.at("steps"), b)?;
    let varying = b.arrays().filter(|a| a.varies).count();
    let hint = format!("at most {MOST_VARYING} are possible");
    key.need(varying <= MOST_VARYING, format!("have {varying} arrays that vary"), hint)?;
    let key = top.at("decoders");
    key.parts(1, b.decoders.len())?;
    for (i, d) in b.decoders.iter().enumerate() {
        decoder(&key.nth(i), b, d, &mut inputs, &mut outputs)?;
    }
    tensors(top, b)
}

/// No name stands for tensors of two shapes.
pub(super) fn tensors(top: &Key<'_>, b: &Blueprint) -> Result<()> {
    match b.tensors() {
        Err(Error::Config { key, what, hint, .. }) => top.at(&key).bad(what, hint),
        other => other.map(|_| ()),
    }
}

fn steps(key: &Key<'_>, b: &Blueprint) -> Result<()> {
    let d = b.latents.channels;
    let rows: usize = b.inputs.iter().map(|a| a.count).sum();
    let (mut crosses, mut layers, mut runs) = (0, 0, 0usize);
    key.need(
        matches!(b.steps.first(), Some(Step::Cross(_))),
        "do not begin with a cross-attend",
        "the latents have to read the inputs first: begin with {\"cross\": …}",
    )?;
    for (i, step) in b.steps.iter().enumerate() {
        match step {
            Step::Cross(cross) => {
                let key = key.nth(i).at("cross");
                layer(&key, cross, [d, b.channels])?;
                key.at("qk").elements(rows.saturating_mul(cross.qk + cross.v))?;
                (crosses, layers, runs) = (crosses + 1, layers + 1, runs + 1);
            }
            Step::Tower { layers: all, times } => {
                let key = key.nth(i).at("tower");
                key.at("layers").size(all.len(), MOST_LAYERS)?;
                key.at("times").size(*times, MOST_RUNS)?;
                for (j, one) in all.iter().enumerate() {
                    layer(&key.at("layers").nth(j), one, [d, d])?;
                }
                layers += all.len();
                runs = runs.saturating_add(all.len() * times);
            }
        }
        for (what, count, most) in [
            ("cross-attends", crosses, MOST_CROSSES),
            ("layers", layers, MOST_LAYERS),
            ("layers to run", runs, MOST_RUNS),
        ] {
            let hint = format!("at most {most} are possible");
            key.need(count <= most, format!("make {count} {what}"), hint)?;
        }
    }
    Ok(())
}

pub(super) fn array<'a>(key: &Key<'_>, array: &'a Modality, inputs: &mut Names<'a>) -> Result<()> {
    key.at("name").name(&array.name)?;
    content(&key.at("content"), array)?;
    key.at("count").size(array.count, MOST_ROWS)?;
    positions(&key.at("positions"), array)?;
    for (i, (tensor, channels)) in array.constant.iter().enumerate() {
        let key = key.at("constant").nth(i);
        key.name(tensor)?;
        key.size(*channels, LARGEST)?;
    }
    key.at("constant").parts(0, array.constant.len())?;
    let channels = array.channels();
    // A mask may be of rows that are learned.
    if channels > 0 || array.mask.is_none() {
        key.size(channels, LARGEST)?;
    }
    key.at("count").elements(array.count * channels)?;
    key.at("points").need(
        array.points.is_none() || matches!(array.positions, Positions::Fourier(_)),
        "stand beside no grid",
        "points choose from a grid of Fourier positions: give positions, or leave points out",
    )?;
    if array.varies {
        varying(&key.at("varies"), array)?;
    }
    let names = [
        ("content", array.content.input()),
        ("points", array.points.as_deref()),
        ("mask", array.mask.as_deref()),
    ];
    for (leaf, name) in names {
        if let Some(name) = name {
            key.at(leaf).once(name, inputs, "input")?;
        }
    }
    Ok(())
}

/// An array whose rows vary: something must say how many there are, and nothing may be learned for
/// each.
fn varying(key: &Key<'_>, array: &Modality) -> Result<()> {
    let table = matches!(array.content, Content::Learned { .. })
        || matches!(array.positions, Positions::Table { .. } | Positions::Learned { .. });
    key.need(
        !table,
        "is true, but there is something learned for each row",
        "give the rows Fourier positions or none, or leave varies out",
    )?;
    let what = "is true, but no input says how many rows there are";
    let hint = "give the rows a content or points from outside, or leave varies out";
    key.need(array.content.input().is_some() || array.points.is_some(), what, hint)
}

fn content(key: &Key<'_>, array: &Modality) -> Result<()> {
    match &array.content {
        Content::None => Ok(()),
        Content::Given { channels, .. } => key.at("given.channels").size(*channels, LARGEST),
        Content::Linear { channels, layer, out, .. } => {
            let key = key.at("linear");
            key.at("channels").size(*channels, LARGEST)?;
            key.at("out").size(*out, LARGEST)?;
            key.at("layer").name(layer)?;
            key.at("channels").elements(array.count.saturating_mul(*channels))?;
            key.at("out").elements(channels * out)
        }
        Content::SinCos { channels, base, .. } => {
            let key = key.at("sin_cos");
            key.at("channels").size(*channels, LARGEST)?;
            let whole = channels.is_multiple_of(4);
            key.at("channels").need(whole, format!("is {channels}"), "a multiple of four")?;
            key.at("base").size(*base as usize, MOST_ROWS)
        }
        Content::FirstRows { rows, .. } => {
            let key = key.at("first_rows");
            key.at("rows").size(*rows, MOST_ROWS)?;
            let alone = array.count == 1 && array.mask.is_none() && !array.varies;
            let what =
                format!("stands beside {} rows, another mask, or rows that vary", array.count);
            key.need(alone, what, "the number is one row, with a mask of its own")
        }
        Content::Tokens { table, vocabulary, positions, most, channels, .. } => {
            let key = key.at("tokens");
            key.at("vocabulary").size(*vocabulary, MOST_ROWS)?;
            key.at("most").size(*most, MOST_ROWS)?;
            key.at("channels").size(*channels, LARGEST)?;
            key.at("table").name(table)?;
            if !positions.is_empty() {
                key.at("positions").name(positions)?;
                key.at("most").elements(most * channels)?;
            }
            key.at("vocabulary").elements(vocabulary * channels)?;
            let what = format!("is {most} positions for {} rows", array.count);
            key.at("most").need(array.count <= *most, what, "every row needs a position")
        }
        Content::Convolution { image, channels, layer, out, .. } => {
            let key = key.at("convolution");
            let (least, most) = (PICTURE_SIDES.start(), PICTURE_SIDES.end());
            key.at("image").need(
                image.iter().all(|side| PICTURE_SIDES.contains(side)),
                format!("is {image:?}"),
                format!("sides from {least} to {most} are possible"),
            )?;
            key.at("channels").size(*channels, LARGEST)?;
            key.at("out").size(*out, LARGEST)?;
            key.at("layer").name(layer)?;
            let pixels = image[0] * image[1];
            key.at("channels").elements(pixels * channels)?;
            key.at("out").elements(pixels * out)?;
            key.at("out").elements(49 * channels * out)?;
            let rows: usize = feature_grid(*image).iter().product();
            key.at("image").need(
                rows == array.count,
                format!("gives {rows} rows of features, `count` says {}", array.count),
                "a quarter of height and width, rounded as the convolution does",
            )
        }
        Content::Learned { tensor, channels } => {
            key.at("learned.tensor").name(tensor)?;
            key.at("learned.channels").size(*channels, LARGEST)
        }
    }
}

fn positions(key: &Key<'_>, array: &Modality) -> Result<()> {
    match &array.positions {
        Positions::None => Ok(()),
        Positions::Fourier(f) => fourier(&key.at("fourier"), f, array),
        Positions::Waves { axes, bands, highest } => {
            let key = key.at("waves");
            let what = format!("is {axes} for rows with {} axes", array.axes.len());
            let own = *axes == array.axes.len() && *axes > 0;
            key.at("axes").need(own, what, "they are the axes that the rows come with")?;
            key.at("bands").size(*bands, LARGEST)?;
            let finite = highest.is_finite();
            key.at("highest").need(finite, format!("is {highest}"), "give a finite number")
        }
        Positions::Table { tensor, channels } => {
            key.at("table.tensor").name(tensor)?;
            key.at("table.channels").size(*channels, LARGEST)
        }
        Positions::Learned { tensor, stored, channels, resized, layer, out } => {
            let key = key.at("learned");
            key.at("tensor").name(tensor)?;
            key.at("layer").name(layer)?;
            key.at("stored").size(*stored, MOST_ROWS)?;
            key.at("channels").size(*channels, LARGEST)?;
            key.at("out").size(*out, LARGEST)?;
            key.at("stored").elements(stored * channels)?;
            key.at("out").elements(channels * out)?;
            let (leaf, rows) = match resized {
                Some([height, width]) => ("resized", height.saturating_mul(*width)),
                None => ("stored", *stored),
            };
            let what = format!("makes {rows} positions, `count` says {}", array.count);
            key.at(leaf).need(rows == array.count, what, "every row needs one position")?;
            key.at(leaf).elements(rows * channels)
        }
    }
}

fn fourier(key: &Key<'_>, f: &FourierPositions, array: &Modality) -> Result<()> {
    let axes = f.axes.len();
    let what = format!("has {axes} axes");
    key.at("axes").need((1..=3).contains(&axes), what, "1 to 3 are possible")?;
    let what = format!("has {} numbers for {axes} axes", f.max_resolution.len());
    let fits = f.max_resolution.len() == axes;
    key.at("max_resolution").need(fits, what, "give one for each axis")?;
    for &length in &f.axes {
        key.at("axes").size(length, MOST_ROWS)?;
    }
    for &resolution in &f.max_resolution {
        key.at("max_resolution").size(resolution, MOST_ROWS)?;
    }
    key.at("bands").size(f.bands, LARGEST)?;
    key.at("bands").elements(f.axes.iter().sum::<usize>() * (1 + 2 * f.bands))?;
    let cells = f.axes.iter().fold(1usize, |a, &n| a.saturating_mul(n));
    key.at("axes").size(cells, MOST_ROWS)?;
    key.at("axes").need(
        array.points.is_some() || cells == array.count,
        format!("make {cells} positions, `count` says {}", array.count),
        "every row needs one position; name an input as `points` to choose some of the grid",
    )
}

/// An attention layer between rows of these widths.
fn layer(key: &Key<'_>, l: &AttentionLayer, [q, kv]: [usize; 2]) -> Result<()> {
    key.at("prefix").name(&l.prefix)?;
    for (leaf, size) in [
        ("heads", l.heads),
        ("qk", l.qk),
        ("v", l.v),
        ("q_width", l.q_width),
        ("kv_width", l.kv_width),
        ("widening", l.widening),
    ] {
        key.at(leaf).size(size, LARGEST)?;
    }
    for (leaf, width) in [("qk", l.qk), ("v", l.v)] {
        let what = format!("is {width} for {} heads", l.heads);
        let fits = width.is_multiple_of(l.heads);
        key.at(leaf).need(fits, what, "it must be a multiple of the heads")?;
    }
    for (leaf, width, wanted, rows) in
        [("q_width", l.q_width, q, "that ask"), ("kv_width", l.kv_width, kv, "that are read")]
    {
        let what = format!("is {width}, the rows {rows} have {wanted} channels");
        key.at(leaf).need(width == wanted, what, format!("make it {wanted}"))?;
    }
    let hidden = l.widening.saturating_mul(l.q_width);
    key.at("widening").size(hidden, LARGEST)?;
    key.at("widening").elements(hidden * l.q_width)?;
    // Heads are padded to four columns each.
    let padded = [l.qk, l.v].map(|n| n + 4 * l.heads);
    key.at("qk").elements(padded[0] * l.q_width.max(l.kv_width))?;
    key.at("v").elements(padded[1] * l.q_width.max(l.kv_width))
}

fn decoder<'a>(
    key: &Key<'_>,
    b: &'a Blueprint,
    decoder: &'a DecoderBlueprint,
    inputs: &mut Names<'a>,
    outputs: &mut Names<'a>,
) -> Result<()> {
    key.at("heads").parts(1, decoder.heads.len())?;
    let q_width = decoder.layer.q_width;
    layer(&key.at("layer"), &decoder.layer, [q_width, b.latents.channels])?;
    let (mut rows, mut decoded, mut varies) = (0usize, None, false);
    for (i, head) in decoder.heads.iter().enumerate() {
        let key = key.at("heads").nth(i);
        let rows_that_ask = queries(&key.at("queries"), b, head, inputs)?;
        let channels = rows_that_ask.channels();
        key.at("queries").need(
            channels == q_width,
            format!("have {channels} channels, the decoder's layer asks with {q_width}"),
            "all queries of a decoder must be as wide as its layer's q_width",
        )?;
        key.at("output").once(&head.output, outputs, "output")?;
        let (width, of_decoder) = output_layers(&key.at("layers"), q_width, &head.layers)?;
        let (elements, shape) = (rows_that_ask.count * width, key.at("shape"));
        shape.elements(elements)?;
        match head.upsample {
            Some(block) => upsample(&key, head, (rows_that_ask, block), width)?,
            None => shape.shape(&head.shape, elements)?,
        }
        if rows_that_ask.varies && head.upsample.is_none() {
            shape.first(&head.shape, rows_that_ask.count)?;
        }
        varies |= rows_that_ask.varies;
        rows += rows_that_ask.count;
        key.at("layers").need(
            *decoded.get_or_insert(of_decoder) == of_decoder,
            format!("make rows of {of_decoder} channels in the decoder, others do not"),
            "layers that differ from head to head belong to the stage \"postprocess\"",
        )?;
    }
    let (elements, shape) = (rows * decoded.unwrap_or(0), key.at("shape"));
    shape.elements(elements)?;
    if varies {
        shape.first(&decoder.shape, rows)?;
    }
    shape.shape(&decoder.shape, elements)
}

/// An output whose rows are blocks of a picture.
fn upsample(
    key: &Key<'_>,
    head: &Head,
    (queries, block): (&Modality, [usize; 2]),
    width: usize,
) -> Result<()> {
    let at = key.at("upsample");
    for side in block {
        at.size(side, LARGEST)?;
    }
    let Some(upsampling) = Upsampling::of(queries, block) else {
        return at.bad(
            format!("is {block:?} for rows that lie on no grid of two axes"),
            "features of a convolution and Fourier positions of two axes make a picture",
        );
    };
    let pixels = block[0].saturating_mul(block[1]);
    at.need(
        width.is_multiple_of(pixels),
        format!("is {block:?} for rows of {width} channels"),
        "the channels must be those of all pixels of a block",
    )?;
    let [height, across] = upsampling.image;
    at.elements(height.saturating_mul(across).saturating_mul(width / pixels))?;
    let wanted = [height, across, width / pixels];
    let (what, hint) = (format!("is {:?}", head.shape), format!("the picture is {wanted:?}"));
    key.at("shape").need(head.shape == wanted, what, hint)
}

fn queries<'a>(
    key: &Key<'_>,
    b: &'a Blueprint,
    head: &'a Head,
    inputs: &mut Names<'a>,
) -> Result<&'a Modality> {
    match &head.queries {
        QuerySource::Array(own) => {
            array(&key.at("array"), own, inputs)?;
            key.at("array.mask").need(
                own.mask.is_none(),
                "masks queries",
                "queries do not see each other: leave the mask out and ignore their rows",
            )?;
            Ok(own)
        }
        QuerySource::Input(index) => b.inputs.get(*index).map_or_else(
            || {
                let what = format!("is input {index} of {}", b.inputs.len());
                key.at("input").bad(what, "inputs are counted from 0")
            },
            Ok,
        ),
    }
}

/// Checks a chain of linear layers; returns the channels after all and after those of the decoder.
fn output_layers(key: &Key<'_>, from: usize, layers: &[OutputLinear]) -> Result<(usize, usize)> {
    key.parts(0, layers.len())?;
    let (mut width, mut of_decoder) = (from, from);
    for (i, layer) in layers.iter().enumerate() {
        let key = key.nth(i);
        let what = format!("is {}, what comes before has {width} channels", layer.input);
        key.at("input").need(layer.input == width, what, format!("make it {width}"))?;
        key.at("out").size(layer.out, LARGEST)?;
        key.at("weight").name(&layer.weight)?;
        key.at("bias").name(&layer.bias)?;
        key.at("out").elements(layer.input * layer.out)?;
        key.at("divisor").need(layer.divisor != 0, "is 0", "1 changes nothing")?;
        width = layer.out;
        match layer.stage {
            Stage::Decode => of_decoder = width,
            Stage::Postprocess => {}
            other => {
                let hint = "\"decode\" and \"postprocess\" are possible";
                return key.at("stage").bad(format!("is {:?}", other.name()), hint);
            }
        }
    }
    Ok((width, of_decoder))
}
