//! Blueprints as JSON: the `config.json` of a model that is none of the official ones.
//! `docs/blueprints.md` has an example and all keys.
//!
//! Keys are the fields of [`Blueprint`]; unknown keys are refused, because each would change the
//! mathematics. The weights lie beside it, under the names that the file gives.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Blueprint;
use crate::error::{Error, Result};
use crate::output::write_whole;

/// `model_type` of these files.
const MODEL_TYPE: &str = "perceiver-blueprint";
/// The one version of the form that there is.
const VERSION: u32 = 1;
/// A configuration file larger than this is not one.
pub(crate) const MOST_BYTES: u64 = 4 << 20;

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model_type: String,
    version: u32,
    blueprint: Blueprint,
}

/// True for the text of a file whose `model_type` says that it is a blueprint.
pub(crate) fn is_blueprint(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<serde_json::Value>,
    }
    serde_json::from_str::<Kind>(text)
        .is_ok_and(|k| k.model_type.as_ref().and_then(|v| v.as_str()) == Some(MODEL_TYPE))
}

/// The text of a `config.json`, or of that file in a folder, and its path.
pub(crate) fn read_text(given: &Path) -> Result<(String, String)> {
    let path = if given.is_dir() { given.join("config.json") } else { given.to_path_buf() };
    let text = crate::open::text(&path, MOST_BYTES)?.ok_or_else(|| {
        let hint = "give the config.json of a Perceiver checkpoint";
        Error::checkpoint(&path, format!("is longer than {MOST_BYTES} bytes"), hint)
    })?;
    Ok((text, path.display().to_string()))
}

impl Blueprint {
    /// Reads a file of the form that [`Blueprint::to_json`] writes, or `config.json` in a folder, and
    /// checks it.
    ///
    /// # Errors
    /// [`Error::Io`]; as [`Blueprint::from_json`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let (text, origin) = read_text(path.as_ref())?;
        Self::from_json(&text, &origin)
    }

    /// Reads and checks the text of a file; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Config`] with the path of the key at fault.
    pub fn from_json(text: &str, origin: &str) -> Result<Self> {
        let bad = |key: &str, what: String, hint: &str| Error::config(origin, key, what, hint);
        let mut reader = serde_json::Deserializer::from_str(text);
        let file: File = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
            let key: String = e.path().to_string().chars().take(200).collect();
            let what: String = e.inner().to_string().chars().take(400).collect();
            bad(&key, format!("cannot be read: {what}"), "docs/blueprints.md names all keys")
        })?;
        reader.end().map_err(|e| {
            let what = format!("is followed by something else: {e}");
            bad(".", what, "give one JSON object")
        })?;
        if file.model_type != MODEL_TYPE {
            let kind: String = file.model_type.chars().take(60).collect();
            let what = format!("is {kind:?}");
            return Err(bad("model_type", what, "only \"perceiver-blueprint\" is read here"));
        }
        if file.version != VERSION {
            let what = format!("is {}", file.version);
            return Err(bad("version", what, "this version of perceiver reads 1"));
        }
        file.blueprint.validate(origin)?;
        Ok(file.blueprint)
    }

    /// The blueprint as the text of a `config.json`, which [`Blueprint::from_json`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file =
            File { model_type: MODEL_TYPE.to_owned(), version: VERSION, blueprint: self.clone() };
        // Numbers, strings and lists: nothing that JSON could not hold.
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Writes `config.json` into a folder that is there.
    ///
    /// # Errors
    /// [`Error::Config`] as [`Blueprint::validate`]; [`Error::Io`], with nothing left behind.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.validate("blueprint")?;
        let path = folder.as_ref().join("config.json");
        write_whole(&path, |file| {
            let written = file.write_all(self.to_json().as_bytes());
            written.map_err(|e| Error::io("write", &path, e))
        })
    }
}
