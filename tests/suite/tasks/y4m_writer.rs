//! YUV4MPEG2 streams of any layout, written for tests: the library itself writes one sample of each kind a
//! pixel alone.

use perceiver::internals::media::y4m::Header;
use perceiver::internals::media::{Chroma, Range};
use perceiver::media::Frame;

/// The pixels of a sample along an axis of so many, with their weights in quarters.
type Pixels = fn(usize, usize) -> [(usize, u32); 3];

/// A sample for each pixel.
fn each(sample: usize, _: usize) -> [(usize, u32); 3] {
    [(sample, 4), (sample, 0), (sample, 0)]
}

/// A sample at every even pixel.
fn even(sample: usize, pixels: usize) -> [(usize, u32); 3] {
    let at = 2 * sample;
    [(at.saturating_sub(1), 1), (at, 2), ((at + 1).min(pixels - 1), 1)]
}

/// A sample between an even pixel and the next.
fn between(sample: usize, pixels: usize) -> [(usize, u32); 3] {
    let at = 2 * sample;
    [(at, 2), ((at + 1).min(pixels - 1), 2), (at, 0)]
}

/// Name of a layout, and where its samples of colour lie in a row and among rows, with pixels to a sample.
fn layout(chroma: Chroma) -> (&'static str, Option<[(Pixels, usize); 2]>) {
    match chroma {
        Chroma::Mono => ("mono", None),
        Chroma::C420Jpeg => ("420jpeg", Some([(between, 2), (between, 2)])),
        Chroma::C420Mpeg2 => ("420mpeg2", Some([(even, 2), (between, 2)])),
        Chroma::C420Paldv => ("420paldv", Some([(even, 2), (even, 2)])),
        Chroma::C422 => ("422", Some([(even, 2), (each, 1)])),
        Chroma::C444 => ("444", Some([(each, 1), (each, 1)])),
    }
}

/// A stream of frames of this header's size.
pub(super) fn stream(header: Header, frames: &[Frame]) -> Vec<u8> {
    let (name, _) = layout(header.chroma);
    let (count, seconds) = header.rate.unwrap_or((0, 0));
    let range = if header.range == Range::Full { "FULL" } else { "LIMITED" };
    let (width, height) = (header.width, header.height);
    let line = format!(
        "YUV4MPEG2 W{width} H{height} F{count}:{seconds} Ip A1:1 C{name} XCOLORRANGE={range}\n"
    );
    let mut bytes = line.into_bytes();
    for frame in frames {
        assert_eq!((frame.width(), frame.height()), (width, height));
        bytes.extend(b"FRAME\n");
        bytes.extend(planes(frame, header.chroma, header.range));
    }
    bytes
}

fn planes(frame: &Frame, chroma: Chroma, range: Range) -> Vec<u8> {
    let (black, step, colour_step) = match range {
        Range::Limited => (16.0, 219.0 / 255.0, 224.0 / 255.0),
        Range::Full => (0.0, 1.0, 1.0),
    };
    let (width, height) = (frame.width(), frame.height());
    let luma = |[red, green, blue]: [f32; 3]| 0.299 * red + 0.587 * green + 0.114 * blue;
    let byte = |value: f32| (value + 0.5) as u8;
    let pixel = |x: usize, y: usize| frame.pixel(x, y).expect("a pixel").map(f32::from);
    let places = (0..width * height).map(|at| pixel(at % width, at / width));
    let mut planes: Vec<u8> = places.map(|rgb| byte(black + step * luma(rgb))).collect();
    let Some([(across, each_column), (down, each_row)]) = layout(chroma).1 else {
        return planes;
    };
    let (columns, rows) = (width.div_ceil(each_column), height.div_ceil(each_row));
    // Blue, then red.
    for (colour, share) in [(2, 0.114), (0, 0.299)] {
        for at in 0..columns * rows {
            let mut mean = [0.0; 3];
            for (y, of_row) in down(at / columns, height) {
                for (x, of_column) in across(at % columns, width) {
                    for (sum, value) in mean.iter_mut().zip(pixel(x, y)) {
                        *sum += (of_row * of_column) as f32 * value / 16.0;
                    }
                }
            }
            let difference = (mean[colour] - luma(mean)) / (2.0 * (1.0 - share));
            planes.push(byte(128.0 + colour_step * difference));
        }
    }
    planes
}
