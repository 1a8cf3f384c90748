//! Arrays of input rows or output queries, as the factors that they are made of.
//!
//! A row is content, then Fourier features of its position, then a tail (learned padding or a learned
//! position), each optional. The plain route puts windows of whole rows together; the folded route
//! reads the factors.

use crate::error::Result;
use crate::graph::Window;
use crate::graph::{Folded, FourierPositions, Graph, Parts, Stage, ValueId, View};

/// Makes the content of some rows, as nodes of a stage.
pub type MakeContent<'a> = dyn Fn(&mut Graph, Window, Stage) -> Result<View> + 'a;

/// Rows of one modality.
pub struct Rows<'a> {
    /// For labels.
    pub name: String,
    /// Rows of one item.
    pub count: usize,
    /// First columns.
    pub content: Option<Box<MakeContent<'a>>>,
    /// How many they are.
    pub content_channels: usize,
    /// Grid of the features that follow.
    pub positions: Option<FourierPositions>,
    /// Grid position of each row, `[1, count, 1]`, in place of one after the other.
    pub points: Option<ValueId>,
    /// Learned vectors at the end, the same in every row: tensor names (`[1, channels]`) and channels.
    pub constant: Vec<(String, usize)>,
    /// Columns before `constant` of which every row has its own, `[1, count, ..]`, and how many they
    /// are.
    pub per_row: Option<(ValueId, usize)>,
    /// 1 keeps a row, 0 removes it, `[batch, 1, count]`. Such rows are one window.
    pub mask: Option<View>,
}

impl<'a> Rows<'a> {
    /// Rows of nothing yet.
    #[must_use]
    pub fn new(name: &str, count: usize) -> Self {
        Rows {
            name: name.to_owned(),
            count,
            content: None,
            content_channels: 0,
            positions: None,
            points: None,
            constant: Vec::new(),
            per_row: None,
            mask: None,
        }
    }

    /// Rows of content alone.
    pub fn of_content(
        name: &str,
        count: usize,
        channels: usize,
        content: impl Fn(&mut Graph, Window, Stage) -> Result<View> + 'a,
    ) -> Self {
        Rows {
            content: Some(Box::new(content)),
            content_channels: channels,
            ..Self::new(name, count)
        }
    }

    /// Rows of an array that is there.
    #[must_use]
    pub fn of_array(name: &str, count: usize, channels: usize, value: ValueId) -> Self {
        Self::of_content(name, count, channels, move |g, w, _| {
            g.rows(value, w.first, w.rows)
        })
    }

    /// With features after the content.
    #[must_use]
    pub fn with_positions(mut self, positions: FourierPositions) -> Self {
        self.positions = Some(positions);
        self
    }

    /// With a learned vector after content and features.
    #[must_use]
    pub fn with_constant(mut self, name: &str, channels: usize) -> Self {
        self.constant.push((name.to_owned(), channels));
        self
    }

    /// Channels of a row.
    #[must_use]
    pub fn channels(&self) -> usize {
        let features = self
            .positions
            .as_ref()
            .map_or(0, FourierPositions::channels);
        let constant: usize = self.constant.iter().map(|(_, n)| n).sum();
        self.content_channels + features + constant + self.per_row.map_or(0, |(_, n)| n)
    }

    /// Whole rows of a window, each with all its columns.
    ///
    /// # Errors
    /// [`crate::Error::Graph`] when shapes do not fit, or what making the content gives.
    pub fn assemble(&self, g: &mut Graph, w: Window, stage: Stage) -> Result<View> {
        let content = match &self.content {
            Some(make) => Some(make(g, w, stage)?),
            None => None,
        };
        let constant = if self.constant.is_empty() {
            None
        } else {
            let parts = self.constant.clone();
            let constant = g.parameter(Folded::Constant { parts }.into());
            Some(g.view(constant))
        };
        let own = match self.per_row {
            Some((value, _)) => Some(g.rows(value, w.first, w.rows)?),
            None => None,
        };
        let tail = own.or(constant);
        if let (Some(content), None, None) = (content, &self.positions, tail) {
            return Ok(content);
        }
        let points = match self.points {
            Some(points) => Some(g.rows(points, w.first, w.rows)?),
            None => None,
        };
        let parts = Parts {
            rows: w.rows,
            content,
            positions: self.positions.as_ref(),
            first_row: w.first,
            points,
            tail,
        };
        let label = format!("{} rows", self.name);
        let rows = g.assemble(stage, &label, parts)?;
        let rows = g.view(rows);
        let (Some(_), Some(constant)) = (own, constant) else {
            return Ok(rows);
        };
        let padded = Parts {
            rows: w.rows,
            content: Some(rows),
            positions: None,
            first_row: 0,
            points: None,
            tail: Some(constant),
        };
        let rows = g.assemble(stage, &label, padded)?;
        Ok(g.view(rows))
    }

    /// Windows of at most this many rows.
    #[must_use]
    pub fn windows(&self, most: usize) -> Vec<Window> {
        let most = if self.mask.is_some() {
            usize::MAX / 2
        } else {
            most
        };
        super::encoder::windows(self.count, most)
    }
}
