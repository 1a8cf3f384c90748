#![no_main]

use std::io::Cursor;

use image::ImageReader;
use libfuzzer_sys::Corpus;

/// Larger pictures take time and nothing else.
const MOST_PIXELS: u64 = 1 << 16;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| -> Corpus {
    let stated = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    if let Ok((width, height)) = stated.map_err(Into::into).and_then(ImageReader::into_dimensions)
        && u64::from(width) * u64::from(height) > MOST_PIXELS
    {
        return Corpus::Reject;
    }
    perceiver_fuzz::readers::picture(bytes);
    Corpus::Keep
});
