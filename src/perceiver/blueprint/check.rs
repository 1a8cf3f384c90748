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
const MOST_ROWS: usize = 1 << 24;
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
        Check { origin }.blueprint(self)
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
            match tensors.get(&name) {
                Some(known) if *known != shape => {
                    return Err(Error::Config {
                        origin: "blueprint".to_owned(),
                        key: name,
                        what: format!("is a tensor of shape {known:?} and one of {shape:?}"),
                        hint: "give one of them another name".to_owned(),
                    });
                }
                Some(_) => {}
                None => {
                    tensors.insert(name, shape);
                }
            }
        }
        Ok(tensors.into_iter().collect())
    }
}

struct Check<'a> {
    origin: &'a str,
}

/// Names that must be used once, and where they were used.
type Names<'a> = BTreeMap<&'a str, String>;

impl Check<'_> {
    fn bad<T>(&self, key: impl Into<String>, what: String, hint: impl Into<String>) -> Result<T> {
        Err(Error::Config {
            origin: self.origin.to_owned(),
            key: key.into(),
            what,
            hint: hint.into(),
        })
    }

    fn blueprint(&self, b: &Blueprint) -> Result<()> {
        self.size("latents.rows", b.latents.rows, LARGEST)?;
        self.size("latents.channels", b.latents.channels, LARGEST)?;
        self.size("channels", b.channels, LARGEST)?;
        self.name("latents.tensor", &b.latents.tensor)?;
        let latents = b.latents.rows * b.latents.channels;
        self.elements("latents.rows", latents)?;
        let mut inputs = Names::new();
        self.parts("inputs", 1, b.inputs.len())?;
        for (i, array) in b.inputs.iter().enumerate() {
            let key = format!("inputs[{i}]");
            self.array(&key, array, &mut inputs)?;
            let channels = array.channels();
            if channels != b.channels {
                return self.bad(
                    key,
                    format!("has rows of {channels} channels, `channels` says {}", b.channels),
                    "content, positions and constant together must be as wide as every other input",
                );
            }
        }
        if !b.inputs.iter().any(|a| a.content.input().is_some()) {
            return self.bad(
                "inputs",
                "read nothing that comes from outside".to_owned(),
                "give at least one of them a content of kind given, linear, tokens or convolution",
            );
        }
        self.steps(b)?;
        let heads = b.decoders.iter().flat_map(|d| &d.heads);
        let own = heads.filter(|h| matches!(&h.queries, QuerySource::Array(a) if a.varies));
        let varying = b.inputs.iter().filter(|a| a.varies).count() + own.count();
        if varying > MOST_VARYING {
            let what = format!("have {varying} arrays that vary");
            return self.bad("inputs", what, format!("at most {MOST_VARYING} are possible"));
        }
        self.parts("decoders", 1, b.decoders.len())?;
        let mut outputs = Names::new();
        for (i, decoder) in b.decoders.iter().enumerate() {
            self.decoder(&format!("decoders[{i}]"), b, decoder, &mut inputs, &mut outputs)?;
        }
        match b.tensors() {
            Err(Error::Config { key, what, hint, .. }) => self.bad(key, what, hint),
            other => other.map(|_| ()),
        }
    }

    fn steps(&self, b: &Blueprint) -> Result<()> {
        let d = b.latents.channels;
        let rows: usize = b.inputs.iter().map(|a| a.count).sum();
        let (mut crosses, mut layers, mut runs) = (0, 0, 0usize);
        if !matches!(b.steps.first(), Some(Step::Cross(_))) {
            return self.bad(
                "steps",
                "do not begin with a cross-attend".to_owned(),
                "the latents have to read the inputs first: begin with {\"cross\": …}",
            );
        }
        for (i, step) in b.steps.iter().enumerate() {
            match step {
                Step::Cross(layer) => {
                    let key = format!("steps[{i}].cross");
                    self.layer(&key, layer, [d, b.channels])?;
                    self.elements(&format!("{key}.qk"), rows.saturating_mul(layer.qk + layer.v))?;
                    (crosses, layers, runs) = (crosses + 1, layers + 1, runs + 1);
                }
                Step::Tower { layers: all, times } => {
                    let key = format!("steps[{i}].tower");
                    self.size(&format!("{key}.layers"), all.len(), MOST_LAYERS)?;
                    self.size(&format!("{key}.times"), *times, MOST_RUNS)?;
                    for (j, layer) in all.iter().enumerate() {
                        self.layer(&format!("{key}.layers[{j}]"), layer, [d, d])?;
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
                if count > most {
                    let what = format!("make {count} {what}");
                    return self.bad("steps", what, format!("at most {most} are possible"));
                }
            }
        }
        Ok(())
    }

    fn array<'a>(&self, key: &str, array: &'a Modality, inputs: &mut Names<'a>) -> Result<()> {
        let at = |leaf: &str| format!("{key}.{leaf}");
        self.name(&at("name"), &array.name)?;
        self.content(&at("content"), array)?;
        self.size(&at("count"), array.count, MOST_ROWS)?;
        self.positions(&at("positions"), array)?;
        for (i, (tensor, channels)) in array.constant.iter().enumerate() {
            self.name(&format!("{key}.constant[{i}]"), tensor)?;
            self.size(&format!("{key}.constant[{i}]"), *channels, LARGEST)?;
        }
        self.parts(&at("constant"), 0, array.constant.len())?;
        let channels = array.channels();
        self.size(key, channels, LARGEST)?;
        self.elements(&at("count"), array.count * channels)?;
        if array.points.is_some() && !matches!(array.positions, Positions::Fourier(_)) {
            return self.bad(
                at("points"),
                "stand beside no grid".to_owned(),
                "points choose from a grid of Fourier positions: give positions, or leave points out",
            );
        }
        if array.varies {
            self.varying(&at("varies"), array)?;
        }
        let content = array.content.input().map(|n| (at("content"), n));
        let points = array.points.as_deref().map(|n| (at("points"), n));
        let mask = array.mask.as_deref().map(|n| (at("mask"), n));
        for (key, input) in [content, points, mask].into_iter().flatten() {
            self.once(key, input, inputs, "input")?;
        }
        Ok(())
    }

    /// An array whose rows vary: something must say how many there are, and nothing may be learned for
    /// each.
    fn varying(&self, key: &str, array: &Modality) -> Result<()> {
        let table = matches!(array.content, Content::Learned { .. })
            || matches!(array.positions, Positions::Table { .. } | Positions::Learned { .. });
        let (what, hint) = if table {
            (
                "is true, but there is something learned for each row",
                "give the rows Fourier positions or none, or leave varies out",
            )
        } else if array.content.input().is_none() && array.points.is_none() {
            (
                "is true, but no input says how many rows there are",
                "give the rows a content or points from outside, or leave varies out",
            )
        } else {
            return Ok(());
        };
        self.bad(key, what.to_owned(), hint)
    }

    fn content(&self, key: &str, array: &Modality) -> Result<()> {
        let at = |leaf: &str| format!("{key}.{leaf}");
        match &array.content {
            Content::None => Ok(()),
            Content::Given { channels, .. } => self.size(&at("given.channels"), *channels, LARGEST),
            Content::Linear { channels, layer, out, .. } => {
                self.size(&at("linear.channels"), *channels, LARGEST)?;
                self.size(&at("linear.out"), *out, LARGEST)?;
                self.name(&at("linear.layer"), layer)?;
                self.elements(&at("linear.channels"), array.count.saturating_mul(*channels))?;
                self.elements(&at("linear.out"), channels * out)
            }
            Content::Tokens { table, vocabulary, positions, most, channels, .. } => {
                self.size(&at("tokens.vocabulary"), *vocabulary, MOST_ROWS)?;
                self.size(&at("tokens.most"), *most, MOST_ROWS)?;
                self.size(&at("tokens.channels"), *channels, LARGEST)?;
                self.name(&at("tokens.table"), table)?;
                self.name(&at("tokens.positions"), positions)?;
                self.elements(&at("tokens.vocabulary"), vocabulary * channels)?;
                self.elements(&at("tokens.most"), most * channels)?;
                if array.count > *most {
                    return self.bad(
                        at("tokens.most"),
                        format!("is {most} positions for {} rows", array.count),
                        "every row needs a position",
                    );
                }
                Ok(())
            }
            Content::Convolution { image, channels, layer, out, .. } => {
                if image.iter().any(|side| !PICTURE_SIDES.contains(side)) {
                    let (least, most) = (PICTURE_SIDES.start(), PICTURE_SIDES.end());
                    return self.bad(
                        at("convolution.image"),
                        format!("is {image:?}"),
                        format!("sides from {least} to {most} are possible"),
                    );
                }
                self.size(&at("convolution.channels"), *channels, LARGEST)?;
                self.size(&at("convolution.out"), *out, LARGEST)?;
                self.name(&at("convolution.layer"), layer)?;
                let pixels = image[0] * image[1];
                self.elements(&at("convolution.channels"), pixels * channels)?;
                self.elements(&at("convolution.out"), pixels * out)?;
                self.elements(&at("convolution.out"), 49 * channels * out)?;
                let rows: usize = feature_grid(*image).iter().product();
                if rows != array.count {
                    return self.bad(
                        at("convolution.image"),
                        format!("gives {rows} rows of features, `count` says {}", array.count),
                        "a quarter of height and width, rounded as the convolution does",
                    );
                }
                Ok(())
            }
            Content::Learned { tensor, channels } => {
                self.name(&at("learned.tensor"), tensor)?;
                self.size(&at("learned.channels"), *channels, LARGEST)
            }
        }
    }

    fn positions(&self, key: &str, array: &Modality) -> Result<()> {
        let at = |leaf: &str| format!("{key}.{leaf}");
        match &array.positions {
            Positions::None => Ok(()),
            Positions::Fourier(f) => self.fourier(&at("fourier"), f, array),
            Positions::Table { tensor, channels } => {
                self.name(&at("table.tensor"), tensor)?;
                self.size(&at("table.channels"), *channels, LARGEST)
            }
            Positions::Learned { tensor, stored, channels, resized, layer, out } => {
                self.name(&at("learned.tensor"), tensor)?;
                self.name(&at("learned.layer"), layer)?;
                self.size(&at("learned.stored"), *stored, MOST_ROWS)?;
                self.size(&at("learned.channels"), *channels, LARGEST)?;
                self.size(&at("learned.out"), *out, LARGEST)?;
                self.elements(&at("learned.stored"), stored * channels)?;
                self.elements(&at("learned.out"), channels * out)?;
                let (leaf, rows) = match resized {
                    Some([height, width]) => ("learned.resized", height.saturating_mul(*width)),
                    None => ("learned.stored", *stored),
                };
                if rows != array.count {
                    return self.bad(
                        at(leaf),
                        format!("makes {rows} positions, `count` says {}", array.count),
                        "every row needs one position",
                    );
                }
                self.elements(&at(leaf), rows * channels)
            }
        }
    }

    fn fourier(&self, key: &str, f: &FourierPositions, array: &Modality) -> Result<()> {
        let at = |leaf: &str| format!("{key}.{leaf}");
        if f.axes.is_empty() || f.axes.len() > 3 {
            let what = format!("has {} axes", f.axes.len());
            return self.bad(at("axes"), what, "1 to 3 are possible");
        }
        if f.max_resolution.len() != f.axes.len() {
            return self.bad(
                at("max_resolution"),
                format!("has {} numbers for {} axes", f.max_resolution.len(), f.axes.len()),
                "give one for each axis",
            );
        }
        for &length in &f.axes {
            self.size(&at("axes"), length, MOST_ROWS)?;
        }
        for &resolution in &f.max_resolution {
            self.size(&at("max_resolution"), resolution, MOST_ROWS)?;
        }
        self.size(&at("bands"), f.bands, LARGEST)?;
        let features = f.axes.iter().sum::<usize>() * (1 + 2 * f.bands);
        self.elements(&at("bands"), features)?;
        let cells = f.axes.iter().fold(1usize, |a, &n| a.saturating_mul(n));
        self.size(&at("axes"), cells, MOST_ROWS)?;
        if array.points.is_none() && cells != array.count {
            return self.bad(
                at("axes"),
                format!("make {cells} positions, `count` says {}", array.count),
                "every row needs one position; name an input as `points` to choose some of the grid",
            );
        }
        Ok(())
    }

    /// An attention layer between rows of these widths.
    fn layer(&self, key: &str, l: &AttentionLayer, [q, kv]: [usize; 2]) -> Result<()> {
        let at = |leaf: &str| format!("{key}.{leaf}");
        self.name(&at("prefix"), &l.prefix)?;
        for (leaf, size) in [
            ("heads", l.heads),
            ("qk", l.qk),
            ("v", l.v),
            ("q_width", l.q_width),
            ("kv_width", l.kv_width),
            ("widening", l.widening),
        ] {
            self.size(&at(leaf), size, LARGEST)?;
        }
        for (leaf, width) in [("qk", l.qk), ("v", l.v)] {
            if !width.is_multiple_of(l.heads) {
                let what = format!("is {width} for {} heads", l.heads);
                return self.bad(at(leaf), what, "it must be a multiple of the heads");
            }
        }
        for (leaf, width, wanted, rows) in
            [("q_width", l.q_width, q, "that ask"), ("kv_width", l.kv_width, kv, "that are read")]
        {
            if width != wanted {
                let what = format!("is {width}, the rows {rows} have {wanted} channels");
                return self.bad(at(leaf), what, format!("make it {wanted}"));
            }
        }
        let hidden = l.widening.saturating_mul(l.q_width);
        self.size(&at("widening"), hidden, LARGEST)?;
        self.elements(&at("widening"), hidden * l.q_width)?;
        // Heads are padded to four columns each.
        let padded = [l.qk, l.v].map(|n| n + 4 * l.heads);
        self.elements(&at("qk"), padded[0] * l.q_width.max(l.kv_width))?;
        self.elements(&at("v"), padded[1] * l.q_width.max(l.kv_width))
    }

    fn decoder<'a>(
        &self,
        key: &str,
        b: &'a Blueprint,
        decoder: &'a DecoderBlueprint,
        inputs: &mut Names<'a>,
        outputs: &mut Names<'a>,
    ) -> Result<()> {
        self.parts(&format!("{key}.heads"), 1, decoder.heads.len())?;
        let layer = &decoder.layer;
        let widths = [layer.q_width, b.latents.channels];
        self.layer(&format!("{key}.layer"), layer, widths)?;
        let (mut rows, mut decoded, mut varies) = (0usize, None, false);
        for (i, head) in decoder.heads.iter().enumerate() {
            let key = format!("{key}.heads[{i}]");
            let queries = self.queries(&key, b, head, inputs)?;
            let channels = queries.channels();
            if channels != layer.q_width {
                return self.bad(
                    format!("{key}.queries"),
                    format!(
                        "have {channels} channels, the decoder's layer asks with {}",
                        layer.q_width
                    ),
                    "all queries of a decoder must be as wide as its layer's q_width",
                );
            }
            self.once(format!("{key}.output"), &head.output, outputs, "output")?;
            let (width, of_decoder) = self.output_layers(&key, layer.q_width, &head.layers)?;
            let elements = queries.count * width;
            self.elements(&format!("{key}.shape"), elements)?;
            match head.upsample {
                Some(block) => self.upsample(&key, head, (queries, block), width)?,
                None => self.shape(&format!("{key}.shape"), &head.shape, elements)?,
            }
            if queries.varies && head.upsample.is_none() {
                self.first(&format!("{key}.shape"), &head.shape, queries.count)?;
            }
            varies |= queries.varies;
            rows += queries.count;
            if *decoded.get_or_insert(of_decoder) != of_decoder {
                return self.bad(
                    format!("{key}.layers"),
                    format!("make rows of {of_decoder} channels in the decoder, others do not"),
                    "layers that differ from head to head belong to the stage \"postprocess\"",
                );
            }
        }
        let elements = rows * decoded.unwrap_or(0);
        self.elements(&format!("{key}.shape"), elements)?;
        if varies {
            self.first(&format!("{key}.shape"), &decoder.shape, rows)?;
        }
        self.shape(&format!("{key}.shape"), &decoder.shape, elements)
    }

    /// The shape of rows that vary begins with their number.
    fn first(&self, key: &str, shape: &[usize], rows: usize) -> Result<()> {
        if shape.first() == Some(&rows) {
            return Ok(());
        }
        self.bad(
            key,
            format!("is {shape:?}, but the rows vary"),
            format!("it must begin with the rows, {rows}"),
        )
    }

    /// An output whose rows are blocks of a picture.
    fn upsample(
        &self,
        key: &str,
        head: &Head,
        (queries, block): (&Modality, [usize; 2]),
        width: usize,
    ) -> Result<()> {
        let at = |leaf: &str| format!("{key}.{leaf}");
        for side in block {
            self.size(&at("upsample"), side, LARGEST)?;
        }
        let Some(upsampling) = Upsampling::of(queries, block) else {
            return self.bad(
                at("upsample"),
                format!("is {block:?} for rows that lie on no grid of two axes"),
                "features of a convolution and Fourier positions of two axes make a picture",
            );
        };
        let pixels = block[0].saturating_mul(block[1]);
        if !width.is_multiple_of(pixels) {
            return self.bad(
                at("upsample"),
                format!("is {block:?} for rows of {width} channels"),
                "the channels must be those of all pixels of a block",
            );
        }
        let [height, across] = upsampling.image;
        let elements = height.saturating_mul(across).saturating_mul(width / pixels);
        self.elements(&at("upsample"), elements)?;
        let wanted = [height, across, width / pixels];
        if head.shape != wanted {
            let what = format!("is {:?}", head.shape);
            return self.bad(at("shape"), what, format!("the picture is {wanted:?}"));
        }
        Ok(())
    }

    fn queries<'a>(
        &self,
        key: &str,
        b: &'a Blueprint,
        head: &'a Head,
        inputs: &mut Names<'a>,
    ) -> Result<&'a Modality> {
        let key = format!("{key}.queries");
        match &head.queries {
            QuerySource::Array(array) => {
                self.array(&format!("{key}.array"), array, inputs)?;
                if array.mask.is_some() {
                    return self.bad(
                        format!("{key}.array.mask"),
                        "masks queries".to_owned(),
                        "queries do not see each other: leave the mask out and ignore their rows",
                    );
                }
                Ok(array)
            }
            QuerySource::Input(index) => match b.inputs.get(*index) {
                Some(array) => Ok(array),
                None => {
                    let what = format!("is input {index} of {}", b.inputs.len());
                    self.bad(format!("{key}.input"), what, "inputs are counted from 0")
                }
            },
        }
    }

    /// Checks a chain of linear layers; returns the channels after all and after those of the decoder.
    fn output_layers(
        &self,
        key: &str,
        from: usize,
        layers: &[OutputLinear],
    ) -> Result<(usize, usize)> {
        self.parts(&format!("{key}.layers"), 0, layers.len())?;
        let (mut width, mut of_decoder) = (from, from);
        for (i, layer) in layers.iter().enumerate() {
            let at = |leaf: &str| format!("{key}.layers[{i}].{leaf}");
            if layer.input != width {
                let what = format!("is {}, what comes before has {width} channels", layer.input);
                return self.bad(at("input"), what, format!("make it {width}"));
            }
            self.size(&at("out"), layer.out, LARGEST)?;
            self.name(&at("weight"), &layer.weight)?;
            self.name(&at("bias"), &layer.bias)?;
            self.elements(&at("out"), layer.input * layer.out)?;
            if layer.divisor == 0 {
                return self.bad(at("divisor"), "is 0".to_owned(), "1 changes nothing");
            }
            width = layer.out;
            match layer.stage {
                Stage::Decode => of_decoder = width,
                Stage::Postprocess => {}
                other => {
                    let what = format!("is {:?}", other.name());
                    return self.bad(
                        at("stage"),
                        what,
                        "\"decode\" and \"postprocess\" are possible",
                    );
                }
            }
        }
        Ok((width, of_decoder))
    }

    fn shape(&self, key: &str, shape: &[usize], elements: usize) -> Result<()> {
        let product = shape.iter().try_fold(1usize, |a, &n| a.checked_mul(n));
        if shape.is_empty() || shape.len() > 8 || product != Some(elements) {
            return self.bad(
                key,
                format!("is {shape:?}"),
                format!("at most 8 numbers whose product is {elements}, rows times channels, are possible"),
            );
        }
        Ok(())
    }

    fn once<'a>(
        &self,
        key: String,
        name: &'a str,
        known: &mut Names<'a>,
        kind: &str,
    ) -> Result<()> {
        self.name(&key, name)?;
        if let Some(before) = known.get(name) {
            let what = format!("names the {kind} `{name}`, as `{before}` does");
            return self.bad(key, what, format!("give each {kind} a name of its own"));
        }
        known.insert(name, key);
        Ok(())
    }

    fn name(&self, key: &str, name: &str) -> Result<()> {
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            let what = format!("is a name of {} bytes", name.len());
            return self.bad(
                key,
                what,
                format!("1 to {LONGEST_NAME} bytes without control characters are possible"),
            );
        }
        Ok(())
    }

    fn parts(&self, key: &str, least: usize, count: usize) -> Result<()> {
        if count < least || count > MOST_PARTS {
            let what = format!("has {count} entries");
            return self.bad(key, what, format!("{least} to {MOST_PARTS} are possible"));
        }
        Ok(())
    }

    fn size(&self, key: &str, size: usize, most: usize) -> Result<()> {
        if size == 0 || size > most {
            return self.bad(key, format!("is {size}"), format!("1 to {most} is possible"));
        }
        Ok(())
    }

    fn elements(&self, key: &str, elements: usize) -> Result<()> {
        if elements > MOST_ELEMENTS {
            return self.bad(
                key,
                format!("makes an array of {elements} elements"),
                format!("at most {MOST_ELEMENTS} are possible"),
            );
        }
        Ok(())
    }
}
