//! Texts from the command line, from files and from standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use perceiver::internals::open::regular;
use perceiver::{Error, Result};

/// Texts as commands take them.
#[derive(Args)]
pub(crate) struct Given {
    /// Texts; `-` is standard input
    #[arg(required_unless_present = "file")]
    texts: Vec<String>,
    /// A file whose content is one more text, after the others; `-` is standard input. A line feed at its
    /// end is left out
    #[arg(long)]
    file: Vec<PathBuf>,
    /// Every line of files and of standard input is a text of its own; empty ones are left out
    #[arg(long)]
    lines: bool,
}

/// The largest file that is read.
const MOST_BYTES: u64 = 16 << 20;

impl Given {
    /// All texts, those of files and of standard input among them.
    pub(crate) fn all(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for text in &self.texts {
            match text.as_str() {
                "-" => self.add(Path::new("-"), &mut all)?,
                text => all.push(text.to_owned()),
            }
        }
        for path in &self.file {
            self.add(path, &mut all)?;
        }
        match all.is_empty() {
            true => Err(Error::input("texts", "there are none", "at least one line")),
            false => Ok(all),
        }
    }

    /// Adds what a file holds.
    fn add(&self, path: &Path, all: &mut Vec<String>) -> Result<()> {
        let text = read(path)?;
        if self.lines {
            let lines = text.lines().filter(|line| !line.is_empty());
            all.extend(lines.map(str::to_owned));
        } else {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            all.push(text.strip_suffix('\r').unwrap_or(text).to_owned());
        }
        Ok(())
    }
}

/// The text of a file, or of standard input.
fn read(path: &Path) -> Result<String> {
    let (name, input): (&Path, Box<dyn Read>) = if path == Path::new("-") {
        (Path::new("standard input"), Box::new(std::io::stdin().lock()))
    } else {
        (path, Box::new(regular(path)?))
    };
    let mut bytes = Vec::new();
    input.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", name, e))?;
    let wrong = |what: String, expected: &str| {
        Err(Error::input(name.display().to_string(), what, expected))
    };
    if bytes.len() as u64 > MOST_BYTES {
        return wrong(format!("more than {} MiB", MOST_BYTES >> 20), "a smaller file: split it");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(e) => {
            wrong(format!("byte {} is no UTF-8", e.utf8_error().valid_up_to()), "a text in UTF-8")
        }
    }
}
