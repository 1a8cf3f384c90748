//! Models that have a Perceiver inside, recognised by their tensors: one file a family, one row in the table.
//!
//! A family turns the names and shapes of a checkpoint, and what shapes do not say, into a [`Blueprint`] of arrays under the
//! checkpoint's own tensor names. Only the tensors of that part are read. Without the feature `families` the table is empty,
//! and compilers leave all of them out.

mod aurora;
mod causal_sequence;
mod chatterbox;
mod draft;
mod flamingo;
mod hunyuan3d;
mod idefics;
mod idefics2;
mod ip_adapter;
mod minicpmv;
mod nv_embed;
mod part;
mod perceiver_ar;
mod perceiver_pytorch;
mod pool;
mod poyo;
mod pre_norm;
mod qwen_vl;
mod set_transformer;
mod tabicl;
mod vecset;
mod xtts;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use draft::Draft;
pub(crate) use part::Part;

use super::blueprint::{Blueprint, read_text};
use crate::error::{Error, Result};

/// A family of models.
#[derive(Debug, Clone, Copy, Serialize)]
#[non_exhaustive]
pub struct Family {
    /// Short name, as `family` in a `config.json` has it.
    pub name: &'static str,
    /// What it is part of.
    pub models: &'static str,
    /// What it does there.
    pub task: &'static str,
    /// Of the published weights.
    pub licence: &'static str,
    /// Where the published weights are.
    pub weights: &'static str,
    /// What it was compared with.
    pub reference: &'static str,
    /// Tensor names by which it is known, after the part's prefix.
    #[serde(skip)]
    signature: &'static [&'static str],
    /// Values of `model_type` in a whole model's configuration.
    #[serde(skip)]
    model_types: &'static [&'static str],
    #[serde(skip)]
    blueprint: fn(&Part<'_>) -> Result<Blueprint>,
}

/// All families; none without the feature `families`.
pub const FAMILIES: &[Family] = if cfg!(feature = "families") {
    &[
        flamingo::FAMILY,
        ip_adapter::FAMILY,
        ip_adapter::FACE_ID,
        ip_adapter::FACE_ID_DIFFUSERS,
        idefics2::FAMILY,
        idefics::FAMILY,
        minicpmv::FAMILY,
        qwen_vl::FAMILY,
        qwen_vl::ALONE,
        xtts::FAMILY,
        chatterbox::FAMILY,
        nv_embed::FAMILY,
        hunyuan3d::FAMILY,
        vecset::FAMILY,
        aurora::FAMILY,
        set_transformer::FAMILY,
        poyo::FAMILY,
        perceiver_ar::FAMILY,
        causal_sequence::FAMILY,
        tabicl::FAMILY,
        perceiver_pytorch::FAMILY,
        perceiver_pytorch::LATER,
        perceiver_pytorch::IO,
        perceiver_pytorch::LATER_IO,
    ]
} else {
    &[]
};

/// `model_type` of a configuration that names a family and says what shapes do not.
const MODEL_TYPE: &str = "perceiver-family";

/// The `config.json` of a folder; null where it cannot be read, which others report.
pub(crate) fn read(folder: &Path) -> Value {
    let text = read_text(folder).ok();
    text.and_then(|(text, _)| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Whether a configuration is, or may be, that of a family.
pub(crate) fn may_be(config: &Value) -> bool {
    let kind = config.get("model_type").and_then(Value::as_str);
    let known = |kind| FAMILIES.iter().any(|f| f.model_types.contains(&kind));
    kind.is_some_and(|kind| kind == MODEL_TYPE || known(kind))
}

/// Whether a configuration is that of a whole Perceiver.
pub(crate) fn is_perceiver(config: &Value) -> bool {
    let kind = config.get("model_type").and_then(Value::as_str);
    let classes = config.get("architectures").and_then(Value::as_array);
    let is_class = |class: &Value| class.as_str().is_some_and(|c| c.starts_with("Perceiver"));
    kind.is_some_and(|kind| kind.starts_with("perceiver"))
        || classes.is_some_and(|classes| classes.iter().any(is_class))
}

/// The family and blueprint of the tensors of a checkpoint. `part` is the prefix of their names, or a word of it; none looks
/// for all. `origin` names the checkpoint in errors.
pub(crate) fn recognise(
    tensors: &BTreeMap<String, Vec<usize>>,
    config: &Value,
    part: Option<&str>,
    origin: &str,
) -> Result<(&'static Family, Blueprint)> {
    if FAMILIES.is_empty() {
        let what = "is no Perceiver by itself, and families are not part of this build";
        return Err(Error::checkpoint(origin, what, "build with the feature `families`"));
    }
    let named = |key| config.get(key).and_then(Value::as_str);
    let part = part.or_else(|| named("part"));
    let kind = named("model_type").filter(|kind| *kind != MODEL_TYPE);
    let wanted = |f: &&Family| match (named("family"), kind) {
        (Some(name), _) => f.name == name,
        (None, Some(kind)) => f.model_types.contains(&kind),
        (None, None) => true,
    };
    let mut families: Vec<&'static Family> = FAMILIES.iter().filter(wanted).collect();
    if families.is_empty() && named("family").is_none() {
        families = FAMILIES.iter().collect();
    }
    if families.is_empty() {
        let mut names: Vec<_> = FAMILIES.iter().map(|f| f.name).collect();
        names.dedup();
        let found = named("family").unwrap_or_default();
        let found: String = found.chars().take(60).collect();
        let what = format!("is {found:?}");
        return Err(Error::config(origin, "family", what, format!("one of {}", names.join(", "))));
    }
    let mut found: Vec<(&'static Family, String)> = Vec::new();
    for family in &families {
        // What is within a part that is known is not another.
        let new = prefixes(family, tensors)
            .filter(|p| !found.iter().any(|(f, of)| f.name == family.name && p.starts_with(of)));
        found.extend(new.map(|prefix| (*family, prefix)).collect::<Vec<_>>());
    }
    if let Some(part) = part {
        let exact: Vec<_> =
            found.iter().filter(|(_, prefix)| is_part(prefix, part)).cloned().collect();
        found = match exact.is_empty() {
            true => found.into_iter().filter(|(_, prefix)| prefix.contains(part)).collect(),
            false => exact,
        };
        if found.is_empty() {
            found.extend(likely(&families, tensors, format!("{}.", part.trim_end_matches('.'))));
        }
    } else if found.is_empty() {
        found.extend(likely(&families, tensors, String::new()));
    }
    match &found[..] {
        [(family, prefix)] => {
            let part = Part::new(tensors, config, prefix, origin, family.name);
            part.checked(family.blueprint).map(|blueprint| (*family, blueprint))
        }
        [] => {
            let names: Vec<_> = families.iter().map(|f| f.name).collect();
            let at = part.map_or(String::new(), |p| format!(" under `{p}`"));
            Err(Error::checkpoint(
                origin,
                format!("has no part{at} that is known; tried {}", names.join(", ")),
                "docs/families.md says which tensors each has; name one with its prefix (--part)",
            ))
        }
        several => {
            let list = several.iter().take(8).map(|(f, p)| format!("`{p}` ({})", f.name));
            let list = list.collect::<Vec<_>>().join(", ");
            let what = format!("has {} parts that are known: {list}", several.len());
            Err(Error::checkpoint(origin, what, "choose one by its prefix (--part)"))
        }
    }
}

/// The family that a part should be of, so that what is missing can be told: of several under one name that with the most
/// tensors of its signature.
fn likely(
    families: &[&'static Family],
    tensors: &BTreeMap<String, Vec<usize>>,
    prefix: String,
) -> Option<(&'static Family, String)> {
    let [first, ..] = families else { return None };
    let has = |leaf: &&&str| tensors.contains_key(&format!("{prefix}{leaf}"));
    let one = families.iter().all(|family| family.name == first.name);
    let most = families.iter().max_by_key(|family| family.signature.iter().filter(has).count());
    most.filter(|_| one).map(|family| (*family, prefix))
}

fn is_part(prefix: &str, part: &str) -> bool {
    prefix.trim_end_matches('.') == part.trim_end_matches('.')
}

/// Prefixes under which all tensors of a family's signature are.
fn prefixes<'a>(
    family: &'a Family,
    tensors: &'a BTreeMap<String, Vec<usize>>,
) -> impl Iterator<Item = String> + 'a {
    let first = family.signature.first().copied().unwrap_or_default();
    let all = tensors.keys().filter_map(move |name| name.strip_suffix(first));
    let whole = all.filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
    let has = |prefix: &&str| {
        family.signature.iter().all(|leaf| tensors.contains_key(&format!("{prefix}{leaf}")))
    };
    whole.filter(has).map(str::to_owned)
}
