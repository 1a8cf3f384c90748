//! Names that come from users and servers, checked before they become a part of a path or an address.
//!
//! Invariant: what passes here is plain: letters, digits, `.`, `_`, `-`, never a folder above or
//! an absolute path on any system.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The hub's own limit for a part of a name.
const LONGEST: usize = 96;
/// Etags and names of shards are longer than names of models, but not by much.
const LONGEST_FILE: usize = 200;
/// What is taken when no revision is given.
const BRANCH: &str = "main";

/// A model on the hub: `organisation/name`, at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelName {
    /// Who published it.
    pub organisation: String,
    /// What they called it.
    pub name: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl ModelName {
    /// `organisation/name`, as in addresses.
    pub(super) fn repository(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }

    /// The folder in the cache.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.organisation, self.name)
    }

    /// The revision as one part of an address.
    pub(super) fn revision_in_address(&self) -> String {
        self.revision.replace('/', "%2F")
    }

    /// True when the revision is a whole commit, which never changes.
    pub(super) fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organisation, self.name)?;
        if self.revision != BRANCH {
            write!(f, "@{}", self.revision)?;
        }
        Ok(())
    }
}

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |what: &str| {
            Error::hub(
                text.chars().take(2 * LONGEST).collect::<String>(),
                what,
                "give ORGANISATION/NAME, or ORGANISATION/NAME@REVISION with a branch, tag or commit",
            )
        };
        let (repository, revision) = text.split_once('@').unwrap_or((text, BRANCH));
        let Some((organisation, name)) = repository.split_once('/') else {
            return Err(refused("is no name on the hub"));
        };
        // Two hyphens would make the folder in the cache ambiguous; the hub forbids them too.
        let part = |p: &str| is_plain(p, LONGEST) && !p.starts_with('-') && !p.contains("--");
        if !part(organisation) || !part(name) {
            return Err(refused(
                "is no name on the hub: both parts are letters, digits, `.`, `_` and single `-`",
            ));
        }
        let segments = revision.split('/').all(|s| is_plain(s, LONGEST));
        if !segments || revision.len() > LONGEST_FILE {
            return Err(refused("the revision is none that the hub could have"));
        }
        let [organisation, name, revision] = [organisation, name, revision].map(str::to_owned);
        Ok(ModelName { organisation, name, revision })
    }
}

/// A name that may have a file of the repository: `organisation/name/path/of/file`, the revision at the end.
pub(super) fn with_file(text: &str) -> Result<(ModelName, Option<String>)> {
    let (path, revision) = text.split_once('@').map_or((text, None), |(p, r)| (p, Some(r)));
    let Some((at, _)) = path.match_indices('/').nth(1) else {
        return Ok((text.parse()?, None));
    };
    let (repository, file) = (&path[..at], &path[at + 1..]);
    let name = revision.map_or(repository.to_owned(), |r| format!("{repository}@{r}"));
    let model: ModelName = name.parse()?;
    if !stays_inside(file) || file.len() > LONGEST_FILE {
        let hint = "give ORGANISATION/NAME/FILE, or ORGANISATION/NAME/FOLDER/FILE@REVISION";
        return Err(Error::hub(model.to_string(), "has no file of that name", hint));
    }
    Ok((model, Some(file.to_owned())))
}

/// True for a name of one file without any folder.
pub(super) fn is_file_name(name: &str) -> bool {
    is_plain(name, LONGEST_FILE)
}

/// True for 40 lower-case hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    is_hexadecimal(text, 40)
}

/// True for lower-case hexadecimal digits of that number.
pub(super) fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// True for a path that a repository may list: relative, and never upwards.
pub(super) fn stays_inside(path: &str) -> bool {
    !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn is_plain(text: &str, longest: usize) -> bool {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    !text.is_empty()
        && text.len() <= longest
        && !text.contains(odd)
        && !text.starts_with('.')
        && !text.ends_with('.')
        && !text.contains("..")
}

#[cfg(test)]
#[path = "../../tests/unit/hub_name.rs"]
mod tests;
