//! Requests to the hub: one client that follows redirects itself, since the token must not follow.
//!
//! Invariants: the token goes to the endpoint's own scheme, host and port only; redirects, headers and
//! documents are bounded; nothing leaves https once it was there.

use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::download::continues;
use super::failure::Failure;
use super::options::{HubOptions, Token};
use crate::error::{Error, Result};
use crate::open;

/// Hub, its alias of a renamed model, a cache, a store: more hops are a loop.
const MOST_REDIRECTS: usize = 6;
/// A listing of ten thousand files has about two megabytes.
const LONGEST_DOCUMENT: u64 = 8 << 20;
/// All certificates that browsers trust have a fifth of a megabyte.
const LARGEST_CERTIFICATES: u64 = 16 << 20;
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a document may take in all.
const DOCUMENT: Duration = Duration::from_secs(60);
/// How long a range of some megabytes may take: a server that sends a trickle must not keep its client for ever.
const RANGE: Duration = Duration::from_secs(240);

/// Talks to one endpoint.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: Uri,
    /// The endpoint without a slash at its end.
    base: String,
    token: Option<Token>,
    patience: Duration,
}

/// An answer: neither a redirect nor an error.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// What the hub says about a file before it sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stated {
    pub(super) etag: String,
    pub(super) size: Option<u64>,
    pub(super) commit: Option<String>,
}

impl Client {
    pub(super) fn new(options: &HubOptions) -> Result<Self> {
        let base = options.endpoint.trim_end_matches('/').to_owned();
        let refused = |what: String| {
            Error::input(
                "HF_ENDPOINT",
                what,
                "an address such as https://huggingface.co, without user name, question mark or fragment",
            )
        };
        let endpoint: Uri =
            base.parse().map_err(|e| refused(format!("`{base}` is no address: {e}")))?;
        let known = matches!(endpoint.scheme_str(), Some("http" | "https"));
        let authority = endpoint.authority().map_or("@", |a| a.as_str());
        if !known || authority.contains('@') || base.contains(['?', '#']) {
            return Err(refused(format!("`{base}` is no address of a hub")));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(options.patience))
            .timeout_per_read(Some(options.patience))
            .user_agent(concat!("perceiver/", env!("CARGO_PKG_VERSION")));
        // A hub on this machine is not reached through a proxy, whatever the variables say.
        if matches!(endpoint.host(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            config = config.proxy(None);
        }
        if let Some(file) = options.certificates.as_deref().filter(|_| !options.offline) {
            let roots = TlsConfig::builder().root_certs(certificates(file)?).build();
            config = config.tls_config(roots);
        }
        let (agent, token) = (config.build().new_agent(), options.token.clone());
        Ok(Client { agent, endpoint, base, token, patience: options.patience })
    }

    /// The endpoint as the user gave it.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// How long nothing, or next to nothing, may come.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// A JSON document of bounded length.
    pub(super) fn document(&self, address: &str) -> Result<Vec<u8>, Failure> {
        let mut answer = self.send(&Method::GET, address, None, Some(DOCUMENT), |_| false)?;
        let mut text = Vec::new();
        let read = answer.body.as_reader().take(LONGEST_DOCUMENT + 1).read_to_end(&mut text);
        read.map_err(|e| Failure::unreachable(address, &e))?;
        if text.len() as u64 > LONGEST_DOCUMENT {
            let what = format!("sent more than {LONGEST_DOCUMENT} bytes for a list of files");
            return Err(Failure::nonsense(address, what));
        }
        Ok(text)
    }

    /// What the hub says about a file.
    pub(super) fn stated(&self, address: &str) -> Result<Stated, Failure> {
        let (mut etag, mut size, mut commit) = (None, None, None);
        // Large files are redirected to a store; the first hop has what is true of the file itself.
        let answer = self.send(&Method::HEAD, address, None, Some(DOCUMENT), |headers| {
            commit = commit.take().or_else(|| text(headers, "x-repo-commit"));
            size = size.take().or_else(|| number(headers, "x-linked-size"));
            etag = etag.take().or_else(|| text(headers, "x-linked-etag"));
            etag.is_some() && size.is_some()
        })?;
        let etag = etag.or_else(|| text(&answer.headers, "etag"));
        let size = size.or_else(|| number(&answer.headers, "content-length"));
        let Some(etag) = etag else {
            return Err(Failure::nonsense(address, "has no ETag for the file"));
        };
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        Ok(Stated { etag, size, commit })
    }

    /// The bytes of a file from `start` on.
    pub(super) fn file(&self, address: &str, start: u64) -> Result<Answer, Failure> {
        let range = (start > 0).then(|| format!("bytes={start}-"));
        self.send(&Method::GET, address, range.as_deref(), None, |_| false)
    }

    /// These bytes of a file; `None` from a server that has no ranges.
    pub(super) fn range(
        &self,
        address: &str,
        range: &Range<u64>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let asked = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let mut answer = self.send(&Method::GET, address, Some(&asked), Some(RANGE), |_| false)?;
        if answer.status != StatusCode::PARTIAL_CONTENT {
            return Ok(None);
        }
        let length = range.end - range.start;
        if !continues(answer.status, &answer.headers, range.start) {
            let what = "sent another part of the file than was asked for";
            return Err(Failure::unreachable(address, &what));
        }
        let mut bytes = Vec::new();
        let read = answer.body.as_reader().take(length + 1).read_to_end(&mut bytes);
        read.map_err(|e| Failure::unreachable(address, &e))?;
        if bytes.len() as u64 != length {
            let why = format!("it sent {} bytes for a range of {length}", bytes.len());
            return Err(Failure::unreachable(address, &why));
        }
        Ok(Some(bytes))
    }

    /// Sends a request and follows redirects, until an answer or until `enough` is known from the
    /// headers of one.
    fn send(
        &self,
        method: &Method,
        address: &str,
        range: Option<&str>,
        limit: Option<Duration>,
        mut enough: impl FnMut(&HeaderMap) -> bool,
    ) -> Result<Answer, Failure> {
        let none = |e| Failure::nonsense(address, format!("is no address: {e}"));
        let mut at: Uri = address.parse().map_err(none)?;
        for _ in 0..=MOST_REDIRECTS {
            let mut request = Request::builder()
                .method(method)
                .uri(&at)
                // Stated lengths must be those of the file, not of a compressed one.
                .header(header::ACCEPT_ENCODING, "identity");
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            if let Some(token) = &self.token
                && origin(&at) == origin(&self.endpoint)
            {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            let request =
                request.body(()).map_err(|e| Failure::nonsense(address, e.to_string()))?;
            let request = self.agent.configure_request(request).timeout_recv_body(limit).build();
            let here = place(&at);
            let sent = self.agent.run(request).map_err(|e| Failure::unreachable(&here, &e))?;
            let (head, body) = sent.into_parts();
            let answer = Answer { status: head.status, headers: head.headers, body };
            let good = answer.status.is_success() || answer.status.is_redirection();
            if good && enough(&answer.headers) || answer.status.is_success() {
                return Ok(answer);
            }
            if !answer.status.is_redirection() {
                let code = text(&answer.headers, "x-error-code").unwrap_or_default();
                return Err(Failure::refused(&here, answer.status, code));
            }
            let next = text(&answer.headers, "location").and_then(|to| resolve(&at, &to));
            let Some(next) = next else {
                return Err(Failure::nonsense(&here, "redirects to nowhere that can be read"));
            };
            if is_downgrade(&at, &next) {
                let what = format!("redirects to {}, which is not encrypted", place(&next));
                return Err(Failure::nonsense(&here, what));
            }
            at = next;
        }
        Err(Failure::nonsense(address, format!("redirects more than {MOST_REDIRECTS} times")))
    }
}

/// The certificates of a PEM file.
fn certificates(file: &Path) -> Result<RootCerts> {
    let text = open::bytes(file, LARGEST_CERTIFICATES).map_err(|e| match e {
        Error::Io { path, source, .. } => {
            Error::io("read the certificates of SSL_CERT_FILE,", path, source)
        }
        other => other,
    })?;
    let text = text.unwrap_or_default();
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = certificates.collect();
    if found.is_empty() {
        let what = format!("{} holds no certificate", file.display());
        let expected = "a PEM file with the certificates to trust, or no such variable";
        return Err(Error::input("SSL_CERT_FILE", what, expected));
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}

/// An address without its query, which may hold a signature.
fn place(at: &Uri) -> String {
    let (scheme, host, port) = origin(at);
    let port = port.map(|p| format!(":{p}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{}", at.path())
}

fn origin(at: &Uri) -> (&str, String, Option<u16>) {
    let scheme = at.scheme_str().unwrap_or_default();
    let usual = if scheme == "https" { 443 } else { 80 };
    let host = at.host().unwrap_or_default().to_ascii_lowercase();
    (scheme, host, at.port_u16().filter(|&p| p != usual))
}

/// Where a `Location` leads.
fn resolve(from: &Uri, to: &str) -> Option<Uri> {
    let scheme = from.scheme_str()?;
    let next = if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{}{to}", from.authority()?)
    } else {
        to.to_owned()
    };
    let next: Uri = next.parse().ok()?;
    let web = matches!(next.scheme_str(), Some("http" | "https"));
    (web && next.host().is_some()).then_some(next)
}

/// True when a redirect would leave https.
fn is_downgrade(from: &Uri, to: &Uri) -> bool {
    from.scheme_str() == Some("https") && to.scheme_str() != Some("https")
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
#[path = "../../tests/unit/hub_client.rs"]
mod tests;
