//! The layers of the house (docs/architecture.md): imports between the folders of `src` point one way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const GROUND: &[&str] = &["tensor", "error", "memory", "open", "output", "parallel", "random"];

/// Each folder with the folders that it may use beside the ground, which may use itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("graph", &["kernels"]),
    ("weights", &["graph", "kernels"]),
    ("cpu", &["weights", "graph", "kernels"]),
    ("gpu", &["weights", "graph", "kernels"]),
    ("perceiver", &["graph", "kernels"]),
    ("checkpoint", &["perceiver", "weights", "graph", "kernels"]),
    ("hub", &["checkpoint", "perceiver"]),
    ("media", &[]),
    ("model", &["hub", "checkpoint", "perceiver", "gpu", "cpu", "weights", "graph", "kernels"]),
    ("stream", &["model", "checkpoint", "perceiver", "weights", "graph", "kernels"]),
    ("measure", &["model", "perceiver", "gpu", "cpu", "weights", "graph", "kernels"]),
    (
        "tasks",
        &["stream", "model", "media", "checkpoint", "perceiver", "weights", "graph", "kernels"],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Names after `crate::` in a file's code, those in braces too.
fn imports(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let identifier = |t: &str| {
        let end = t.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        t[..end.unwrap_or(t.len())].to_owned()
    };
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let parts = list.split_inclusive(|c| ['{', '}', ','].contains(&c));
                for part in parts {
                    let name = identifier(part.trim());
                    if depth == 0 && !name.is_empty() {
                        names.insert(name);
                    }
                    depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
                    if depth < 0 {
                        break;
                    }
                }
            }
            None => {
                names.insert(identifier(rest));
            }
        }
    }
    names
}

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(&src).expect("below src");
        let first = path.components().next().expect("a name");
        let first = Path::new(&first).file_stem().expect("a name");
        let folder = first.to_str().expect("UTF-8").to_owned();
        if folder == "lib" {
            continue;
        }
        let layer = LAYERS.iter().find(|(name, _)| *name == folder);
        let allowed: &[&str] = match layer {
            Some((_, allowed)) => allowed,
            None if GROUND.contains(&folder.as_str()) => &[],
            None => panic!("`src/{folder}` has no place in the layers of tests/layers.rs"),
        };
        let text = std::fs::read_to_string(&file).expect("a file");
        for name in imports(&text) {
            if name == folder {
                continue;
            }
            if !GROUND.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} uses crate::{name}", path.display()));
            }
            used.entry(folder.clone()).or_default().insert(name);
        }
    }
    assert!(wrong.is_empty(), "arrows upwards:\n{}", wrong.join("\n"));
    // What may be used is used by nobody below: no circle, of the ground's files among themselves either.
    for start in used.keys() {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = used[start].iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            if reached.insert(name) {
                open.extend(used.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        assert!(!reached.contains(start.as_str()), "`{start}` uses itself by way of others");
    }
}

#[test]
fn imports_are_read() {
    let text =
        "use crate::error::{Error, Result};\nuse crate::{gpu::Device, model};\n// crate::tasks";
    let names: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(names, ["error", "gpu", "model"]);
}
