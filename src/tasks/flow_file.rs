//! Flow in files: the `.flo` format of the Middlebury benchmark (Baker et al., "A Database and
//! Evaluation Methodology for Optical Flow", 2011).
//!
//! A file is the number 202021.25 as `f32`, width and height as `i32`, then two `f32` (right, down)
//! for every pixel, row by row, all little endian. A reader never allocates more than the file has.

use std::io::Read;
use std::path::Path;

use super::flow::FlowField;
use crate::error::{Error, Result};
use crate::open;
use crate::output::write_bytes;

/// The bytes "PIEH", as a float 202021.25.
const MAGIC: [u8; 4] = *b"PIEH";
/// Magic number, width, height.
const HEADER: usize = 12;

/// A field as the bytes of a `.flo` file.
pub fn encode(field: &FlowField) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + field.vectors().len() * 8);
    bytes.extend_from_slice(&MAGIC);
    for side in [field.width(), field.height()] {
        // A field's sides fit by its invariant.
        bytes.extend_from_slice(&i32::try_from(side).unwrap_or(i32::MAX).to_le_bytes());
    }
    for value in field.vectors().iter().flatten() {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// The field in the bytes of a `.flo` file.
///
/// # Errors
/// [`Error::Input`] when the bytes are anything else than one whole `.flo` file.
pub fn decode(bytes: &[u8]) -> Result<FlowField> {
    parse(bytes, bytes.len() as u64)
        .map_err(|what| Error::input("flow", what, "the bytes of one whole .flo file"))
}

impl FlowField {
    /// Writes a `.flo` file; there is no partial file when it fails.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        write_bytes(path, &encode(self))
    }

    /// Reads a `.flo` file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Media`] when it is anything else than one
    /// whole `.flo` file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |e| Error::io("read", path, e);
        let hint = "a .flo file (Middlebury) is expected; was it copied or downloaded completely?";
        let media = |what| Error::media(path, what, hint);
        let file = open::regular(path)?;
        let length = file.metadata().map_err(io)?.len();
        let mut bytes = Vec::new();
        (&file).take(HEADER as u64).read_to_end(&mut bytes).map_err(io)?;
        sides(&bytes, length).map_err(media)?;
        // The rest is as long as the header says, or `sides` had refused.
        (&file).take(length.saturating_sub(HEADER as u64)).read_to_end(&mut bytes).map_err(io)?;
        parse(&bytes, bytes.len() as u64).map_err(media)
    }
}

/// Width and height from a header, if a file of `length` bytes is right for them.
fn sides(header: &[u8], length: u64) -> std::result::Result<(usize, usize), String> {
    let word = |at: usize| header.get(at..).and_then(<[u8]>::first_chunk::<4>).copied();
    let (Some(magic), Some(width), Some(height)) = (word(0), word(4), word(8)) else {
        return Err(format!("{length} bytes are too few for the header of a .flo file"));
    };
    if magic != MAGIC {
        return Err("it does not begin as a .flo file does".to_owned());
    }
    let (width, height) = (i32::from_le_bytes(width), i32::from_le_bytes(height));
    let wanted = match (u64::try_from(width), u64::try_from(height)) {
        (Ok(w), Ok(h)) if w > 0 && h > 0 => w
            .checked_mul(h)
            .and_then(|n| n.checked_mul(8))
            .and_then(|n| n.checked_add(HEADER as u64)),
        _ => return Err(format!("its size is {width}×{height}")),
    };
    match (usize::try_from(width), usize::try_from(height)) {
        (Ok(width), Ok(height)) if wanted == Some(length) => Ok((width, height)),
        _ => Err(format!("{length} bytes are not right for {width}×{height} vectors")),
    }
}

/// The field in `bytes`.
fn parse(bytes: &[u8], length: u64) -> std::result::Result<FlowField, String> {
    let (width, height) = sides(bytes, length)?;
    let vectors = bytes.get(HEADER..).unwrap_or_default().chunks_exact(8).map(|v| {
        let at = |i: usize| f32::from_le_bytes([v[i], v[i + 1], v[i + 2], v[i + 3]]);
        [at(0), at(4)]
    });
    FlowField::new(width, height, vectors.collect()).map_err(|e| e.to_string())
}
