//! `perceiver flow` of whole sequences.

use std::path::Path;

use perceiver::internals::media::gif;
use perceiver::media::{Frame, Frames, picture};
use perceiver::tasks::FlowField;
use perceiver_cli::scenes::Scene;
use perceiver_cli::writers;
use serde_json::Value;

use super::{json, refusal, string, succeeded, text, with_input};

/// Motion of a frame to the next, in pixels.
const MOTION: [f32; 2] = [1.0, -1.0];
/// Those that flow-tiny was trained on.
const SIZE: (usize, usize) = (128, 96);

/// A texture that moves by [`MOTION`] each frame.
fn frames(count: usize) -> Vec<Frame> {
    let texture = Scene::pair(7, SIZE.0 + 16, SIZE.1 + 16, 0.0, 0.0).expect("a scene");
    (0..count)
        .map(|t| {
            let part = texture.first.crop(8 - t, 8 + t, SIZE.0, SIZE.1);
            part.expect("inside")
        })
        .collect()
}

fn truth() -> FlowField {
    FlowField::new(SIZE.0, SIZE.1, vec![MOTION; SIZE.0 * SIZE.1]).expect("a field")
}

/// A folder with frames of unpadded numbers.
fn folder_of(frames: &[Frame]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (index, frame) in frames.iter().enumerate() {
        let path = folder.path().join(format!("frame{}.png", index + 8));
        picture::write_png(path, frame).expect("written");
    }
    folder
}

fn flow<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["flow", "--device", "cpu"], arguments].concat()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn video(path: &Path) -> Vec<Frame> {
    let frames = Frames::open(path).expect("a sequence");
    frames.map(|f| f.expect("a frame").frame).collect()
}

#[test]
fn flow_of_a_folder_is_the_known_motion() {
    let source = folder_of(&frames(4));
    let place = tempfile::tempdir().expect("a folder");
    let out = format!("{}/", place.path().join("flow").display());
    // frame8, frame9, frame10, frame11: in any other order the motion would not be the known one.
    let input = string(source.path());
    let report = json(&flow(&[input, "-o", &out, "--format", "flo", "--json"]));
    let files = ["000001.flo", "000002.flo", "000003.flo"];
    assert_eq!(names(Path::new(&out)), files);
    assert_eq!(names(place.path()), ["flow"]);
    for file in files {
        let field = FlowField::read(Path::new(&out).join(file)).expect("a flow");
        let error = field.end_point_error(&truth()).expect("same size");
        assert!(error < 0.3, "{file}: {error}");
    }
    let pairs = report["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 3);
    assert_eq!(pairs[1]["first"], "frame9.png");
    assert_eq!(pairs[1]["second"], "frame10.png");
    let mean = report["mean_length"].as_f64().expect("a number");
    assert!((mean - 2f64.sqrt()).abs() < 0.3, "{mean}");

    // Into a folder that is there: its other files stay.
    std::fs::write(Path::new(&out).join("notes"), "kept").expect("written");
    let said = succeeded(&flow(&[input, "-o", &out, "--style", "arrows", "--scale", "2"]));
    assert!(said.contains(": 3 pairs of 128×96 pixels, mean motion 1."), "{said}");
    assert_eq!(names(Path::new(&out)).len(), 7);
    let picture = picture::read(Path::new(&out).join("000003.png")).expect("a picture");
    assert_eq!((picture.width(), picture.height()), SIZE);
}

#[test]
fn flow_of_a_video_is_a_video() {
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| place.path().join(name);
    let clip = at("clip.y4m");
    writers::y4m::write(&clip, Some((12, 1)), frames(3).into_iter().map(Ok)).expect("written");
    let (wheel, moving, warp) = (at("wheel.y4m"), at("moving.gif"), at("warp.y4m"));
    succeeded(&flow(&[string(&clip), "-o", string(&wheel), "--scale", "3"]));
    assert_eq!(video(&wheel).len(), 2);
    assert_eq!(Frames::open(&wheel).expect("open").rate(), Some((12, 1)));

    // The same from standard input.
    let bytes = std::fs::read(&clip).expect("read");
    let piped = at("piped.y4m");
    let arguments = flow(&["-", "-o", string(&piped), "--scale", "3", "--json"]);
    let output = with_input(&arguments, &bytes);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["pairs"].as_array().map(Vec::len), Some(2));
    assert_eq!(std::fs::read(&piped).expect("read"), std::fs::read(&wheel).expect("read"));

    succeeded(&flow(&[string(&clip), "-o", string(&moving)]));
    let first = gif::Reader::open(&moving).expect("open").next().expect("a frame");
    // A twelfth of a second, in the hundredths that a GIF has.
    assert_eq!(first.expect("a frame").1.as_millis(), 80);
    // And from the GIF on.
    succeeded(&flow(&[string(&moving), "-o", string(&at("again.gif"))]));
    assert_eq!(video(&at("again.gif")).len(), 1);

    succeeded(&flow(&[string(&clip), "-o", string(&warp), "--style", "warp"]));
    let shown = &video(&warp)[0];
    assert_eq!((shown.width(), shown.height()), (3 * SIZE.0, SIZE.1));
    // Brought back, the second frame is closer to the first than it was.
    let frames = frames(2);
    let off = |a: &dyn Fn(usize, usize) -> [u8; 3]| -> u32 {
        let places = (4..SIZE.1 - 4).flat_map(|y| (4..SIZE.0 - 4).map(move |x| (x, y)));
        places
            .map(|(x, y)| {
                let b = frames[0].pixel(x, y).expect("a pixel");
                let pairs = a(x, y).into_iter().zip(b);
                pairs.map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>()
            })
            .sum()
    };
    let before = off(&|x, y| frames[1].pixel(x, y).expect("a pixel"));
    let after = off(&|x, y| shown.pixel(SIZE.0 + x, y).expect("a pixel"));
    assert!(2 * after < before, "{after}, {before}");
}

#[test]
fn two_pictures_are_drawn_in_every_style() {
    let source = folder_of(&frames(2));
    let at = |name: &str| source.path().join(name);
    let (a, b, out) = (at("frame8.png"), at("frame9.png"), at("out.png"));
    for (style, width) in [("wheel", 128), ("arrows", 128), ("warp", 384)] {
        succeeded(&flow(&[string(&a), string(&b), "-o", string(&out), "--style", style]));
        assert_eq!(picture::read(&out).expect("a picture").width(), width);
    }
    // Of two pictures a video, too, and a sequence of two makes one picture.
    let clip = at("clip.y4m");
    succeeded(&flow(&[string(&a), string(&b), "-o", string(&clip)]));
    assert_eq!(video(&clip).len(), 1);
    assert_eq!(Frames::open(&clip).expect("open").rate(), Some((25, 1)));
    writers::y4m::write(&clip, None, frames(2).into_iter().map(Ok)).expect("written");
    let one = at("one.flo");
    succeeded(&flow(&[string(&clip), "-o", string(&one)]));
    let error = FlowField::read(&one).expect("a flow").end_point_error(&truth());
    assert!(error.expect("same size") < 0.3);
}

#[test]
fn sequences_that_cannot_be_are_refused() {
    let source = folder_of(&frames(3));
    let input = string(source.path());
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| string(&place.path().join(name)).to_owned();
    let (video, folder, one) = (at("out.y4m"), format!("{}/", at("out")), at("out.png"));
    let refused = |arguments: &[&str], parts: &[&str]| {
        let message = refusal(&flow(arguments));
        for part in parts {
            assert!(message.contains(part), "{arguments:?}: {message}");
        }
        assert!(names(place.path()).is_empty(), "nothing is left: {message}");
    };
    refused(
        &[input, "-o", &one],
        &["is one file, but there are several pairs of frames; give a folder (DIR/), or a .y4m"],
    );
    refused(
        &[input, "-o", &at("out")],
        &["has no extension that says what to write", "in / for a folder"],
    );
    refused(
        &[input, "-o", &video, "--format", "flo"],
        &["input `format`: is given, but", "is no folder; expected a folder (DIR/)"],
    );
    refused(
        &[input, "-o", &folder, "--format", "flo", "--style", "arrows"],
        &["input `style`: is given for numbers (.flo)"],
    );
    refused(
        &[input, "-o", &at("out.flo"), "--scale", "2"],
        &["input `scale`: is given for numbers (.flo)"],
    );
    refused(
        &[input, "-o", &video, "--style", "warp", "--scale", "2"],
        &["input `scale`: is given for the style `warp`"],
    );
    for scale in ["0", "NaN"] {
        refused(
            &[input, "-o", &video, "--scale", scale],
            &[&format!("input `scale`: {scale}; expected a number of pixels above 0")],
        );
    }
    refused(&[input, "-o", &folder, "--overlap", "96"], &["input `overlap`: 96 pixels"]);
    refused(
        &[&format!("{input}/frame8.png"), "-o", &video],
        &["frame8.png: this is no sequence of frames; give a folder of PNG, JPEG or WebP"],
    );
    refused(&["no/such/place", "-o", &video], &["cannot read no/such/place"]);
    refused(
        &[input, "-o", &format!("{}/", at("none/out"))],
        &["cannot create a file in ", "none: "],
    );

    // An error in the middle leaves nothing behind, whatever is written.
    let other = Frame::from_fn(SIZE.0 + 1, SIZE.1, |_, _| [9; 3]).expect("a frame");
    picture::write_png(source.path().join("frame11.png"), &other).expect("written");
    for out in [&video, &folder, &at("out.gif")] {
        refused(
            &[input, "-o", out],
            &["input `frame11.png`: 129×96 pixels; expected 128×96, as the first frame has"],
        );
    }
    std::fs::write(source.path().join("frame10.png"), "broken").expect("written");
    refused(&[input, "-o", &folder], &["frame10.png: this is neither PNG nor JPEG nor WebP"]);
    let clip = source.path().join("clip.y4m");
    writers::y4m::write(&clip, None, frames(3).into_iter().map(Ok)).expect("written");
    let whole = std::fs::read(&clip).expect("read");
    std::fs::write(&clip, &whole[..whole.len() - 9]).expect("written");
    for out in [&video, &folder, &one] {
        refused(
            &[string(&clip), "-o", out],
            &["clip.y4m: frame 2 ends after 36855 of 36864 bytes; a whole YUV4MPEG2"],
        );
    }
    writers::y4m::write(&clip, None, frames(1).into_iter().map(Ok)).expect("written");
    for out in [&video, &folder, &one, &at("out.gif")] {
        refused(
            &[string(&clip), "-o", out],
            &["input `frames`: there are fewer than two; expected a sequence of at least two"],
        );
    }
    let output = with_input(&flow(&["-", "-o", &video]), b"no video\n");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("standard input: it does not begin as a YUV4MPEG2 stream does"),
        "{said}"
    );
}
