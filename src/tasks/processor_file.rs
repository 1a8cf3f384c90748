//! `preprocessor_config.json`, read strictly: a key that could change the result is obeyed or refused.

use std::path::Path;

use serde_json::{Map, Value};

use super::image_processor::{PerceiverImageProcessor, Size};
use crate::error::{Error, Result};
use crate::media::resample::Resampling;

/// A longer file is no configuration.
const MOST_BYTES: u64 = 1 << 20;
/// The longest side that can be asked for.
const MOST_PIXELS: u64 = 16384;

/// Classes that crop, resize, rescale and normalise in the order of this crate.
const CLASSES: [&str; 4] = [
    "PerceiverImageProcessor",
    "PerceiverImageProcessorPil",
    "PerceiverImageProcessorFast",
    "PerceiverFeatureExtractor",
];

/// Keys that are obeyed.
const OBEYED: &str = "\
    do_center_crop crop_size do_resize size default_to_square resample do_rescale rescale_factor \
    do_normalize image_mean image_std image_processor_type feature_extractor_type data_format";

/// Keys that the class accepts and that change nothing here: pictures are RGB, and are never padded.
const IDLE: &str = "\
    processor_class auto_map _name_or_path _processor_class transformers_version input_data_format \
    return_tensors device disable_grouping do_convert_rgb do_pad pad_size image_seq_length";

impl PerceiverImageProcessor {
    /// Reads `preprocessor_config.json`, or that file in a folder. A folder without one stands for
    /// Hugging Face's defaults.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] for what is no JSON object, [`Error::Config`] for keys
    /// that ask for something impossible or unknown.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let given = path.as_ref();
        let path = if given.is_dir() {
            let path = given.join("preprocessor_config.json");
            if !path.exists() {
                return Ok(Self::default());
            }
            path
        } else {
            given.to_path_buf()
        };
        let origin = path.display().to_string();
        let long = || no_object(&origin, format!("has more than {MOST_BYTES} bytes"));
        let text = crate::open::text(&path, MOST_BYTES)?.ok_or_else(long)?;
        Self::from_json(&text, &origin)
    }

    /// Reads the text of a `preprocessor_config.json`; `origin` names it in errors. Missing keys
    /// have Hugging Face's defaults.
    ///
    /// # Errors
    /// As [`PerceiverImageProcessor::read`].
    pub fn from_json(text: &str, origin: &str) -> Result<Self> {
        let map = match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(no_object(origin, "is JSON but no object".to_owned())),
            Err(e) => return Err(no_object(origin, format!("is not JSON: {e}"))),
        };
        let keys = Keys { map: &map, origin };
        let known = |key: &str| OBEYED.split(' ').chain(IDLE.split(' ')).any(|word| word == key);
        if let Some(key) = map.keys().find(|key| !known(key)) {
            let what = "is unknown, and might change the result";
            return Err(keys.bad(key, what, "remove it if it does not"));
        }
        for key in ["image_processor_type", "feature_extractor_type"] {
            if let Some(class) = map.get(key)
                && !class.as_str().is_some_and(|c| CLASSES.contains(&c))
            {
                let hint = format!("the processor is {}", CLASSES[0]);
                return Err(keys.bad(key, format!("is {class}"), hint));
            }
        }
        if let Some(layout) = map.get("data_format")
            && !layout.is_null()
            && layout.as_str() != Some("channels_first")
        {
            let hint = "the models take \"channels_first\"";
            return Err(keys.bad("data_format", format!("is {layout}"), hint));
        }
        let square = keys.flag("default_to_square", true)?;
        let mut to = Self::default();
        to.do_center_crop = keys.flag("do_center_crop", to.do_center_crop)?;
        to.do_resize = keys.flag("do_resize", to.do_resize)?;
        to.do_rescale = keys.flag("do_rescale", to.do_rescale)?;
        to.do_normalize = keys.flag("do_normalize", to.do_normalize)?;
        let sized = to.do_resize || to.do_center_crop;
        if let Some(value) = keys.needed("size", sized)? {
            to.size = keys.size("size", value, square)?;
        }
        if let Some(value) = keys.needed("crop_size", to.do_center_crop)? {
            to.crop_size = keys.size("crop_size", value, true)?;
        }
        if let Some(value) = keys.needed("resample", to.do_resize)? {
            to.resample = value.as_u64().and_then(Resampling::from_number).ok_or_else(|| {
                keys.bad(
                    "resample",
                    format!("is {value}"),
                    "Pillow's filters are 0 (nearest), 1 (Lanczos), 2 (bilinear), 3 (bicubic), 4 \
                         (box) and 5 (Hamming)",
                )
            })?;
        }
        if let Some(value) = keys.needed("rescale_factor", to.do_rescale)? {
            to.rescale_factor = keys.number("rescale_factor", value)?;
        }
        if let Some(value) = keys.needed("image_mean", to.do_normalize)? {
            to.image_mean = keys.colours("image_mean", value)?;
        }
        if let Some(value) = keys.needed("image_std", to.do_normalize)? {
            to.image_std = keys.colours("image_std", value)?;
            // As f32, since that is what values are divided by.
            if to.image_std.iter().any(|&d| d as f32 == 0.0) {
                let hint = "values are divided by it: zero is impossible";
                return Err(keys.bad("image_std", format!("is {value}"), hint));
            }
        }
        Ok(to)
    }
}

fn no_object(origin: &str, what: String) -> Error {
    Error::checkpoint(origin, what, "give the preprocessor_config.json of a Perceiver checkpoint")
}

/// The keys of a file, and what to call it.
struct Keys<'f> {
    map: &'f Map<String, Value>,
    origin: &'f str,
}

impl<'f> Keys<'f> {
    fn bad(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::config(self.origin, key, what, hint)
    }

    /// A flag. Hugging Face takes null for false.
    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.map.get(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.bad(key, format!("is {other}"), "true and false are possible")),
        }
    }

    /// A value; null is possible only where it is not used.
    fn needed(&self, key: &str, used: bool) -> Result<Option<&'f Value>> {
        match self.map.get(key) {
            Some(Value::Null) if used => {
                let hint = "give a value, or leave the key out for Hugging Face's default";
                Err(self.bad(key, "is null", hint))
            }
            Some(Value::Null) | None => Ok(None),
            value => Ok(value),
        }
    }

    /// A number, `[height, width]`, or an object of both.
    fn size(&self, key: &str, value: &Value, square: bool) -> Result<Size> {
        let bad = || {
            self.bad(
                key,
                format!("is {value}"),
                format!(
                    "a number of pixels, [height, width] and {{\"height\": .., \"width\": ..}} are \
                     possible, with sides from 1 to {MOST_PIXELS}"
                ),
            )
        };
        let side = |value: Option<&Value>| {
            value
                .and_then(Value::as_u64)
                .filter(|n| (1..=MOST_PIXELS).contains(n))
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(bad)
        };
        let (height, width) = match value {
            Value::Object(map) if map.len() == 2 => {
                (side(map.get("height"))?, side(map.get("width"))?)
            }
            Value::Array(sides) if sides.len() == 2 => (side(sides.first())?, side(sides.get(1))?),
            Value::Object(_) | Value::Array(_) => return Err(bad()),
            _ if !square => {
                return Err(self.bad(
                    key,
                    format!("is {value} for the shorter edge (`default_to_square` is false)"),
                    "Perceiver's processor needs height and width",
                ));
            }
            number => (side(Some(number))?, side(Some(number))?),
        };
        Ok(Size { height, width })
    }

    fn number(&self, key: &str, value: &Value) -> Result<f64> {
        // Values are held as f32 in the end.
        value
            .as_f64()
            .filter(|x| (*x as f32).is_finite())
            .ok_or_else(|| self.bad(key, format!("is {value}"), "give a 32-bit float"))
    }

    /// One number for all colours, or three.
    fn colours(&self, key: &str, value: &Value) -> Result<[f64; 3]> {
        match value {
            Value::Array(values) => {
                let [red, green, blue] = values.as_slice() else {
                    let hint = "one number, or one for each of three colours, is possible";
                    return Err(self.bad(key, format!("has {} numbers", values.len()), hint));
                };
                Ok([self.number(key, red)?, self.number(key, green)?, self.number(key, blue)?])
            }
            one => Ok([self.number(key, one)?; 3]),
        }
    }
}
