//! Modalities bound to the arrays of a graph.
//!
//! The plain route puts windows of whole rows together; the folded route reads what they are made of.

use super::blueprint::{Content, Modality, Positions, convolution};
use crate::error::Result;
use crate::graph::{
    Folded, FourierPositions, Graph, HeadLayout, Linear, LinearPart, Parts, Recipe, Stage, ValueId,
    View, Window,
};
use crate::tensor::Extent;

/// Rows of a modality, ready to be read.
#[derive(Clone)]
pub struct Rows {
    pub(super) modality: Modality,
    content: Source,
    /// Grid position of each row, `[1, count, 1]`, in place of one after the other.
    pub(super) points: Option<ValueId>,
    /// Columns after the content of which every row has its own, `[1, count, ..]`.
    per_row: Option<ValueId>,
    /// 1 keeps a row, 0 removes it, `[batch, 1, count]`. Such rows are one window.
    pub(super) mask: Option<View>,
}

/// Where the content comes from.
#[derive(Clone)]
enum Source {
    Nothing,
    Array(ValueId),
    /// An array through a layer, window by window.
    Projected(ValueId, Linear),
}

impl Rows {
    /// Rows of an array that is there.
    pub fn of_array(name: &str, count: usize, channels: usize, value: ValueId) -> Self {
        Rows {
            modality: Modality::given(name, count, channels),
            content: Source::Array(value),
            points: None,
            per_row: None,
            mask: None,
        }
    }

    /// Adds what a modality is made of to a graph.
    pub(super) fn new(g: &mut Graph, modality: &Modality, batch: usize) -> Result<Self> {
        let count = modality.count;
        let content = match &modality.content {
            Content::None => Source::Nothing,
            Content::Given { input, channels } => {
                Source::Array(g.input(input, Extent::new(batch, count, *channels)))
            }
            Content::Linear { input, channels, layer, out, unit_window } => {
                let input = g.input(input, Extent::new(batch, count, *channels));
                let mut part = LinearPart::plain(layer, *out);
                part.unit_window = *unit_window;
                Source::Projected(input, Linear::new(vec![part], HeadLayout::plain(*channels)))
            }
            Content::SinCos { input, channels, shared, .. } => {
                let batch = if *shared { 1 } else { batch };
                Source::Array(g.input(input, Extent::new(batch, count, *channels)))
            }
            Content::FirstRows { input, .. } => Source::Array(g.input(input, Extent::new(1, 1, 1))),
            Content::Tokens { input, table, vocabulary, positions, most, channels } => {
                let table = learned(g, table, *vocabulary, *channels);
                let positions = match positions.is_empty() {
                    true => {
                        let (rows, columns) = (count, *channels);
                        g.parameter(Recipe::Filled { bits: 0, rows, columns })
                    }
                    false => learned(g, positions, *most, *channels),
                };
                let ids = g.input(input, Extent::new(batch, 1, count));
                let [ids, table, positions] = [ids, table, positions].map(|v| g.view(v));
                Source::Array(g.embed(Stage::Preprocess, "embed", ids, table, positions))
            }
            Content::Convolution { input, image, channels, layer, out } => {
                let (args, pool) = convolution(batch, *image, *channels, *out);
                let pixels = image[0] * image[1];
                let input = g.input(input, Extent::new(batch, pixels, *channels));
                let (weight, norm) = (format!("{layer}.conv.weight"), format!("{layer}.batchnorm"));
                let stage = Stage::Preprocess;
                let names = (weight.as_str(), norm.as_str());
                let features = g.convolution(stage, "convolution", g.view(input), args, names)?;
                Source::Array(g.max_pool(stage, "max pool", g.view(features), pool)?)
            }
            Content::Learned { tensor, channels } => {
                Source::Array(learned(g, tensor, count, *channels))
            }
        };
        let per_row = match &modality.positions {
            Positions::None | Positions::Fourier(_) => None,
            Positions::Waves { bands, highest, .. } => {
                let (axes, bands, highest) = (modality.axes.clone(), *bands, highest.to_bits());
                Some(g.parameter(Recipe::GridWaves { axes, bands, highest }))
            }
            Positions::Table { tensor, channels } => Some(learned(g, tensor, count, *channels)),
            Positions::Learned { tensor, stored, channels, resized, layer, out } => {
                let table = match resized {
                    Some(size) => g.parameter(Recipe::ResizedPositions {
                        name: tensor.clone(),
                        positions: *stored,
                        channels: *channels,
                        size: *size,
                    }),
                    None => learned(g, tensor, *stored, *channels),
                };
                let part = LinearPart::plain(layer, *out);
                let layer = Linear::new(vec![part], HeadLayout::plain(*channels));
                Some(g.linear(Stage::Preprocess, "positions", g.view(table), layer)?)
            }
        };
        let points = modality.points.as_ref();
        let points = points.map(|name| g.input(name, Extent::new(1, count, 1)));
        let mask = modality.mask_input().map(|name| {
            let extent = match modality.content {
                Content::FirstRows { rows, .. } => Extent::new(1, 1, rows),
                _ => Extent::new(batch, 1, count),
            };
            let mask = g.input(&name, extent);
            g.view(mask)
        });
        Ok(Rows { modality: modality.clone(), content, points, per_row, mask })
    }

    fn positions(&self) -> Option<&FourierPositions> {
        match &self.modality.positions {
            Positions::Fourier(positions) => Some(positions),
            Positions::None
            | Positions::Waves { .. }
            | Positions::Table { .. }
            | Positions::Learned { .. } => None,
        }
    }

    /// Grid positions of a window's rows, where they are not one after the other.
    pub(super) fn points(&self, g: &Graph, w: Window) -> Result<Option<View>> {
        self.points.map(|v| g.rows(v, w.first, w.rows)).transpose()
    }

    fn content(&self, g: &mut Graph, w: Window, stage: Stage) -> Result<Option<View>> {
        Ok(match &self.content {
            Source::Nothing => None,
            Source::Array(value) => Some(g.rows(*value, w.first, w.rows)?),
            Source::Projected(input, layer) => {
                let window = g.rows(*input, w.first, w.rows)?;
                let label = format!("{} content", self.modality.name);
                let content = g.linear(stage, &label, window, layer.clone())?;
                Some(g.view(content))
            }
        })
    }

    /// The content that the folded route reads, if there is any: whole rows where
    /// [`Modality::factored`] counts them as content.
    pub(super) fn factor(&self, g: &mut Graph, w: Window, stage: Stage) -> Result<Option<View>> {
        match self.per_row {
            Some(_) => self.assemble(g, w, stage).map(Some),
            None => self.content(g, w, stage),
        }
    }

    /// Whole rows of a window, each with all its columns.
    pub(super) fn assemble(&self, g: &mut Graph, w: Window, stage: Stage) -> Result<View> {
        let content = self.content(g, w, stage)?;
        let parts = &self.modality.constant;
        let constant = (!parts.is_empty()).then(|| {
            let parts = parts.clone();
            let constant = g.parameter(Folded::Constant { parts }.into());
            g.view(constant)
        });
        let own = self.per_row.map(|v| g.rows(v, w.first, w.rows)).transpose()?;
        let tail = own.or(constant);
        if let (Some(content), None, None) = (content, self.positions(), tail) {
            return Ok(content);
        }
        let parts = Parts {
            rows: w.rows,
            content,
            positions: self.positions(),
            first_row: w.first,
            points: self.points(g, w)?,
            tail,
        };
        let label = format!("{} rows", self.modality.name);
        let assembled = g.assemble(stage, &label, parts)?;
        let rows = g.view(assembled);
        let (Some(_), Some(constant)) = (own, constant) else {
            return Ok(rows);
        };
        let (content, tail) = (Some(rows), Some(constant));
        let padded = Parts { rows: w.rows, content, tail, ..Parts::default() };
        let padded = g.assemble(stage, &label, padded)?;
        Ok(g.view(padded))
    }
}

impl Modality {
    /// Windows of at most this many rows: masked rows are one.
    pub(super) fn windows(&self, most: usize) -> Vec<Window> {
        let most = if self.mask.is_some() { usize::MAX / 2 } else { most };
        super::encoder::windows(self.count, most)
    }
}

/// A learned table of the checkpoint.
pub(super) fn learned(g: &mut Graph, name: &str, rows: usize, cols: usize) -> ValueId {
    g.parameter(Recipe::Stored { name: name.to_owned(), shape: vec![rows, cols] })
}
