//! The bytes of a pickle, read in order and never beyond their end.

use super::Refusal;

/// Part of the file, from `start` up to `end`. Texts and arrays stay where they are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn len(self) -> usize {
        self.end - self.start
    }
}

/// A position in the bytes of a file.
pub(super) struct Stream<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Stream<'_> {
    /// The next `count` bytes, which must be there.
    pub(super) fn take(&mut self, count: u64) -> Result<Span, Refusal> {
        let left = self.bytes.len().saturating_sub(self.at) as u64;
        if count > left {
            return Err(Refusal::Damaged(format!(
                "byte {} of its pickle announces {count} bytes, {left} are there",
                self.at
            )));
        }
        let start = self.at;
        // Not longer than the file, which is in memory.
        self.at += count as usize;
        Ok(Span { start, end: self.at })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let span = self.take(N as u64)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[span.start..span.end]);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Refusal> {
        self.array::<1>().map(|b| b[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Refusal> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn f64_big_endian(&mut self) -> Result<f64, Refusal> {
        self.array().map(f64::from_be_bytes)
    }

    /// A whole number of `count` bytes in two's complement.
    pub(super) fn long(&mut self, count: u64) -> Result<i64, Refusal> {
        let span = self.take(count)?;
        let bytes = &self.bytes[span.start..span.end];
        if bytes.len() > 8 {
            return Err(Refusal::Damaged(format!(
                "byte {} of its pickle is a whole number of {count} bytes, which no weights need",
                span.start
            )));
        }
        let fill = if bytes.last().is_some_and(|&b| b >= 0x80) { 0xff } else { 0 };
        let mut all = [fill; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(all))
    }

    /// The bytes up to a line feed, which is skipped.
    pub(super) fn line(&mut self, longest: usize) -> Result<Span, Refusal> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(length) = rest.iter().take(longest + 1).position(|&b| b == b'\n') else {
            let what = format!("byte {} of its pickle begins a name that does not end", self.at);
            return Err(Refusal::Damaged(what));
        };
        let start = self.at;
        self.at += length + 1;
        Ok(Span { start, end: start + length })
    }
}
