//! The one error type of the crate.
//!
//! Every variant says what went wrong, where, and what to try. Nothing in the library panics on user
//! input, weight files or device failures: they all arrive here.

use std::fmt;
use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a library below this one said, kept for [`std::error::Error::source`].
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong, each with its place and a way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "create", "map".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// A weight file or checkpoint folder is damaged, hostile or not of a known kind.
    #[error("{}: {what}; {hint}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, with names and numbers.
        what: String,
        /// What to try.
        hint: String,
        /// What a parser said.
        source: Option<Cause>,
    },

    /// The tensors of a checkpoint are not those that its configuration asks for.
    #[error("{}: {report}", path.display())]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// All differences at once.
        report: TensorReport,
    },

    /// `config.json` (or a configuration made in code) asks for something impossible.
    #[error("{origin}: `{key}` {what}; {hint}")]
    Config {
        /// Where the configuration came from: a path, or "configuration" when made in code.
        origin: String,
        /// The key at fault.
        key: String,
        /// What is wrong with its value.
        what: String,
        /// What to try.
        hint: String,
    },

    /// An input array, text or picture does not fit the model.
    #[error("input `{name}`: {what}; expected {expected}")]
    Input {
        /// The input's name.
        name: String,
        /// What was found.
        what: String,
        /// What would have been right.
        expected: String,
    },

    /// No adapter fits the request.
    #[error("no device matches `{wanted}`: {why}; found: {found}; {hint}")]
    NoDevice {
        /// The request: an index, a part of a name, "gpu".
        wanted: String,
        /// Why nothing fits.
        why: String,
        /// The adapters there are.
        found: String,
        /// What to try.
        hint: String,
    },

    /// The adapter exists but refused to open or to do a basic operation.
    #[error("device `{device}`: {what}; {hint}")]
    Device {
        /// The adapter's name.
        device: String,
        /// What failed.
        what: String,
        /// What to try.
        hint: String,
        /// What wgpu said.
        source: Option<Cause>,
    },

    /// The run was ended by its [`Control`](crate::Control).
    #[error("the run was cancelled")]
    Cancelled,

    /// The device was lost (driver reset, unplugged, destroyed by its owner).
    #[error(
        "device `{device}` was lost: {reason}; if the engine opened it, `Engine::reopen` does so again and models go on; otherwise build an Engine on a new device, or use the CPU executor"
    )]
    DeviceLost {
        /// The adapter's name.
        device: String,
        /// What the driver said.
        reason: String,
    },

    /// The device has no room for a buffer.
    #[error(
        "out of memory on `{device}` while allocating {bytes} bytes for {what}; use a smaller batch, another device or the CPU executor"
    )]
    OutOfMemory {
        /// The adapter's name.
        device: String,
        /// The size asked for.
        bytes: u64,
        /// The buffer's label.
        what: String,
    },

    /// A shader did not compile.
    #[error(
        "shader `{label}`: {message}; this is a defect of perceiver or of the driver, please report it with the adapter's name"
    )]
    Shader {
        /// `kernel/variant`.
        label: String,
        /// The compiler's message.
        message: String,
    },

    /// A graph or plan does not hold together (wrong shapes in code that builds one).
    #[error("graph node `{node}`: {what}")]
    Graph {
        /// The node's name.
        node: String,
        /// What does not fit.
        what: String,
    },

    /// A size is beyond what the device or this engine can do.
    #[error("{what} needs {needed}, the limit is {limit}; {hint}")]
    Limit {
        /// What is too large.
        what: String,
        /// How much it needs, with unit.
        needed: String,
        /// How much there is, with unit.
        limit: String,
        /// What to try.
        hint: String,
    },

    /// A model's output has infinities or what is no number.
    #[error(
        "output `{output}` has {found}; are the weights damaged, or the inputs far from those of the training? In f16 numbers end at 65504"
    )]
    NotFinite {
        /// The output.
        output: String,
        /// The first such number, and where it is.
        found: String,
    },

    /// A model could not be found or downloaded by its name.
    #[error("model `{model}`: {what}; {hint}")]
    Hub {
        /// The name that was asked for.
        model: String,
        /// What went wrong, and where.
        what: String,
        /// What to try.
        hint: String,
    },

    /// A picture or other media file could not be decoded or encoded.
    #[error("{}: {what}; {hint}", path.display())]
    Media {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to try.
        hint: String,
    },
}

impl Error {
    /// An [`Error::Io`] with its path.
    #[doc(hidden)]
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { action, path: path.as_ref().to_path_buf(), source }
    }

    /// An [`Error::Checkpoint`].
    #[doc(hidden)]
    pub fn checkpoint(
        path: impl AsRef<Path>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (path, what, hint) = (path.as_ref().to_path_buf(), what.into(), hint.into());
        Error::Checkpoint { path, what, hint, source: None }
    }

    /// An [`Error::Device`] with what wgpu said.
    pub(crate) fn device(
        device: &str,
        what: impl fmt::Display,
        cause: impl Into<Cause>,
        hint: impl Into<String>,
    ) -> Self {
        let (device, hint, cause) = (device.to_owned(), hint.into(), cause.into());
        Error::Device { device, what: format!("{what}: {cause}"), hint, source: Some(cause) }
    }

    /// The same error with its cause, if it is of a kind that keeps one.
    #[must_use]
    pub(crate) fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        if let Error::Checkpoint { source, .. } | Error::Device { source, .. } = &mut self {
            *source = Some(cause.into());
        }
        self
    }

    /// An [`Error::Hub`].
    #[doc(hidden)]
    pub fn hub(model: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::Hub { model: model.into(), what: what.into(), hint: hint.into() }
    }

    /// An [`Error::Input`].
    #[doc(hidden)]
    pub fn input(
        name: impl Into<String>,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Error::Input { name: name.into(), what: what.into(), expected: expected.into() }
    }

    /// An [`Error::Config`].
    pub(crate) fn config(
        origin: &str,
        key: impl Into<String>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (key, what, hint) = (key.into(), what.into(), hint.into());
        Error::Config { origin: origin.to_owned(), key, what, hint }
    }

    /// An [`Error::Media`].
    pub(crate) fn media(path: &Path, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::Media { path: path.to_path_buf(), what: what.into(), hint: hint.into() }
    }

    /// An [`Error::Graph`].
    #[doc(hidden)]
    pub fn graph(node: impl Into<String>, what: impl Into<String>) -> Self {
        Error::Graph { node: node.into(), what: what.into() }
    }
}

/// All differences between the tensors of a checkpoint and those its configuration asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorReport {
    /// Names and shapes that the configuration asks for and the checkpoint lacks.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Names and shapes that the checkpoint has and the configuration does not ask for.
    pub unexpected: Vec<(String, Vec<usize>)>,
    /// Name, shape asked for, shape found.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl TensorReport {
    /// True when checkpoint and configuration agree.
    #[doc(hidden)]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }
}

impl fmt::Display for TensorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the tensors do not fit the configuration ({} missing, {} unexpected, {} of another shape); is config.json the one these weights were saved with?",
            self.missing.len(),
            self.unexpected.len(),
            self.misshaped.len()
        )?;
        // Names come from files of anybody: few of them, short, without control characters.
        let shown = |name: &str| -> String {
            let escaped = name.chars().flat_map(char::escape_debug);
            shortened(&escaped.take(LONGEST_NAME + 1).collect::<String>())
        };
        for (kind, tensors) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            for (name, shape) in tensors.iter().take(MOST_NAMES) {
                write!(f, "\n  {kind}: {} {}", shown(name), Shape(shape))?;
            }
            more(f, kind, tensors.len())?;
        }
        for (name, wanted, found) in self.misshaped.iter().take(MOST_NAMES) {
            let (wanted, found) = (Shape(wanted), Shape(found));
            write!(f, "\n  {}: expected {wanted}, found {found}", shown(name))?;
        }
        more(f, "of another shape", self.misshaped.len())
    }
}

/// Tensors of each kind that a message names: the first few say which model the weights are of.
const MOST_NAMES: usize = 10;
/// Characters of a name in a message.
const LONGEST_NAME: usize = 160;
/// Axes of a shape in a message.
const MOST_AXES: usize = 8;

/// Says how many were left out.
fn more(f: &mut fmt::Formatter<'_>, kind: &str, count: usize) -> fmt::Result {
    match count.saturating_sub(MOST_NAMES) {
        0 => Ok(()),
        rest => write!(f, "\n  … and {rest} more {kind}"),
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// A shape in a message.
struct Shape<'a>(&'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..MOST_AXES) {
            Some(first) if self.0.len() > MOST_AXES => {
                write!(f, "{first:?} and {} axes more", self.0.len() - MOST_AXES)
            }
            _ => write!(f, "{:?}", self.0),
        }
    }
}
