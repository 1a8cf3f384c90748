//! `perceiver fill-mask` of files and standard input.

use std::process::Output;

use serde_json::Value;

use super::{json, refusal, string, with_input};

#[test]
fn lines_are_texts_and_the_last_line_feed_is_none() {
    let model = super::case("seqcls-v2-s0");
    let classify = |more: &[&str], input: &[u8]| -> Value {
        let arguments = [&["classify-text", "--model", &model, "--json"], more].concat();
        let output = with_input(&arguments, input);
        assert!(output.status.success(), "{}", super::text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let given = json(&["classify-text", "--model", &model, "--json", "good", "bad"]);
    assert_eq!(classify(&["--lines", "-"], b"good\n\nbad\n"), given);
    assert_eq!(classify(&["--lines", "--file=-"], b"good\r\nbad"), given);
    let alone = json(&["classify-text", "--model", &model, "--json", "good"]);
    assert_eq!(classify(&["-"], b"good\n"), alone);
    assert_eq!(classify(&["-"], b"good\n\n")[0]["text"], "good\n");
    let arguments = ["classify-text", "--model", &model, "--csv", "--top", "1"];
    let lines = super::succeeded(&[&arguments[..], &["good, or \"bad\"", "bad"]].concat());
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "text,rank,class,label,logit,probability");
    assert!(lines[1].starts_with("\"good, or \"\"bad\"\"\",1,"), "{lines:?}");
    assert!(lines[2].starts_with("bad,1,") && lines.len() == 3, "{lines:?}");
    let output = with_input(&["classify-text", "--model", &model, "--lines", "-"], b"\n");
    let said = super::text(&output.stderr);
    assert!(said.contains("there are none; expected at least one line"), "{said}");
}

#[test]
fn fill_mask_reads_long_files_and_standard_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("text.txt");
    let sentence = "This function returns a value. ";
    let masked = "This function ret[MASK]rns a value. ";
    let text = [sentence.repeat(40), masked.to_owned(), sentence.repeat(40), masked.to_owned()];
    std::fs::write(&path, text.concat()).expect("written");
    let report = json(&["fill-mask", "--file", string(&path), "--json", "--device", "cpu"]);
    assert_eq!(report[0]["text"], sentence.repeat(82));
    let spans = report[0]["spans"].as_array().expect("spans");
    let starts: Vec<_> = spans.iter().map(|s| s["start"].as_u64()).collect();
    assert_eq!(starts, [Some(40 * 31 + 18), Some(81 * 31 + 18)]);

    for arguments in [["fill-mask", "-", "--json"], ["fill-mask", "--file=-", "--json"]] {
        let output = with_input(&arguments, b"This function ret[MASK]rns a value.");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report[0]["text"], "This function returns a value.");
    }
    let said = |output: Output| {
        assert_eq!(output.status.code(), Some(1));
        super::text(&output.stderr)
    };
    let message = said(with_input(&["fill-mask", "-"], b"caf\xe9 [MASK]"));
    assert!(
        message.contains("input `standard input`: byte 3 is no UTF-8; expected a text in UTF-8"),
        "{message}"
    );
    std::fs::write(&path, vec![b'a'; (16 << 20) + 1]).expect("written");
    let message = refusal(&["fill-mask", "--file", string(&path)]);
    assert!(
        message.contains("text.txt`: more than 16 MiB; expected a smaller file: split it"),
        "{message}"
    );
    let message = refusal(&["fill-mask", "--file", "no/such/file"]);
    assert!(message.contains("cannot read no/such/file"), "{message}");
}
