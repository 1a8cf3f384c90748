//! Why a request came to nothing, and what a user can do about it.

use std::fmt::{self, Display};

use ureq::http::StatusCode;

use super::name::ModelName;
use crate::error::Error;

/// A request that came to nothing.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    /// The address and what happened there.
    what: String,
}

#[derive(Debug)]
enum Kind {
    /// Nobody answered, or the answer broke off.
    Unreachable,
    /// The answer was an error.
    Refused { status: u16, code: String },
    /// The answer is none that a hub gives.
    Nonsense,
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Failure {
    pub(super) fn unreachable(address: &str, why: &impl Display) -> Self {
        Failure { kind: Kind::Unreachable, what: format!("{address} cannot be reached: {why}") }
    }

    pub(super) fn refused(address: &str, status: StatusCode, code: String) -> Self {
        Failure {
            what: format!("{address} answers {status}"),
            kind: Kind::Refused { status: status.as_u16(), code },
        }
    }

    pub(super) fn nonsense(address: &str, what: impl Display) -> Self {
        Failure { kind: Kind::Nonsense, what: format!("{address} {what}") }
    }

    /// What to try when nobody answered.
    pub(super) fn remedy(&self) -> &'static str {
        if self.what.contains("certificate") {
            "if a proxy of your network decrypts, set SSL_CERT_FILE to a file with its certificate"
        } else {
            "check the network and the proxy variables, or set HF_ENDPOINT to a mirror"
        }
    }

    /// True when nobody answered.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self.kind, Kind::Unreachable)
    }

    /// True when trying later may help: the network or the hub is down, nothing is wrong with the
    /// request.
    pub(super) fn is_outage(&self) -> bool {
        match self.kind {
            Kind::Unreachable => true,
            Kind::Refused { status, .. } => status == 429 || status >= 500,
            Kind::Nonsense => false,
        }
    }

    /// True when the hub has not this range of the file.
    pub(super) fn is_range(&self) -> bool {
        matches!(self.kind, Kind::Refused { status: 416, .. })
    }

    /// The error for the user of a model.
    pub(super) fn error(self, model: &ModelName, endpoint: &str) -> Error {
        let page = format!("{endpoint}/{}", model.repository());
        let (what, hint) = match &self.kind {
            Kind::Unreachable => {
                let kept = "what is already downloaded is kept and used by the next try";
                (String::new(), format!("{}; {kept}", self.remedy()))
            }
            Kind::Refused { status, code } => refusal(*status, code, model, &page),
            Kind::Nonsense => {
                let check = "check HF_ENDPOINT and proxies that change answers";
                (String::new(), format!("this is no answer of a hub: {check}"))
            }
        };
        Error::hub(model.to_string(), format!("{what}{}", self.what), hint)
    }
}

fn refusal(status: u16, code: &str, model: &ModelName, page: &str) -> (String, String) {
    match (status, code) {
        (_, "GatedRepo") | (403, _) => (
            "is gated or not yours to read: ".to_owned(),
            format!("ask for access at {page}, and set HF_TOKEN to a token that has it"),
        ),
        (404, "RevisionNotFound") => (
            format!("has no revision `{}`: ", model.revision),
            format!("see {page}/tree/main for its branches and tags"),
        ),
        (404, "EntryNotFound") => (
            "lacks a file that it lists: ".to_owned(),
            "it may have changed a moment ago: try again".to_owned(),
        ),
        (401, _) => (
            "does not exist or is private: ".to_owned(),
            format!(
                "check the name at {page}; if it is private, set HF_TOKEN to a token that may read it"
            ),
        ),
        (404, _) => (
            "is unknown to the hub, or has not this revision: ".to_owned(),
            format!("check name and revision at {page}"),
        ),
        (429, _) => (
            "was asked for too often: ".to_owned(),
            "wait some minutes; with HF_TOKEN the hub allows more".to_owned(),
        ),
        _ => (
            String::new(),
            "the hub has a problem: try later, or set HF_ENDPOINT to a mirror".to_owned(),
        ),
    }
}

#[cfg(test)]
#[path = "../../tests/unit/hub_failure.rs"]
mod tests;
