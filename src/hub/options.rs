//! Where models are kept and where they come from: given in code, or by Hugging Face's variables.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

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
            return Err(Error::input(
                "HF_TOKEN",
                "the access token is empty or has characters that no token has",
                "the one line that the hub showed when the token was made",
            ));
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
    ///
    /// # Errors
    /// As there.
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
        let mut options = HubOptions {
            token,
            offline,
            certificates: path("SSL_CERT_FILE"),
            ..HubOptions::new(cache)
        };
        if let Some(endpoint) = text("HF_ENDPOINT")? {
            options.endpoint = endpoint;
        }
        Ok(options)
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
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Token::new(&text).map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read the access token in", file, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<HubOptions> {
        let value = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| OsString::from(value))
        };
        HubOptions::from_variables(value, Some(PathBuf::from("/ada")))
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        let cache = |variables: &[(&str, &str)]| options(variables).expect("options").cache;
        assert_eq!(cache(&[]), Path::new("/ada/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/h")]), Path::new("/ada/h/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), Path::new("/c"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "")]), Path::new("/ada/.cache/huggingface/hub"));
    }

    #[test]
    fn endpoint_token_and_offline() {
        let plain = options(&[]).expect("options");
        assert_eq!(plain.endpoint, DEFAULT_ENDPOINT);
        assert!(!plain.offline && plain.token.is_none());
        let set = options(&[
            ("HF_ENDPOINT", "https://mirror.example"),
            ("HF_TOKEN", " hf_secret\n"),
            ("HF_HUB_OFFLINE", "TRUE"),
            ("SSL_CERT_FILE", "~/own.pem"),
        ])
        .expect("options");
        assert_eq!(set.endpoint, "https://mirror.example");
        assert!(set.offline);
        assert_eq!(set.certificates.as_deref(), Some(Path::new("/ada/own.pem")));
        assert!(!format!("{set:?}").contains("secret"));
        assert_eq!(set.token.expect("a token").header(), "Bearer hf_secret");
        let offline = options(&[("HF_HUB_OFFLINE", "0")]).expect("options").offline;
        assert!(!offline);
    }

    #[test]
    fn the_token_file_is_read() {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("token"), "hf_file\n").expect("a file");
        let home = home.path().to_str().expect("UTF-8").to_owned();
        let read = options(&[("HF_HOME", home.as_str())]).expect("options");
        assert_eq!(read.token.expect("a token").header(), "Bearer hf_file");
    }

    #[test]
    fn a_token_that_would_break_a_header_is_refused() {
        let refused = options(&[("HF_TOKEN", "a\r\nHost: b")]).expect_err("refused");
        let refused = refused.to_string();
        assert!(refused.contains("HF_TOKEN") && !refused.contains("Host"), "{refused}");
    }

    #[test]
    fn without_a_home_the_variables_are_named() {
        let refused = HubOptions::from_variables(|_| None, None).expect_err("refused");
        assert!(refused.to_string().contains("HF_HUB_CACHE"), "{refused}");
    }
}
