//! Pictures prepared for classifiers: the same bytes as Pillow's, the same values as Hugging Face's.

use std::path::PathBuf;

use perceiver::internals::media::resize;
use perceiver::media::Resampling;
use perceiver::media::{Frame, picture};
use perceiver::tasks::PerceiverImageProcessor;
use perceiver::{Error, NamedTensors};
use serde_json::Value;

use super::message;

/// What `tools/reference/images.py` wrote.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images")
}

/// Every recorded picture: name, frame, tensors.
fn pictures() -> Vec<(String, Frame, NamedTensors)> {
    let mut found: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "png"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let tensors = perceiver::checkpoint::read_tensors(path.with_extension("safetensors"));
            let frame = picture::read_as_pillow(&path).unwrap();
            (name, frame, tensors.unwrap())
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found.len(), 14);
    found
}

#[test]
fn every_kind_of_png_becomes_the_rgb_of_pillow() {
    for (name, frame, tensors) in pictures() {
        let wanted = &tensors["rgb"];
        assert_eq!(wanted.shape(), [frame.height(), frame.width(), 3], "{name}");
        assert_eq!(wanted.as_u8().unwrap(), frame.rgb(), "{name}");
    }
}

#[test]
fn resizing_gives_the_bytes_of_pillow() {
    let filters = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];
    let mut compared = 0;
    for (name, frame, tensors) in pictures() {
        for (case, wanted) in &tensors {
            let Some(case) = case.strip_prefix("resize.") else {
                continue;
            };
            let (filter, size) = case.split_once('.').unwrap();
            let number = filters.iter().position(|f| *f == filter).unwrap();
            let how = Resampling::from_number(number as u64).unwrap();
            assert_eq!(how, Resampling::ALL[number]);
            let (width, height) = size.split_once('x').unwrap();
            let (width, height) = (width.parse().unwrap(), height.parse().unwrap());
            let found = resize(&frame, width, height, how).unwrap();
            let off = found.rgb().iter().zip(wanted.as_u8().unwrap());
            let off = off.filter(|(a, b)| a != b).count();
            assert_eq!((found.rgb().len(), off), (width * height * 3, 0), "{name}: {case}");
            compared += 1;
        }
    }
    assert_eq!(compared, 6 * 11);
    assert_eq!(Resampling::from_number(6), None);
    let frame = Frame::new(1, 1, vec![0; 3]).unwrap();
    assert_eq!(
        message(resize(&frame, 0, 4, Resampling::Box)),
        "input `size`: 0×4 pixels; expected at least one pixel"
    );
    let huge = resize(&frame, usize::MAX / 8, 2, Resampling::Bicubic);
    assert!(matches!(huge, Err(Error::Limit { .. })));
}

#[test]
fn processors_give_the_values_of_hugging_face() {
    let text = std::fs::read_to_string(folder().join("processors.json")).unwrap();
    let processors: Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (name, frame, tensors) in pictures() {
        for (case, settings) in processors.as_object().unwrap() {
            let Some(wanted) = tensors.get(&format!("{case}.pixel_values")) else {
                assert_eq!(case, "default");
                continue;
            };
            let processor =
                PerceiverImageProcessor::from_json(&settings.to_string(), "a test").unwrap();
            let resized = processor.crop_and_resize(&frame).unwrap();
            let found = processor.process(&frame).unwrap();
            let [3, height, width] = *found.shape() else { panic!("{:?}", found.shape()) };
            let step = if case == "default" { 16 } else { 1 };
            let places = (0..3)
                .flat_map(|c| (0..height).step_by(step).map(move |y| (c, y)))
                .flat_map(|(c, y)| (0..width).step_by(step).map(move |x| (c, y, x)));
            let bytes = tensors[&format!("{case}.resized")].as_u8().unwrap();
            let (wanted, found) = (wanted.as_f32().unwrap(), found.as_f32().unwrap());
            let mut count = 0;
            for ((c, y, x), (&byte, &value)) in places.zip(bytes.iter().zip(wanted)) {
                assert_eq!(resized.pixel(x, y).unwrap()[c], byte, "{name}: {case}");
                let at = found[(c * height + y) * width + x];
                assert!((at - value).abs() <= 1e-6, "{name}: {case}: {at}, {value}");
                count += 1;
            }
            assert_eq!(count, wanted.len(), "{name}: {case}");
            compared += 1;
        }
    }
    assert_eq!(compared, 14 * 6 + 2);
}

#[test]
fn several_pictures_become_one_tensor() {
    let processor = PerceiverImageProcessor::from_json(r#"{"size": 5}"#, "a test").unwrap();
    let one = Frame::from_fn(300, 280, |x, y| [x as u8, y as u8, 9]).unwrap();
    let other = Frame::from_fn(290, 310, |x, y| [y as u8, x as u8, 8]).unwrap();
    let both = processor.pixel_values(&[&one, &other]).unwrap();
    assert_eq!(both.shape(), [2, 3, 5, 5]);
    let second = processor.process(&other).unwrap();
    assert_eq!(both.as_f32().unwrap()[75..], *second.as_f32().unwrap());
    assert_eq!(
        message(processor.pixel_values(&[])),
        "input `pictures`: there are none; expected at least one"
    );
    let loose = PerceiverImageProcessor::from_json(r#"{"do_resize": false}"#, "a test").unwrap();
    assert_eq!(
        message(loose.pixel_values(&[&other, &one])),
        "input `pictures[1]`: 245×245 pixels; expected 253×253, as the first one has"
    );
    let dot = Frame::new(1, 1, vec![0; 3]).unwrap();
    assert_eq!(
        message(PerceiverImageProcessor::default().process(&dot)),
        "input `picture`: 1×1 pixels, of which the crop leaves 0×0; expected a larger picture"
    );
    let text = r#"{"size": 16384, "crop_size": 1}"#;
    let vast = PerceiverImageProcessor::from_json(text, "a test").unwrap();
    assert_eq!(
        message(vast.process(&one)),
        "the crop needs 4587520×4587520 pixels, the limit is 268435456 pixels; lower `size` or \
         raise `crop_size` in preprocessor_config.json"
    );
}

#[test]
fn configurations_are_read_as_hugging_face_writes_them() {
    let published = r#"{
        "crop_size": 256, "do_center_crop": true, "do_normalize": true, "do_resize": true,
        "feature_extractor_type": "PerceiverFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
        "resample": 3, "size": 224
    }"#;
    let default = PerceiverImageProcessor::default();
    assert_eq!(PerceiverImageProcessor::from_json(published, "a test").unwrap(), default);
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &std::path::Path| PerceiverImageProcessor::read(path);
    assert_eq!(read(folder.path()).unwrap(), default);
    let path = folder.path().join("preprocessor_config.json");
    std::fs::write(&path, r#"{"resample": 2, "do_rescale": null}"#).unwrap();
    let found = read(folder.path()).unwrap();
    assert_eq!(found.resample, Resampling::Bilinear);
    assert!(!found.do_rescale);
    assert_eq!(read(path.as_path()).unwrap(), found);
    assert!(message(read(&folder.path().join("none.json"))).starts_with("cannot read "));
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert!(message(read(path.as_path())).contains("has more than 1048576 bytes; give the"));
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let sizes = "a number of pixels, [height, width] and {\"height\": .., \"width\": ..} are possible, \
                 with sides from 1 to 16384";
    let cases = [
        (r#"{"pad_to": 3}"#, "`pad_to` is unknown, and might change the result; remove it if it does not".to_owned()),
        (r#"{"image_processor_type": "ViTImageProcessor"}"#, "`image_processor_type` is \"ViTImageProcessor\"; the processor is PerceiverImageProcessor".to_owned()),
        (r#"{"data_format": "channels_last"}"#, "`data_format` is \"channels_last\"; the models take \"channels_first\"".to_owned()),
        (r#"{"do_resize": 1}"#, "`do_resize` is 1; true and false are possible".to_owned()),
        (r#"{"size": null}"#, "`size` is null; give a value, or leave the key out for Hugging Face's default".to_owned()),
        (r#"{"size": 0}"#, format!("`size` is 0; {sizes}")),
        (r#"{"size": 22.5}"#, format!("`size` is 22.5; {sizes}")),
        (r#"{"size": [9, 9, 9]}"#, format!("`size` is [9,9,9]; {sizes}")),
        (r#"{"crop_size": {"height": 9}}"#, format!("`crop_size` is {{\"height\":9}}; {sizes}")),
        (r#"{"crop_size": {"height": 9, "widht": 9}}"#, format!("`crop_size` is {{\"height\":9,\"widht\":9}}; {sizes}")),
        (r#"{"size": 16385}"#, format!("`size` is 16385; {sizes}")),
        (r#"{"size": 9, "default_to_square": false}"#, "`size` is 9 for the shorter edge (`default_to_square` is false); Perceiver's processor needs height and width".to_owned()),
        (r#"{"resample": 6}"#, "`resample` is 6; Pillow's filters are 0 (nearest), 1 (Lanczos), 2 (bilinear), 3 (bicubic), 4 (box) and 5 (Hamming)".to_owned()),
        (r#"{"rescale_factor": "1/255"}"#, "`rescale_factor` is \"1/255\"; give a 32-bit float".to_owned()),
        (r#"{"image_mean": [0.5]}"#, "`image_mean` has 1 numbers; one number, or one for each of three colours, is possible".to_owned()),
        (r#"{"image_std": [1, 1e-60, 1]}"#, "`image_std` is [1,1e-60,1]; values are divided by it: zero is impossible".to_owned()),
        (r#"{"image_std": 1e60}"#, "`image_std` is 1e60; give a 32-bit float".to_owned()),
    ];
    for (text, wanted) in cases {
        let found = message(PerceiverImageProcessor::from_json(text, "here"));
        // serde_json may write exponents with a sign.
        assert_eq!(found.replace("1e+60", "1e60"), format!("here: {wanted}"));
    }
    for (text, what) in [("[]", "is JSON but no object"), ("{", "is not JSON: EOF")] {
        let found = message(PerceiverImageProcessor::from_json(text, "here"));
        assert!(found.starts_with(&format!("here: {what}")), "{found}");
        assert!(found.ends_with("give the preprocessor_config.json of a Perceiver checkpoint"));
    }
}

#[test]
fn a_box_is_the_mean_of_what_it_covers() {
    let frame = Frame::new(2, 1, vec![0, 0, 0, 90, 60, 30]).unwrap();
    assert_eq!(resize(&frame, 1, 1, Resampling::Box).unwrap().rgb(), [45, 30, 15]);
}
