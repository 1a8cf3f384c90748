//! YUV4MPEG2 streams.

use crate::common::writers;
use perceiver::internals::media::y4m::{Header, Reader};
use perceiver::internals::media::{Chroma, Range};
use perceiver::media::Frame;
use perceiver::{Error, Result};

use super::message;
use super::y4m_writer::stream;

const LAYOUTS: [Chroma; 6] = [
    Chroma::Mono,
    Chroma::C420Jpeg,
    Chroma::C420Mpeg2,
    Chroma::C420Paldv,
    Chroma::C422,
    Chroma::C444,
];

/// Smooth colours.
pub(super) fn waves(width: usize, height: usize, shift: usize) -> Frame {
    Frame::from_fn(width, height, |x, y| {
        let wave = |a: f64, b: f64| {
            let at = a * (x + shift) as f64 + b * y as f64;
            (127.5 + 110.0 * at.sin()) as u8
        };
        [wave(0.05, 0.02), wave(0.03, 0.06), wave(-0.04, 0.05)]
    })
    .unwrap()
}

fn largest_difference(a: &Frame, b: &Frame) -> u8 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let pairs = a.rgb().iter().zip(b.rgb());
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

pub(super) fn header(width: usize, height: usize, chroma: Chroma, range: Range) -> Header {
    Header { width, height, rate: Some((30000, 1001)), chroma, range }
}

fn read(bytes: &[u8]) -> Result<Vec<Frame>> {
    Reader::new(bytes, "clip.y4m")?.collect()
}

#[test]
fn y4m_streams_round_trip() {
    for chroma in LAYOUTS {
        for range in [Range::Limited, Range::Full] {
            // Odd sides: the last samples of colour have one pixel less.
            let frames = [waves(33, 17, 0), waves(33, 17, 9), waves(33, 17, 20)];
            let header = header(33, 17, chroma, range);
            let bytes = stream(header, &frames);
            let reader = Reader::new(&bytes[..], "clip.y4m").unwrap();
            assert_eq!(*reader.header(), header);
            let found: Vec<Frame> = reader.map(Result::unwrap).collect();
            assert_eq!(found.len(), 3);
            for (found, wanted) in found.iter().zip(&frames) {
                let off = largest_difference(found, wanted);
                match chroma {
                    Chroma::Mono => {
                        let grey = |f: &Frame| f.rgb().chunks(3).all(|p| p[0] == p[2]);
                        assert!(grey(found));
                    }
                    Chroma::C444 if range == Range::Full => assert!(off <= 1, "{off}"),
                    Chroma::C444 => assert!(off <= 2, "{off}"),
                    _ => assert!(off <= 6, "{chroma:?}: {off}"),
                }
            }
        }
    }
    // The smallest picture that has all of it.
    for chroma in LAYOUTS {
        let dot = Frame::new(1, 1, vec![90; 3]).unwrap();
        let bytes = stream(header(1, 1, chroma, Range::Limited), std::slice::from_ref(&dot));
        assert_eq!(largest_difference(&read(&bytes).unwrap()[0], &dot), 0);
    }
}

#[test]
fn y4m_colours_are_those_of_bt_601() {
    let colour = |ycc: [u8; 3], range: &str| {
        let mut bytes = format!("YUV4MPEG2 W1 H1 C444{range}\nFRAME Ip\n").into_bytes();
        bytes.extend(ycc);
        read(&bytes).unwrap()[0].pixel(0, 0).unwrap()
    };
    assert_eq!(colour([16, 128, 128], ""), [0; 3]);
    assert_eq!(colour([235, 128, 128], " XCOLORRANGE=LIMITED"), [255; 3]);
    // What is beyond black and white ends there.
    assert_eq!(colour([0, 128, 128], ""), [0; 3]);
    assert_eq!(colour([255, 128, 128], ""), [255; 3]);
    // Pure red, green and blue, by the standard's table.
    assert_eq!(colour([81, 90, 240], ""), [254, 0, 0]);
    assert_eq!(colour([145, 54, 34], ""), [0, 255, 1]);
    assert_eq!(colour([41, 240, 110], ""), [0, 0, 255]);
    assert_eq!(colour([76, 85, 255], " XCOLORRANGE=FULL"), [254, 0, 0]);
    assert_eq!(colour([128, 128, 128], " XCOLORRANGE=FULL"), [128; 3]);
}

/// Samples of red lie where each layout says: 128 + 16 × (0, 1) at two places in a row.
#[test]
fn y4m_colours_lie_where_the_layout_says() {
    let reds = |layout: &str| -> Vec<u8> {
        let mut bytes = format!("YUV4MPEG2 W4 H2 C{layout} XCOLORRANGE=FULL\nFRAME\n").into_bytes();
        bytes.extend([100; 8]);
        let rows = if layout == "422" { 2 } else { 1 };
        bytes.extend([128].repeat(2 * rows));
        bytes.extend([128, 144].repeat(rows));
        let frame = read(&bytes).unwrap().remove(0);
        (0..4).map(|x| frame.pixel(x, 0).unwrap()[0]).collect()
    };
    // Quarters and halves of 1.402 × 16.
    assert_eq!(reds("420jpeg"), [100, 106, 117, 122]);
    assert_eq!(reds("420"), reds("420jpeg"));
    assert_eq!(reds("420mpeg2"), [100, 111, 122, 122]);
    assert_eq!(reds("420paldv"), reds("420mpeg2"));
    assert_eq!(reds("422"), reds("420mpeg2"));
}

#[test]
fn y4m_headers_that_make_no_sense_are_refused() {
    let hint = "; a whole YUV4MPEG2 (.y4m) stream with 8-bit samples is expected, as `ffmpeg -i \
                INPUT -pix_fmt yuv420p -f yuv4mpegpipe OUTPUT.y4m` writes it";
    let names = "C420, C420jpeg, C420mpeg2, C420paldv, C422, C444, Cmono are read";
    let refused = |bytes: &[u8]| {
        let told = message(read(bytes));
        let told = told.strip_prefix("clip.y4m: ").expect("the name");
        told.strip_suffix(hint).expect("the hint").to_owned()
    };
    assert_eq!(refused(b""), "it is empty");
    assert_eq!(refused(b"YUV4MPEG2 W4"), "the header ends too early");
    assert_eq!(refused(&[b'Y'; 2000]), "the header has no end within 1024 bytes");
    assert_eq!(refused(b"YUV4MPEG2 \xff\n"), "the header is no text");
    assert_eq!(refused(b"YUV4MPEG W4 H4\n"), "it does not begin as a YUV4MPEG2 stream does");
    for word in ["W-1", "Wx", "H1.5", "F25", "Fa:b", "Q3", "XCOLORRANGE=ODD"] {
        let line = format!("YUV4MPEG2 W4 H4 {word}\n");
        assert_eq!(refused(line.as_bytes()), format!("the header has `{word}`"), "{line}");
    }
    for layout in ["C420p10", "C411", "C444alpha"] {
        let line = format!("YUV4MPEG2 W4 H4 {layout}\n");
        assert_eq!(
            refused(line.as_bytes()),
            format!("its samples are laid out as `{layout}`, of which {names}")
        );
    }
    for (size, shown) in [
        ("W0 H4", "0×4"),
        ("H4", "0×4"),
        ("W16385 H1", "16385×1"),
        ("W4294967296 H4294967296", "4294967296×4294967296"),
    ] {
        let line = format!("YUV4MPEG2 {size} C444\n");
        assert_eq!(
            refused(line.as_bytes()),
            format!("its frames have {shown} pixels, where sides of 1 to 16384 are read")
        );
    }
}

#[test]
fn y4m_frames_that_are_damaged_are_named() {
    let header = header(4, 2, Chroma::C422, Range::Limited);
    let frames = [waves(4, 2, 0), waves(4, 2, 1)];
    let whole = stream(header, &frames);
    let frame = 6 + 16;
    let second = whole.len() - frame;
    let read_part = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes, "clip.y4m").unwrap();
        assert!(reader.next().unwrap().is_ok());
        let told = message(reader.next().unwrap());
        assert!(reader.next().is_none(), "nothing follows an error");
        told
    };
    assert!(
        read_part(&whole[..whole.len() - 3])
            .starts_with("clip.y4m: frame 1 ends after 13 of 16 bytes; ")
    );
    assert!(
        read_part(&whole[..second + 3]).starts_with("clip.y4m: the line of frame 1 ends too early")
    );
    let mut other = whole.clone();
    other[second] = b'f';
    assert!(read_part(&other).starts_with("clip.y4m: frame 1 does not begin with FRAME"));
    let endless = [&whole[..second + 5], &[b' '; 1100]].concat();
    assert!(read_part(&endless).contains("the line of frame 1 has no end within 1024 bytes"));
    assert_eq!(read(&whole[..second]).unwrap().len(), 1);
    // A large promise takes no memory before it is kept.
    let promise = b"YUV4MPEG2 W16384 H16384 C444\nFRAME\nabc";
    assert!(message(read(promise)).contains("frame 0 ends after 3 of 805306368 bytes"));
}

#[test]
fn y4m_files_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.y4m");
    let frames = || (0..3).map(|i| Ok(waves(20, 10, i)));
    assert_eq!(writers::y4m::write(&path, Some((24, 1)), frames()).unwrap(), 3);
    let (reader, length) = Reader::open(&path).unwrap();
    assert_eq!((length, reader.header().rate), (Some(3), Some((24, 1))));
    let found: Vec<Frame> = reader.map(Result::unwrap).collect();
    assert!(largest_difference(&found[2], &waves(20, 10, 2)) <= 1);

    let before = std::fs::read(&path).unwrap();
    let other = [Ok(waves(20, 10, 0)), Ok(waves(10, 20, 0))];
    assert_eq!(
        message(writers::y4m::write(&path, None, other)),
        "input `frame 1`: 10×20 pixels; expected 20×10, as the stream has"
    );
    let failing = [Ok(waves(20, 10, 0)), Err(Error::input("a", "b", "c"))];
    assert_eq!(message(writers::y4m::write(&path, None, failing)), "input `a`: b; expected c");
    assert_eq!(
        message(writers::y4m::write(&path, None, [])),
        "input `frames`: there are none; expected at least one"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let nowhere = folder.path().join("none").join("clip.y4m");
    assert!(
        message(writers::y4m::write(&nowhere, None, frames()))
            .starts_with("cannot create a file in ")
    );
    assert!(message(Reader::open(&nowhere)).starts_with("cannot read "));
    let absurd = [Ok(waves(16385, 1, 0))];
    assert_eq!(
        message(writers::y4m::write(&path, None, absurd)),
        "input `frame`: 16385×1 pixels; expected sides of 1 to 16384 pixels"
    );
    // Longer lines of frames: the file's length does not tell how many there are.
    let long = b"YUV4MPEG2 W1 H1 F0:0 Cmono\nFRAME Ip\nxFRAME\ny";
    std::fs::write(&path, long).unwrap();
    let (reader, length) = Reader::open(&path).unwrap();
    assert_eq!((length, reader.header().rate), (None, None));
    assert_eq!(reader.count(), 2);
}

#[test]
fn a_stream_is_an_iterator_of_frames() {
    let stream = b"YUV4MPEG2 W2 H1 F25:1 Cmono XCOLORRANGE=FULL\nFRAME\n\x07\xff";
    let mut reader = Reader::new(&stream[..], "example").unwrap();
    assert_eq!(reader.next().unwrap().unwrap().rgb(), [7, 7, 7, 255, 255, 255]);
    assert!(reader.next().is_none());
}
