//! A picture in memory: 8-bit RGB, rows from the top, no padding.
//!
//! Invariant: both sides are at least one pixel, and there are exactly 3 × width × height bytes.

use crate::error::{Error, Result};

/// One frame of a video, or any other picture.
///
/// ```
/// use perceiver::media::Frame;
/// let frame = Frame::new(2, 1, vec![255, 0, 0, 0, 0, 255]).unwrap();
/// assert_eq!(frame.pixel(1, 0), Some([0, 0, 255]));
/// assert!(Frame::new(2, 2, vec![0; 6]).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Frame {
    /// A frame of `rgb`, three bytes a pixel, rows from the top.
    ///
    /// # Errors
    /// [`Error::Input`] when a side is zero or the number of bytes is not 3 × width × height.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        let wanted = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if width == 0 || height == 0 || wanted != Some(rgb.len()) {
            let what = format!("{} bytes for {width}×{height} pixels", rgb.len());
            let expected = "at least one pixel, and three bytes for each";
            return Err(Error::input("frame", what, expected));
        }
        Ok(Frame { width, height, rgb })
    }

    /// A frame whose colour at (x, y) is `colour(x, y)`.
    ///
    /// # Errors
    /// [`Error::Input`] when a side is zero, [`Error::Limit`] when there is no memory for the frame.
    pub fn from_fn(
        width: usize,
        height: usize,
        colour: impl Fn(usize, usize) -> [u8; 3] + Sync,
    ) -> Result<Self> {
        use crate::parallel::*;
        let mut rgb = room(width, height)?;
        rgb.resize(width * height * 3, 0);
        rgb.par_chunks_mut(width * 3).enumerate().for_each(|(y, row)| {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&colour(x, y));
            }
        });
        Frame::new(width, height, rgb)
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width and height.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// All bytes: red, green, blue of the first row from left to right, then the next row.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The colour at (x, y), or `None` outside.
    #[must_use]
    pub fn pixel(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let first = (y * self.width + x) * 3;
        self.rgb.get(first..)?.first_chunk().copied()
    }

    /// The part of `width` × `height` pixels whose top left corner is (left, top).
    ///
    /// # Errors
    /// [`Error::Input`] when it has no pixel or is not inside the frame.
    pub fn crop(&self, left: usize, top: usize, width: usize, height: usize) -> Result<Frame> {
        let inside = |start: usize, length: usize, all: usize| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= all)
        };
        if !inside(left, width, self.width) || !inside(top, height, self.height) {
            let what = format!("{width}×{height} pixels at ({left}, {top})");
            let expected = format!("a part of the frame's {}×{}", self.width, self.height);
            return Err(Error::input("crop", what, expected));
        }
        let rows = self.rgb.chunks_exact(self.width * 3).skip(top).take(height);
        let rgb = rows.flat_map(|row| &row[left * 3..(left + width) * 3]).copied();
        Frame::new(width, height, rgb.collect())
    }

    /// The frame in the middle of a larger one, its border pixels repeated outwards. A side that is
    /// large enough stays as it is. With it come the columns on the left and the rows on top that
    /// were added.
    pub(crate) fn grown(&self, width: usize, height: usize) -> Result<(Frame, usize, usize)> {
        let (width, height) = (width.max(self.width), height.max(self.height));
        let left = (width - self.width) / 2;
        let top = (height - self.height) / 2;
        let frame = Frame::from_fn(width, height, |x, y| {
            let x = x.saturating_sub(left).min(self.width - 1);
            let y = y.saturating_sub(top).min(self.height - 1);
            self.pixel(x, y).unwrap_or_default()
        })?;
        Ok((frame, left, top))
    }
}

/// An empty vector with room for a frame.
pub(super) fn room(width: usize, height: usize) -> Result<Vec<u8>> {
    if width == 0 || height == 0 {
        return Frame::new(width, height, Vec::new()).map(|frame| frame.rgb);
    }
    let bytes = width.saturating_mul(height).saturating_mul(3);
    crate::memory::room(format_args!("a frame of {width}×{height} pixels"), bytes)
}
