//! Animated GIF, read and written frame by frame.
//!
//! What is read is the whole canvas at each moment, as a viewer shows it, with black where it is
//! transparent. Invariants: sizes are checked before anything is allocated; a damaged frame is an
//! error that names it; a failed write leaves no partial file.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::codecs::gif::{GifDecoder, GifEncoder, Repeat};
use image::{AnimationDecoder, Delay, ImageDecoder, ImageError};

use super::frame::Frame;
use super::picture::{MAX_BYTES, MAX_SIDE, limits};
use crate::error::{Error, Result};
use crate::output::write_whole;

/// How hard the encoder searches for 256 colours: 1 is best and slow, 30 is quick.
const SPEED: i32 = 10;

fn media(path: &Path, what: impl Into<String>) -> Error {
    let hint = "a whole GIF file is expected; was it copied or downloaded completely?";
    Error::media(path, what, hint)
}

/// Reads a GIF, as an iterator of frames and how long each is shown. After an error there are no
/// more.
pub struct Reader {
    path: PathBuf,
    frames: image::Frames<'static>,
    read: usize,
    ended: bool,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Media`] when it is no GIF or too large.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
        let wrong = |e: ImageError| match e {
            ImageError::Limits(_) => {
                media(path, format!("it is larger than {MAX_SIDE} pixels a side"))
            }
            other => media(path, other.to_string()),
        };
        let mut decoder = GifDecoder::new(BufReader::new(file)).map_err(wrong)?;
        decoder.set_limits(limits()).map_err(wrong)?;
        let (width, height) = decoder.dimensions();
        // Canvas, frame and result are held at the same time.
        let bytes = u64::from(width) * u64::from(height) * 4 * 3;
        if bytes > MAX_BYTES {
            return Err(media(
                path,
                format!(
                    "its {width}×{height} pixels need {} MiB, where {} MiB are the limit",
                    bytes >> 20,
                    MAX_BYTES >> 20
                ),
            ));
        }
        Ok(Reader {
            path: path.to_path_buf(),
            frames: decoder.into_frames(),
            read: 0,
            ended: false,
        })
    }
}

impl Iterator for Reader {
    type Item = Result<(Frame, Duration)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let index = self.read;
        self.read += 1;
        let wrong = |what: String| media(&self.path, format!("frame {index}: {what}"));
        let found = self.frames.next().map(|frame| {
            let frame = frame.map_err(|e| wrong(e.to_string()))?;
            let delay = Duration::from(frame.delay());
            let picture = frame.into_buffer();
            let (width, height) = (picture.width() as usize, picture.height() as usize);
            let rgb = picture
                .pixels()
                .flat_map(|p| match p.0 {
                    [_, _, _, 0] => [0; 3],
                    [red, green, blue, _] => [red, green, blue],
                })
                .collect();
            let frame = Frame::new(width, height, rgb).map_err(|e| wrong(e.to_string()))?;
            Ok((frame, delay))
        });
        self.ended = !matches!(found, Some(Ok(_)));
        match found {
            None if index == 0 => Some(Err(media(&self.path, "it has no frame"))),
            found => found,
        }
    }
}

/// Remembers that writing failed: the encoder writes the last byte when it is dropped, where nobody
/// could be told.
struct Remembering<'w> {
    out: &'w mut dyn Write,
    failed: &'w mut Option<std::io::Error>,
}

impl Write for Remembering<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes).inspect_err(|e| {
            if e.kind() != std::io::ErrorKind::Interrupted {
                *self.failed = Some(std::io::Error::new(e.kind(), e.to_string()));
            }
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Writes a GIF that repeats for ever, each frame shown for its time. Frames of more than 256
/// colours lose some. Returns how many there were. There is no partial file when a frame is an
/// error, or writing fails.
///
/// # Errors
/// [`Error::Input`] when there is no frame, they differ in size, or a side is more than 65535
/// pixels; [`Error::Io`] when the file cannot be written; whatever `frames` gives.
pub fn write(
    path: impl AsRef<Path>,
    frames: impl IntoIterator<Item = Result<(Frame, Duration)>>,
) -> Result<usize> {
    let path = path.as_ref();
    let mut written = 0;
    write_whole(path, |out| {
        let mut failed = None;
        let writer = Remembering { out, failed: &mut failed };
        let encoded = encode(writer, path, frames, &mut written);
        match failed {
            Some(e) => Err(Error::io("write", path, e)),
            None => encoded,
        }
    })?;
    Ok(written)
}

fn encode(
    out: Remembering<'_>,
    path: &Path,
    frames: impl IntoIterator<Item = Result<(Frame, Duration)>>,
    written: &mut usize,
) -> Result<()> {
    let failed = |e: ImageError| media(path, format!("it cannot be written: {e}"));
    let mut encoder = GifEncoder::new_with_speed(out, SPEED);
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    let mut size = None;
    for frame in frames {
        let (frame, delay) = frame?;
        let (width, height) = frame.size();
        let wanted = *size.get_or_insert((width, height));
        let fits = |side: usize| u16::try_from(side).is_ok();
        if wanted != (width, height) || !fits(width) || !fits(height) {
            return Err(Error::input(
                format!("frame {written}"),
                format!("{width}×{height} pixels"),
                format!(
                    "frames of one size, the first one's {}×{}, and sides of at most 65535",
                    wanted.0, wanted.1
                ),
            ));
        }
        let rgba = frame.rgb().chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let Some(picture) = image::RgbaImage::from_raw(side(width), side(height), rgba) else {
            return Err(Error::input("frame", "has no pixels", "at least one"));
        };
        let delay = Delay::from_saturating_duration(delay);
        encoder.encode_frame(image::Frame::from_parts(picture, 0, 0, delay)).map_err(failed)?;
        *written += 1;
    }
    if *written == 0 {
        return Err(Error::input("frames", "there are none", "at least one"));
    }
    Ok(())
}
