//! Parts of a blueprint as graphs of their own: the encoder's attention over one chunk of rows, what
//! follows it, and one chunk of a decoder's queries.
//!
//! Every chunk of an array has the same graph: where its rows lie is data. The state between two
//! chunks is one row per latent (and head), whatever the number of rows.

use super::blueprint::{Blueprint, Content, DecoderBlueprint, Head, Modality, Positions, Step};
use super::build;
use super::encoder::Crossing;
use super::folded::{encoder_fold, encoder_pays};
use super::layer::AttentionLayer;
use super::request::{Request, Sizes};
use super::rows::{Rows, learned};
use crate::error::{Error, Result};
use crate::graph::{Fold, Graph, Window};
use crate::tensor::Extent;

/// Input: the rows' content.
pub(crate) const CONTENT: &str = "content";
/// Input: grid positions of the rows.
pub(crate) const POINTS: &str = "points";
/// Input: 1 for rows that count, 0 for those that fill a chunk.
pub(crate) const MASK: &str = "mask";
/// Input and output: weighted sums so far.
pub(crate) const SUMS: &str = "state.sums";
/// Input and output: maximum and sum of weights so far, per row or per row and head.
pub(crate) const STATISTICS: &str = "state.statistics";
/// Input of what follows the attention: its normalised result.
pub(crate) const CONTEXT: &str = "context";
/// The latents, out of the encoder and into a decoder.
pub(crate) const LATENTS: &str = "last_latents";
/// Output: decoded rows.
pub(crate) const ROWS: &str = "rows";

/// Shape of an encoder's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateShape {
    /// Rows of sums and statistics.
    pub(crate) rows: usize,
    /// Columns of the sums.
    pub(crate) columns: usize,
    /// Parts of a row that have statistics of their own: the heads, or one.
    pub(crate) groups: usize,
}

/// The encoder of a blueprint, for streams.
pub(crate) struct StreamEncoder {
    pub(crate) blueprint: Blueprint,
    layer: AttentionLayer,
    /// Whether it takes the folded route.
    pub(crate) folded: bool,
}

/// Rows on a grid that can be told apart: their numbers are passed as floats, which hold whole numbers
/// to 2²⁴.
pub(crate) const MOST_POINTS: usize = 1 << 24;

/// Rows of the smallest chunk.
pub(crate) const SMALLEST: usize = 64;

/// Rows of the chunk that `rows` rows are filled up to, `most` at the most: few sizes, so that few
/// sessions are made.
pub(crate) fn chunk_size(rows: usize, most: usize) -> usize {
    let mut size = SMALLEST;
    while size < rows && size < most {
        size *= 4;
    }
    size.min(most)
}

impl StreamEncoder {
    /// The encoder, if the blueprint reads its inputs once and row by row.
    pub(crate) fn new(blueprint: Blueprint, folded: bool) -> Result<Self> {
        let layer = match (blueprint.steps.first(), blueprint.crosses().count()) {
            (Some(Step::Cross(layer)), 1) => layer.clone(),
            (_, count) => {
                return Err(Error::input(
                    "model",
                    format!("reads its inputs {count} times"),
                    "a model with one cross-attention at the start: others need all inputs at hand",
                ));
            }
        };
        for array in &blueprint.inputs {
            chunk_of(array, SMALLEST)?;
            let cells = match &array.positions {
                Positions::Fourier(grid) => grid.axes.iter().product(),
                _ => array.count,
            };
            if cells > MOST_POINTS {
                let what = format!("has {cells} rows");
                let expected = format!("at most {MOST_POINTS} rows of one modality");
                return Err(Error::input(&array.name, what, expected));
            }
        }
        let modalities: Vec<_> = blueprint.inputs.iter().collect();
        // Factors of a grid belong to rows in its order.
        let folded = folded && modalities.iter().all(|a| a.points.is_none());
        let folded = folded && encoder_pays(&layer, blueprint.latents.rows, &modalities);
        Ok(StreamEncoder { blueprint, layer, folded })
    }

    fn fold(&self) -> Fold {
        encoder_fold(&self.layer, self.blueprint.inputs.iter())
    }

    fn crossing(&self, g: &mut Graph) -> Crossing<'_> {
        let latents = &self.blueprint.latents;
        let value = learned(g, &latents.tensor, latents.rows, latents.channels);
        let fold = self.folded.then(|| self.fold());
        Crossing { layer: &self.layer, latents: g.view(value), fold }
    }

    /// Shape of the state.
    pub(crate) fn state(&self) -> StateShape {
        let latents = &self.blueprint.latents;
        let (heads, v) = (self.layer.heads, self.layer.v);
        if self.folded {
            let columns = self.fold().columns().1;
            return StateShape { rows: latents.rows * heads, columns, groups: 1 };
        }
        let columns = heads * (v / heads.max(1)).next_multiple_of(4);
        StateShape { rows: latents.rows, columns, groups: heads }
    }

    /// Columns of the state's sums that make the context. With one head the rest of a row is its padding,
    /// which the layer does not know.
    pub(crate) fn context_columns(&self) -> usize {
        match (self.folded, self.layer.heads) {
            (false, 1) => self.layer.v,
            _ => self.state().columns,
        }
    }

    /// Most rows of a chunk whose widest array has this many bytes.
    pub(crate) fn chunk_rows(&self, modality: usize, bytes: usize) -> usize {
        let columns = if self.folded {
            self.blueprint.inputs[modality].factored().content + 4
        } else {
            self.layer.qk + self.layer.v + 8
        };
        (bytes / (4 * columns) / SMALLEST * SMALLEST).max(SMALLEST)
    }

    /// Whether the rows of a chunk lie on their grid one after the other, as they do on the folded route.
    pub(crate) fn in_order(&self, modality: usize) -> bool {
        self.folded && matches!(self.blueprint.inputs[modality].positions, Positions::Fourier(_))
    }

    /// Where the rows of a modality end: those in order end with their grid, beyond which there is
    /// nothing to fill with.
    fn end(&self, modality: usize) -> usize {
        match self.in_order(modality) {
            true => self.blueprint.inputs[modality].count,
            false => usize::MAX,
        }
    }

    /// Rows of the chunk that `rows` rows of a modality are filled up to.
    pub(crate) fn chunk_size(&self, modality: usize, rows: usize, most: usize) -> usize {
        chunk_size(rows, most).min(self.end(modality))
    }

    /// Where a chunk of `size` rows begins that holds those from `first` on: earlier than them where it
    /// would end beyond the grid.
    pub(crate) fn chunk_start(&self, modality: usize, first: usize, size: usize) -> usize {
        first.min(self.end(modality).saturating_sub(size))
    }

    /// Attention over `rows` rows of a modality: state in, state out.
    pub(crate) fn chunk(&self, modality: usize, rows: usize) -> Result<Graph> {
        let mut g = Graph::default();
        let mut array = chunk_of(&self.blueprint.inputs[modality], rows)?;
        array.mask = Some(MASK.to_owned());
        let source = Rows::new(&mut g, &array, 1)?;
        let crossing = self.crossing(&mut g);
        let shape = self.state();
        let sums = g.input(SUMS, Extent::new(1, shape.rows, shape.columns));
        let statistics = g.input(STATISTICS, Extent::new(1, shape.rows, 2 * shape.groups));
        let carry = Some((sums, statistics));
        let window = Window { first: 0, rows };
        let q = crossing.queries(&mut g)?;
        let rows = (&source, modality);
        let (state, _) = crossing.attend(&mut g, q, rows, window, carry, false)?;
        for (name, value) in [(SUMS, state[0]), (STATISTICS, state[1])] {
            let e = g.extent(value);
            g.output(name, vec![value], vec![e.all_rows(), e.cols]);
        }
        Ok(g)
    }

    /// From the attention's normalised result to the last latents.
    pub(crate) fn rest(&self) -> Result<Graph> {
        let mut g = Graph::default();
        let crossing = self.crossing(&mut g);
        let shape = self.state();
        let context = g.input(CONTEXT, Extent::new(1, shape.rows, self.context_columns()));
        let crossed = crossing.finish(&mut g, context)?;
        let last = build::towers(&mut g, &self.blueprint.steps[1..], crossed)?;
        let e = g.extent(last);
        g.output(LATENTS, vec![last], vec![1, e.rows, e.cols]);
        Ok(g)
    }
}

/// Most queries of a chunk whose widest array has this many bytes.
pub(crate) fn decode_rows(layer: &AttentionLayer, bytes: usize) -> usize {
    let hidden = layer.widening * layer.q_width;
    let widest = layer.qk.max(layer.v).max(layer.q_width).max(hidden);
    (bytes / (4 * widest) / SMALLEST * SMALLEST).max(SMALLEST)
}

/// `rows` queries of one head of a decoder: the latents in, which are kept, rows out.
pub(crate) fn decode(
    blueprint: &Blueprint,
    decoder: &DecoderBlueprint,
    head: &Head,
    rows: usize,
    folded: bool,
) -> Result<Graph> {
    let mut g = Graph::default();
    let latents = &blueprint.latents;
    let value = g.input(LATENTS, Extent::new(1, latents.rows, latents.channels));
    g.kept.push(value);
    let array = chunk_of(blueprint.queries(head), rows)?;
    let shape = vec![rows, decoder.columns(head)];
    let head = Head::new(ROWS, array.into(), head.layers.clone(), shape.clone());
    let one = DecoderBlueprint { layer: decoder.layer.clone(), heads: vec![head], shape };
    let request = Request { folded, ..Request::whole(Sizes::default(), false) };
    build::outputs(&mut g, blueprint, &one, &request, &[], (value, &[]))?;
    Ok(g)
}

/// Some rows of an array, wherever they are: positions and learned content become inputs.
fn chunk_of(array: &Modality, rows: usize) -> Result<Modality> {
    let whole = |what: &str| {
        let expected = "rows that do not need the others: give the whole array at once";
        Err(Error::input(&array.name, what, expected))
    };
    let mut chunk = array.clone();
    chunk.count = rows;
    match &mut chunk.content {
        Content::None => {}
        Content::Given { input, .. } | Content::Linear { input, .. } => {
            CONTENT.clone_into(input);
        }
        Content::Learned { channels, .. } => {
            chunk.content = Content::Given { input: CONTENT.to_owned(), channels: *channels };
        }
        Content::SinCos { .. } => return whole("are positions of a grid"),
        Content::FirstRows { .. } => return whole("are a number of rows"),
        Content::Tokens { .. } => return whole("are tokens of one text"),
        Content::Convolution { .. } => return whole("are features of a whole picture"),
    }
    match chunk.positions {
        Positions::None => chunk.points = None,
        Positions::Fourier(_) => chunk.points = Some(POINTS.to_owned()),
        Positions::Waves { .. } => return whole("are cells of a grid that is given whole"),
        Positions::Learned { .. } | Positions::Table { .. } => {
            return whole("have learned positions");
        }
    }
    chunk.mask = None;
    Ok(chunk)
}
