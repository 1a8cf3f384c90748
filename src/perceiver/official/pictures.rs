//! What the three classes of image classifiers share.

use crate::error::Result;
use crate::graph::Spacing;
use crate::perceiver::batch::{Array, Batch, finite, named, planes_to_rows, wrong_shape};
use crate::perceiver::blueprint::Modality;
use crate::perceiver::chunks::MOST_POINTS;
use crate::perceiver::request::Sizes;
use crate::tensor::NamedTensors;

/// Tensor names of the preprocessor begin with this.
pub(super) const PREFIX: &str = "perceiver.input_preprocessor";
/// Colours of a pixel.
pub(super) const COLOURS: usize = 3;
/// Fourier bands, fixed in Hugging Face's classes.
const BANDS: usize = 64;
/// Fourier features of a pixel.
pub(super) const FEATURES: usize = 2 * (1 + 2 * BANDS);
/// Sides beyond this have no use and would overflow sizes.
pub(crate) const LONGEST_SIDE: usize = 1 << 14;
/// Pixels beyond these are more than the numbers of a grid's cells, which are f32, tell apart; streams have the same limit.
pub(crate) const MOST_PIXELS: usize = MOST_POINTS;

/// Rows with Fourier features on a grid, with the frequencies of a square of side `resolution`.
pub(super) fn fourier(rows: Modality, grid: [usize; 2], resolution: usize) -> Modality {
    rows.fourier_of(&grid, &[resolution; 2], BANDS, Spacing::Ends)
}

pub(super) fn sizes(image: [usize; 2]) -> Sizes {
    Sizes { image, ..Sizes::default() }
}

/// Checks `pixel_values` `[batch, 3, height, width]` and makes rows of them. `fits` says whether a
/// class takes a size, `expected` what it takes.
pub(super) fn inputs(
    inputs: &NamedTensors,
    fits: impl Fn([usize; 2]) -> bool,
    expected: &dyn Fn() -> String,
) -> Result<Batch> {
    let [values] = named(inputs, ["pixel_values"], &[])?;
    let sides = 1..=LONGEST_SIDE;
    let (items, [height, width]) = match *values.shape() {
        [items, COLOURS, h, w]
            if items > 0 && sides.contains(&h) && sides.contains(&w) && fits([h, w]) =>
        {
            (items, [h, w])
        }
        _ => return Err(wrong_shape("pixel_values", values, expected())),
    };
    if height * width > MOST_PIXELS {
        let expected = format!("pictures of at most {MOST_PIXELS} pixels");
        return Err(wrong_shape("pixel_values", values, expected));
    }
    let data = finite("pixel_values", values, expected)?;
    let rows = planes_to_rows(data, COLOURS, height * width)?;
    let arrays = vec![Array::per_item("pixel_values", height * width * COLOURS, rows)];
    Ok(Batch { items, sizes: sizes([height, width]), arrays })
}
