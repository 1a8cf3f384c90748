//! Animated GIF, written frame by frame; a failed write leaves no partial file.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, ImageError};
use perceiver::internals::output::write_whole;
use perceiver::media::Frame;
use perceiver::{Error, Result};

/// How hard the encoder searches for 256 colours: 1 is best and slow, 30 is quick.
const SPEED: i32 = 10;

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
    let failed = |e: ImageError| {
        let hint = "a whole GIF file is expected; was it copied or downloaded completely?";
        let what = format!("it cannot be written: {e}");
        Error::Media { path: path.to_path_buf(), what, hint: hint.to_owned() }
    };
    let mut encoder = GifEncoder::new_with_speed(out, SPEED);
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    let mut size = None;
    for frame in frames {
        let (frame, delay) = frame?;
        let (width, height) = (frame.width(), frame.height());
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
