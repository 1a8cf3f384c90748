//! Animated GIF, read frame by frame.
//!
//! What is read is the whole canvas at each moment, as a viewer shows it, with black where it is
//! transparent. Invariants: sizes are checked before anything is allocated; a damaged frame is an
//! error that names it.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, ImageDecoder, ImageError};

use super::frame::Frame;
use super::picture::{MAX_SIDE, limits, most_bytes};
use crate::error::{Error, Result};
use crate::memory::MemorySize;
use crate::open;

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
        let file = open::regular(path)?;
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
        let most = most_bytes();
        if bytes > most {
            let (needed, most) = (MemorySize(bytes), MemorySize(most));
            let what = format!("need {needed}, where {most} are the limit");
            return Err(media(path, format!("its {width}×{height} pixels {what}")));
        }
        let (path, frames) = (path.to_path_buf(), decoder.into_frames());
        Ok(Reader { path, frames, read: 0, ended: false })
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
            let rgb = picture.pixels().flat_map(|p| match p.0 {
                [_, _, _, 0] => [0; 3],
                [red, green, blue, _] => [red, green, blue],
            });
            let frame = Frame::new(width, height, rgb.collect());
            let frame = frame.map_err(|e| wrong(e.to_string()))?;
            Ok((frame, delay))
        });
        self.ended = !matches!(found, Some(Ok(_)));
        match found {
            None if index == 0 => Some(Err(media(&self.path, "it has no frame"))),
            found => found,
        }
    }
}
