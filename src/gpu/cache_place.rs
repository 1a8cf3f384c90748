//! Where compiled pipelines and tuned choices are kept between runs of a program.

use std::path::PathBuf;

/// The environment variable that says where [`CachePlace::Usual`] is: a folder, or `off`.
pub const CACHE_VARIABLE: &str = "PERCEIVER_CACHE";

/// Where compiled pipelines and tuned choices are kept between runs of a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CachePlace {
    /// What `PERCEIVER_CACHE` says, else `perceiver` in the user's cache folder.
    Usual,
    /// This folder, which is made when there is something to keep.
    Folder(PathBuf),
    /// Nowhere.
    #[default]
    Off,
}

impl CachePlace {
    /// The folder; `None` when nothing is kept.
    #[doc(hidden)]
    pub fn folder(&self) -> Option<PathBuf> {
        match self {
            CachePlace::Usual => usual(&|name| std::env::var_os(name).map(PathBuf::from)),
            CachePlace::Folder(folder) => Some(folder.clone()),
            CachePlace::Off => None,
        }
    }
}

fn usual(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(place) = variable(CACHE_VARIABLE) {
        let off = place.as_os_str().is_empty() || place.as_os_str() == "off";
        return (!off).then_some(place);
    }
    let set = |name: &str| variable(name).filter(|p| p.is_absolute());
    let of_system = || {
        if cfg!(windows) {
            set("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            set("HOME").map(|home| home.join("Library/Caches"))
        } else {
            set("HOME").map(|home| home.join(".cache"))
        }
    };
    let folder = set("XDG_CACHE_HOME").or_else(of_system)?;
    Some(folder.join("perceiver"))
}

#[cfg(test)]
#[path = "../../tests/unit/gpu_cache_place.rs"]
mod tests;
