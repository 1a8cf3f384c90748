//! Flow as colours and `.flo` files: known values, round trips, damaged files.

use perceiver::Error;
use perceiver::internals::tasks::flow_file;
use perceiver::tasks::FlowField;
use proptest::prelude::*;

use super::message;

fn field() -> FlowField {
    let vectors = [
        [0.0, 0.0],
        [4.0, 0.0],
        [0.0, 4.0],
        [-4.0, 0.0],
        [0.0, -4.0],
        [3.0, 3.0],
        [-1.5, 2.0],
        [0.3, -0.7],
        [2.5, -3.25],
        [-2.0, -2.0],
        [1.0, 3.9],
        [-3.9, 0.001],
        [-3.9, -0.001],
        [0.01, 0.0],
        [5.0, 0.0],
        [-6.0, 7.0],
    ];
    FlowField::new(8, 2, vectors.to_vec()).unwrap()
}

/// Against the `flow_vis` package, version 0.1.
#[test]
fn colours_are_those_of_the_middlebury_wheel() {
    let to_longest: [[u8; 3]; 16] = [
        [255, 255, 255],
        [255, 144, 144],
        [255, 243, 144],
        [144, 235, 255],
        [182, 144, 255],
        [255, 190, 137],
        [208, 255, 185],
        [246, 233, 255],
        [229, 141, 255],
        [176, 192, 255],
        [255, 227, 143],
        [147, 235, 255],
        [147, 235, 255],
        [255, 254, 254],
        [255, 116, 116],
        [60, 255, 0],
    ];
    let to_four: [[u8; 3]; 16] = [
        [255, 255, 255],
        [255, 0, 0],
        [255, 229, 0],
        [0, 209, 255],
        [88, 0, 255],
        [191, 86, 0],
        [147, 255, 95],
        [236, 206, 255],
        [148, 0, 191],
        [74, 111, 255],
        [191, 144, 0],
        [6, 210, 255],
        [6, 210, 255],
        [255, 254, 254],
        [191, 0, 0],
        [45, 191, 0],
    ];
    for (longest, wanted) in [(None, to_longest), (Some(4.0), to_four)] {
        let picture = field().picture(longest).unwrap();
        assert_eq!((picture.width(), picture.height()), (8, 2));
        let found: Vec<&[u8]> = picture.rgb().chunks_exact(3).collect();
        assert_eq!(found, wanted, "{longest:?}");
    }
}

#[test]
fn unknown_vectors_are_black_and_no_motion_is_white() {
    let vectors = vec![[f32::NAN, 0.0], [0.0, f32::INFINITY], [1e10, 0.0], [0.0, 0.0], [1.0, 0.0]];
    let unknown = FlowField::new(5, 1, vectors).unwrap();
    let picture = unknown.picture(None).unwrap();
    assert_eq!(picture.rgb()[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255]);
    assert_eq!(picture.pixel(4, 0), Some([255, 0, 0]));
    let still = FlowField::new(1, 1, vec![[0.0; 2]]).unwrap();
    for longest in [None, Some(0.0), Some(-1.0), Some(f32::NAN)] {
        let picture = still.picture(longest).unwrap();
        assert_eq!(picture.rgb(), [255; 3], "{longest:?}");
    }
}

#[test]
fn flo_files_are_laid_out_as_middlebury_has_them() {
    let small = FlowField::new(1, 2, vec![[1.0, -2.0], [0.5, 0.0]]).unwrap();
    let bytes = flow_file::encode(&small);
    assert_eq!(bytes[..4], 202_021.25f32.to_le_bytes());
    assert_eq!(bytes[4..12], [1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(bytes[12..20], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    assert_eq!(bytes.len(), 28);
    assert_eq!(flow_file::decode(&bytes).unwrap(), small);
}

#[test]
fn flo_files_round_trip_and_replace_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flow.flo");
    std::fs::write(&path, "something else").unwrap();
    field().write(&path).unwrap();
    assert_eq!(FlowField::read(&path).unwrap(), field());
    // Nothing but the file is left.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        use std::path::Path;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        assert_eq!(mode(&path), mode(&plain));
    }
}

#[test]
fn damaged_flo_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flow.flo");
    let whole = flow_file::encode(&field());
    let with_size = |width: i32, height: i32| {
        let mut bytes = whole.clone();
        bytes[4..8].copy_from_slice(&width.to_le_bytes());
        bytes[8..12].copy_from_slice(&height.to_le_bytes());
        bytes
    };
    let most = i32::MAX;
    let cases = [
        (Vec::new(), "0 bytes are too few for the header of a .flo file".to_owned()),
        (whole[..11].to_vec(), "11 bytes are too few for the header of a .flo file".to_owned()),
        (whole[..100].to_vec(), "100 bytes are not right for 8×2 vectors".to_owned()),
        ([&whole[..], &[0]].concat(), "141 bytes are not right for 8×2 vectors".to_owned()),
        (b"PIEG and more bytes".to_vec(), "it does not begin as a .flo file does".to_owned()),
        (with_size(-8, 2), "its size is -8×2".to_owned()),
        (with_size(0, 16), "its size is 0×16".to_owned()),
        (with_size(most, most), format!("140 bytes are not right for {most}×{most} vectors")),
    ];
    for (bytes, what) in cases {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            message(FlowField::read(&path)),
            format!(
                "{}: {what}; a .flo file (Middlebury) is expected; was it copied or downloaded \
                 completely?",
                path.display()
            )
        );
        assert_eq!(
            message(flow_file::decode(&bytes)),
            format!("input `flow`: {what}; expected the bytes of one whole .flo file")
        );
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("flow.flo");
    let read = message(FlowField::read(&missing));
    assert!(read.starts_with(&format!("cannot read {}: ", missing.display())), "{read}");
    let write = message(field().write(&missing));
    let parent = missing.parent().unwrap();
    let wanted = format!("cannot create a file in {}: ", parent.display());
    assert!(write.starts_with(&wanted), "{write}");
    // The name is taken by a folder: nothing is left behind.
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    let write = message(field().write(&taken));
    assert!(write.starts_with(&format!("cannot create {}: ", taken.display())), "{write}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(FlowField::read(&taken), Err(Error::Io { .. } | Error::Media { .. })));
}

proptest! {
    #[test]
    fn any_field_round_trips(width in 1usize..9, height in 1usize..9, seed in any::<u32>()) {
        let vectors = (0..width * height)
            .map(|i| [i as f32 * 0.37 - seed as f32, f32::from_bits(seed >> 4)])
            .collect();
        let field = FlowField::new(width, height, vectors).unwrap();
        let again = flow_file::decode(&flow_file::encode(&field)).unwrap();
        prop_assert_eq!(again, field);
    }

    #[test]
    fn hostile_flo_bytes_are_refused_or_read(
        good_magic in any::<bool>(),
        mut bytes in proptest::collection::vec(any::<u8>(), 0..64),
        small in any::<bool>(),
    ) {
        if good_magic && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(b"PIEH");
        }
        if small && bytes.len() >= 12 {
            // Sides below four, so that some are right.
            for (i, byte) in bytes[4..12].iter_mut().enumerate() {
                *byte = if i % 4 == 0 { *byte % 4 } else { 0 };
            }
        }
        match flow_file::decode(&bytes) {
            Ok(field) => prop_assert_eq!(flow_file::encode(&field).len(), bytes.len()),
            Err(error) => prop_assert!(error.to_string().contains(".flo file")),
        }
    }

    #[test]
    fn any_vector_has_a_colour(x in any::<f32>(), y in any::<f32>(), longest in any::<f32>()) {
        let field = FlowField::new(1, 1, vec![[x, y]]).unwrap();
        prop_assert!(field.picture(Some(longest)).is_ok());
        prop_assert!(field.picture(None).is_ok());
    }
}
