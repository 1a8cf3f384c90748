//! What is known of one group: the state of the rows that were read, and rows that are held back until there are enough to read
//! them together.
//!
//! As bytes, a group is whichever is smaller: its rows as they are, or the encoder's state after them. So groups of few rows
//! travel as rows, and are read where they are merged.

use std::mem::size_of;

use datafusion::common::{Result, exec_datafusion_err, exec_err};
use perceiver::TensorView;
use perceiver::stream::EncoderState;

use crate::rows::Rows;
use crate::shared::{Reader, external};

/// The first bytes of a group's: what it is, and the version of the form.
const MAGIC: [u8; 4] = *b"PEG1";

/// Least rows of a chunk.
const SMALLEST: usize = 64;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    state: Option<EncoderState>,
    /// By modality, as far as there have been rows of it.
    held: Vec<Held>,
}

/// Rows of one modality that are held back.
#[derive(Debug, Clone, Default)]
struct Held {
    cells: Vec<u32>,
    values: Vec<f32>,
    rows: usize,
}

impl Held {
    fn bytes(&self) -> usize {
        size_of::<Held>() + 4 * (self.cells.capacity() + self.values.capacity())
    }
}

impl Group {
    /// Whether no row has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.is_none() && self.held.iter().all(|held| held.rows == 0)
    }

    /// Bytes of the rows that are held back.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.iter().map(Held::bytes).sum()
    }

    /// Bytes in all.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Group>() + self.held_bytes() + self.state.as_ref().map_or(0, EncoderState::bytes)
    }

    fn of_kind(&mut self, kind: usize) -> &mut Held {
        if self.held.len() <= kind {
            self.held.resize_with(kind + 1, Held::default);
        }
        &mut self.held[kind]
    }

    /// Takes a row of a batch, and reads those that are held back where they are enough for a chunk.
    pub(crate) fn push(
        &mut self,
        reader: &mut Reader<'_>,
        rows: &Rows<'_>,
        row: usize,
    ) -> Result<()> {
        let kind = rows.kind(row)?;
        let held = self.of_kind(kind);
        rows.append(row, kind, &mut held.cells, &mut held.values)?;
        held.rows += 1;
        if held.rows >= reader.encode()?.rows[kind].chunk {
            self.read(reader)?;
        }
        Ok(())
    }

    /// Takes all rows of a batch, see [`Group::push`].
    pub(crate) fn push_all(
        &mut self,
        reader: &mut Reader<'_>,
        rows: &Rows<'_>,
        count: usize,
    ) -> Result<()> {
        if !rows.are_plain() {
            return (0..count).try_for_each(|row| self.push(reader, rows, row));
        }
        let chunk = reader.encode()?.rows[0].chunk;
        let mut first = 0;
        while first < count {
            let held = self.of_kind(0);
            let n = (chunk - held.rows).min(count - first);
            rows.append_all(first..first + n, &mut held.cells, &mut held.values)?;
            held.rows += n;
            first += n;
            if held.rows >= chunk {
                self.read(reader)?;
            }
        }
        Ok(())
    }

    /// Reads all rows that are held back.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        for (kind, held) in reader.encode()?.rows.iter().zip(std::mem::take(&mut self.held)) {
            if held.rows == 0 {
                continue;
            }
            let channels = kind.channels;
            let (_, state) = reader.with(self.state.take(), |encoder| {
                let mut first = 0;
                while first < held.rows {
                    let n = piece(held.rows - first, kind.chunk);
                    let shape = [n, channels];
                    let part = &held.values[first * channels..(first + n) * channels];
                    let part = TensorView::new(&shape, part)?;
                    if kind.cells.is_some() {
                        let cells = held.cells[first..first + n].iter();
                        let cells: Vec<usize> = cells.map(|&cell| cell as usize).collect();
                        encoder.push_at(&kind.name, &cells, part)?;
                    } else {
                        encoder.push(&kind.name, 0, part)?;
                    }
                    first += n;
                }
                Ok(())
            })?;
            self.state = Some(state);
        }
        Ok(())
    }

    /// The latents, row by row; `None` where no row has come.
    pub(crate) fn latents(&mut self, reader: &mut Reader<'_>) -> Result<Option<Vec<f32>>> {
        if self.is_empty() {
            return Ok(None);
        }
        self.read(reader)?;
        let (latents, state) = reader.with(self.state.take(), |encoder| encoder.finish())?;
        self.state = Some(state);
        Ok(Some(latents.as_slice().to_vec()))
    }

    /// The group as bytes; `None` where no row has come.
    pub(crate) fn write(&mut self, reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>> {
        if self.is_empty() {
            return Ok(None);
        }
        let held: usize = self.held.iter().map(|h| 4 * (h.cells.len() + h.values.len())).sum();
        if self.state.is_some() || held > reader.encode()?.empty.bytes() {
            self.read(reader)?;
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(reader.shared.fingerprint.to_le_bytes());
        match &self.state {
            Some(state) => bytes.extend(state.to_bytes().map_err(external)?),
            None => {
                // A safetensors file, as a state is, does not begin with eight zeros.
                bytes.extend([0; 8]);
                for (kind, held) in self.held.iter().enumerate().filter(|(_, h)| h.rows > 0) {
                    let header = [kind as u32, held.rows as u32];
                    bytes.extend(header.iter().chain(&held.cells).flat_map(|n| n.to_le_bytes()));
                    bytes.extend(held.values.iter().flat_map(|x| x.to_le_bytes()));
                }
            }
        }
        Ok(Some(bytes))
    }

    /// Adds what [`Group::write`] gave elsewhere.
    pub(crate) fn merge(
        &mut self,
        reader: &mut Reader<'_>,
        function: &str,
        bytes: &[u8],
    ) -> Result<()> {
        let (shared, encode) = (reader.shared, reader.encode()?);
        let damaged =
            || exec_datafusion_err!("{function}: a state is damaged, or none of this function");
        let body = bytes.strip_prefix(&MAGIC).ok_or_else(damaged)?;
        let (model, body) = body.split_first_chunk().ok_or_else(damaged)?;
        let model = u64::from_le_bytes(*model);
        if model != shared.fingerprint {
            let own = shared.fingerprint;
            return exec_err!(
                "{function}: a state is of the model with fingerprint {model:016x}, and not of the one here, {own:016x}: all machines must have the same description, weights and sizes"
            );
        }
        let Some(mut rest) = body.strip_prefix(&[0; 8]) else {
            let other = EncoderState::from_bytes(body).map_err(external)?;
            let own = self.state.as_ref().unwrap_or(&encode.empty);
            self.state = Some(own.merge(&other).map_err(external)?);
            return Ok(());
        };
        while !rest.is_empty() {
            let [kind, rows] = [word(&mut rest), word(&mut rest)];
            let (kind, rows) = kind.zip(rows).ok_or_else(damaged)?;
            let (index, rows) = (kind as usize, rows as usize);
            let kind = encode.rows.get(index).ok_or_else(damaged)?;
            let words = usize::from(kind.cells.is_some()) + kind.channels;
            if rows.checked_mul(4 * words).is_none_or(|bytes| bytes > rest.len()) {
                return Err(damaged());
            }
            let held = self.of_kind(index);
            if let Some(count) = kind.cells {
                for _ in 0..rows {
                    let cell = word(&mut rest).filter(|&c| (c as usize) < count);
                    held.cells.push(cell.ok_or_else(damaged)?);
                }
            }
            let (values, after) = rest.split_at(4 * rows * kind.channels);
            let values =
                values.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            held.values.extend(values);
            held.rows += rows;
            rest = after;
            if held.rows >= kind.chunk {
                self.read(reader)?;
            }
        }
        Ok(())
    }
}

fn word(bytes: &mut &[u8]) -> Option<u32> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*word))
}

/// How many of the rows that are left are read next: chunks have a few sizes, up to which less is filled with rows that are
/// masked, so what would fill less than half of one is read in smaller ones.
fn piece(left: usize, most: usize) -> usize {
    let mut size = SMALLEST;
    while size < left && size < most {
        size *= 4;
    }
    match left {
        _ if left >= size => size,
        _ if 2 * left > size || size == SMALLEST => left,
        _ => size / 4,
    }
}
