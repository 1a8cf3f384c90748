//! Texts from the command line, from files and from standard input.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use perceiver::{Error, Result};

/// The largest file that is read.
const MOST_BYTES: u64 = 16 << 20;

/// All texts, those of files and of standard input among them.
pub(crate) fn all(texts: &[String], files: &[PathBuf]) -> Result<Vec<String>> {
    let given = texts.iter().map(|text| match text.as_str() {
        "-" => read(Path::new("-")),
        text => Ok(text.to_owned()),
    });
    given.chain(files.iter().map(|path| read(path))).collect()
}

/// The text of a file, or of standard input.
fn read(path: &Path) -> Result<String> {
    let (name, input): (&Path, Box<dyn Read>) = if path == Path::new("-") {
        (
            Path::new("standard input"),
            Box::new(std::io::stdin().lock()),
        )
    } else {
        let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
        (path, Box::new(file))
    };
    let mut bytes = Vec::new();
    input
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", name, e))?;
    let wrong = |what: String, expected: &str| {
        Err(Error::input(name.display().to_string(), what, expected))
    };
    if bytes.len() as u64 > MOST_BYTES {
        return wrong(
            format!("more than {} MiB", MOST_BYTES >> 20),
            "a smaller file: split it",
        );
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(e) => wrong(
            format!("byte {} is no UTF-8", e.utf8_error().valid_up_to()),
            "a text in UTF-8",
        ),
    }
}
