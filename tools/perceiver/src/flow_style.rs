//! Other pictures of flow than the colour wheel: arrows, and the second frame brought back.

use perceiver::internals::tasks::brought_back;
use perceiver::media::Frame;
use perceiver::tasks::FlowField;
use perceiver::{Error, Result};

/// Vectors beyond this are Middlebury's sign for "unknown".
const UNKNOWN: f32 = 1e9;
/// Arrows along the shorter side of a picture, about.
const ARROWS: usize = 20;
/// The least distance of arrows, in pixels.
const LEAST_DISTANCE: usize = 12;
const ARROW: [u8; 3] = [255, 225, 0];
/// Around arrows, so that they are seen on bright pictures, too.
const EDGE: [u8; 3] = [0, 0, 0];

fn same_size(frame: &Frame, field: &FlowField) -> Result<()> {
    if (frame.width(), frame.height()) == (field.width(), field.height()) {
        return Ok(());
    }
    Err(Error::input(
        "flow",
        format!("{}×{} vectors", field.width(), field.height()),
        format!("one for each of the frame's {}×{} pixels", frame.width(), frame.height()),
    ))
}

/// A vector with finite numbers of a sensible size. Written so that a NaN is unknown.
fn known(vector: [f32; 2]) -> Option<[f32; 2]> {
    let sensible = vector.iter().all(|v| v.abs() <= UNKNOWN);
    sensible.then_some(vector)
}

/// The length of the longest vector that is known, in pixels.
#[must_use]
pub fn longest(field: &FlowField) -> f32 {
    let lengths = field.vectors().iter().filter_map(|&v| known(v));
    lengths.map(|[x, y]| x.hypot(y)).fold(0.0, f32::max)
}

/// The frame with an arrow every few pixels, from where a point is to where it goes. A vector of
/// length `full` (pixels) has an arrow as long as arrows are apart; without a number the longest
/// vector of the field has. Points that stay have a dot.
///
/// # Errors
/// [`Error::Input`] when frame and field differ in size, [`Error::Limit`] when there is no memory
/// for the picture.
pub fn arrows(frame: &Frame, field: &FlowField, full: Option<f32>) -> Result<Frame> {
    same_size(frame, field)?;
    let (width, height) = (frame.width(), frame.height());
    let apart = (width.min(height) / ARROWS).max(LEAST_DISTANCE);
    let full = full.unwrap_or_else(|| longest(field)).max(1e-3);
    let mut canvas = Canvas { width, height, rgb: frame.rgb().to_vec() };
    let mut strokes = Vec::new();
    for y in (apart / 2..height).step_by(apart) {
        for x in (apart / 2..width).step_by(apart) {
            let vector = field.vectors().get(y * width + x).copied();
            let Some([right, down]) = vector.and_then(known) else {
                continue;
            };
            let length = right.hypot(down) / full * apart as f32;
            // Longer than the picture is as good as any.
            let shown = length.min((width + height) as f32);
            let (right, down) = match right.hypot(down) {
                0.0 => (0.0, 0.0),
                all => (right / all * shown, down / all * shown),
            };
            let from = [x as f32, y as f32];
            let to = [from[0] + right, from[1] + down];
            strokes.push([from, to]);
            if shown >= 3.0 {
                // Two strokes back from the point, 30 degrees off the shaft.
                let (sine, cosine) = (0.5, 0.75f32.sqrt());
                for sine in [sine, -sine] {
                    let back = [
                        -0.4 * (right * cosine - down * sine),
                        -0.4 * (right * sine + down * cosine),
                    ];
                    strokes.push([to, [to[0] + back[0], to[1] + back[1]]]);
                }
            }
        }
    }
    for stroke in &strokes {
        canvas.line(*stroke, EDGE, 1);
    }
    for stroke in &strokes {
        canvas.line(*stroke, ARROW, 0);
    }
    Frame::new(width, height, canvas.rgb)
}

/// Pixels to draw on.
struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// A line, `around` pixels thicker on every side.
    fn line(&mut self, [from, to]: [[f32; 2]; 2], colour: [u8; 3], around: i64) {
        let way = [to[0] - from[0], to[1] - from[1]];
        let steps = way[0].abs().max(way[1].abs()).ceil().max(1.0) as usize;
        for step in 0..=steps {
            let part = step as f32 / steps as f32;
            let [x, y] = [0, 1].map(|i| (from[i] + part * way[i]).round() as i64);
            for y in y - around..=y + around {
                for x in x - around..=x + around {
                    self.point(x, y, colour);
                }
            }
        }
    }

    fn point(&mut self, x: i64, y: i64, colour: [u8; 3]) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return;
        };
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * 3;
            if let Some(pixel) = self.rgb.get_mut(at..at + 3) {
                pixel.copy_from_slice(&colour);
            }
        }
    }
}

/// The first frame, the second one brought back ([`FlowField::warp`]), and how much they differ, beside each
/// other. The better the flow, the darker is the difference; it is black where a point has left the
/// frame.
///
/// # Errors
/// As [`FlowField::warp`].
pub fn warp_and_compare(first: &Frame, second: &Frame, field: &FlowField) -> Result<Frame> {
    same_size(first, field)?;
    let back = field.warp(second)?;
    let difference = Frame::from_fn(first.width(), first.height(), |x, y| {
        let colours = first.pixel(x, y).zip(brought_back(field, second, x, y));
        colours.map_or([0; 3], |(a, b)| std::array::from_fn(|c| a[c].abs_diff(b[c])))
    })?;
    side_by_side(&[first, &back, &difference])
}

/// Frames beside each other, top edges aligned, black below the lower ones.
///
/// ```
/// use perceiver_cli::flow_style::side_by_side;
/// use perceiver::media::Frame;
/// let one = Frame::new(1, 2, vec![1; 6]).unwrap();
/// let two = Frame::new(2, 1, vec![2; 6]).unwrap();
/// let both = side_by_side(&[&one, &two]).unwrap();
/// assert_eq!((both.width(), both.height()), (3, 2));
/// assert_eq!(both.rgb(), [1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
/// let none = side_by_side(&[]).unwrap_err().to_string();
/// assert!(none.contains("0 bytes for 0×0 pixels"));
/// ```
///
/// # Errors
/// [`Error::Input`] when there is no frame, [`Error::Limit`] when there is no memory for the result.
pub fn side_by_side(frames: &[&Frame]) -> Result<Frame> {
    let height = frames.iter().map(|f| f.height()).max().unwrap_or(0);
    let columns = frames.iter().flat_map(|&f| (0..f.width()).map(move |x| (f, x)));
    let columns: Vec<(&Frame, usize)> = columns.collect();
    Frame::from_fn(columns.len(), height, |x, y| {
        let (frame, x) = columns[x];
        frame.pixel(x, y).unwrap_or_default()
    })
}
