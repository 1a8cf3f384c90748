//! Reading and writing pictures.
//!
//! PNG, JPEG and WebP are read, PNG is written. Invariants: a hostile file cannot make the reader allocate
//! more than `MAX_BYTES` and the memory limit; a truncated one is an error, never a half-grey picture; a failed write
//! leaves no partial file.

use std::io::Cursor;
use std::path::Path;

use image::{
    DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Pixel, Rgb, RgbImage,
};

use super::frame::Frame;
use crate::error::{Error, Result};
use crate::memory::{MemorySize, memory_limit};
use crate::open;
use crate::output::write_bytes;

/// The longest side that is read, in pixels.
#[doc(hidden)]
pub const MAX_SIDE: u32 = 16384;
/// The largest file that is read, and the most memory that decoding and cutting a picture may take.
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// Reads a PNG, JPEG or WebP picture, whichever the content says it is.
///
/// 16-bit values are scaled to 8 bits, grey becomes three equal colours, and transparency is
/// ignored: the colour counts even where it is invisible. Rotation noted in a JPEG's metadata is not
/// applied.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Media`] when it is too large, damaged, or
/// of another kind.
pub fn read(path: impl AsRef<Path>) -> Result<Frame> {
    read_with(path.as_ref(), &STILLS, DynamicImage::to_rgb8)
}

/// Reads a picture as `read` does, or the first frame of a GIF, with the colours of Pillow's `Image.open(path).convert("RGB")`,
/// which image classifiers were trained on: of 16-bit colours the higher byte counts, and 16-bit
/// grey ends at 255. JPEG decoders differ among each other in single steps of a colour.
///
/// # Errors
/// As [`read`].
pub fn read_as_pillow(path: impl AsRef<Path>) -> Result<Frame> {
    read_with(path.as_ref(), &WITH_GIF, pillow_rgb)
}

/// 8-bit RGB as Pillow makes it.
fn pillow_rgb(picture: &DynamicImage) -> RgbImage {
    let high = |value: u16| (value >> 8) as u8;
    match picture {
        DynamicImage::ImageLuma16(grey) => map(grey, |p| [p.0[0].min(255) as u8; 3]),
        DynamicImage::ImageLumaA16(grey) => map(grey, |p| [high(p.0[0]); 3]),
        DynamicImage::ImageRgb16(rgb) => map(rgb, |p| p.0.map(high)),
        DynamicImage::ImageRgba16(rgba) => map(rgba, |p| [p.0[0], p.0[1], p.0[2]].map(high)),
        other => other.to_rgb8(),
    }
}

fn map<P: Pixel>(
    picture: &ImageBuffer<P, Vec<P::Subpixel>>,
    colour: impl Fn(&P) -> [u8; 3],
) -> RgbImage {
    ImageBuffer::from_fn(picture.width(), picture.height(), |x, y| {
        Rgb(colour(picture.get_pixel(x, y)))
    })
}

/// Kinds of file, and their names.
struct Kinds {
    formats: &'static [ImageFormat],
    /// What is said of a file of none of them.
    none: &'static str,
    /// What to do about it.
    hint: &'static str,
}

const STILLS: Kinds = Kinds {
    formats: &[ImageFormat::Png, ImageFormat::WebP, ImageFormat::Jpeg],
    none: "this is neither PNG nor JPEG nor WebP",
    hint: "use a PNG, JPEG or WebP file",
};
const WITH_GIF: Kinds = Kinds {
    formats: &[ImageFormat::Png, ImageFormat::WebP, ImageFormat::Jpeg, ImageFormat::Gif],
    none: "this is neither PNG nor JPEG nor WebP nor GIF",
    hint: "use a PNG, JPEG, WebP or GIF file",
};

fn read_with(path: &Path, kinds: &Kinds, rgb: fn(&DynamicImage) -> RgbImage) -> Result<Frame> {
    let too_long = || {
        let what = format!("the file has more than {} MiB", MAX_BYTES >> 20);
        Error::media(path, what, SMALLER)
    };
    let bytes = open::bytes(path, MAX_BYTES)?.ok_or_else(too_long)?;
    decode(&bytes, kinds, rgb).map_err(|(what, hint)| Error::media(path, what, hint))
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
    let (width, height, kind) =
        (side(frame.width()), side(frame.height()), image::ExtendedColorType::Rgb8);
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(frame.rgb(), width, height, kind)
        .map_err(|e| Error::media(path, e.to_string(), "crop the picture"))?;
    write_bytes(path, &bytes)
}

/// The most memory that decoding may take.
pub(super) fn most_bytes() -> u64 {
    MAX_BYTES.min(memory_limit().0)
}

/// What a decoder may take.
pub(super) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(most_bytes());
    limits
}

/// What to do about a picture that is too large.
const SMALLER: &str = "scale the picture down";

/// The picture in a file's bytes, or what is wrong and what to do.
fn decode(
    bytes: &[u8],
    kinds: &Kinds,
    convert: fn(&DynamicImage) -> RgbImage,
) -> std::result::Result<Frame, (String, &'static str)> {
    const WHOLE: &str = "was it copied or downloaded completely? Save it again as PNG";
    if bytes.is_empty() {
        return Err(("the file is empty".to_owned(), kinds.hint));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| (e.to_string(), kinds.hint))?;
    let format = reader.format();
    match format {
        Some(ImageFormat::Jpeg) if jpeg_is_whole(bytes) => {}
        // The decoder would fill the missing part with grey.
        Some(ImageFormat::Jpeg) => {
            return Err(("the JPEG data end too early".to_owned(), WHOLE));
        }
        Some(format) if kinds.formats.contains(&format) => {}
        _ => return Err((kinds.none.to_owned(), kinds.hint)),
    }
    let most = most_bytes();
    reader.limits(limits());
    let failed = |e| match e {
        image::ImageError::Limits(_) => {
            let memory = format!("needs more than {}", MemorySize(most));
            (format!("it is larger than {MAX_SIDE} pixels a side or {memory}"), SMALLER)
        }
        other => (other.to_string(), WHOLE),
    };
    let decoder = reader.into_decoder().map_err(failed)?;
    // What the decoder keeps beside the pixels: planes of brightness and colour, coefficients of a progressive JPEG.
    let beside = match format {
        Some(ImageFormat::Jpeg) => 6,
        Some(ImageFormat::WebP) => 4,
        _ => 0,
    };
    let as_rgb = match decoder.color_type() {
        image::ColorType::Rgb8 => 0,
        _ => 3,
    };
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    // And once more what is cut out of it.
    let needed = decoder.total_bytes().saturating_add(pixels * (beside + as_rgb + 3));
    if needed > most {
        let (needed, most) = (MemorySize(needed), MemorySize(most));
        let what = format!("its {width}×{height} pixels need {needed}, where {most} are the limit");
        return Err((what, SMALLER));
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    let rgb = match picture {
        DynamicImage::ImageRgb8(rgb) => rgb,
        other => convert(&other),
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
