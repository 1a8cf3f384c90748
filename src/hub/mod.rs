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
mod part;

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

pub use cache::Cached;
use name::ModelName;
pub use options::{HubOptions, Token};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::output::write_bytes;
use crate::perceiver::{Description, families};
use cache::{Store, copy, create_folder};
use client::Client;
use download::{Wanted, hexadecimal};
use failure::Failure;
use listing::{LARGEST_SMALL, LARGEST_WEIGHTS, Listing, Weights};
use part::Tensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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
        // A name that is none, or a model of another kind: others use the cache too.
        let perceiver = |name: String| {
            let cached = self.cached(&name).ok()??;
            Description::read(&cached.folder).ok()?;
            Some((name, cached))
        };
        self.names().filter_map(perceiver).collect()
    }

    /// The names of models of which the cache has parts that were fetched by themselves. Never uses the network.
    #[doc(hidden)]
    pub fn models_in_part(&self) -> impl Iterator<Item = String> {
        self.names().filter(|name| {
            let parts = |(_, store): (_, Store)| Some(!store.parts(&store.commit()?).is_empty());
            self.here(name).ok().and_then(parts).unwrap_or(false)
        })
    }

    /// The names of all folders of models.
    fn names(&self) -> impl Iterator<Item = String> {
        let entries = std::fs::read_dir(&self.cache).into_iter().flatten().flatten();
        let name = |entry: std::fs::DirEntry| {
            let folder = entry.file_name().into_string().ok()?;
            let (organisation, name) = folder.strip_prefix("models--")?.split_once("--")?;
            Some(format!("{organisation}/{name}"))
        };
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names.into_iter()
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
    /// cache. Of parts that were fetched by ranges, the digest that was made of what came. Reads all of them and never uses the
    /// network; files of other names cannot be told. Names of damaged ones are returned.
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
        let linked = store.linked(&commit).into_iter();
        let mut files: Vec<_> =
            linked.map(|(file, etag)| (file, store.blob(&etag), Some(etag))).collect();
        for folder in store.parts(&commit) {
            let digests = Origin::of(&folder).map(|origin| origin.sha256);
            for file in [PART, listing::CONFIG] {
                // What is there without a digest was not brought to its end.
                let digest = digests.as_ref().and_then(|digests| digests.get(file).cloned());
                if digest.is_some() || folder.join(file).exists() {
                    files.push((store.name(&folder), folder.join(file), digest));
                }
            }
        }
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        let total = files.iter().map(|(_, path, _)| size(path)).sum();
        let (mut done, mut damaged) = (0, Vec::new());
        for (file, path, digest) in &files {
            let right = match digest {
                Some(digest) if path.is_file() => {
                    download::digest(digest, path)?.is_none_or(|(_, found)| found == *digest)
                }
                _ => false,
            };
            if !right {
                damaged.push(file.clone());
            }
            done += size(path);
            progress(Progress { file, done, total });
        }
        damaged.dedup();
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
    ) -> Result<()> {
        let (name, store) = self.here(model)?;
        if self.offline {
            let what = format!("{} damaged: {}", damaged.len(), damaged.join(", "));
            let hint = "unset HF_HUB_OFFLINE to download them again";
            return Err(Error::hub(name.to_string(), what, hint));
        }
        let commit = store.commit().unwrap_or_default();
        let whole = store.complete().is_some();
        let linked = store.linked(&commit).into_iter().filter(|(file, _)| damaged.contains(file));
        let linked: Vec<_> = linked.collect();
        for (_, etag) in &linked {
            if store.blob(etag).is_file() {
                store.delete(etag)?;
            }
        }
        // Parts have copies of a configuration, and only what is asked for them.
        let wrong = |folder: &PathBuf| !linked.is_empty() || damaged.contains(&store.name(folder));
        for folder in store.parts(&commit).into_iter().filter(wrong) {
            let origin = Origin::of(&folder);
            store.discard(&folder)?;
            if let Some(Origin { file, part, .. }) = origin {
                let file = file.map_or_else(String::new, |file| format!("/{file}"));
                let asked = format!("{}{file}@{}", name.repository(), name.revision);
                self.part(&asked, part.as_deref(), progress)?;
            }
        }
        match whole && !linked.is_empty() {
            true => self.snapshot(model, progress).map(|_| ()),
            false => Ok(()),
        }
    }

    fn here(&self, model: &str) -> Result<(ModelName, Store)> {
        let model: ModelName = model.parse()?;
        let store = Store::new(&self.cache, &model);
        Ok((model, store))
    }

    /// A model that has a Perceiver inside, or a file of it: `ORGANISATION/NAME[/FILE][@REVISION]`, to be opened with
    /// [`Engine::load_part`](crate::Engine::load_part) and the same `part`. Of safetensors, whole or in shards, only the
    /// headers and the tensors of the part are downloaded, where the server has ranges and they are less than half; other
    /// files whole. Of a name without a file whose `config.json` is that of a Perceiver, and where no part is named, this is
    /// [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    /// As there; [`Error::Hub`] with the files of the repository where the named one, or weights of a usual name, are
    /// missing; those of [`Checkpoint::open_part`](crate::checkpoint::Checkpoint::open_part) where no part is recognised.
    pub fn part(
        &self,
        model: &str,
        part: Option<&str>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        let (model, file) = name::with_file(model)?;
        let store = Store::new(&self.cache, &model);
        let asked = Asked { file, part };
        let cached = store.commit().and_then(|commit| asked.cached(&store, &commit));
        let sound = |path: &Path| Checkpoint::open_part(path, part).is_ok();
        match self.found(&model, &store, cached, &sound)? {
            Found::Here(path) => Ok(path),
            Found::Listed(listing) => self.fetch_part(&model, &store, &listing, &asked, progress),
        }
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
        // Weights that do not even open are downloaded again.
        let sound = |folder: &Path| part == Part::Description || Checkpoint::open(folder).is_ok();
        match self.found(&model, &store, cached, &sound)? {
            Found::Here(folder) => Ok(folder),
            Found::Listed(listing) => self.fetch(&model, &store, &listing, part, progress),
        }
    }

    /// What the cache has, where the hub need not or cannot be asked, else the hub's list of files.
    fn found(
        &self,
        model: &ModelName,
        store: &Store,
        cached: Option<PathBuf>,
        sound: &dyn Fn(&Path) -> bool,
    ) -> Result<Found> {
        if self.offline {
            let (why, remedy) = ("HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE to download it");
            let here = cached.map(Found::Here);
            return here.ok_or_else(|| absent(model, store, why, remedy));
        }
        if let Some(folder) = &cached
            && model.is_commit()
            && sound(folder)
        {
            return Ok(Found::Here(folder.clone()));
        }
        match (self.listing(model), cached) {
            (Ok(listing), _) => Ok(Found::Listed(listing)),
            (Err(failure), Some(folder)) if failure.is_outage() => {
                tracing::warn!(%model, %failure, "the hub cannot be asked: the cached model is taken");
                Ok(Found::Here(folder))
            }
            (Err(failure), None) if failure.is_unreachable() => {
                Err(absent(model, store, &failure.to_string(), failure.remedy()))
            }
            (Err(failure), _) => Err(self.error(failure, model)),
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
                format!(
                    "is this the right name? A file of a larger model, such as {}, is {model}/FILE",
                    listing.candidates()
                ),
            ));
        };
        let large = match part {
            Part::Description => Vec::new(),
            Part::All => self.weight_files(model, store, listing, weights, progress)?,
        };
        let small = listing.small().map(|file| (file.to_owned(), LARGEST_SMALL));
        let large = large.into_iter().map(|file| (file, LARGEST_WEIGHTS));
        let files: Vec<(String, u64)> = small.chain(large).collect();
        self.fetch_files(model, store, listing, &files, progress)?;
        store.set_reference(&listing.commit)?;
        Ok(folder)
    }

    /// The files of the weights. What is in an index says what to take, so it is fetched by itself.
    fn weight_files(
        &self,
        model: &ModelName,
        store: &Store,
        listing: &Listing,
        weights: Weights,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<String>> {
        let index = match weights {
            Weights::Whole(file) => return Ok(vec![file.to_owned()]),
            Weights::Shards(index) => index,
        };
        let first = [(index.to_owned(), LARGEST_SMALL)];
        self.fetch_files(model, store, listing, &first, progress)?;
        let files = listing::shards(&store.snapshot(&listing.commit).join(index))?;
        if let Some(lost) = files.iter().find(|file| !listing.has(file)) {
            let what = format!("{index} names {lost}, which the repository lacks");
            let hint = "ask whoever published the model";
            return Err(Error::hub(model.to_string(), what, hint));
        }
        Ok(files.into_iter().collect())
    }

    fn fetch_part(
        &self,
        model: &ModelName,
        store: &Store,
        listing: &Listing,
        asked: &Asked<'_>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        let missing = |what: String| {
            let hint = format!(
                "the repository has {}: name one, {}/FILE",
                listing.candidates(),
                model.repository()
            );
            Error::hub(model.to_string(), what, hint)
        };
        if let Some(file) = &asked.file
            && !listing.has(file)
        {
            return Err(missing(format!("has no file `{file}`")));
        }
        if let Some(here) = asked.cached(store, &listing.commit) {
            store.set_reference(&listing.commit)?;
            return Ok(here);
        }
        let snapshot = store.snapshot(&listing.commit);
        // What shapes do not tell is beside the file.
        let folder = asked.file.as_deref().and_then(|file| file.rsplit_once('/'));
        let config =
            folder.map_or(listing::CONFIG.to_owned(), |(f, _)| format!("{f}/{}", listing::CONFIG));
        if listing.has(&config) {
            let first = [(config.clone(), LARGEST_SMALL)];
            self.fetch_files(model, store, listing, &first, progress)?;
        }
        let config = snapshot.join(config);
        let settings = config.parent().map(families::read).unwrap_or_default();
        let files = match (&asked.file, listing.weights()) {
            (Some(file), _) => vec![file.clone()],
            (None, Some(_)) if asked.part.is_none() && !families::may_be(&settings) => {
                return self.fetch(model, store, listing, Part::All, progress);
            }
            (None, Some(weights)) => self.weight_files(model, store, listing, weights, progress)?,
            (None, None) => return Err(missing("has no weights of a usual name".to_owned())),
        };
        if files.iter().all(|file| file.ends_with(".safetensors")) {
            let wanted =
                files.iter().map(|file| self.wanted(model, listing, file, LARGEST_WEIGHTS));
            let wanted: Vec<Wanted> = wanted.collect::<Result<_>>()?;
            let found = Tensors::find(&self.client, model, &wanted, &settings, asked.part)?;
            if let Some(tensors) = found {
                let to = asked.place(store, &listing.commit);
                create_folder(&to)?;
                if config.is_file() {
                    copy(&config, &to.join(listing::CONFIG))?;
                }
                let mut advance =
                    |file: &str, done, total| progress(Progress { file, done, total });
                tensors.fetch(&self.client, model, &to.join(PART), &mut advance)?;
                Origin::write(&to, asked)?;
                store.set_reference(&listing.commit)?;
                return Ok(asked.opened(to));
            }
        }
        let Some(file) = &asked.file else {
            return self.fetch(model, store, listing, Part::All, progress);
        };
        let file = [(file.clone(), LARGEST_WEIGHTS)];
        self.fetch_files(model, store, listing, &file, progress)?;
        store.set_reference(&listing.commit)?;
        Ok(snapshot.join(&file[0].0))
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

/// What the cache has, or the hub.
enum Found {
    Here(PathBuf),
    Listed(Listing),
}

/// The tensors of a part, in a folder of their own.
const PART: &str = "model.safetensors";

/// What the folder of a part was asked for, and the digests of its files, in a file beside them.
#[derive(Serialize, Deserialize)]
struct Origin {
    file: Option<String>,
    part: Option<String>,
    sha256: BTreeMap<String, String>,
}

impl Origin {
    const FILE: &str = "origin.json";

    fn of(folder: &Path) -> Option<Self> {
        let text = crate::open::text(&folder.join(Self::FILE), LARGEST_SMALL).ok()??;
        serde_json::from_str(&text).ok()
    }

    fn write(folder: &Path, asked: &Asked<'_>) -> Result<()> {
        let mut sha256 = BTreeMap::new();
        for file in [PART, listing::CONFIG].into_iter().filter(|file| folder.join(file).exists()) {
            sha256.insert(file.to_owned(), download::sha256(&folder.join(file))?);
        }
        let part = asked.part.map(str::to_owned);
        let origin = serde_json::json!(Origin { file: asked.file.clone(), part, sha256 });
        write_bytes(&folder.join(Self::FILE), origin.to_string().as_bytes())
    }
}

/// What of a larger model is asked for.
struct Asked<'a> {
    file: Option<String>,
    part: Option<&'a str>,
}

impl Asked<'_> {
    /// The folder of the part's tensors alone. What is read may differ from one version to the next.
    fn place(&self, store: &Store, commit: &str) -> PathBuf {
        let key = [
            env!("CARGO_PKG_VERSION"),
            self.file.as_deref().unwrap_or_default(),
            self.part.unwrap_or_default(),
        ];
        store.part(commit, &hexadecimal(&Sha256::digest(key.join("\n")))[..32])
    }

    /// What is opened of that folder: the file, where one was named.
    fn opened(&self, place: PathBuf) -> PathBuf {
        if self.file.is_some() { place.join(PART) } else { place }
    }

    /// The whole file or model where it is here, else its part.
    fn cached(&self, store: &Store, commit: &str) -> Option<PathBuf> {
        let snapshot = store.snapshot(commit);
        let whole = match &self.file {
            Some(file) => Some(snapshot.join(file)).filter(|path| path.is_file()),
            None => listing::is_complete(&snapshot).then_some(snapshot),
        };
        let place = self.place(store, commit);
        whole.or_else(|| place.join(PART).is_file().then(|| self.opened(place)))
    }
}

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
