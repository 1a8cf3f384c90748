//! Models by name from the Hugging Face hub, in the cache that Python's tools use too.
//!
//! ```no_run
//! use perceiver::hub::Hub;
//!
//! let folder = Hub::from_env()?.snapshot("deepmind/optical-flow-perceiver", &mut |_| {})?;
//! let model = perceiver::Engine::cpu().load(folder)?;
//! # Ok::<(), perceiver::Error>(())
//! ```
//!
//! Invariants: a folder that [`Hub::snapshot`] returns holds configuration and weights, each of the
//! stated size and of the SHA-256, or git's SHA-1, that their etags are; nothing that a server says becomes
//! a path before it is checked; an interrupted download is resumed by the next call.

mod cache;
mod client;
mod download;
mod failure;
mod listing;
mod name;
mod options;

use std::fs::Metadata;
use std::path::{Path, PathBuf};

pub use cache::Cached;
use name::ModelName;
pub use options::{HubOptions, Token};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::perceiver::Description;
use cache::Store;
use client::Client;
use download::Wanted;
use failure::Failure;
use listing::{LARGEST_SMALL, LARGEST_WEIGHTS, Listing, Weights};

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file that is being downloaded.
    pub file: &'a str,
    /// Bytes that are here, of all files.
    pub done: u64,
    /// Bytes of all files that are known to be needed and were not here at the start.
    pub total: u64,
}

/// How much of a model is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Description,
    All,
}

/// How many files a hub's answer lists, or what is wrong with it.
#[doc(hidden)]
pub fn listed(answer: &[u8]) -> std::result::Result<usize, String> {
    let listing = Listing::read(answer)?;
    Ok(listing.small().count() + usize::from(listing.weights().is_some()))
}

/// A hub or a mirror, and the local cache of its models.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    cache: PathBuf,
    offline: bool,
}

impl Hub {
    /// With the settings that Hugging Face's own tools would use, see [`HubOptions::from_env`].
    ///
    /// # Errors
    /// [`Error::Input`] when a variable makes no sense.
    pub fn from_env() -> Result<Self> {
        Self::new(HubOptions::from_env()?)
    }

    /// With settings made in code.
    ///
    /// # Errors
    /// [`Error::Input`] when the endpoint is no address.
    pub fn new(options: HubOptions) -> Result<Self> {
        Ok(Hub { client: Client::new(&options)?, cache: options.cache, offline: options.offline })
    }

    /// The folder of the cache.
    #[doc(hidden)]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// True when the network is not used.
    #[doc(hidden)]
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// The model as the cache has it, if it has all of it. Never uses the network.
    ///
    /// # Errors
    /// [`Error::Hub`] when the name is none.
    pub fn cached(&self, model: &str) -> Result<Option<Cached>> {
        Ok(Store::new(&self.cache, &model.parse()?).complete())
    }

    /// All Perceiver models that the cache holds whole, by name. Never uses the network.
    #[must_use]
    pub fn cached_models(&self) -> Vec<(String, Cached)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.cache).into_iter().flatten().flatten() {
            let folder = entry.file_name();
            let name = folder.to_str().and_then(|f| f.strip_prefix("models--"));
            let Some((organisation, name)) = name.and_then(|n| n.split_once("--")) else {
                continue;
            };
            let name = format!("{organisation}/{name}");
            // A name that is none, or a model of another kind: others use the cache too.
            if let Ok(Some(cached)) = self.cached(&name)
                && Description::read(&cached.folder).is_ok()
            {
                found.push((name, cached));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// The folder of `ORGANISATION/NAME[@REVISION]`, downloaded when the cache lacks it. A branch or tag
    /// is looked up at every call; a whole commit is not. Without a network, what the cache has is
    /// taken.
    ///
    /// # Errors
    /// [`Error::Hub`] when name, hub, network or content are at fault, [`Error::Io`] when the cache
    /// cannot be written, [`Error::Checkpoint`] for an index of weights that is damaged.
    pub fn snapshot(&self, model: &str, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
        self.folder(model, Part::All, progress)
    }

    /// As [`snapshot`](Self::snapshot), but the folder need hold no weights: the configuration is
    /// enough to plan a model, and small.
    ///
    /// # Errors
    /// As there.
    pub fn description(
        &self,
        model: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        self.folder(model, Part::Description, progress)
    }

    /// Files of a cached model that are not what the hub sent: their content does not have the digest that is their name in the
    /// cache. Reads all of them and never uses the network; files of other names cannot be told. Names of damaged ones are returned.
    ///
    /// # Errors
    /// [`Error::Hub`] when the name is none or the cache has no such model, [`Error::Io`] when a file cannot be read.
    pub fn verify(
        &self,
        model: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<String>> {
        let (model, store) = self.here(model)?;
        let commit = store.commit().ok_or_else(|| absent(&model, &store, NOT_HERE, DOWNLOAD))?;
        let files = store.linked(&commit);
        let size = |etag: &str| std::fs::metadata(store.blob(etag)).map_or(0, |m| m.len());
        let total = files.iter().map(|(_, etag)| size(etag)).sum();
        let (mut done, mut damaged) = (0, Vec::new());
        for (file, etag) in &files {
            let blob = store.blob(etag);
            if !blob.is_file()
                || download::digest(etag, &blob)?.is_some_and(|(_, found)| found != *etag)
            {
                damaged.push(file.clone());
            }
            done += size(etag);
            progress(Progress { file, done, total });
        }
        Ok(damaged)
    }

    /// Downloads the files that [`Hub::verify`] found damaged again.
    ///
    /// # Errors
    /// As [`Hub::snapshot`]; [`Error::Hub`] where the network is not used, with nothing deleted.
    pub fn repair(
        &self,
        model: &str,
        damaged: &[String],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        let (name, store) = self.here(model)?;
        if self.offline {
            let what = format!("{} damaged: {}", damaged.len(), damaged.join(", "));
            let hint = "unset HF_HUB_OFFLINE to download them again";
            return Err(Error::hub(name.to_string(), what, hint));
        }
        let commit = store.commit().unwrap_or_default();
        for (_, etag) in store.linked(&commit).iter().filter(|(file, _)| damaged.contains(file)) {
            if store.blob(etag).is_file() {
                store.delete(etag)?;
            }
        }
        self.snapshot(model, progress)
    }

    fn here(&self, model: &str) -> Result<(ModelName, Store)> {
        let model: ModelName = model.parse()?;
        let store = Store::new(&self.cache, &model);
        Ok((model, store))
    }

    fn folder(
        &self,
        model: &str,
        part: Part,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        let (model, store) = self.here(model)?;
        let cached = match part {
            Part::All => store.complete().map(|cached| cached.folder),
            Part::Description => store.described(),
        };
        if self.offline {
            let (why, remedy) = ("HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE to download it");
            return cached.ok_or_else(|| absent(&model, &store, why, remedy));
        }
        // Weights that do not even open are downloaded again.
        if let Some(folder) = &cached
            && model.is_commit()
            && (part == Part::Description || Checkpoint::open(folder).is_ok())
        {
            return Ok(folder.clone());
        }
        match (self.listing(&model), cached) {
            (Ok(listing), _) => self.fetch(&model, &store, &listing, part, progress),
            (Err(failure), Some(folder)) if failure.is_outage() => {
                tracing::warn!(%model, %failure, "the hub cannot be asked: the cached model is taken");
                Ok(folder)
            }
            (Err(failure), None) if failure.is_unreachable() => {
                Err(absent(&model, &store, &failure.to_string(), failure.remedy()))
            }
            (Err(failure), _) => Err(self.error(failure, &model)),
        }
    }

    fn error(&self, failure: Failure, model: &ModelName) -> Error {
        failure.error(model, self.client.base())
    }

    fn listing(&self, model: &ModelName) -> Result<Listing, Failure> {
        let (base, repository) = (self.client.base(), model.repository());
        let revision = model.revision_in_address();
        let address = format!("{base}/api/models/{repository}/revision/{revision}?blobs=true");
        let text = self.client.document(&address)?;
        Listing::read(&text).map_err(|what| Failure::nonsense(&address, what))
    }

    fn fetch(
        &self,
        model: &ModelName,
        store: &Store,
        listing: &Listing,
        part: Part,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        let folder = store.snapshot(&listing.commit);
        let Some(weights) = listing.weights().filter(|_| listing.has(listing::CONFIG)) else {
            return Err(Error::hub(
                model.to_string(),
                "holds no model: it needs config.json, and model.safetensors or pytorch_model.bin",
                "is this the right name?",
            ));
        };
        let mut small: Vec<String> = listing.small().map(str::to_owned).collect();
        let mut large = Vec::new();
        match weights {
            _ if part == Part::Description => {}
            Weights::Whole(file) => large.push(file.to_owned()),
            // What is in the index says what else to take, so it comes first, by itself.
            Weights::Shards(index) => {
                small.push(index.to_owned());
                let first = [(index.to_owned(), LARGEST_SMALL)];
                self.fetch_files(model, store, listing, &first, progress)?;
                for shard in listing::shards(&folder.join(index))? {
                    if !listing.has(&shard) {
                        let what = format!("{index} names {shard}, which the repository lacks");
                        let hint = "ask whoever published the model";
                        return Err(Error::hub(model.to_string(), what, hint));
                    }
                    large.push(shard);
                }
            }
        }
        let small = small.into_iter().map(|file| (file, LARGEST_SMALL));
        let large = large.into_iter().map(|file| (file, LARGEST_WEIGHTS));
        let files: Vec<(String, u64)> = small.chain(large).collect();
        self.fetch_files(model, store, listing, &files, progress)?;
        store.set_reference(&listing.commit)?;
        Ok(folder)
    }

    /// Downloads and links the files that the snapshot lacks.
    fn fetch_files(
        &self,
        model: &ModelName,
        store: &Store,
        listing: &Listing,
        files: &[(String, u64)],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        let folder = store.snapshot(&listing.commit);
        let mut wanted = Vec::new();
        for (file, largest) in files {
            // A blob of another size than the hub says is damaged, whoever made it.
            let found = std::fs::metadata(folder.join(file)).ok().filter(|m| m.is_file());
            let right = |m: &Metadata| listing.size(file).is_none_or(|size| size == m.len());
            if !found.as_ref().is_some_and(right) {
                wanted.push(self.wanted(model, listing, file, *largest)?);
            }
        }
        let total = wanted.iter().map(|w| w.size).sum();
        let mut before = 0;
        for wanted in &wanted {
            let mut advance = |bytes| {
                progress(Progress { file: &wanted.file, done: before + bytes, total });
            };
            download::blob(&self.client, store, model, wanted, &mut advance)?;
            store.link(&listing.commit, &wanted.file, &wanted.etag)?;
            before += wanted.size;
        }
        Ok(())
    }

    /// What the hub says about a file, checked.
    fn wanted(
        &self,
        model: &ModelName,
        listing: &Listing,
        file: &str,
        largest: u64,
    ) -> Result<Wanted> {
        let (base, repository) = (self.client.base(), model.repository());
        let address = format!("{base}/{repository}/resolve/{}/{file}", listing.commit);
        let refused = |what: String| self.error(Failure::nonsense(&address, what), model);
        let stated = self.client.stated(&address).map_err(|failure| self.error(failure, model))?;
        if !name::is_file_name(&stated.etag) {
            return Err(refused("has an ETag that cannot name a file".to_owned()));
        }
        if stated.commit.is_some_and(|commit| commit != listing.commit) {
            return Err(refused("belongs to another commit than asked for".to_owned()));
        }
        let Some(size) = stated.size.or_else(|| listing.size(file)) else {
            return Err(refused("does not say how long the file is".to_owned()));
        };
        if size > largest {
            return Err(refused(format!("states {size} bytes for {file}, the limit is {largest}")));
        }
        Ok(Wanted { file: file.to_owned(), etag: stated.etag, size, address })
    }
}

/// Why a model is not verified, and what to do.
const NOT_HERE: &str = "there is nothing to verify";
const DOWNLOAD: &str = "run it once to download it";

/// The error for a model that is not here and cannot be had.
fn absent(model: &ModelName, store: &Store, why: &str, remedy: &str) -> Error {
    let found = match store.commit() {
        Some(commit) => format!(
            "{} lacks its configuration or a part of its weights",
            store.snapshot(&commit).display()
        ),
        None => format!("{} has no revision `{}`", store.root().display(), model.revision),
    };
    Error::hub(
        model.to_string(),
        format!("is not in the cache: {found}, and {why}"),
        format!(
            "{remedy}; or set HF_HUB_CACHE to a cache that has it, or give a folder with config.json and \
             model.safetensors"
        ),
    )
}
