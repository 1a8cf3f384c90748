//! `perceiver shape`, and models with a Perceiver inside on the command line.

use super::{folder, perceiver, project};
use serde_json::Value;

#[test]
fn a_mesh_and_a_picture_of_the_shipped_model() {
    let folder = folder();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let run = |out: &str, block: &str| -> Value {
        let (out, picture) = (place(out), place("picture.png"));
        let done = perceiver(&[
            "shape",
            "models/shape-tiny/example.safetensors",
            "-o",
            &out,
            "--picture",
            &picture,
            "--cells",
            "40",
            "--block",
            block,
            "--device",
            "cpu",
            "--json",
        ]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("JSON")
    };
    let (whole, fine) = (run("whole.obj", "1"), run("fine.glb", "5"));
    assert_eq!(whole["open_edges"], 0, "{whole}");
    assert!(whole["volume"].as_f64().expect("a number") > 0.05, "{whole}");
    assert_eq!(whole["triangles"], fine["triangles"], "{whole} {fine}");
    let picture = image::open(place("picture.png")).expect("a picture").to_rgb8();
    let behind = picture.get_pixel(0, 0);
    let drawn = picture.pixels().filter(|p| *p != behind).count();
    assert!(drawn > 10_000, "{drawn} pixels");
}

#[test]
fn a_part_is_run_from_its_own_checkpoint() {
    let folder = folder();
    let out = folder.path().join("out.safetensors").display().to_string();
    let case = "tests/fixtures/families/chatterbox-1";
    let (weights, inputs) =
        (format!("{case}/model.safetensors"), format!("{case}/inputs.safetensors"));
    let arguments = ["run", "--model", &weights, "--inputs", &inputs, "--outputs", &out, "--part"];
    let run = |part: &str| perceiver(&[&arguments[..], &[part, "--device", "cpu"]].concat());
    let done = run("cond_enc");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(project().join(&weights).exists() && folder.path().join("out.safetensors").exists());
    let refused = run("nowhere");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && message.contains("nowhere"), "{message}");
    let list = perceiver(&["models", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    assert!(list["families"].as_array().expect("a list").len() >= 17);
}
