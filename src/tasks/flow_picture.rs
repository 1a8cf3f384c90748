//! Flow as a picture: the colour wheel of the Middlebury benchmark (Baker et al., "A Database and
//! Evaluation Methodology for Optical Flow", 2011), with the rounding of the `flow_vis` package.
//!
//! The direction gives the hue and the length the saturation: no motion is white. Vectors longer than
//! the scale are darkened; unknown ones (not finite, or longer than 10⁹) are black.

use super::flow::FlowField;
use crate::error::Result;
use crate::kernels::to_texels::{HUES, wheel};
use crate::media::Frame;

/// Middlebury's sign for "unknown".
const UNKNOWN: f64 = 1e9;

impl FlowField {
    /// A field as a picture. Vectors of length `longest` (pixels) have full colour; without a number the
    /// longest vector of the field has.
    ///
    /// ```
    /// use perceiver::tasks::FlowField;
    /// let field = FlowField::new(2, 1, vec![[0.0, 0.0], [3.0, 0.0]]).unwrap();
    /// let shown = field.picture(None).unwrap();
    /// assert_eq!(shown.pixel(0, 0), Some([255, 255, 255])); // no motion
    /// assert_eq!(shown.pixel(1, 0), Some([255, 0, 0])); // to the right
    /// ```
    ///
    /// # Errors
    /// [`crate::Error::Limit`] when there is no memory for the picture.
    pub fn picture(&self, longest: Option<f32>) -> Result<Frame> {
        let vectors = self.vectors();
        let wheel = Wheel::new(longest.map_or_else(|| self::longest(vectors), f64::from));
        let width = self.width();
        Frame::from_fn(width, self.height(), |x, y| {
            vectors.get(y * width + x).map_or([0; 3], |&vector| wheel.colour(vector))
        })
    }
}

/// A vector that is not unknown.
fn known([x, y]: [f32; 2]) -> Option<[f64; 2]> {
    let (x, y) = (f64::from(x), f64::from(y));
    // Written so that a NaN is unknown.
    (x.abs() <= UNKNOWN && y.abs() <= UNKNOWN).then_some([x, y])
}

/// The length in pixels of the longest of some vectors.
pub fn longest(vectors: &[[f32; 2]]) -> f64 {
    vectors.iter().filter_map(|&v| known(v)).map(|[x, y]| x.hypot(y)).fold(0.0, f64::max)
}

/// The colours of vectors of a field.
pub struct Wheel {
    colours: [[u8; 3]; HUES],
    scale: f64,
}

impl Wheel {
    /// Vectors of `longest` pixels have full colour.
    pub fn new(longest: f64) -> Self {
        // As flow_vis does, which also keeps a field without motion from dividing by zero.
        Wheel { colours: wheel(), scale: longest.max(0.0) + 1e-5 }
    }

    /// The colour of a vector in pixels.
    pub fn colour(&self, vector: [f32; 2]) -> [u8; 3] {
        let scaled = |[x, y]: [f64; 2]| colour(&self.colours, x / self.scale, y / self.scale);
        known(vector).map_or([0; 3], scaled)
    }
}

/// The colour of a vector, where length 1 has full colour.
fn colour(wheel: &[[u8; 3]; HUES], x: f64, y: f64) -> [u8; 3] {
    let length = (x * x + y * y).sqrt();
    let angle = (-y).atan2(-x) / std::f64::consts::PI;
    let place = (angle + 1.0) / 2.0 * (HUES - 1) as f64;
    let hue = place as usize % HUES;
    let part = place.fract();
    std::array::from_fn(|c| {
        let [here, next] = [hue, (hue + 1) % HUES].map(|h| f64::from(wheel[h][c]) / 255.0);
        let full = (1.0 - part) * here + part * next;
        let value = if length <= 1.0 { 1.0 - length * (1.0 - full) } else { full * 0.75 };
        (255.0 * value) as u8
    })
}
