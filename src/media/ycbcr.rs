//! Brightness and two colour differences (Y′CbCr of ITU-R BT.601, 8 bits), to RGB.
//!
//! Colour differences may have fewer samples than brightness. They are interpolated linearly about the
//! places where the layout says that they were taken. Invariant: planes lie one after the other as
//! YUV4MPEG2 has them: Y, Cb, Cr, rows from the top, no padding.

use super::frame::Frame;
use crate::error::Result;

/// How samples of colour lie among those of brightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chroma {
    /// No colour at all.
    Mono,
    /// Half as many each way, in the middle of four pixels (JPEG, MPEG-1).
    C420Jpeg,
    /// Half as many each way, on the left pixels, between rows (MPEG-2, H.264).
    C420Mpeg2,
    /// Half as many each way, on the top left pixel (DV in PAL).
    C420Paldv,
    /// Half as many in a row, on the left pixels.
    C422,
    /// One for each pixel.
    C444,
}

/// Which bytes stand for black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// 16 and 235, as in television; colour differences from 16 to 240.
    #[default]
    Limited,
    /// 0 and 255, as in JPEG.
    Full,
}

/// Where samples of one axis lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At every pixel.
    Each,
    /// At every even pixel.
    Even,
    /// Between an even pixel and the next.
    Between,
}

impl Place {
    /// Samples along a side of `pixels`.
    fn samples(self, pixels: usize) -> usize {
        match self {
            Place::Each => pixels,
            Place::Even | Place::Between => pixels.div_ceil(2),
        }
    }

    /// The two samples around a pixel, and the weight of the second in quarters.
    fn around(self, pixel: usize, samples: usize) -> (usize, usize, u32) {
        let half = pixel / 2;
        let next = (half + 1).min(samples - 1);
        match (self, pixel % 2) {
            (Place::Each, _) => (pixel, pixel, 0),
            (Place::Even, 0) => (half, half, 0),
            (Place::Even, _) => (half, next, 2),
            (Place::Between, 0) => (half.saturating_sub(1), half, 3),
            (Place::Between, _) => (half, next, 1),
        }
    }
}

impl Chroma {
    /// Places in a row, and among rows; none without colour.
    fn places(self) -> Option<[Place; 2]> {
        match self {
            Chroma::Mono => None,
            Chroma::C420Jpeg => Some([Place::Between, Place::Between]),
            Chroma::C420Mpeg2 => Some([Place::Even, Place::Between]),
            Chroma::C420Paldv => Some([Place::Even, Place::Even]),
            Chroma::C422 => Some([Place::Even, Place::Each]),
            Chroma::C444 => Some([Place::Each, Place::Each]),
        }
    }

    /// Bytes of all planes of a frame.
    #[must_use]
    pub fn bytes(self, width: usize, height: usize) -> usize {
        let [columns, rows] = self.colour_size(width, height);
        width.saturating_mul(height).saturating_add(columns.saturating_mul(rows).saturating_mul(2))
    }

    /// Columns and rows of a plane of colour differences.
    fn colour_size(self, width: usize, height: usize) -> [usize; 2] {
        self.places().map_or([0, 0], |[across, down]| [across.samples(width), down.samples(height)])
    }
}

/// Offset and steps of brightness, and steps of colour differences, per unit of 255.
fn scales(range: Range) -> (f32, f32, f32) {
    match range {
        Range::Limited => (16.0, 219.0 / 255.0, 224.0 / 255.0),
        Range::Full => (0.0, 1.0, 1.0),
    }
}

/// Shares of red and blue in brightness.
const RED: f32 = 0.299;
const BLUE: f32 = 0.114;
const GREEN: f32 = 1.0 - RED - BLUE;

fn byte(value: f32) -> u8 {
    // A cast saturates.
    (value + 0.5) as u8
}

/// The frame whose planes are `planes`, of [`Chroma::bytes`] bytes. Too few of them count as zero.
///
/// # Errors
/// [`crate::Error::Input`] when a side is zero, [`crate::Error::Limit`] when there is no memory for
/// the frame.
pub(crate) fn to_rgb(
    planes: &[u8],
    width: usize,
    height: usize,
    chroma: Chroma,
    range: Range,
) -> Result<Frame> {
    let (black, step, colour_step) = scales(range);
    let [columns, rows] = chroma.colour_size(width, height);
    let plane = |first: usize| planes.get(first..).unwrap_or_default();
    let first = width.saturating_mul(height);
    let colours = [plane(first), plane(first.saturating_add(columns.saturating_mul(rows)))];
    Frame::from_fn(width, height, |x, y| {
        let luma = planes.get(y * width + x).copied().unwrap_or_default();
        let luma = (f32::from(luma) - black) / step;
        let Some([across, down]) = chroma.places() else {
            return [byte(luma); 3];
        };
        let (left, right, of_right) = across.around(x, columns);
        let (top, bottom, of_bottom) = down.around(y, rows);
        let [blue, red] = colours.map(|plane| {
            let at = |column: usize, row: usize| {
                u32::from(plane.get(row * columns + column).copied().unwrap_or(128))
            };
            let row = |row| at(left, row) * (4 - of_right) + at(right, row) * of_right;
            let sum = row(top) * (4 - of_bottom) + row(bottom) * of_bottom;
            (sum as f32 / 16.0 - 128.0) / colour_step
        });
        let red = 2.0 * (1.0 - RED) * red;
        let blue = 2.0 * (1.0 - BLUE) * blue;
        [byte(luma + red), byte(luma - (RED * red + BLUE * blue) / GREEN), byte(luma + blue)]
    })
}
