//! Uncompressed video, written: YUV4MPEG2 streams of 8 bits a sample in the colours of ITU-R BT.601.

use std::path::Path;

use perceiver::internals::media::y4m::MAX_SIDE;
use perceiver::internals::output::write_whole;
use perceiver::media::Frame;
use perceiver::{Error, Result};

/// Shares of red, blue and green in brightness.
const RED: f32 = 0.299;
const BLUE: f32 = 0.114;
const GREEN: f32 = 1.0 - RED - BLUE;

/// Writes a file of all `frames`, with one sample of each kind a pixel and in the full range, so
/// that colours keep within one step. Returns how many there were. There is no partial file when a
/// frame is an error, or writing fails.
///
/// # Errors
/// [`Error::Input`] when there is no frame, they differ in size, or a side is more than [`MAX_SIDE`];
/// [`Error::Io`] when the file cannot be written; whatever `frames` gives.
pub fn write(
    path: impl AsRef<Path>,
    rate: Option<(u32, u32)>,
    frames: impl IntoIterator<Item = Result<Frame>>,
) -> Result<usize> {
    let path = path.as_ref();
    let mut frames = frames.into_iter();
    let none = || Error::input("frames", "there are none", "at least one");
    let first = frames.next().ok_or_else(none)??;
    let (width, height) = (first.width(), first.height());
    if width.max(height) > MAX_SIDE {
        let expected = format!("sides of 1 to {MAX_SIDE} pixels");
        return Err(Error::input("frame", format!("{width}×{height} pixels"), expected));
    }
    let (count, seconds) = rate.unwrap_or((0, 0));
    let io = |e| Error::io("write", path, e);
    let mut written = 0;
    write_whole(path, |out| {
        let line = format!("YUV4MPEG2 W{width} H{height} F{count}:{seconds} Ip A1:1 C444");
        writeln!(out, "{line} XCOLORRANGE=FULL").map_err(io)?;
        for frame in std::iter::once(Ok(first)).chain(frames) {
            let frame = frame?;
            let size = (frame.width(), frame.height());
            if size != (width, height) {
                return Err(Error::input(
                    format!("frame {written}"),
                    format!("{}×{} pixels", size.0, size.1),
                    format!("{width}×{height}, as the stream has"),
                ));
            }
            out.write_all(b"FRAME\n").map_err(io)?;
            out.write_all(&planes(&frame)).map_err(io)?;
            written += 1;
        }
        Ok(())
    })?;
    Ok(written)
}

/// The planes of a frame with one sample of each kind a pixel, in the full range.
fn planes(frame: &Frame) -> Vec<u8> {
    let pixels = frame.width() * frame.height();
    let mut planes = vec![0; 3 * pixels];
    // A cast saturates.
    let byte = |value: f32| (value + 0.5) as u8;
    for (at, rgb) in frame.rgb().chunks_exact(3).enumerate() {
        let [red, green, blue] = [rgb[0], rgb[1], rgb[2]].map(f32::from);
        let luma = RED * red + GREEN * green + BLUE * blue;
        let difference =
            |colour: f32, share: f32| byte(128.0 + (colour - luma) / (2.0 * (1.0 - share)));
        planes[at] = byte(luma);
        planes[pixels + at] = difference(blue, BLUE);
        planes[2 * pixels + at] = difference(red, RED);
    }
    planes
}
