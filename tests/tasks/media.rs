//! Video, sound, GIF, and sequences of frames.

use std::path::{Path, PathBuf};
use std::time::Duration;

use perceiver::tasks::frames::natural;
use perceiver::tasks::wav::{self, SampleKind, Sound};
use perceiver::tasks::y4m::{self, Header, Reader, Writer};
use perceiver::tasks::ycbcr::{Chroma, Range};
use perceiver::tasks::{Frame, Frames, gif, picture};
use perceiver::{Error, Result};
use proptest::prelude::*;

use super::message;

const LAYOUTS: [Chroma; 6] = [
    Chroma::Mono,
    Chroma::C420Jpeg,
    Chroma::C420Mpeg2,
    Chroma::C420Paldv,
    Chroma::C422,
    Chroma::C444,
];

/// Smooth colours.
fn waves(width: usize, height: usize, shift: usize) -> Frame {
    Frame::from_fn(width, height, |x, y| {
        let wave = |a: f64, b: f64| {
            let at = a * (x + shift) as f64 + b * y as f64;
            (127.5 + 110.0 * at.sin()) as u8
        };
        [wave(0.05, 0.02), wave(0.03, 0.06), wave(-0.04, 0.05)]
    })
    .unwrap()
}

/// Frames of few colours, which a GIF keeps.
fn squares(width: usize, height: usize, at: usize) -> Frame {
    Frame::from_fn(width, height, |x, y| {
        [(x / 3 * 40) as u8, (y / 4 * 60) as u8, at as u8 * 50]
    })
    .unwrap()
}

fn largest_difference(a: &Frame, b: &Frame) -> u8 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let pairs = a.rgb().iter().zip(b.rgb());
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

fn stream(header: Header, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, "test", header).unwrap();
    for frame in frames {
        writer.write(frame).unwrap();
    }
    bytes
}

fn header(width: usize, height: usize, chroma: Chroma, range: Range) -> Header {
    Header {
        width,
        height,
        rate: Some((30000, 1001)),
        chroma,
        range,
    }
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
        let bytes = stream(header(1, 1, chroma, Range::Limited), &[dot.clone()]);
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
    assert_eq!(
        refused(&[b'Y'; 2000]),
        "the header has no end within 1024 bytes"
    );
    assert_eq!(refused(b"YUV4MPEG2 \xff\n"), "the header is no text");
    assert_eq!(
        refused(b"YUV4MPEG W4 H4\n"),
        "it does not begin as a YUV4MPEG2 stream does"
    );
    for word in ["W-1", "Wx", "H1.5", "F25", "Fa:b", "Q3", "XCOLORRANGE=ODD"] {
        let line = format!("YUV4MPEG2 W4 H4 {word}\n");
        assert_eq!(
            refused(line.as_bytes()),
            format!("the header has `{word}`"),
            "{line}"
        );
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
    assert_eq!(y4m::write(&path, Some((24, 1)), frames()).unwrap(), 3);
    let (reader, length) = Reader::open(&path).unwrap();
    assert_eq!((length, reader.header().rate), (Some(3), Some((24, 1))));
    let found: Vec<Frame> = reader.map(Result::unwrap).collect();
    assert!(largest_difference(&found[2], &waves(20, 10, 2)) <= 1);

    let before = std::fs::read(&path).unwrap();
    let other = [Ok(waves(20, 10, 0)), Ok(waves(10, 20, 0))];
    assert_eq!(
        message(y4m::write(&path, None, other)),
        "input `frame 1`: 10×20 pixels; expected 20×10, as the stream has"
    );
    let failing = [Ok(waves(20, 10, 0)), Err(Error::input("a", "b", "c"))];
    assert_eq!(
        message(y4m::write(&path, None, failing)),
        "input `a`: b; expected c"
    );
    assert_eq!(
        message(y4m::write(&path, None, [])),
        "input `frames`: there are none; expected at least one"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let nowhere = folder.path().join("none").join("clip.y4m");
    assert!(message(y4m::write(&nowhere, None, frames())).starts_with("cannot create a file in "));
    assert!(message(Reader::open(&nowhere)).starts_with("cannot read "));
    let absurd = header(0, 3, Chroma::C444, Range::Full);
    assert_eq!(
        message(Writer::new(Vec::new(), "x", absurd)),
        "input `frame`: 0×3 pixels; expected sides of 1 to 16384 pixels"
    );
    // Longer lines of frames: the file's length does not tell how many there are.
    let long = b"YUV4MPEG2 W1 H1 F0:0 Cmono\nFRAME Ip\nxFRAME\ny";
    std::fs::write(&path, long).unwrap();
    let (reader, length) = Reader::open(&path).unwrap();
    assert_eq!((length, reader.header().rate), (None, None));
    assert_eq!(reader.count(), 2);
}

fn sound(channels: usize) -> Sound {
    let samples = (0..channels * 50)
        .map(|i| ((i * 7919) % 65536) as f32 / 32768.0 - 1.0)
        .collect();
    Sound::new(16000, channels, samples).unwrap()
}

#[test]
fn wav_files_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    for channels in [1, 2, 3] {
        for kind in [SampleKind::Integer16, SampleKind::Float32] {
            wav::write(&path, &sound(channels), kind).unwrap();
            let found = wav::read(&path).unwrap();
            assert_eq!(found, sound(channels));
            assert_eq!((found.rate(), found.length()), (16000, 50));
            assert_eq!(found.tensor().unwrap().shape(), [50, channels]);
        }
    }
    // Louder than full scale: kept as floats, cut off as integers.
    let loud = Sound::new(8000, 1, vec![1.5, -2.0, 1.0, 0.5]).unwrap();
    wav::write(&path, &loud, SampleKind::Float32).unwrap();
    assert_eq!(wav::read(&path).unwrap(), loud);
    wav::write(&path, &loud, SampleKind::Integer16).unwrap();
    let most = 32767.0 / 32768.0;
    assert_eq!(wav::read(&path).unwrap().samples(), [most, -1.0, most, 0.5]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A WAV file by hand: format tag, bits, channels, data.
fn wav_bytes(tag: u16, bits: u16, channels: u16, data: &[u8]) -> Vec<u8> {
    let each = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    for word in [tag, channels] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(8000u32.to_le_bytes());
    bytes.extend((8000 * u32::from(each)).to_le_bytes());
    for word in [each, bits] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn wav_samples_of_every_width_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    let samples = |bytes: Vec<u8>| {
        std::fs::write(&path, bytes).unwrap();
        wav::read(&path).unwrap().samples().to_vec()
    };
    // 8 bits have no sign: 128 is silence.
    assert_eq!(
        samples(wav_bytes(1, 8, 1, &[0, 64, 128, 192])),
        [-1.0, -0.5, 0.0, 0.5]
    );
    assert_eq!(
        samples(wav_bytes(1, 16, 2, &[0, 0x80, 0, 0x40])),
        [-1.0, 0.5]
    );
    assert_eq!(
        samples(wav_bytes(1, 24, 1, &[0, 0, 0x80, 0, 0, 0x20])),
        [-1.0, 0.25]
    );
    assert_eq!(
        samples(wav_bytes(1, 32, 1, &[0, 0, 0, 0x80, 0, 0, 0, 0x10])),
        [-1.0, 0.125]
    );
    assert_eq!(samples(wav_bytes(3, 32, 1, &0.75f32.to_le_bytes())), [0.75]);
}

#[test]
fn sounds_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    let hint = "; a whole WAV file of 8 to 32-bit integers or 32-bit floats is expected; convert \
                it with `ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav`";
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let told = message(wav::read(&path));
        let told = told.strip_prefix(&format!("{}: ", path.display()));
        let told = told.expect("the path").strip_suffix(hint);
        told.expect("the hint").to_owned()
    };
    assert_eq!(refused(b""), "it ends too early");
    assert!(
        refused(b"OggS and more of it, so that there is a head of a file")
            .starts_with("this is no WAV file that is read: ")
    );
    let whole = wav_bytes(1, 16, 1, &[1; 20]);
    assert_eq!(
        refused(&whole[..whole.len() - 5]),
        "it ends too early, after 7 of 10 samples"
    );
    assert_eq!(refused(&whole[..30]), "it ends too early");
    let nan = wav_bytes(3, 32, 1, &f32::NAN.to_le_bytes());
    assert_eq!(
        refused(&nan),
        "input `sound`: NaN at sample 0; expected finite numbers"
    );
    assert!(refused(&wav_bytes(2, 16, 1, &[0; 8])).starts_with("this is no WAV file that is read"));
    let missing = folder.path().join("none").join("sound.wav");
    assert!(message(wav::read(&missing)).starts_with("cannot read "));
    let told = message(wav::write(&missing, &sound(1), SampleKind::Float32));
    assert!(told.starts_with("cannot create a file in "), "{told}");
    // A head that promises 2 GiB of samples.
    let mut vast = wav_bytes(1, 8, 1, &[0; 8]);
    vast[40..44].copy_from_slice(&0x7fff_0000u32.to_le_bytes());
    std::fs::write(&path, vast).unwrap();
    let told = message(wav::read(&path));
    assert!(
        told.ends_with("needs 2147418112 samples, the limit is 268435456 samples; cut the sound"),
        "{told}"
    );
    for (rate, channels, samples) in [(0, 1, 4), (8000, 0, 4), (8000, 3, 4)] {
        assert_eq!(
            message(Sound::new(rate, channels, vec![0.0; samples])),
            format!(
                "input `sound`: {samples} samples of {channels} channels at {rate} a second; \
                 expected a rate, at least one channel, and as many samples in each"
            )
        );
    }
    let wide = Sound::new(8000, 70000, vec![0.0; 70000]).unwrap();
    assert!(
        message(wav::write(&path, &wide, SampleKind::Integer16)).starts_with("a WAV file needs")
    );
}

#[test]
fn gif_files_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moving.gif");
    let times = [40, 100, 250].map(Duration::from_millis);
    let frames = || (0..3).map(|i| Ok((squares(20, 14, i), times[i])));
    assert_eq!(gif::write(&path, frames()).unwrap(), 3);
    let found: Vec<_> = gif::Reader::open(&path)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let wanted: Vec<_> = frames().map(Result::unwrap).collect();
    assert_eq!(found, wanted);

    let before = std::fs::read(&path).unwrap();
    let time = times[0];
    let other = [Ok((squares(4, 4, 0), time)), Ok((squares(4, 5, 0), time))];
    assert_eq!(
        message(gif::write(&path, other)),
        "input `frame 1`: 4×5 pixels; expected frames of one size, the first one's 4×4, and sides \
         of at most 65535"
    );
    let wide = Frame::new(65536, 1, vec![0; 65536 * 3]).unwrap();
    assert!(message(gif::write(&path, [Ok((wide, time))])).contains("sides of at most 65535"));
    assert_eq!(
        message(gif::write(&path, [])),
        "input `frames`: there are none; expected at least one"
    );
    let failing = [
        Ok((squares(4, 4, 0), time)),
        Err(Error::input("a", "b", "c")),
    ];
    assert_eq!(
        message(gif::write(&path, failing)),
        "input `a`: b; expected c"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("none").join("moving.gif");
    assert!(message(gif::write(&nowhere, frames())).starts_with("cannot create a file in "));
}

/// A GIF by hand: blocks of a 2×1 canvas of black and white, the second frame one pixel on the
/// right, the rest of it transparent.
fn small_gif(frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend([2, 0, 1, 0, 0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    for frame in frames {
        bytes.extend(*frame);
    }
    bytes.push(0x3b);
    bytes
}

/// Both pixels white.
const WHITE: &[u8] = &[0x2c, 0, 0, 0, 0, 2, 0, 1, 0, 0, 2, 2, 0x4c, 0x0a, 0];
/// For a fifth of a second, the right pixel alone, black.
const RIGHT: &[u8] = &[
    0x21, 0xf9, 4, 4, 20, 0, 0, 0, 0x2c, 1, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0,
];

#[test]
fn gif_frames_are_composed_on_the_canvas() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moving.gif");
    std::fs::write(&path, small_gif(&[WHITE, RIGHT])).unwrap();
    let found: Vec<_> = gif::Reader::open(&path)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let seen: Vec<_> = found
        .iter()
        .map(|(f, t)| (f.rgb().to_vec(), t.as_millis()))
        .collect();
    assert_eq!(
        seen,
        [(vec![255; 6], 0), (vec![255, 255, 255, 0, 0, 0], 200)]
    );
}

#[test]
fn gif_files_that_are_damaged_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moving.gif");
    let hint = "a whole GIF file is expected; was it copied or downloaded completely?";
    let read = |bytes: &[u8]| -> Result<usize> {
        std::fs::write(&path, bytes).unwrap();
        Ok(gif::Reader::open(&path)?.collect::<Result<Vec<_>>>()?.len())
    };
    let whole = small_gif(&[WHITE, RIGHT]);
    assert_eq!(read(&whole).unwrap(), 2);
    for length in [0, 5, 12, 25] {
        let told = message(read(&whole[..length]));
        assert!(told.ends_with(hint), "{length}: {told}");
    }
    let told = message(read(&whole[..whole.len() - 6]));
    assert!(told.contains(": frame 1: "), "{told}");
    // Nothing but a comment.
    let told = message(read(&small_gif(&[&[0x21, 0xfe, 1, b'a', 0]])));
    assert!(told.contains(": it has no frame; "), "{told}");
    let mut vast = whole.clone();
    vast[6..10].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    assert!(message(read(&vast)).contains("it is larger than 16384 pixels a side"));
    vast[6..10].copy_from_slice(&[0, 0x40, 0, 0x40]);
    assert!(
        message(read(&vast)).contains("its 16384×16384 pixels need 3072 MiB, where 1024 MiB are")
    );
    assert!(
        message(gif::Reader::open(folder.path().join("no.gif")).map(|_| ()))
            .starts_with("cannot read ")
    );
}

fn folder_of(names: &[(&str, Frame)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, frame) in names {
        picture::write_png(folder.path().join(name), frame).unwrap();
    }
    folder
}

fn open(path: &Path) -> Result<(Option<usize>, Vec<perceiver::tasks::NamedFrame>)> {
    let frames = Frames::open(path)?;
    Ok((frames.length(), frames.collect::<Result<_>>()?))
}

#[test]
fn sequences_are_opened_by_their_content() {
    // The content tells the format of pictures, too.
    let folder = folder_of(&[
        ("f10.png", waves(8, 6, 10)),
        ("f9.PNG", waves(8, 6, 9)),
        ("f1.jpg", waves(8, 6, 1)),
        ("f2.webp", waves(8, 6, 2)),
    ]);
    std::fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
    let (length, found) = open(folder.path()).unwrap();
    assert_eq!(length, Some(4));
    let names: Vec<&str> = found.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["f1.jpg", "f2.webp", "f9.PNG", "f10.png"]);
    assert_eq!(found[2].frame, waves(8, 6, 9));
    assert_eq!(found[0].time, None);

    let path: PathBuf = folder.path().join("notes.txt");
    y4m::write(&path, Some((20, 1)), (0..3).map(|i| Ok(waves(8, 6, i)))).unwrap();
    let (length, found) = open(&path).unwrap();
    assert_eq!((length, found.len()), (Some(3), 3));
    assert_eq!(found[1].name, "frame 1");
    assert_eq!(found[1].time, Some(Duration::from_millis(50)));
    assert_eq!(Frames::open(&path).unwrap().rate(), Some((20, 1)));

    let time = Duration::from_millis(30);
    gif::write(&path, (0..2).map(|i| Ok((squares(8, 6, i), time)))).unwrap();
    let (length, found) = open(&path).unwrap();
    assert_eq!((length, found.len()), (None, 2));
    assert_eq!(
        (found[1].frame.clone(), found[1].time),
        (squares(8, 6, 1), Some(time))
    );
}

#[test]
fn sequences_that_make_no_sense_are_refused() {
    let folder = folder_of(&[
        ("f1.png", waves(8, 6, 0)),
        ("f2.png", waves(8, 6, 0)),
        ("f10.png", waves(8, 7, 0)),
    ]);
    let mut frames = Frames::open(folder.path()).unwrap();
    assert!(frames.next().unwrap().is_ok() && frames.next().unwrap().is_ok());
    assert_eq!(
        message(frames.next().unwrap()),
        "input `f10.png`: 8×7 pixels; expected 8×6, as the first frame has"
    );
    assert!(frames.next().is_none());
    std::fs::write(folder.path().join("f2.png"), b"broken").unwrap();
    let told = message(open(folder.path()));
    assert!(
        told.contains("f2.png: this is neither PNG nor JPEG nor WebP"),
        "{told}"
    );

    let empty = tempfile::tempdir().unwrap();
    assert_eq!(
        message(open(empty.path())),
        format!(
            "{}: there are no pictures in this folder; pictures end in .png, .jpg, .jpeg, .webp",
            empty.path().display()
        )
    );
    let other = empty.path().join("clip.mp4");
    assert!(message(open(&other)).starts_with("cannot read "));
    std::fs::write(&other, b"\0\0\0\x20ftypisom").unwrap();
    assert_eq!(
        message(open(&other)),
        format!(
            "{}: this is no sequence of frames; give a folder of PNG, JPEG or WebP pictures, a \
             YUV4MPEG2 (.y4m) file, or a GIF",
            other.display()
        )
    );
}

proptest! {
    #[test]
    fn natural_order_is_an_order(mut names in proptest::collection::vec("[a0-2.]{0,5}", 3)) {
        names.sort_by(|a, b| natural(a, b));
        for pair in names.windows(2) {
            prop_assert_eq!(natural(&pair[0], &pair[1]), natural(&pair[1], &pair[0]).reverse());
        }
        prop_assert_ne!(natural(&names[0], &names[2]), std::cmp::Ordering::Greater);
    }

    #[test]
    fn damaged_media_never_panic(
        kind in 0..3usize,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        length in any::<proptest::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = match kind {
            0 => stream(header(9, 5, Chroma::C420Jpeg, Range::Limited), &[waves(9, 5, 0), waves(9, 5, 3)]),
            1 => small_gif(&[WHITE, RIGHT]),
            _ => wav_bytes(1, 24, 2, &[7; 60]),
        };
        // Mostly the head, where damage does most.
        for (place, value) in changes {
            let place = place.index(bytes.len().min(60));
            bytes[place] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("media");
        std::fs::write(&path, bytes).unwrap();
        // Read or refused; either is right.
        match kind {
            2 => drop(wav::read(&path)),
            _ => drop(open(&path)),
        }
    }
}
