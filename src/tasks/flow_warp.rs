//! A frame brought back by flow: at each point the colour of where it has gone.
//!
//! Places are counted in whole steps of a 4096th of a pixel and colours mixed in whole numbers, as the kernel `warp`
//! does it, so that the bytes are those of [`GpuOutput::Warped`](crate::GpuOutput::Warped) on every device.

use super::flow::FlowField;
use crate::error::{Error, Result};
use crate::kernels::warp::{FARTHEST, HAIR, STEPS};
use crate::media::Frame;

impl FlowField {
    /// The second frame brought back by the flow from the first one: at each point the colour of where it has gone,
    /// between four pixels. Points that have left the frame are black.
    ///
    /// ```
    /// use perceiver::media::Frame;
    /// use perceiver::tasks::FlowField;
    /// let second = Frame::new(2, 1, vec![9, 9, 9, 40, 50, 60]).unwrap();
    /// let flow = FlowField::new(2, 1, vec![[1.0, 0.0]; 2]).unwrap();
    /// assert_eq!(flow.warp(&second).unwrap().rgb(), [40, 50, 60, 0, 0, 0]);
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] when frame and field differ in size, [`Error::Limit`] when there is no memory for the
    /// picture.
    // Hidden as long as the public surface is full.
    #[doc(hidden)]
    pub fn warp(&self, second: &Frame) -> Result<Frame> {
        let ((width, height), vectors) = (second.size(), (self.width(), self.height()));
        if (width, height) != vectors {
            return Err(Error::input(
                "flow",
                format!("{}×{} vectors", vectors.0, vectors.1),
                format!("one for each of the frame's {width}×{height} pixels"),
            ));
        }
        Frame::from_fn(width, height, |x, y| brought_back(self, second, x, y).unwrap_or_default())
    }
}

/// The colour of where the point at (x, y) has gone, if that is inside the second frame, which has the field's size.
pub fn brought_back(field: &FlowField, second: &Frame, x: usize, y: usize) -> Option<[u8; 3]> {
    let [right, down] = *field.vectors().get(y * field.width() + x)?;
    let [left, of_right] = place(x, right, second.width())?;
    let [top, of_bottom] = place(y, down, second.height())?;
    let next = |at: usize, side: usize| (at + 1).min(side - 1);
    let (right, bottom) = (next(left, second.width()), next(top, second.height()));
    let at = |x, y| second.pixel(x, y).unwrap_or_default();
    let corners = [at(left, top), at(right, top), at(left, bottom), at(right, bottom)];
    Some(std::array::from_fn(|c| {
        let [a, b, d, e] = corners.map(|corner| u64::from(corner[c]));
        let between = |a, b, part: usize| a * (u64::from(STEPS) - part as u64) + b * part as u64;
        let mixed = between(between(a, b, of_right), between(d, e, of_right), of_bottom);
        let area = u64::from(STEPS).pow(2);
        ((mixed + area / 2) / area) as u8
    }))
}

/// The pixel before where a point has gone along one side, and the steps beyond it.
fn place(at: usize, by: f32, side: usize) -> Option<[usize; 2]> {
    let [at, last] = [at, side - 1].map(|n| n as i64 * i64::from(STEPS));
    // Written so that a NaN leads nowhere; what the kernel calls too far is beyond any frame that it takes. To
    // multiply by a power of two is exact.
    let near = by.abs() <= FARTHEST as f32;
    let steps = at + near.then(|| (by * STEPS as f32).round_ties_even() as i64)?;
    let hair = i64::from(HAIR);
    if !(-hair..=last + hair).contains(&steps) {
        return None;
    }
    let steps = steps.clamp(0, last) as usize;
    Some([steps / STEPS as usize, steps % STEPS as usize])
}
