#![no_main]

use libfuzzer_sys::Corpus;

/// Larger canvases and frames take time and nothing else.
const MOST_PIXELS: u32 = 1 << 16;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| -> Corpus {
    let large = |sides: &[u8]| match *sides {
        [a, b, c, d] => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]));
            side(a, b) * side(c, d) > MOST_PIXELS
        }
        _ => false,
    };
    // A frame begins with a comma and its place; one that only looks like it is passed over too.
    let frame = |at: &[u8]| at[0] == b',' && large(&at[5..]);
    if bytes.get(6..10).is_some_and(large) || bytes.windows(9).any(frame) {
        return Corpus::Reject;
    }
    perceiver_fuzz::readers::gif(bytes);
    Corpus::Keep
});
