//! GIF, sequences of frames, and damaged media of every kind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::writers;
use perceiver::internals::media::gif;
use perceiver::internals::media::natural;
use perceiver::internals::media::{Chroma, Range};
use perceiver::media::{Frame, Frames, picture, wav};
use perceiver::{Error, Result};
use proptest::prelude::*;

use super::message;
use super::sound::wav_bytes;
use super::video::{header, waves};
use super::y4m_writer::stream;

/// Frames of few colours, which a GIF keeps.
fn squares(width: usize, height: usize, at: usize) -> Frame {
    Frame::from_fn(width, height, |x, y| [(x / 3 * 40) as u8, (y / 4 * 60) as u8, at as u8 * 50])
        .unwrap()
}

#[test]
fn gif_files_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moving.gif");
    let times = [40, 100, 250].map(Duration::from_millis);
    let frames = || (0..3).map(|i| Ok((squares(20, 14, i), times[i])));
    assert_eq!(writers::gif::write(&path, frames()).unwrap(), 3);
    let found: Vec<_> = gif::Reader::open(&path).unwrap().map(Result::unwrap).collect();
    let wanted: Vec<_> = frames().map(Result::unwrap).collect();
    assert_eq!(found, wanted);

    let before = std::fs::read(&path).unwrap();
    let time = times[0];
    let other = [Ok((squares(4, 4, 0), time)), Ok((squares(4, 5, 0), time))];
    assert_eq!(
        message(writers::gif::write(&path, other)),
        "input `frame 1`: 4×5 pixels; expected frames of one size, the first one's 4×4, and sides \
         of at most 65535"
    );
    let wide = Frame::new(65536, 1, vec![0; 65536 * 3]).unwrap();
    assert!(
        message(writers::gif::write(&path, [Ok((wide, time))])).contains("sides of at most 65535")
    );
    assert_eq!(
        message(writers::gif::write(&path, [])),
        "input `frames`: there are none; expected at least one"
    );
    let failing = [Ok((squares(4, 4, 0), time)), Err(Error::input("a", "b", "c"))];
    assert_eq!(message(writers::gif::write(&path, failing)), "input `a`: b; expected c");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("none").join("moving.gif");
    assert!(
        message(writers::gif::write(&nowhere, frames())).starts_with("cannot create a file in ")
    );
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
const RIGHT: &[u8] =
    &[0x21, 0xf9, 4, 4, 20, 0, 0, 0, 0x2c, 1, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0];

#[test]
fn gif_frames_are_composed_on_the_canvas() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moving.gif");
    std::fs::write(&path, small_gif(&[WHITE, RIGHT])).unwrap();
    let found: Vec<_> = gif::Reader::open(&path).unwrap().map(Result::unwrap).collect();
    let seen: Vec<_> = found.iter().map(|(f, t)| (f.rgb().to_vec(), t.as_millis())).collect();
    assert_eq!(seen, [(vec![255; 6], 0), (vec![255, 255, 255, 0, 0, 0], 200)]);
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
    assert!(message(read(&vast)).contains("its 16384×16384 pixels need 3.0GiB, where 1.0GiB are"));
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

fn open(path: &Path) -> Result<(Option<usize>, Vec<perceiver::media::NamedFrame>)> {
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
    writers::y4m::write(&path, Some((20, 1)), (0..3).map(|i| Ok(waves(8, 6, i)))).unwrap();
    let (length, found) = open(&path).unwrap();
    assert_eq!((length, found.len()), (Some(3), 3));
    assert_eq!(found[1].name, "frame 1");
    assert_eq!(found[1].time, Some(Duration::from_millis(50)));
    assert_eq!(Frames::open(&path).unwrap().rate(), Some((20, 1)));

    let time = Duration::from_millis(30);
    writers::gif::write(&path, (0..2).map(|i| Ok((squares(8, 6, i), time)))).unwrap();
    let (length, found) = open(&path).unwrap();
    assert_eq!((length, found.len()), (None, 2));
    assert_eq!((found[1].frame.clone(), found[1].time), (squares(8, 6, 1), Some(time)));
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
    assert!(told.contains("f2.png: this is neither PNG nor JPEG nor WebP"), "{told}");

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

#[test]
fn numbers_in_names_count_as_numbers() {
    let mut names = ["frame10.png", "frame2.png", "frame02.png", "a.png"];
    names.sort_by(|a, b| natural(a, b));
    assert_eq!(names, ["a.png", "frame02.png", "frame2.png", "frame10.png"]);
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
