//! Decode any queries, chunk by chunk.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::Latents;
use super::encoder::given;
use crate::error::{Error, Result};
use crate::graph::{WORD_BYTES, Waiting, blocking};
use crate::memory::room;
use crate::model::{Model, Session};
use crate::perceiver::blueprint::{Blueprint, Content, DecoderBlueprint, Head, Positions};
use crate::perceiver::chunks::{
    CONTENT, LATENTS, MOST_POINTS, POINTS, ROWS, chunk_size, decode, decode_rows,
};
use crate::tensor::Tensor;

/// Decodes chosen queries from latents; made by [`Model::decoder`].
pub struct Decoder {
    model: Model,
    blueprint: Blueprint,
    latents: Latents,
    /// By head and rows.
    sessions: BTreeMap<(usize, usize), Session>,
    /// Learned queries by tensor name.
    tables: BTreeMap<String, Vec<f32>>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("model", &self.model)
            .field("outputs", &self.outputs())
            .finish_non_exhaustive()
    }
}

/// Which queries of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Queries {
    /// One after the other.
    Range(Range<usize>),
    /// By number, in this order.
    Points(Vec<usize>),
}

impl Queries {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        match self {
            Queries::Range(range) => range.len(),
            Queries::Points(points) => points.len(),
        }
    }

    /// Points of a grid by their coordinates, the last axis fastest.
    ///
    /// # Errors
    /// [`Error::Input`] for a point outside the grid.
    pub fn on_grid(axes: &[usize], coordinates: &[Vec<usize>]) -> Result<Self> {
        let mut points = Vec::with_capacity(coordinates.len());
        for at in coordinates {
            if at.len() != axes.len() || at.iter().zip(axes).any(|(i, n)| i >= n) {
                let what = format!("has the point {at:?}");
                return Err(Error::input("queries", what, format!("points within {axes:?}")));
            }
            points.push(at.iter().zip(axes).fold(0, |sum, (i, n)| sum * n + i));
        }
        Ok(Queries::Points(points))
    }

    fn get(&self, i: usize) -> usize {
        match self {
            Queries::Range(range) => range.start + i,
            Queries::Points(points) => points[i],
        }
    }
}

/// A chunk of decoded rows.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decoded {
    /// Which of the queries, counted from the first that was asked.
    pub queries: Range<usize>,
    /// `[queries, columns]`.
    pub rows: Tensor,
}

impl Decoder {
    pub(crate) fn new(model: &Model, blueprint: Blueprint, latents: &Latents) -> Result<Self> {
        check(&blueprint, latents)?;
        let (sessions, tables) = (BTreeMap::new(), BTreeMap::new());
        let (model, latents) = (model.clone(), latents.clone());
        Ok(Decoder { model, blueprint, latents, sessions, tables })
    }

    /// Goes on with other latents, in the sessions that there are: making them takes longer than few queries do.
    ///
    /// # Errors
    /// [`Error::Input`] when the latents are of another model; otherwise what the device gives.
    #[doc(hidden)]
    pub fn set_latents(&mut self, latents: &Latents) -> Result<()> {
        check(&self.blueprint, latents)?;
        self.latents = latents.clone();
        // Sessions that an error leaves out are made again.
        for (key, mut session) in std::mem::take(&mut self.sessions) {
            session.write(LATENTS, self.latents.as_slice())?;
            session.prepare()?;
            self.sessions.insert(key, session);
        }
        Ok(())
    }

    fn heads(&self) -> impl Iterator<Item = (&DecoderBlueprint, &Head)> {
        let decoders = self.blueprint.decoders.iter();
        decoders.flat_map(|d| d.heads.iter().map(move |h| (d, h)))
    }

    /// Outputs: name, queries that can be asked (all points of a grid where queries are picked from one,
    /// otherwise all rows), channels that a query must bring along, columns.
    #[must_use]
    pub fn outputs(&self) -> Vec<(&str, usize, usize, usize)> {
        let outputs = self.heads().map(|(d, h)| {
            let array = self.blueprint.queries(h);
            let grid = match &array.positions {
                Positions::Fourier(p) => p.axes.iter().product(),
                // As many as the caller brings.
                Positions::None if array.varies && given(array) > 0 => MOST_POINTS,
                _ => array.count,
            };
            (h.output.as_str(), grid, given(array), d.columns(h))
        });
        outputs.collect()
    }

    /// Axes of the grid that an output's queries lie on, the last fastest; empty where there is none.
    #[must_use]
    pub fn grid(&self, output: &str) -> Vec<usize> {
        let head = self.heads().find(|(_, h)| h.output == output);
        match head.map(|(_, h)| &self.blueprint.queries(h).positions) {
            Some(Positions::Fourier(positions)) => positions.axes.clone(),
            _ => Vec::new(),
        }
    }

    /// Decodes queries of an output, all at once: `[queries, columns]`. `content` are the rows that the
    /// queries bring along, `[queries, channels]`, for models whose queries are made of inputs.
    ///
    /// # Errors
    /// [`Error::Input`] for unknown outputs, queries beyond the end and wrong content; otherwise what
    /// the device gives.
    pub fn decode(
        &mut self,
        output: &str,
        queries: &Queries,
        content: Option<&Tensor>,
    ) -> Result<Tensor> {
        let found = self.outputs().into_iter().find(|o| o.0 == output);
        let columns = found.map_or(0, |o| o.3);
        let mut data = room(output, queries.len().saturating_mul(columns))?;
        for chunk in self.stream(output, queries.clone(), content)? {
            let chunk = chunk?;
            data.extend_from_slice(chunk.rows.as_f32().unwrap_or(&[]));
        }
        Tensor::f32(vec![queries.len(), columns], data)
    }

    /// As [`Decoder::decode`], as an iterator over chunks that fit the model's window.
    ///
    /// # Errors
    /// As [`Decoder::decode`], but for the device's.
    pub fn stream<'d>(
        &'d mut self,
        output: &str,
        queries: Queries,
        content: Option<&'d Tensor>,
    ) -> Result<Decoding<'d>> {
        let (head, channels) = self.asked(output, &queries)?;
        let expected = || expected_content(queries.len(), channels);
        let content = match (content, channels) {
            (None, 0) => Given::Nothing,
            (Some(tensor), 1..) if tensor.shape() == [queries.len(), channels] => {
                Given::Whole(crate::perceiver::batch::finite("content", tensor, &expected)?)
            }
            (found, _) => return Err(wrong_content(found, expected())),
        };
        self.decoding(head, queries, content)
    }

    /// As [`Decoder::stream`], with content that is made when its chunk is decoded: `make` is asked for
    /// the rows `[queries, channels]` of some of the queries, counted from the first that was asked.
    /// So the content of many queries never exists at once.
    ///
    /// # Errors
    /// As [`Decoder::stream`]; those of `make` come with the chunk.
    pub fn stream_with<'d>(
        &'d mut self,
        output: &str,
        queries: Queries,
        make: impl FnMut(Range<usize>) -> Result<Tensor> + Send + 'd,
    ) -> Result<Decoding<'d>> {
        let (head, channels) = self.asked(output, &queries)?;
        let content = match channels {
            0 => Given::Nothing,
            _ => Given::Made(Box::new(make)),
        };
        self.decoding(head, queries, content)
    }

    fn decoding<'d>(
        &'d mut self,
        head: usize,
        queries: Queries,
        content: Given<'d>,
    ) -> Result<Decoding<'d>> {
        let chunk = self.chunk(head, queries.len())?;
        Ok(Decoding { decoder: self, head, queries, content, chunk, done: 0 })
    }

    /// Rows of a chunk of so many queries, within the model's budget.
    fn chunk(&self, head: usize, queries: usize) -> Result<usize> {
        let (layer, head) = self.layer(head)?;
        let rows = |window| chunk_size(queries, decode_rows(&layer.layer, window));
        let array = self.blueprint.queries(head);
        let table = match &array.content {
            Content::Learned { channels, .. } => WORD_BYTES * (array.count * channels) as u64,
            _ => 0,
        };
        let window = self.model.fit(&|window| {
            let make = |folded| decode(&self.blueprint, layer, head, rows(window), folded);
            let (_, plan) = self.model.route(&make)?;
            Ok(self.model.session_bytes(&plan)? + table)
        })?;
        Ok(rows(window))
    }

    fn layer(&self, head: usize) -> Result<(&DecoderBlueprint, &Head)> {
        let found = self.heads().nth(head);
        found.ok_or_else(|| Error::graph("decoder", "has no such head"))
    }

    /// Bytes that sessions and learned queries take, parameters included.
    #[doc(hidden)]
    pub fn allocated_bytes(&self) -> u64 {
        let sessions: u64 = self.sessions.values().map(|s| s.allocated_bytes()).sum();
        let tables: u64 = self.tables.values().map(|t| t.len() as u64).sum();
        sessions + WORD_BYTES * tables
    }

    /// Which head an output is, and the channels that its queries bring along; an error if these
    /// queries cannot be asked.
    fn asked(&self, output: &str, queries: &Queries) -> Result<(usize, usize)> {
        let outputs = self.outputs();
        let Some(head) = outputs.iter().position(|o| o.0 == output) else {
            let names: Vec<&str> = outputs.iter().map(|o| o.0).collect();
            let what = format!("has no output `{output}`");
            return Err(Error::input("model", what, format!("one of {names:?}")));
        };
        let (_, grid, channels, _) = outputs[head];
        if grid > MOST_POINTS {
            let what = format!("has a grid of {grid} points");
            let expected = format!("at most {MOST_POINTS} points");
            return Err(Error::input(output, what, expected));
        }
        if let Some(i) = (0..queries.len()).find(|&i| queries.get(i) >= grid) {
            let what = format!("asks for {}", queries.get(i));
            let expected = format!("0 to {}", grid.saturating_sub(1));
            return Err(Error::input("queries", what, expected));
        }
        Ok((head, channels))
    }

    /// A session for so many queries of a head, told about the latents.
    async fn session(&mut self, head: usize, rows: usize, waiting: Waiting) -> Result<Session> {
        if let Some(session) = self.sessions.remove(&(head, rows)).filter(|s| !s.is_lost()) {
            return Ok(session);
        }
        if self.model.budget.is_some() {
            self.sessions.clear();
        }
        let (d, h) = self.layer(head)?;
        let make = |folded| decode(&self.blueprint, d, h, rows, folded);
        let (_, plan) = self.model.route(&make)?;
        let mut session = self.model.prepared(plan, waiting, |_, _| {}).await?;
        session.write(LATENTS, self.latents.as_slice())?;
        match waiting {
            Waiting::Block => session.prepare()?,
            Waiting::Await => session.prepare_async().await?,
        }
        Ok(session)
    }
}

fn check(blueprint: &Blueprint, latents: &Latents) -> Result<()> {
    let wanted = [blueprint.latents.rows, blueprint.latents.channels];
    if latents.shape() == wanted {
        return Ok(());
    }
    let what = format!("has shape {:?}", latents.shape());
    Err(Error::input(LATENTS, what, format!("{wanted:?}, as the model has")))
}

/// What the queries bring along.
enum Given<'d> {
    Nothing,
    /// That of all queries.
    Whole(&'d [f32]),
    /// Made for some queries at a time.
    Made(Box<dyn FnMut(Range<usize>) -> Result<Tensor> + Send + 'd>),
}

fn expected_content(queries: usize, channels: usize) -> String {
    match channels {
        0 => "no content: the queries bring nothing along".to_owned(),
        _ => format!("f32 [{queries}, {channels}] as content of the queries"),
    }
}

fn wrong_content(found: Option<&Tensor>, expected: String) -> Error {
    let what =
        found.map_or_else(|| "is missing".to_owned(), |t| format!("has shape {:?}", t.shape()));
    Error::input("content", what, expected)
}

/// Chunks of decoded rows, see [`Decoder::stream`].
pub struct Decoding<'d> {
    decoder: &'d mut Decoder,
    head: usize,
    queries: Queries,
    content: Given<'d>,
    chunk: usize,
    done: usize,
}

impl fmt::Debug for Decoding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoding")
            .field("done", &self.done)
            .field("queries", &self.queries.len())
            .finish_non_exhaustive()
    }
}

impl Decoding<'_> {
    /// The next chunk, awaited as [`Model::run_async`] is; `None` after the last one.
    ///
    /// # Errors
    /// As [`Decoder::decode`], after which there are no more.
    pub async fn next_async(&mut self) -> Option<Result<Decoded>> {
        self.next_as(Waiting::Await).await
    }

    async fn next_as(&mut self, waiting: Waiting) -> Option<Result<Decoded>> {
        let rows = self.chunk.min(self.queries.len() - self.done);
        if rows == 0 {
            return None;
        }
        let chunk = self.next_chunk(rows, waiting).await;
        // After an error there is nothing to go on with.
        self.done = match chunk {
            Ok(_) => self.done + rows,
            Err(_) => self.queries.len(),
        };
        Some(chunk)
    }

    async fn next_chunk(&mut self, rows: usize, waiting: Waiting) -> Result<Decoded> {
        let (first, size) = (self.done, self.chunk);
        let mut session = self.decoder.session(self.head, size, waiting).await?;
        let queries = &self.queries;
        let asked = |i: usize| queries.get(first + i.min(rows - 1));
        let (d, h) = self.decoder.layer(self.head)?;
        let array = self.decoder.blueprint.queries(h).clone();
        let (columns, output) = (d.columns(h), h.output.clone());
        if let Content::Learned { tensor, channels } = &array.content {
            if !self.decoder.tables.contains_key(tensor) {
                let table = self.decoder.model.read_tensor(tensor)?;
                self.decoder.tables.insert(tensor.clone(), table);
            }
            let table = &self.decoder.tables[tensor];
            let mut content = Vec::with_capacity(size * channels);
            for i in 0..size {
                let at = asked(i) * channels;
                let row = table.get(at..at + channels);
                let short = || Error::input(tensor, "is too short", "a row for every query");
                content.extend(row.ok_or_else(short)?);
            }
            session.write(CONTENT, &content)?;
        } else {
            let channels = given(&array);
            let mut part = match &mut self.content {
                Given::Nothing => Vec::new(),
                Given::Whole(content) => content[first * channels..][..rows * channels].to_vec(),
                Given::Made(make) => {
                    let tensor = make(first..first + rows)?;
                    let expected = || expected_content(rows, channels);
                    if tensor.shape() != [rows, channels] {
                        return Err(wrong_content(Some(&tensor), expected()));
                    }
                    crate::perceiver::batch::finite("content", &tensor, &expected)?.to_vec()
                }
            };
            if channels > 0 {
                part.resize(size * channels, 0.0);
                session.write(CONTENT, &part)?;
            }
        }
        if matches!(array.positions, Positions::Fourier(_)) {
            let points: Vec<f32> = (0..size).map(|i| asked(i) as f32).collect();
            session.write(POINTS, &points)?;
        }
        let control = &self.decoder.model.control;
        session.run_as(waiting, control, [0, 1], |_, _| {}).await?;
        let tensor = session.read(ROWS)?;
        self.decoder.model.check_finite(&output, &tensor)?;
        let data = tensor.as_f32().unwrap_or(&[])[..rows * columns].to_vec();
        self.decoder.sessions.insert((self.head, size), session);
        Ok(Decoded { queries: first..first + rows, rows: Tensor::f32(vec![rows, columns], data)? })
    }
}

impl Iterator for Decoding<'_> {
    type Item = Result<Decoded>;

    fn next(&mut self) -> Option<Self::Item> {
        blocking(async { Ok(self.next_as(Waiting::Block).await) }).unwrap_or_else(|e| Some(Err(e)))
    }
}
