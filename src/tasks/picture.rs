//! Reading and writing pictures.
//!
//! PNG and JPEG are read, PNG is written. Invariants: a hostile file cannot make the reader allocate
//! more than [`MAX_BYTES`]; a truncated one is an error, never a half-grey picture; a failed write
//! leaves no partial file.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::frame::Frame;
use crate::error::{Error, Result};
use crate::output::write_whole;

/// The longest side that is read, in pixels.
pub const MAX_SIDE: u32 = 16384;
/// The largest file that is read, and the most memory that decoding may take.
pub const MAX_BYTES: u64 = 1 << 30;

/// Reads a PNG or JPEG picture, whichever the content says it is.
///
/// 16-bit values are scaled to 8 bits, grey becomes three equal colours, and transparency is
/// ignored: the colour counts even where it is invisible. Rotation noted in a JPEG's metadata is not
/// applied.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Media`] when it is too large, damaged, or
/// neither PNG nor JPEG.
pub fn read(path: impl AsRef<Path>) -> Result<Frame> {
    let path = path.as_ref();
    let io = |e| Error::io("read", path, e);
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(io)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    decode(&bytes).map_err(|(what, hint)| media(path, what, hint))
}

/// Writes a PNG picture; there is no partial file when it fails.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written, [`Error::Media`] when the frame is too large for
/// PNG.
pub fn write_png(path: impl AsRef<Path>, frame: &Frame) -> Result<()> {
    use image::ImageEncoder;
    let path = path.as_ref();
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(
            frame.rgb(),
            side(frame.width()),
            side(frame.height()),
            image::ExtendedColorType::Rgb8,
        )
        .map_err(|e| media(path, e.to_string(), "crop the picture"))?;
    write_whole(path, |out| {
        out.write_all(&bytes)
            .map_err(|e| Error::io("write", path, e))
    })
}

fn media(path: &Path, what: String, hint: &str) -> Error {
    Error::Media {
        path: path.to_path_buf(),
        what,
        hint: hint.to_owned(),
    }
}

/// The picture in a file's bytes, or what is wrong and what to do.
fn decode(bytes: &[u8]) -> std::result::Result<Frame, (String, &'static str)> {
    const KINDS: &str = "use a PNG or JPEG file";
    const WHOLE: &str = "was it copied or downloaded completely? Save it again as PNG";
    const SMALLER: &str = "scale the picture down";
    if bytes.is_empty() {
        return Err(("the file is empty".to_owned(), KINDS));
    }
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("the file has more than {} MiB", MAX_BYTES >> 20);
        return Err((what, SMALLER));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| (e.to_string(), KINDS))?;
    match reader.format() {
        Some(ImageFormat::Png) => {}
        Some(ImageFormat::Jpeg) if jpeg_is_whole(bytes) => {}
        // The decoder would fill the missing part with grey.
        Some(ImageFormat::Jpeg) => {
            return Err(("the JPEG data end too early".to_owned(), WHOLE));
        }
        _ => return Err(("this is neither PNG nor JPEG".to_owned(), KINDS)),
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let picture = reader.decode().map_err(|e| match e {
        image::ImageError::Limits(_) => (
            format!(
                "it is larger than {MAX_SIDE} pixels a side or needs more than {} MiB",
                MAX_BYTES >> 20
            ),
            SMALLER,
        ),
        other => (other.to_string(), WHOLE),
    })?;
    let rgb = match picture {
        DynamicImage::ImageRgb8(rgb) => rgb,
        other => other.to_rgb8(),
    };
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Frame::new(width, height, rgb.into_raw()).map_err(|e| (e.to_string(), WHOLE))
}

/// Whether a JPEG file has the marker of its end, where its segments say that it must be.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut in_scan = false;
    loop {
        // Inside a scan, 0xff is followed by 0 or a restart marker where it is no marker.
        match *rest {
            [0xff, 0xd9, ..] => return true,
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, 0x00 | 0x01 | 0xd0..=0xd8, ..] if in_scan => rest = &rest[2..],
            [0xff, marker, high, low, ..] => {
                in_scan = marker == 0xda;
                let length = usize::from(u16::from_be_bytes([high, low]));
                match rest.get(2 + length.max(2)..) {
                    Some(after) => rest = after,
                    None => return false,
                }
            }
            [_, ..] if in_scan => rest = &rest[1..],
            _ => return false,
        }
    }
}
