//! Encode, chunk by chunk.

use std::collections::BTreeMap;
use std::fmt;

use super::fingerprint::fingerprint;
use super::{EncoderState, Latents};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::model::{Model, Session};
use crate::perceiver::blueprint::{Blueprint, Content, Modality, Positions};
use crate::perceiver::chunks::{
    CONTENT, CONTEXT, LATENTS, MASK, POINTS, SMALLEST, STATISTICS, SUMS, StreamEncoder,
};
use crate::tensor::TensorView;

/// Reads input rows in chunks of any size and order; made by [`Model::encoder`].
///
/// Memory depends on the model and on the size of a window, not on the number of rows. The result is
/// that of all rows at once but for rounding.
pub struct Encoder {
    model: Model,
    parts: StreamEncoder,
    /// By modality and rows; what follows all of them as a modality more, without rows.
    sessions: BTreeMap<(usize, usize), Session>,
    state: EncoderState,
    /// Most bytes of the widest array of a chunk.
    window: usize,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("model", &self.model)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    pub(crate) fn new(model: &Model, blueprint: Blueprint) -> Result<Self> {
        let mut parts = StreamEncoder::new(blueprint, model.folded)?;
        // What the folded route cannot divide to fit the device, the plain one can.
        let fits = |parts: &StreamEncoder| {
            for i in 0..parts.blueprint.inputs.len() {
                let size = parts.chunk_size(i, SMALLEST, SMALLEST);
                model.planned(parts.chunk(i, size)?)?;
            }
            model.planned(parts.rest()?)
        };
        if let Err(Error::Limit { .. }) = fits(&parts) {
            parts = StreamEncoder::new(parts.blueprint, false)?;
        }
        let state = EncoderState::empty(parts.state(), fingerprint(model, &parts)?);
        let window = model.fit(&|window| {
            let mut most = model.graph_bytes(parts.rest()?)?;
            for (i, array) in parts.blueprint.inputs.iter().enumerate() {
                let least = if is_pushed(array) { 0 } else { array.count };
                let rows = parts.chunk_rows(i, window).max(least);
                let rows = parts.chunk_size(i, array.count, rows);
                most = most.max(model.graph_bytes(parts.chunk(i, rows)?)?);
            }
            Ok(most + state.bytes() as u64)
        })?;
        Ok(Encoder { model: model.clone(), state, parts, sessions: BTreeMap::new(), window })
    }

    fn inputs(&self) -> &[Modality] {
        &self.parts.blueprint.inputs
    }

    /// Modalities that rows are pushed to: name, rows in all, channels of a row.
    #[doc(hidden)]
    pub fn modalities(&self) -> Vec<(&str, usize, usize)> {
        let arrays = self.inputs().iter();
        arrays.filter(|a| is_pushed(a)).map(|a| (a.name.as_str(), a.count, given(a))).collect()
    }

    /// Reads rows `first ..` of a modality, `[rows, channels]` (f32): a `&Tensor`, or a [`TensorView`] of memory that is the app's.
    /// Every row should come once; one that never comes counts as masked. Rows that vary and have no positions are a set: there may
    /// be any number of them, and `first` says nothing. After an error none of the rows count as read.
    ///
    /// # Errors
    /// [`Error::Input`] for unknown modalities, rows beyond the end, wrong shapes and values; otherwise
    /// what the device gives.
    pub fn push<'a>(
        &mut self,
        modality: &str,
        first: usize,
        rows: impl Into<TensorView<'a>>,
    ) -> Result<()> {
        let rows = rows.into();
        let index = self.index(modality)?;
        let array = &self.inputs()[index];
        if array.points.is_some() {
            let what = "has rows at cells of their own";
            return Err(Error::input(modality, what, "`push_at`, which is told the cells"));
        }
        let (end, channels) = (places(array), given(array));
        let expected = || format!("f32 [rows, {channels}], rows {first} to at most {end}");
        let n = match rows.shape() {
            &[n, c] if c == channels && first.checked_add(n).is_some_and(|last| last <= end) => n,
            shape => {
                let what = format!("has shape {shape:?}");
                return Err(Error::input(modality, what, expected()));
            }
        };
        let data = crate::perceiver::batch::finite(modality, rows, &expected)?;
        let most = self.most(index);
        self.whole_or_not(|encoder| {
            for start in (0..n).step_by(most) {
                let rows = most.min(n - start);
                let part = &data[start * channels..(start + rows) * channels];
                encoder.attend(index, rows, &|i| first + start + i, part)?;
            }
            Ok(())
        })
    }

    /// As [`Encoder::push`], for rows in any order: row i is the one at `cells[i]`, which on a grid is the number of a cell,
    /// the last axis fastest. Rows that lie close together go through together, so many at a time cost less.
    ///
    /// # Errors
    /// As [`Encoder::push`], and where there is not one cell for each row.
    pub fn push_at<'a>(
        &mut self,
        modality: &str,
        cells: &[usize],
        rows: impl Into<TensorView<'a>>,
    ) -> Result<()> {
        let rows = rows.into();
        let index = self.index(modality)?;
        let array = &self.inputs()[index];
        let (end, channels) = (places(array), given(array));
        let n = cells.len();
        let expected = || format!("f32 [{n}, {channels}], a row for each cell");
        if rows.shape() != [n, channels] {
            let what = format!("has shape {:?}", rows.shape());
            return Err(Error::input(modality, what, expected()));
        }
        if let Some(cell) = cells.iter().find(|&&cell| cell >= end) {
            let what = format!("has a row at cell {cell}");
            return Err(Error::input(modality, what, format!("cells 0 to {}", end - 1)));
        }
        let data = crate::perceiver::batch::finite(modality, rows, &expected)?;
        let most = self.most(index);
        if !self.parts.in_order(index) {
            return self.whole_or_not(|encoder| {
                for start in (0..n).step_by(most) {
                    let rows = most.min(n - start);
                    let part = &data[start * channels..(start + rows) * channels];
                    encoder.attend(index, rows, &|i| cells[start + i], part)?;
                }
                Ok(())
            });
        }
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_unstable_by_key(|&i| cells[i]);
        // Rows between which less is missing than the smallest chunk holds share one, with a mask.
        let near = |run: &[usize], last: usize, next: usize| {
            (1..=SMALLEST).contains(&(next - last)) && next - cells[run[0]] < most
        };
        self.whole_or_not(|encoder| {
            let mut rest = order.as_slice();
            while !rest.is_empty() {
                let next = rest.windows(2).position(|w| !near(rest, cells[w[0]], cells[w[1]]));
                let (run, after) = rest.split_at(next.map_or(rest.len(), |last| last + 1));
                let rows = run.iter().flat_map(|&i| &data[i * channels..(i + 1) * channels]);
                let part: Vec<f32> = rows.copied().collect();
                encoder.attend(index, run.len(), &|i| cells[run[i]], &part)?;
                rest = after;
            }
            Ok(())
        })
    }

    /// Which of the inputs a modality is.
    fn index(&self, modality: &str) -> Result<usize> {
        let pushed = |a: &Modality| is_pushed(a) && a.name == modality;
        self.inputs().iter().position(pushed).ok_or_else(|| {
            let names: Vec<&str> = self.modalities().iter().map(|m| m.0).collect();
            let what = format!("has no modality `{modality}`");
            Error::input("model", what, format!("one of {names:?}"))
        })
    }

    /// Leaves the state as it was where not all of the rows went through.
    fn whole_or_not(&mut self, read: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let before = self.state.clone();
        let done = read(self);
        if done.is_err() {
            self.state = before;
        }
        done
    }

    /// Rows of a modality that go through at once: what is pushed is cut into chunks of at most so many,
    /// so multiples of it waste nothing. `None` for a modality that there is not.
    #[must_use]
    pub fn chunk_rows(&self, modality: &str) -> Option<usize> {
        let index = self.inputs().iter().position(|a| a.name == modality)?;
        Some(self.most(index))
    }

    /// Most rows of a chunk.
    fn most(&self, modality: usize) -> usize {
        self.parts.chunk_rows(modality, self.window)
    }

    /// One chunk, in a session that is as large or a little larger: `rows` rows, of which `cell` tells the places. Where the
    /// session's rows are in order, they ascend and span no more than a chunk.
    fn attend(
        &mut self,
        modality: usize,
        rows: usize,
        cell: &dyn Fn(usize) -> usize,
        content: &[f32],
    ) -> Result<()> {
        let in_order = self.parts.in_order(modality);
        let (first, last) = (cell(0), cell(rows.saturating_sub(1)));
        let span = if in_order { last - first + 1 } else { rows };
        let most = self.most(modality).max(span);
        let size = self.parts.chunk_size(modality, span, most);
        let start = if in_order { self.parts.chunk_start(modality, first, size) } else { 0 };
        let slot = |i: usize| if in_order { cell(i) - start } else { i };
        let key = (modality, size);
        let mut session = self.session(key, |parts| parts.chunk(modality, size))?;
        let array = &self.inputs()[modality];
        if array.content != Content::None {
            let channels = given(array);
            let mut padded = vec![0.0; size * channels];
            if span == rows {
                padded[slot(0) * channels..][..content.len()].copy_from_slice(content);
            } else {
                for (i, row) in content.chunks_exact(channels.max(1)).enumerate() {
                    padded[slot(i) * channels..][..channels].copy_from_slice(row);
                }
            }
            session.write(CONTENT, &padded)?;
        }
        if let Positions::Fourier(grid) = &array.positions {
            let cells: usize = grid.axes.iter().product();
            let end = cells.saturating_sub(1);
            let point = |i: usize| match in_order {
                true => (start + i).min(end),
                false => cell(i.min(rows.saturating_sub(1))),
            };
            let points: Vec<f32> = (0..size).map(|i| point(i) as f32).collect();
            session.write(POINTS, &points)?;
        }
        let mut mask = vec![0.0; size];
        for i in 0..rows {
            mask[slot(i)] = 1.0;
        }
        session.write(MASK, &mask)?;
        session.write(SUMS, &self.state.sums)?;
        session.write(STATISTICS, &self.state.statistics)?;
        session.set_first_key(start)?;
        session.run_with(&self.model.control, &mut |_, _| {})?;
        let read = |name| {
            let tensor = session.read(name)?;
            Ok::<_, Error>(tensor.as_f32().unwrap_or(&[]).to_vec())
        };
        (self.state.sums, self.state.statistics) = (read(SUMS)?, read(STATISTICS)?);
        self.sessions.insert(key, session);
        Ok(())
    }

    /// A session that was made before, or one for this graph; within a budget there is one at a time.
    fn session(
        &mut self,
        key: (usize, usize),
        graph: impl FnOnce(&StreamEncoder) -> Result<Graph>,
    ) -> Result<Session> {
        if let Some(session) = self.sessions.remove(&key).filter(|s| !s.is_lost()) {
            return Ok(session);
        }
        if self.model.budget.is_some() {
            self.sessions.clear();
        }
        self.model.open(graph(&self.parts)?)
    }

    /// The state after the rows so far.
    #[must_use]
    pub fn state(&self) -> &EncoderState {
        &self.state
    }

    /// Adds the rows that another encoder of the same model has read, on this device or another.
    ///
    /// # Errors
    /// [`Error::Input`] when the state is of another model, of other weights, sizes or route.
    pub fn merge(&mut self, other: &EncoderState) -> Result<()> {
        self.state = self.state.merge(other)?;
        Ok(())
    }

    /// Goes on from another state, and gives back the one before: so one encoder, whose sessions take memory and time to make,
    /// reads the rows of many inputs in turns. A clone of a new encoder's state is the one before any row.
    ///
    /// # Errors
    /// As [`Encoder::merge`].
    pub fn replace(&mut self, state: EncoderState) -> Result<EncoderState> {
        self.state.check(&state)?;
        Ok(std::mem::replace(&mut self.state, state))
    }

    /// Bytes that sessions and state take, parameters included.
    #[doc(hidden)]
    pub fn allocated_bytes(&self) -> u64 {
        let sessions: u64 = self.sessions.values().map(|s| s.allocated_bytes()).sum();
        sessions + self.state.bytes() as u64
    }

    /// Runs the rest of encode and process, on the rows so far: more may come, and after an error of the device it can
    /// be called again.
    ///
    /// # Errors
    /// [`Error::Input`] when no row was read; otherwise what the device gives.
    pub fn finish(&mut self) -> Result<Latents> {
        let read = self.state.clone();
        let latents = self.finished();
        self.state = read;
        latents
    }

    fn finished(&mut self) -> Result<Latents> {
        let nothing = || Error::input("encoder", "has read no rows", "`push` before `finish`");
        if self.state.normalised().is_none() {
            return Err(nothing());
        }
        // Rows that no caller gives. They are read last, so that states that merge do not hold them
        // twice.
        for i in 0..self.inputs().len() {
            if !is_pushed(&self.inputs()[i]) {
                self.attend(i, self.inputs()[i].count, &|row| row, &[])?;
            }
        }
        let context = self.state.normalised().ok_or_else(nothing)?;
        let key = (self.inputs().len(), 0);
        let mut session = self.session(key, StreamEncoder::rest)?;
        let rows = context.chunks(self.parts.state().columns.max(1));
        let columns = self.parts.context_columns();
        let context: Vec<f32> = rows.flat_map(|row| &row[..columns]).copied().collect();
        session.write(CONTEXT, &context)?;
        session.run_with(&self.model.control, &mut |_, _| {})?;
        let latents = session.read(LATENTS)?;
        self.sessions.insert(key, session);
        let shape = &self.parts.blueprint.latents;
        let data = latents.as_f32().unwrap_or(&[]).to_vec();
        Latents::new(shape.rows, shape.channels, data)
    }
}

/// Whether a caller gives the rows of a modality, if only by saying that they are there.
fn is_pushed(array: &Modality) -> bool {
    array.content != Content::None || array.positions != Positions::None
}

/// Places that the rows of a modality may have.
fn places(array: &Modality) -> usize {
    match &array.positions {
        Positions::Fourier(grid) if array.points.is_some() => grid.axes.iter().product(),
        Positions::None if array.varies => usize::MAX,
        _ => array.count,
    }
}

/// Channels of the rows that a caller gives.
pub(super) fn given(array: &Modality) -> usize {
    match &array.content {
        Content::Given { channels, .. } | Content::Linear { channels, .. } => *channels,
        _ => 0,
    }
}
