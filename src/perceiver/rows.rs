//! Arrays of input rows or output queries, as the factors that they are made of.
//!
//! A row is content, then Fourier features of its position, then a tail (learned padding or a learned
//! position), each optional. The plain route puts windows of whole rows together; the folded route
//! reads the factors.

use super::encoder::Window;
use crate::error::Result;
use crate::graph::{FourierPositions, Graph, Parts, Stage, ValueId, View};

/// Makes the content of some rows, as nodes of a stage.
pub type MakeContent<'a> = dyn Fn(&mut Graph, Window, Stage) -> Result<View> + 'a;

/// The last columns of each row.
#[derive(Debug, Clone, Copy)]
pub struct Tail {
    /// `[1, 1, ..]` for the same in every row, or one row each.
    pub value: ValueId,
    /// Whether every row has its own.
    pub per_row: bool,
}

/// Rows of one modality.
pub struct Rows<'a> {
    /// For labels.
    pub name: &'static str,
    /// Rows of one item.
    pub count: usize,
    /// First columns.
    pub content: Option<Box<MakeContent<'a>>>,
    /// Grid of the features.
    pub positions: Option<FourierPositions>,
    /// Grid position of each row, `[1, count, 1]`, in place of one after the other.
    pub points: Option<ValueId>,
    /// Last columns.
    pub tail: Option<Tail>,
    /// 1 keeps a row, 0 removes it, `[batch, 1, count]`. Such rows are one window.
    pub mask: Option<View>,
}

impl<'a> Rows<'a> {
    /// Rows of content alone.
    pub fn of_content(
        name: &'static str,
        count: usize,
        content: impl Fn(&mut Graph, Window, Stage) -> Result<View> + 'a,
    ) -> Self {
        Rows {
            name,
            count,
            content: Some(Box::new(content)),
            positions: None,
            points: None,
            tail: None,
            mask: None,
        }
    }

    /// Rows of a learned array.
    #[must_use]
    pub fn learned(name: &'static str, count: usize, value: ValueId) -> Self {
        Self::of_content(name, count, move |g, w, _| g.rows(value, w.first, w.rows))
    }

    /// With features after the content.
    #[must_use]
    pub fn with_positions(mut self, positions: FourierPositions) -> Self {
        self.positions = Some(positions);
        self
    }

    /// With a tail after content and features.
    #[must_use]
    pub fn with_tail(mut self, value: ValueId, per_row: bool) -> Self {
        self.tail = Some(Tail { value, per_row });
        self
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
        if let (Some(content), None, None) = (content, &self.positions, self.tail) {
            return Ok(content);
        }
        let tail = match self.tail {
            Some(t) if t.per_row => Some(g.rows(t.value, w.first, w.rows)?),
            Some(t) => Some(g.view(t.value)),
            None => None,
        };
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
        let rows = g.assemble(stage, &format!("{} rows", self.name), parts)?;
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
