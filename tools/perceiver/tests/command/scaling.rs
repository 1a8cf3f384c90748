//! `perceiver scaling`.

use super::{json, perceiver, refusal, string, succeeded, text};

const SMALL: [&str; 14] = [
    "--from",
    "16",
    "--to",
    "2^6",
    "--runs",
    "1",
    "--latents",
    "8",
    "--latent-channels",
    "16",
    "--channels",
    "8",
    "--heads",
    "2",
];

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["scaling"], &SMALL[..], more].concat()
}

#[test]
fn writes_a_table_and_a_plot_with_slopes() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("study");
    let found = json(&arguments(&["--json", "-o", string(&out)]));
    let lines = found["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 5);
    for line in lines {
        assert!(line["time_slope"].is_f64(), "{line}");
        assert_eq!(line["size"], 64, "{line}");
        assert!(line["memory_bytes"].as_u64() > Some(0), "{line}");
    }
    assert_eq!(found["points"].as_array().map(Vec::len), Some(15));

    let table = std::fs::read_to_string(out.join("scaling.csv")).expect("a table");
    assert_eq!(table.lines().count(), 16, "{table}");
    assert!(table.starts_with("series,device,letter,size,seconds,flops"), "{table}");
    let plot = std::fs::read_to_string(out.join("scaling.svg")).expect("a plot");
    assert!(plot.starts_with("<svg") && plot.trim_end().ends_with("</svg>"));
    assert!(plot.contains("full self-attention on cpu, slope"), "{plot}");
    let files: Vec<_> = std::fs::read_dir(&out).expect("a folder").collect();
    assert_eq!(files.len(), 2, "nothing is left behind");
}

#[test]
fn prints_one_line_a_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = succeeded(&arguments(&["--series", "encode,decode", "-o", string(folder.path())]));
    assert!(said.contains("encode") && said.contains("decode"), "{said}");
    assert!(!said.contains("process"), "{said}");
    assert!(said.contains("scaling.svg"), "{said}");
}

#[test]
fn refuses_what_cannot_be_measured() {
    let said = refusal(&["scaling", "--heads", "7"]);
    assert!(said.contains("heads do not divide"), "{said}");
    let said = refusal(&["scaling", "--from", "64", "--to", "32"]);
    assert!(said.contains("at least 64"), "{said}");
    let output = perceiver(&["scaling", "--to", "2^60"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("4096 or 2^12"));
}
