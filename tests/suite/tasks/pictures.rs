//! Reading and writing pictures.

use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat};
use perceiver::media::{Frame, picture};
use proptest::prelude::*;

use super::message;

fn frame() -> Frame {
    Frame::from_fn(40, 30, |x, y| [(x * 6) as u8, (y * 8) as u8, (x * y % 256) as u8]).unwrap()
}

fn save(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg() -> Vec<u8> {
    let rgb = image::RgbImage::from_raw(40, 30, frame().rgb().to_vec()).unwrap();
    encoded(&DynamicImage::ImageRgb8(rgb), ImageFormat::Jpeg)
}

#[test]
fn png_files_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    picture::write_png(&path, &frame()).unwrap();
    assert_eq!(picture::read(&path).unwrap(), frame());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let missing = folder.path().join("missing").join("frame.png");
    assert!(
        message(picture::write_png(&missing, &frame())).starts_with("cannot create a file in ")
    );
    let read = message(picture::read(&missing));
    assert!(read.starts_with(&format!("cannot read {}: ", missing.display())), "{read}");
}

#[test]
fn the_content_tells_the_format_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let found = picture::read(save(folder.path(), "frame.png", &jpeg())).unwrap();
    let wanted = frame();
    assert_eq!((found.width(), found.height()), (40, 30));
    let differences = found.rgb().iter().zip(wanted.rgb()).map(|(a, b)| u64::from(a.abs_diff(*b)));
    assert!(differences.sum::<u64>() < 3 * 40 * 30 * 12, "JPEG keeps about the colours");
}

#[test]
fn other_depths_become_eight_bit_rgb() {
    let folder = tempfile::tempdir().unwrap();
    let read = |picture: DynamicImage| {
        let bytes = encoded(&picture, ImageFormat::Png);
        picture::read(save(folder.path(), "p.png", &bytes)).unwrap().rgb().to_vec()
    };
    let grey = image::GrayImage::from_raw(2, 1, vec![7, 250]).unwrap();
    assert_eq!(read(DynamicImage::ImageLuma8(grey)), [7, 7, 7, 250, 250, 250]);
    let deep = image::ImageBuffer::from_raw(2, 1, vec![0u16, 257, 65535, 32896, 128, 129]).unwrap();
    assert_eq!(read(DynamicImage::ImageRgb16(deep)), [0, 1, 255, 128, 0, 1]);
    // What is invisible keeps its colour.
    let clear = image::RgbaImage::from_raw(2, 1, vec![9, 8, 7, 0, 1, 2, 3, 128]).unwrap();
    assert_eq!(read(DynamicImage::ImageRgba8(clear)), [9, 8, 7, 1, 2, 3]);
}

#[test]
fn webp_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let rgb = image::RgbImage::from_raw(40, 30, frame().rgb().to_vec()).unwrap();
    let bytes = encoded(&DynamicImage::ImageRgb8(rgb), ImageFormat::WebP);
    // What is written is lossless.
    let path = save(folder.path(), "frame.webp", &bytes);
    assert_eq!(picture::read(path).unwrap(), frame());
    for length in (16..bytes.len() - 8).step_by(7) {
        let path = save(folder.path(), "part.webp", &bytes[..length]);
        let told = message(picture::read(&path));
        assert!(told.contains("was it copied or downloaded completely?"), "{told}");
    }
}

#[test]
fn truncated_pictures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frame.png");
    picture::write_png(&path, &frame()).unwrap();
    let png = std::fs::read(&path).unwrap();
    let jpeg = jpeg();
    let hint = "; was it copied or downloaded completely? Save it again as PNG";
    for whole in [&png, &jpeg] {
        for length in (16..whole.len() - 1).step_by(7) {
            let path = save(folder.path(), "part", &whole[..length]);
            let told = message(picture::read(&path));
            assert!(told.starts_with(&path.display().to_string()), "{length}: {told}");
            assert!(told.ends_with(hint), "{length}: {told}");
        }
    }
    let path = save(folder.path(), "part", &jpeg[..jpeg.len() - 2]);
    let told = message(picture::read(&path));
    assert_eq!(told, format!("{}: the JPEG data end too early{hint}", path.display()));
    // Bytes after the end do no harm.
    let path = save(folder.path(), "more", &[&jpeg[..], b"more"].concat());
    assert!(picture::read(path).is_ok());
}

#[test]
fn other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "empty.png", b"");
    assert_eq!(
        message(picture::read(&path)),
        format!("{}: the file is empty; use a PNG, JPEG or WebP file", path.display())
    );
    for content in [&b"GIF89a and so on"[..], b"hello", &[0xff]] {
        let path = save(folder.path(), "other.png", content);
        assert_eq!(
            message(picture::read(&path)),
            format!(
                "{}: this is neither PNG nor JPEG nor WebP; use a PNG, JPEG or WebP file",
                path.display()
            )
        );
    }
}

#[test]
fn pictures_that_are_too_large_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wide = image::GrayImage::new(picture::MAX_SIDE + 1, 1);
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let bytes = encoded(&DynamicImage::ImageLuma8(wide.clone()), format);
        let path = save(folder.path(), "wide", &bytes);
        assert_eq!(
            message(picture::read(&path)),
            format!(
                "{}: it is larger than 16384 pixels a side or needs more than 1.0GiB; scale \
                 the picture down",
                path.display()
            )
        );
    }
}

proptest! {
    #[test]
    fn damaged_pictures_never_panic(
        use_jpeg in any::<bool>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frame");
        let mut bytes = jpeg();
        if !use_jpeg {
            picture::write_png(&path, &frame()).unwrap();
            bytes = std::fs::read(&path).unwrap();
        }
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        // Read or refused; either is right.
        let _ = picture::read(save(folder.path(), "frame", &bytes));
    }
}
