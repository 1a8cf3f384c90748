//! `perceiver classify-text` and `classify-image`: what they print, and what they refuse.

use std::path::{Path, PathBuf};

use perceiver::NamedTensors;
use perceiver::checkpoint::{read_tensors, write_tensors};
use perceiver::internals::media::gif;
use perceiver::media::{Frame, picture};
use perceiver_cli::writers;
use serde_json::{Value, json};

use super::{case, json as document, perceiver, refusal, string, succeeded, text};

/// Logits that Hugging Face's class gave in float64, by item.
fn recorded(case: &str) -> Vec<Vec<f32>> {
    let outputs = read_tensors(format!("{case}/outputs.safetensors")).expect("recorded");
    let logits = &outputs["logits"];
    let values = logits.as_f32().expect("floats");
    values.chunks_exact(logits.shape()[1]).map(<[f32]>::to_vec).collect()
}

/// The classes that a JSON report names are the best of `logits`, with their softmax.
fn same_classes(found: &Value, logits: &[f32], top: usize) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    let found = found["classes"].as_array().expect("classes");
    assert_eq!(found.len(), top);
    for (class, &index) in found.iter().zip(&order) {
        assert_eq!(class["index"], index, "{found:?}, {logits:?}");
        assert_eq!(class["label"], format!("LABEL_{index}"));
        let wanted = f64::from(logits[index]);
        let logit = class["logit"].as_f64().expect("a number");
        assert!((logit - wanted).abs() < 1e-4, "{logit}, {wanted}");
        let probability = class["probability"].as_f64().expect("a number");
        assert!((probability - wanted.exp() / sum).abs() < 1e-5);
    }
}

/// A copy of a recorded checkpoint whose JSON files are changed.
fn copy(from: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let from = Path::new(from);
    let to = |name: &str| folder.path().join(name);
    std::fs::copy(from.join("model.safetensors"), to("model.safetensors")).expect("copied");
    let config = std::fs::read(from.join("config.json")).expect("a configuration");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    change(&mut config);
    std::fs::write(to("config.json"), config.to_string()).expect("written");
    folder
}

/// As [`copy`], with the settings that prepared the recorded pixels.
fn with_processor(from: &str) -> tempfile::TempDir {
    let folder = copy(from, |_| {});
    let meta = std::fs::read(Path::new(from).join("meta.json")).expect("recorded");
    let meta: Value = serde_json::from_slice(&meta).expect("JSON");
    let side = |i: usize| meta["data"]["size"][i].as_u64().expect("a number");
    let sides = |f: &dyn Fn(u64) -> u64| json!({ "height": f(side(0)), "width": f(side(1)) });
    let settings = json!({
        "image_processor_type": "PerceiverImageProcessor",
        "size": sides(&|n| n),
        "crop_size": sides(&|n| (n * 8).div_ceil(7)),
    });
    let path = folder.path().join("preprocessor_config.json");
    std::fs::write(path, settings.to_string()).expect("written");
    folder
}

fn raw(case: &str) -> Vec<(String, perceiver::Tensor)> {
    let inputs = read_tensors(format!("{case}/inputs.safetensors")).expect("recorded");
    let named = inputs.into_iter().filter(|(n, _)| n.starts_with("raw."));
    named.collect()
}

/// The recorded pictures as PNG files.
fn pictures(case: &str, folder: &Path) -> Vec<PathBuf> {
    let each = raw(case).into_iter().map(|(name, t)| {
        let path = folder.join(format!("{name}.png"));
        let bytes = t.as_u8().expect("bytes").to_vec();
        let frame = Frame::new(t.shape()[1], t.shape()[0], bytes).expect("a frame");
        picture::write_png(&path, &frame).expect("written");
        path
    });
    each.collect()
}

const IMAGES: [&str; 3] = ["img-learned-v2-s0", "img-fourier-v2-s0", "img-conv-v4-s0"];

#[test]
fn pictures_have_the_classes_of_hugging_face() {
    for name in IMAGES {
        let case = case(name);
        let model = with_processor(&case);
        let place = tempfile::tempdir().expect("a folder");
        let files = pictures(&case, place.path());
        let mut arguments = vec!["classify-image", "--model", string(model.path())];
        arguments.extend(files.iter().map(|f| string(f)));
        arguments.extend(["--device", "cpu", "--top", "4", "--batch", "2"]);
        let report = document(&[&arguments[..], &["--json"]].concat());
        let found = report.as_array().expect("a list");
        let logits = recorded(&case);
        assert_eq!(found.len(), logits.len());
        for ((found, logits), file) in found.iter().zip(&logits).zip(&files) {
            assert_eq!(found["file"], string(file));
            same_classes(found, logits, 4);
        }
        // As lines, and as a table, and of the folder at once.
        let lines = succeeded(&[&arguments[..], &["--csv"]].concat());
        let best = found[0]["classes"][0]["label"].as_str().expect("a label");
        assert!(lines.starts_with("file,rank,class,label,logit,probability\n"));
        assert_eq!(lines.lines().count(), 1 + 4 * files.len());
        assert!(lines.lines().nth(1).expect("a line").contains(best));
        let arguments = ["--model", string(model.path()), string(place.path())];
        let table = succeeded(&[&["classify-image", "--device", "cpu"], &arguments[..]].concat());
        assert!(table.contains(best) && table.contains(" %"), "{table}");
    }
}

/// `perceiver run` on raw pictures gives what Hugging Face's processor and class give.
#[test]
fn run_prepares_raw_pictures() {
    for name in IMAGES {
        let case = case(name);
        let model = with_processor(&case);
        let place = tempfile::tempdir().expect("a folder");
        let (inputs, outputs) = (place.path().join("in"), place.path().join("out"));
        let tensors: NamedTensors = raw(&case).into_iter().collect();
        write_tensors(&inputs, &tensors).expect("written");
        let run = |model: &str| {
            let files = ["--inputs", string(&inputs), "--outputs", string(&outputs)];
            succeeded(&[&["run", "--device", "cpu", "--model", model], &files[..]].concat());
            let found = read_tensors(&outputs).expect("outputs");
            let found = found["logits"].as_f32().expect("floats").to_vec();
            let wanted = recorded(&case).concat();
            let pairs = || found.iter().zip(&wanted).map(|(&f, &w)| (f64::from(f), f64::from(w)));
            let off: f64 = pairs().map(|(f, w)| (f - w).powi(2)).sum();
            let norm: f64 = pairs().map(|(_, w)| w * w).sum();
            (off / norm).sqrt()
        };
        let error = run(string(model.path()));
        assert!(error < 1e-5, "{name}: {error}");
        // The size of learned positions is in the configuration: no other file is needed.
        if name.starts_with("img-learned") {
            assert!(run(&case) < 1e-5, "{name}");
        }
    }
    let place = tempfile::tempdir().expect("a folder");
    let (inputs, outputs) = (place.path().join("in"), place.path().join("out"));
    let wrong = perceiver::Tensor::f32(vec![1], vec![0.0]).expect("a tensor");
    write_tensors(&inputs, &[("raw.image.0".to_owned(), wrong)].into()).expect("written");
    let model = case(IMAGES[1]);
    let files = ["--inputs", string(&inputs), "--outputs", string(&outputs)];
    let message = refusal(&[&["run", "--model", &model], &files[..]].concat());
    assert!(
        message.contains(
            "`raw.image.0`: has shape [1] or another type; expected u8 [height, width, 3]"
        ),
        "{message}"
    );
}

#[test]
fn a_bad_picture_does_not_stop_the_others() {
    let case = case("img-fourier-v2-s0");
    let model = with_processor(&case);
    let place = tempfile::tempdir().expect("a folder");
    let good = pictures(&case, place.path());
    let whole = std::fs::read(&good[0]).expect("read");
    let at = |name: &str| place.path().join(name);
    std::fs::write(at("cut.png"), &whole[..whole.len() / 2]).expect("written");
    let dot = Frame::new(1, 1, vec![0; 3]).expect("a frame");
    picture::write_png(at("dot.png"), &dot).expect("written");
    std::fs::write(at("words.txt"), "no picture").expect("written");
    let files = [
        at("cut.png"),
        good[0].clone(),
        at("none.png"),
        at("words.txt"),
        at("dot.png"),
        good[1].clone(),
    ];
    let mut arguments = vec!["classify-image", "--model", string(model.path())];
    arguments.extend(["--device", "cpu", "--json", "--top", "1", "--batch", "3"]);
    arguments.extend(files.iter().map(|f| string(f)));
    let output = perceiver(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let logits = recorded(&case);
    same_classes(&report[1], &logits[0], 1);
    same_classes(&report[5], &logits[1], 1);
    let said = text(&output.stderr);
    for (index, wanted) in [
        (0, "Save it again as PNG"),
        (2, "cannot read "),
        (
            3,
            "words.txt: this is neither PNG nor JPEG nor WebP nor GIF; use a PNG, JPEG, WebP or GIF",
        ),
        (4, "dot.png`: 1×1 pixels, of which the crop leaves 0×0; expected a larger picture"),
    ] {
        let message = report[index]["error"].as_str().expect("an error");
        assert!(message.contains(wanted), "{message}");
        assert!(said.contains(message), "{said}");
    }
    assert!(said.contains("4 of 6 could not be classified"), "{said}");
    // As lines, the good ones are there too.
    arguments.retain(|a| *a != "--json");
    arguments.push("--csv");
    let output = perceiver(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().count(), 3);
}

#[test]
fn of_an_animation_the_first_frame_counts() {
    let model = with_processor(&case("img-fourier-v2-s0"));
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("moving.gif");
    let frame = |c: u8| Frame::from_fn(40, 30, move |x, _| [c, (x * 6) as u8, 0]).expect("a frame");
    let time = std::time::Duration::from_millis(100);
    writers::gif::write(&path, [200, 10].map(|c| Ok((frame(c), time)))).expect("written");
    let still = place.path().join("still.png");
    picture::write_png(&still, &picture::read_as_pillow(&path).expect("a picture"))
        .expect("written");
    let mut frames = gif::Reader::open(&path).expect("open");
    let first = frames.next().expect("a frame").expect("a frame").0;
    assert_eq!(picture::read(&still).expect("a picture"), first);
    let files = [string(&path), string(&still)];
    let arguments = ["classify-image", "--json", "--device", "cpu", "--model"];
    let report = document(&[&arguments[..], &[string(model.path())], &files].concat());
    assert_eq!(report[0]["classes"], report[1]["classes"]);
    let whole = std::fs::read(&path).expect("read");
    std::fs::write(&path, &whole[..200]).expect("written");
    assert!(picture::read_as_pillow(&path).is_err());
}

#[test]
fn texts_have_the_classes_of_hugging_face() {
    let case = case("seqcls-v2-s0");
    let texts: Vec<String> = raw(&case)
        .into_iter()
        .map(|(_, t)| String::from_utf8(t.as_u8().expect("bytes").to_vec()).expect("UTF-8"))
        .collect();
    let logits = recorded(&case).concat();
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("text");
    std::fs::write(&file, &texts[2]).expect("written");
    let arguments = ["classify-text", "--device", "cpu", "--model", &case];
    let given = [&texts[0], &texts[1], "--file", string(&file)];
    let report = document(&[&arguments[..], &given, &["--json"]].concat());
    for ((found, text), &logit) in
        report.as_array().expect("a list").iter().zip(&texts).zip(&logits)
    {
        assert_eq!(found["text"], **text);
        let class = &found["classes"][0];
        assert_eq!(class["label"], "LABEL_0");
        let score = class["logit"].as_f64().expect("a number");
        assert!((score - f64::from(logit)).abs() < 1e-4, "{score}, {logit}");
        // Of one class alone the probability is logistic, as in Hugging Face's pipeline.
        let wanted = 1.0 / (1.0 + (-f64::from(logit)).exp());
        let probability = class["probability"].as_f64().expect("a number");
        assert!((probability - wanted).abs() < 1e-5);
    }
    assert!(succeeded(&[&arguments[..], &given].concat()).contains("LABEL_0"));

    let message = refusal(&[&arguments[..], &[&texts[0], "twenty bytes of text"]].concat());
    assert!(
        message.contains("`texts[1]`: 22 tokens (one for each byte")
            && message
                .contains("expected at most 21, that is 19 bytes of text: shorten or split it"),
        "{message}"
    );
    // A model of a quantity gives the quantity.
    let model = copy(&case, |c| c["problem_type"] = json!("regression"));
    let arguments = ["classify-text", "--device", "cpu", "--json", &texts[0], "--model"];
    let report = document(&[&arguments[..], &[string(model.path())]].concat());
    assert!(report[0]["classes"][0]["probability"].is_null());
    let said = succeeded(&["classify-text", &texts[0], "--model", string(model.path())]);
    assert!(said.contains("score "), "{said}");
}

#[test]
fn models_that_do_not_fit_are_refused() {
    let (images, texts) = (case("img-learned-v2-s0"), case("seqcls-v2-s0"));
    let place = tempfile::tempdir().expect("a folder");
    let files = pictures(&images, place.path());
    let file = string(&files[0]);
    let image = |model: &str, more: &[&str]| {
        refusal(&[&["classify-image", "--model", model, file], more].concat())
    };
    let said = |message: String, wanted: &str| assert!(message.contains(wanted), "{message}");
    said(
        image(&texts, &[]),
        "PerceiverForSequenceClassification cannot be used for classifying pictures",
    );
    said(
        refusal(&["classify-text", "--model", &images, "a"]),
        "PerceiverForImageClassificationLearned cannot be used for classifying texts; expected a \
         checkpoint of PerceiverForSequenceClassification",
    );
    said(image(&images, &["--batch", "0"]), "input `batch`: 0; expected at least 1");
    let empty = tempfile::tempdir().expect("a folder");
    said(
        refusal(&["classify-image", "--model", &images, string(empty.path())]),
        "there are no pictures in this folder; pictures end in .png, .jpg, .jpeg, .webp, .gif",
    );
    let settings = place.path().join("settings.json");
    std::fs::write(&settings, r#"{"size": 9}"#).expect("written");
    let with = ["--processor", string(&settings)];
    said(
        image(&images, &with),
        "preprocessor_config.json: `size` makes pictures of 9×9 pixels; the model takes 8×8 pixels, \
         for which its positions were learned",
    );
    let resized = ["classify-image", "--resize-positions", "--model", &images, file];
    assert!(succeeded(&[&resized[..], &with].concat()).contains("LABEL_"));
    std::fs::write(&settings, r#"{"do_resize": false}"#).expect("written");
    said(
        image(&images, &with),
        "pixels after preprocessing, which does not resize; expected 8×8 pixels",
    );
    said(
        image(&case("img-fourier-v2-s0"), &["--resize-positions"]),
        "PerceiverForImageClassificationFourier cannot be used for resizing positions",
    );

    for (key, value, wanted) in [
        ("architectures", json!(["PerceiverForVideo"]), "names \"PerceiverForVideo\"; supported: "),
        ("model_type", json!("vit"), "`model_type` is \"vit\"; only \"perceiver\" models run"),
        ("hidden_act", json!("relu"), "`hidden_act` is \"relu\"; \"gelu\", \"gelu_new\""),
        (
            "cross_attention_shape_for_attention",
            json!("v"),
            "is \"v\"; \"kv\" and \"q\" are possible",
        ),
        (
            "problem_type",
            json!("ranking"),
            "`problem_type` is \"ranking\"; \"regression\", \"single_",
        ),
        ("num_labels", json!(3), "`id2label` has 17 names; num_labels says another number"),
        (
            "id2label",
            json!({"0": "cat", "1": "dog"}),
            "(0 missing, 0 unexpected, 2 of another shape); is config.json the one",
        ),
    ] {
        let model = copy(&images, |config| config[key] = value);
        said(image(string(model.path()), &[]), wanted);
    }
}
