//! Where models are kept and where they come from: given in code, or by Hugging Face's variables.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// See [`HubOptions::patience`].
const PATIENCE: Duration = Duration::from_secs(30);
/// A longer file holds no token.
const LONGEST_TOKEN_FILE: u64 = 64 << 10;

/// The hub itself.
pub(super) const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// An access token, which shows itself to nobody but the endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token; white space around it is dropped.
    ///
    /// # Errors
    /// [`Error::Input`] when it cannot stand in a header.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            let what = "the access token is empty or has characters that no token has";
            let expected = "the one line that the hub showed when the token was made";
            return Err(Error::input("HF_TOKEN", what, expected));
        }
        Ok(Token(text.to_owned()))
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// How a [`Hub`](super::Hub) works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// The folder of the cache, in the layout of `huggingface_hub`.
    pub cache: PathBuf,
    /// Address of the hub or of a mirror.
    pub endpoint: String,
    /// Access token, for private and gated models.
    pub token: Option<Token>,
    /// True when the network must not be used.
    pub offline: bool,
    /// A PEM file of the certificates to trust instead of the usual ones, for networks whose proxy
    /// decrypts.
    pub certificates: Option<PathBuf>,
    /// How long to wait for the next bytes of an answer, and for 32 KiB of a file, before another try; half a minute unless it is
    /// set.
    pub patience: Duration,
}

impl HubOptions {
    /// The public hub, nobody's token, and this cache.
    #[must_use]
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        HubOptions {
            cache: cache.into(),
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            offline: false,
            certificates: None,
            patience: PATIENCE,
        }
    }

    /// From the variables that Hugging Face's own tools read: `HF_HUB_CACHE`, `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `SSL_CERT_FILE`, and the token
    /// in the file `token` of `HF_HOME`.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no home folder or the token is none.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var_os(name), std::env::home_dir())
    }

    /// As [`from_env`](Self::from_env), with variables from elsewhere.
    pub(super) fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| -> Result<Option<String>> {
            let unreadable = |_| Error::input(name, "the variable is not UTF-8", "plain text");
            variable(name).map(|value| value.into_string().map_err(unreadable)).transpose()
        };
        let path = |name: &str| variable(name).map(|value| at_home(value, home.as_deref()));
        let own = match (path("HF_HOME"), path("XDG_CACHE_HOME")) {
            (Some(own), _) => Some(own),
            (None, Some(caches)) => Some(caches.join("huggingface")),
            (None, None) => home.as_deref().map(|home| home.join(".cache").join("huggingface")),
        };
        let cache = match (path("HF_HUB_CACHE"), &own) {
            (Some(cache), _) => cache,
            (None, Some(own)) => own.join("hub"),
            (None, None) => {
                return Err(Error::input(
                    "HF_HOME",
                    "there is no home folder to keep models in",
                    "the variable HF_HOME or HF_HUB_CACHE with the folder to keep them in",
                ));
            }
        };
        let token = match text("HF_TOKEN")? {
            Some(token) => Some(Token::new(&token)?),
            None => own.map_or(Ok(None), |own| token_in(&own.join("token")))?,
        };
        let offline = text("HF_HUB_OFFLINE")?.is_some_and(|value| {
            ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
        });
        let certificates = path("SSL_CERT_FILE");
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        Ok(HubOptions { cache, endpoint, token, offline, certificates, patience: PATIENCE })
    }
}

/// A leading `~` stands for the home folder, as in Python.
fn at_home(value: OsString, home: Option<&Path>) -> PathBuf {
    let path = PathBuf::from(value);
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

fn token_in(file: &Path) -> Result<Option<Token>> {
    match crate::open::text(file, LONGEST_TOKEN_FILE) {
        Ok(Some(text)) if !text.trim().is_empty() => Token::new(&text).map(Some),
        Ok(_) => Ok(None),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(Error::Io { source, .. }) => Err(Error::io("read the access token in", file, source)),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
#[path = "../../tests/unit/hub_options.rs"]
mod tests;
