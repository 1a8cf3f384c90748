//! Pictures prepared for an image classifier as Hugging Face's `PerceiverImageProcessor` does it.
//!
//! The order is: crop the middle, resize, rescale, normalise. Resizing gives Pillow's bytes
//! ([`super::resample`]), so results are those of the class on its Pillow back end
//! (`PerceiverImageProcessorPil`); the torchvision back end rounds a few bytes otherwise. Invariant:
//! a key of `preprocessor_config.json` that could change the result is obeyed or refused by name.

use std::borrow::Cow;
use std::path::Path;

use crate::error::{Error, Result};
use crate::media::Frame;
use crate::media::resample::{Resampling, resize};
use crate::memory::{self, room};
use crate::perceiver::PerceiverConfig;
use crate::perceiver::official::Item;
use crate::tensor::Tensor;

/// Pixels of the largest crop.
const MOST_PIXELS: usize = 1 << 28;

/// Height and width in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

/// The settings of `preprocessor_config.json`.
///
/// ```
/// use perceiver::media::Frame;
/// use perceiver::tasks::PerceiverImageProcessor;
/// let processor = PerceiverImageProcessor::from_json(
///     r#"{"size": 4, "crop_size": [4, 4], "resample": 2, "image_mean": 0.5, "image_std": 0.5}"#,
///     "example",
/// )?;
/// let white = Frame::from_fn(9, 7, |_, _| [255; 3])?;
/// let pixels = processor.process(&white)?;
/// assert_eq!(pixels.shape(), [3, 4, 4]);
/// assert_eq!(pixels.as_f32().unwrap()[0], 1.0);
/// # Ok::<(), perceiver::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PerceiverImageProcessor {
    /// Whether to cut out the middle: of each side, `size` / `crop_size` of the picture's shorter one.
    pub do_center_crop: bool,
    /// What `size` is a part of when cropping.
    pub crop_size: Size,
    /// Whether to bring the picture to `size`.
    pub do_resize: bool,
    /// The size of the result.
    pub size: Size,
    /// The filter for resizing.
    pub resample: Resampling,
    /// Whether to multiply by `rescale_factor`.
    pub do_rescale: bool,
    /// What bytes are multiplied by.
    pub rescale_factor: f64,
    /// Whether to take away `image_mean` and divide by `image_std`.
    pub do_normalize: bool,
    /// By colour.
    pub image_mean: [f64; 3],
    /// By colour.
    pub image_std: [f64; 3],
}

impl Default for PerceiverImageProcessor {
    /// Hugging Face's defaults: 224 of 256, bicubic, mean and deviation of ImageNet.
    fn default() -> Self {
        PerceiverImageProcessor {
            do_center_crop: true,
            crop_size: Size { height: 256, width: 256 },
            do_resize: true,
            size: Size { height: 224, width: 224 },
            resample: Resampling::Bicubic,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: [0.485, 0.456, 0.406],
            image_std: [0.229, 0.224, 0.225],
        }
    }
}

impl PerceiverImageProcessor {
    /// What a checkpoint without `preprocessor_config.json` is taken to want: Hugging Face's defaults,
    /// and for a model with learned positions the size that they were learned for, cut from 8/7 of it
    /// as 224 is from 256.
    #[must_use]
    pub fn for_model(config: &PerceiverConfig) -> Self {
        let square = |side: usize| Size { height: side, width: side };
        match config.architecture.item() {
            Item::Picture { learned: true, .. } => PerceiverImageProcessor {
                size: square(config.image_size),
                crop_size: square((config.image_size * 8).div_ceil(7)),
                ..PerceiverImageProcessor::default()
            },
            _ => PerceiverImageProcessor::default(),
        }
    }

    /// The `preprocessor_config.json` of a checkpoint folder, or [`PerceiverImageProcessor::for_model`]
    /// where there is none.
    ///
    /// # Errors
    /// As [`PerceiverImageProcessor::read`].
    pub fn read_for(folder: impl AsRef<Path>, config: &PerceiverConfig) -> Result<Self> {
        let path = folder.as_ref().join("preprocessor_config.json");
        if path.exists() { Self::read(path) } else { Ok(Self::for_model(config)) }
    }

    /// The picture after cropping and resizing.
    ///
    /// # Errors
    /// [`Error::Input`] when nothing is left of the picture or a size is zero, [`Error::Limit`] when
    /// there is no memory for the result.
    #[doc(hidden)]
    pub fn crop_and_resize(&self, frame: &Frame) -> Result<Frame> {
        let frame = match self.do_center_crop {
            true => Cow::Owned(self.crop(frame)?),
            false => Cow::Borrowed(frame),
        };
        match self.do_resize {
            true => resize(&frame, self.size.width, self.size.height, self.resample),
            false => Ok(frame.into_owned()),
        }
    }

    /// The picture as 32-bit floats `[3, height, width]`.
    ///
    /// # Errors
    /// As [`PerceiverImageProcessor::crop_and_resize`].
    pub fn process(&self, frame: &Frame) -> Result<Tensor> {
        let frame = self.crop_and_resize(frame)?;
        let mut values = room("the picture as numbers", frame.rgb().len())?;
        self.append(&frame, &mut values);
        Tensor::f32(vec![3, frame.height(), frame.width()], values)
    }

    /// Several pictures as `pixel_values`, 32-bit floats `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no picture, or they differ in size and are not resized; as
    /// [`PerceiverImageProcessor::crop_and_resize`].
    #[doc(hidden)]
    pub fn pixel_values(&self, frames: &[&Frame]) -> Result<Tensor> {
        let mut values = Vec::new();
        let mut all: Option<(usize, usize)> = None;
        for (index, frame) in frames.iter().enumerate() {
            let frame = self.crop_and_resize(frame)?;
            let (width, height) = (frame.width(), frame.height());
            let wanted = *all.get_or_insert((width, height));
            if wanted != (width, height) {
                let what = format!("{width}×{height} pixels");
                let expected = format!("{}×{}, as the first one has", wanted.0, wanted.1);
                return Err(Error::input(format!("pictures[{index}]"), what, expected));
            }
            memory::allow("pictures as numbers", 4 * (values.len() + frame.rgb().len()) as u64)?;
            self.append(&frame, &mut values);
        }
        let Some((width, height)) = all else {
            return Err(Error::input("pictures", "there are none", "at least one"));
        };
        Tensor::f32(vec![frames.len(), 3, height, width], values)
    }

    /// The middle of the picture; where that is more than there is, black is put around it.
    fn crop(&self, frame: &Frame) -> Result<Frame> {
        let shorter = frame.width().min(frame.height());
        let side = |size: usize, of: usize| ((size as f64 / of as f64) * shorter as f64) as usize;
        let width = side(self.size.width, self.crop_size.width);
        let height = side(self.size.height, self.crop_size.height);
        if width == 0 || height == 0 {
            let (across, down) = frame.size();
            let what = format!("{across}×{down} pixels, of which the crop leaves {width}×{height}");
            return Err(Error::input("picture", what, "a larger picture"));
        }
        // A crop of a part larger than the whole could be of any size.
        if width.saturating_mul(height) > MOST_PIXELS {
            return Err(Error::Limit {
                what: "the crop".to_owned(),
                needed: format!("{width}×{height} pixels"),
                limit: format!("{MOST_PIXELS} pixels"),
                hint: "lower `size` or raise `crop_size` in preprocessor_config.json".to_owned(),
            });
        }
        // Rounded down when cutting and up when adding, as Hugging Face does.
        let offset = |all: usize, part: usize| match all.checked_sub(part) {
            Some(spare) => (spare / 2, 0),
            None => (0, (part - all).div_ceil(2)),
        };
        let (left, added_left) = offset(frame.width(), width);
        let (top, added_top) = offset(frame.height(), height);
        if added_left == 0 && added_top == 0 && width <= frame.width() && height <= frame.height() {
            return frame.crop(left, top, width, height);
        }
        Frame::from_fn(width, height, |x, y| {
            let x = (x + left).checked_sub(added_left);
            let y = (y + top).checked_sub(added_top);
            x.zip(y).and_then(|(x, y)| frame.pixel(x, y)).unwrap_or_default()
        })
    }

    /// The picture's values, colour by colour, with the rounding of Hugging Face's steps.
    fn append(&self, frame: &Frame, values: &mut Vec<f32>) {
        for channel in 0..3 {
            let mean = self.image_mean[channel] as f32;
            let deviation = self.image_std[channel] as f32;
            let value = |byte: u8| {
                let mut value = f32::from(byte);
                if self.do_rescale {
                    value = (f64::from(byte) * self.rescale_factor) as f32;
                }
                if self.do_normalize {
                    value = (value - mean) / deviation;
                }
                value
            };
            let table: [f32; 256] = std::array::from_fn(|byte| value(byte as u8));
            let bytes = frame.rgb().iter().skip(channel).step_by(3);
            values.extend(bytes.map(|&byte| table[usize::from(byte)]));
        }
    }
}
