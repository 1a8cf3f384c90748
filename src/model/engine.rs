//! Engine: where models run, and how that is chosen.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::checkpoint::{Checkpoint, Origin, RangeSource, ranges};
use crate::error::{Error, Result};
use crate::gpu::{
    Adapter, CachePlace, Device, ShaderChecks, Slot, SubmissionBudget, Tuning, USEFUL_FEATURES,
    adapters_async,
};
use crate::graph::{Value, WORD_BYTES, blocking};
use crate::kernels::DeviceTraits;
use crate::model::backend::Backend;
use crate::model::prepared::zero_inputs;
use crate::model::{Model, Precision, RunOptions, Store, plan_of, window_bytes};
use crate::perceiver::blueprint::Blueprint;
use crate::perceiver::{Description, PerceiverConfig, Request};
use crate::weights::TensorSource;

/// The environment variable that automatic choice obeys.
pub const DEVICE_VARIABLE: &str = "PERCEIVER_DEVICE";

/// A request for a device, as `--device` and `PERCEIVER_DEVICE` spell it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// "auto": a discrete GPU, else an integrated one, else the CPU executor. Never a software
    /// adapter.
    #[default]
    Auto,
    /// "cpu": the CPU executor.
    Cpu,
    /// "reference": the CPU executor in float64, by plain loops. Slow; for checks.
    Reference,
    /// "gpu": the best adapter, a software one only if there is no other.
    Gpu,
    /// An adapter by its number in `perceiver devices`.
    Index(usize),
    /// The first adapter whose name contains this, whatever the case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        Ok(match text.to_lowercase().as_str() {
            "" | "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            "reference" => DeviceChoice::Reference,
            "gpu" => DeviceChoice::Gpu,
            other => match other.parse() {
                Ok(index) => DeviceChoice::Index(index),
                Err(_) => DeviceChoice::Name(text.to_owned()),
            },
        })
    }
}

/// The adapter that automatic choice takes, `None` for the CPU executor, and why.
#[must_use]
pub fn automatic(adapters: &[Adapter]) -> (Option<&Adapter>, String) {
    let ranked = adapters.iter().filter_map(|a| Some((a.kind.rank()?, a)));
    match ranked.min_by_key(|(rank, a)| (*rank, a.index)) {
        Some((_, found)) => (Some(found), format!("the first {} adapter", found.kind.name())),
        None if adapters.is_empty() => (None, "no adapter, so the CPU executor".to_owned()),
        None => (None, "software adapters only, which the CPU executor outruns".to_owned()),
    }
}

/// Where models run.
///
/// ```no_run
/// let engine = perceiver::Engine::auto()?;
/// let model = engine.load("models/text-tiny")?;
/// println!("{} on {}", model.description().name(), engine.device_name());
/// # Ok::<(), perceiver::Error>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    backend: Backend,
    /// The stores of weights that models were loaded with, by their files.
    loaded: Arc<Mutex<Vec<Loaded>>>,
}

/// The files of weights, and their store while a model has it.
type Loaded = (Origin, Weak<Store>);

impl Engine {
    /// What `PERCEIVER_DEVICE` asks for, else the best GPU, else the CPU executor.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when the variable names nothing, [`Error::Device`] when the adapter
    /// cannot be opened.
    pub fn auto() -> Result<Self> {
        Self::choose(&DeviceChoice::Auto)
    }

    /// By name: "auto", "cpu", "gpu", "reference", an adapter's number or a part of its name.
    ///
    /// # Errors
    /// As [`Engine::choose`].
    pub fn named(name: &str) -> Result<Self> {
        let Ok(choice) = name.parse();
        Self::choose(&choice)
    }

    /// By request. `Auto` obeys `PERCEIVER_DEVICE`.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when no adapter fits, [`Error::Device`] when it cannot be opened.
    pub fn choose(choice: &DeviceChoice) -> Result<Self> {
        blocking(Self::choose_async(choice))
    }

    /// As [`Engine::choose`], awaited, as it has to be in a browser (with the feature `webgpu`).
    ///
    /// # Errors
    /// As [`Engine::choose`].
    pub async fn choose_async(choice: &DeviceChoice) -> Result<Self> {
        let (choice, from_variable) = obeyed(choice);
        if choice == DeviceChoice::Reference {
            return Ok(Self::reference());
        }
        let Some(adapter) = adapter(&choice, from_variable).await? else {
            return Ok(Self::cpu());
        };
        tracing::info!(adapter = %adapter.name, backend = %adapter.backend, "chosen");
        let limits = adapter.limits();
        let device = Device::open_async(&adapter, limits, ShaderChecks::Trusted).await?;
        device.set_cache(&CachePlace::Usual);
        Ok(Self::on(device))
    }

    /// The CPU executor.
    #[must_use]
    pub fn cpu() -> Self {
        Self::with(Backend::Cpu)
    }

    /// The CPU executor in float64, by plain loops that share no code with anything they check.
    #[must_use]
    pub fn reference() -> Self {
        Self::with(Backend::Reference)
    }

    /// An open device.
    #[doc(hidden)]
    pub fn on(device: Device) -> Self {
        Self::with(Backend::Gpu(Slot::new(device)))
    }

    fn with(backend: Backend) -> Self {
        Engine { backend, loaded: Arc::default() }
    }

    /// The host app's own device and queue. The engine keeps to the limits that the app asked for
    /// and leaves its callbacks alone.
    #[must_use]
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::on(Device::adopt(device, queue))
    }

    /// Limits for the request of an app's own device with which no array of a run of these inputs has to be divided:
    /// WebGPU's default ones, with larger buffers where that takes them. Within less the engine divides arrays.
    ///
    /// # Errors
    /// [`Error::Input`] for unknown or missing names and wrong shapes.
    ///
    /// ```
    /// use perceiver::{Description, Engine, RunOptions};
    /// let flow = Description::read("models/flow-tiny")?;
    /// let shapes = [("patches", &[1, 2, 27, 96, 128][..])];
    /// let limits = Engine::required_limits(&flow, &shapes, RunOptions::default())?;
    /// assert!(limits.max_buffer_size >= 4 * 54 * 96 * 128);
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    pub fn required_limits(
        description: &Description,
        shapes: &[(&str, &[usize])],
        options: RunOptions,
    ) -> Result<wgpu::Limits> {
        let batch =
            description.batch(&zero_inputs(description, shapes)?, options.resize_positions)?;
        let traits = DeviceTraits { array_bytes: u64::MAX, ..DeviceTraits::webgpu_default() };
        let request = Request {
            batch: batch.items,
            sizes: batch.sizes,
            window_bytes: window_bytes(Some(&traits)),
            intermediates: options.intermediates,
            folded: true,
        };
        let blueprint = description.blueprint(&batch.sizes);
        let plan = plan_of(&blueprint, &request, Some(&traits), Precision::F32)?;
        let arrays = plan.graph().values.iter().map(Value::bytes);
        let slots = plan.slots().iter().map(|&words| WORD_BYTES * words as u64);
        let largest = arrays.chain(slots).max().unwrap_or(0);
        let mut limits = wgpu::Limits::default();
        limits.max_buffer_size = limits.max_buffer_size.max(largest);
        let binding = &mut limits.max_storage_buffer_binding_size;
        *binding = (*binding).max(largest);
        Ok(limits)
    }

    /// Features of an app's own device that the engine makes use of, all of them optional: timestamps pace runs,
    /// subgroups make kernels faster, a pipeline cache makes later starts faster ([`Engine::set_cache`]).
    #[must_use]
    pub fn useful_features() -> wgpu::Features {
        USEFUL_FEATURES
    }

    /// What tuning has found out about this engine's device, for [`Engine::apply_tuning`] in a later run of a
    /// program that keeps no files; `None` on the CPU.
    #[must_use]
    pub fn tuning(&self) -> Option<Vec<u8>> {
        self.device().map(|device| device.tuning().to_bytes())
    }

    /// Takes over what [`Engine::tuning`] gave, or `perceiver tune -o` wrote.
    ///
    /// # Errors
    /// [`Error::Input`] where it makes no sense or is for another adapter, driver or version; on the CPU.
    pub fn apply_tuning(&self, bytes: &[u8]) -> Result<()> {
        let none = || Error::input("engine", "is a CPU executor", "a GPU, which can be tuned");
        self.device().ok_or_else(none)?.apply_tuning(&Tuning::from_bytes(bytes)?)
    }

    /// The kernels that have been compiled for this engine's device, with those from [`Engine::apply_pipelines`] or
    /// [`Engine::set_cache`], for a later run of a program that keeps no files. `None` where neither has been called, on the
    /// CPU, where the back end has no cache (it has one on Vulkan, on a device with `wgpu::Features::PIPELINE_CACHE`), and
    /// of those from bytes after [`Engine::reopen`].
    #[must_use]
    pub fn pipelines(&self) -> Option<Vec<u8>> {
        self.device()?.pipelines()
    }

    /// Takes over what [`Engine::pipelines`] gave in an earlier run, or no bytes in the first one; what is compiled from
    /// now on is kept with it rather than on disk. What is of another adapter or driver is passed over. Does nothing
    /// where there is no cache.
    ///
    /// ```no_run
    /// # let stored: Option<Vec<u8>> = None;
    /// let engine = perceiver::Engine::auto()?;
    /// // SAFETY: nobody else writes to where this app stores it.
    /// unsafe { engine.apply_pipelines(&stored.unwrap_or_default()) }?;
    /// // … models run …
    /// let to_store = engine.pipelines();
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    ///
    /// # Safety
    /// The bytes have to be what [`Engine::pipelines`] gave: drivers take compiled code as it is. A checksum finds what is
    /// damaged by accident, not what was made on purpose.
    ///
    /// # Errors
    /// [`Error::Input`] for bytes that are damaged or something else, [`Error::DeviceLost`].
    #[allow(unsafe_code, reason = "the app vouches for the bytes")]
    pub unsafe fn apply_pipelines(&self, bytes: &[u8]) -> Result<()> {
        match self.device() {
            // SAFETY: the caller's word.
            Some(device) => unsafe { device.apply_pipelines(bytes) },
            None => Ok(()),
        }
    }

    /// The adapter's name, or "cpu".
    #[must_use]
    pub fn device_name(&self) -> &str {
        match &self.backend {
            Backend::Cpu => "cpu",
            Backend::Reference => "reference",
            Backend::Gpu(slot) => slot.device_name(),
        }
    }

    /// The longest that one submission may keep a GPU busy, for all models of this engine from their
    /// next run on: 100 ms unless this is called, so that a desktop stays smooth and no driver resets
    /// the device. On the CPU there are no submissions.
    ///
    /// ```
    /// use perceiver::{Engine, SubmissionBudget};
    ///
    /// let engine = Engine::auto()?;
    /// engine.set_submission_budget("20ms".parse()?);
    /// engine.set_submission_budget(SubmissionBudget::Unlimited);
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    pub fn set_submission_budget(&self, budget: SubmissionBudget) {
        if let Some(device) = self.device() {
            device.set_submission_budget(budget);
        }
    }

    /// Where compiled kernels and tuned choices are kept between runs of a program. An engine that
    /// opens its own device keeps them in the user's cache folder, or where `PERCEIVER_CACHE` says
    /// (`off`: nowhere); one on a device that was handed in keeps nothing unless this is called.
    pub fn set_cache(&self, place: &CachePlace) {
        if let Some(device) = self.device() {
            device.set_cache(place);
        }
    }

    /// Tells the engine that its device is gone, of which wgpu tells the app alone where the device is the app's:
    /// from then on its models' runs fail with [`Error::DeviceLost`], as they do by themselves on a device that the
    /// engine has opened. Call it in the app's `set_device_lost_callback`. A run that comes upon a lost device by itself,
    /// because what it asks for is neither made nor refused, finds out too.
    pub fn device_lost(&self, reason: &str) {
        if let Some(device) = self.device() {
            device.set_lost(reason);
        }
    }

    /// Opens the device again that this engine opened and that was lost ([`Error::DeviceLost`]). Models, pipelines,
    /// encoders and decoders of the engine and its clones then go on: with the same settings, with what tuning found
    /// out, and with the weights that they have mapped or hold; results have the same bits. Calls in the meantime fail;
    /// a [`Prepared`](crate::Prepared) is [rebuilt](crate::Prepared::rebuild). Does nothing where the device is not
    /// lost, and on the CPU.
    ///
    /// ```
    /// # use perceiver::{Engine, Error, Model, NamedTensors, Result};
    /// fn run(engine: &Engine, model: &Model, inputs: &NamedTensors) -> Result<NamedTensors> {
    ///     match model.run(inputs, &mut |_, _| {}) {
    ///         Err(Error::DeviceLost { .. }) => {
    ///             engine.reopen()?;
    ///             model.run(inputs, &mut |_, _| {})
    ///         }
    ///         result => result,
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoDevice`] while the adapter is away, [`Error::Device`] when it cannot be opened, [`Error::Input`] for
    /// an app's own device, which the app opens.
    pub fn reopen(&self) -> Result<()> {
        blocking(self.reopen_async())
    }

    /// As [`Engine::reopen`], awaited, as it has to be in a browser.
    ///
    /// # Errors
    /// As [`Engine::reopen`].
    pub async fn reopen_async(&self) -> Result<()> {
        match &self.backend {
            Backend::Gpu(slot) => slot.reopen().await,
            Backend::Cpu | Backend::Reference => Ok(()),
        }
    }

    /// The device, if it is a GPU.
    #[doc(hidden)]
    pub fn device(&self) -> Option<Device> {
        match &self.backend {
            Backend::Gpu(slot) => Some(slot.device()),
            _ => None,
        }
    }

    /// Opens a checkpoint folder and checks that its tensors are those that its configuration asks
    /// for. Weights are read when a session first needs them. Models that an engine and its clones load from the same
    /// files share their weights, as clones of one model do.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`] and [`Checkpoint::check`].
    pub fn load(&self, folder: impl AsRef<Path>) -> Result<Model> {
        self.checked(Checkpoint::open(folder)?)
    }

    /// As [`Engine::load`], of a model that has a Perceiver inside, see [`Checkpoint::open_part`]: its folder, or its file of
    /// weights.
    ///
    /// ```no_run
    /// # use perceiver::Engine;
    /// let perceiver = Engine::auto()?.load_part("XTTS-v2/model.pth", Some("gpt.conditioning_perceiver"))?;
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_part`] and [`Checkpoint::check`].
    pub fn load_part(&self, path: impl AsRef<Path>, part: Option<&str>) -> Result<Model> {
        self.checked(Checkpoint::open_part(path, part)?)
    }

    /// As [`Engine::load`], of a checkpoint that is in memory: the text of its `config.json`, and its file of
    /// weights, which is not copied.
    ///
    /// ```
    /// # use perceiver::Engine;
    /// let config = include_str!("../../models/text-tiny/config.json");
    /// let weights: &'static [u8] = include_bytes!("../../models/text-tiny/model.safetensors");
    /// let model = Engine::cpu().load_bytes(config, weights)?;
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Checkpoint::from_bytes`] and [`Checkpoint::check`].
    pub fn load_bytes(
        &self,
        config: &str,
        weights: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Model> {
        self.checked(Checkpoint::from_bytes(config, weights)?)
    }

    /// As [`Engine::load_bytes`], with weights that come piece by piece from anywhere: a server that answers
    /// ranges, an app's own files, a browser's storage. `progress` hears how many of how many bytes are there.
    ///
    /// # Errors
    /// As [`Engine::load_bytes`]; [`Error::Io`] for what the source reports, and for one with fewer bytes, or many
    /// more, than the configuration's tensors take.
    pub async fn load_ranges(
        &self,
        config: &str,
        source: &(impl RangeSource + Sync),
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Model> {
        let description = Description::from_json(config, "config.json")?;
        let weights = ranges::read(source, &description.tensors()?, progress).await?;
        self.load_bytes(config, weights)
    }

    fn checked(&self, checkpoint: Checkpoint) -> Result<Model> {
        let description = checkpoint.description().clone();
        checkpoint.check(&description.tensors()?, description.unused_tensors())?;
        let origin = checkpoint.origin();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|(_, store)| store.strong_count() > 0);
        let known = loaded.iter().find(|(known, _)| origin.as_ref() == Some(known));
        let store = known.and_then(|(_, store)| store.upgrade()).unwrap_or_else(|| {
            let store = Arc::new(self.backend.store(Arc::new(checkpoint)));
            loaded.extend(origin.map(|origin| (origin, Arc::downgrade(&store))));
            store
        });
        Ok(Model::new(description, store))
    }

    /// A model from tensors of any origin, under Hugging Face's names.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration does not hold together. Missing tensors are noticed
    /// when they are first needed.
    pub fn load_from(
        &self,
        config: PerceiverConfig,
        source: Arc<dyn TensorSource>,
    ) -> Result<Model> {
        config.validate("configuration")?;
        let description = Description::Config(config);
        Ok(Model::new(description, Arc::new(self.backend.store(source))))
    }

    /// Any other Perceiver, from tensors of any origin under the names that the blueprint gives.
    ///
    /// # Errors
    /// [`Error::Config`] when the blueprint does not hold together. Missing tensors are noticed when
    /// they are first needed.
    pub fn load_blueprint(
        &self,
        blueprint: Blueprint,
        source: Arc<dyn TensorSource>,
    ) -> Result<Model> {
        blueprint.validate("blueprint")?;
        let description = Description::Blueprint(blueprint);
        Ok(Model::new(description, Arc::new(self.backend.store(source))))
    }

    /// A model from what [`Description::read`] found.
    ///
    /// # Errors
    /// As [`Engine::load_from`] and [`Engine::load_blueprint`].
    #[doc(hidden)]
    pub fn load_description(
        &self,
        description: Description,
        source: Arc<dyn TensorSource>,
    ) -> Result<Model> {
        match description {
            Description::Config(config) => self.load_from(config, source),
            Description::Blueprint(blueprint) => self.load_blueprint(blueprint, source),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.device_name()).finish()
    }
}

/// The adapter that an engine of this request opens, not opened; `None` for the CPU executors.
///
/// # Errors
/// [`Error::NoDevice`] when no adapter fits.
pub fn chosen_adapter(choice: &DeviceChoice) -> Result<Option<Adapter>> {
    let (choice, from_variable) = obeyed(choice);
    blocking(adapter(&choice, from_variable))
}

/// The request, or for `Auto` what the variable asks for, and whether that decided.
fn obeyed(choice: &DeviceChoice) -> (DeviceChoice, bool) {
    let variable = match choice {
        // One that is no text names no adapter, and the error shows it.
        DeviceChoice::Auto => std::env::var_os(DEVICE_VARIABLE),
        _ => None,
    };
    match variable {
        Some(text) => {
            let Ok(choice) = text.to_string_lossy().parse();
            (choice, true)
        }
        None => (choice.clone(), false),
    }
}

/// The adapter of this machine that a request means; drivers are not asked where it is none.
async fn adapter(choice: &DeviceChoice, from_variable: bool) -> Result<Option<Adapter>> {
    match choice {
        DeviceChoice::Cpu | DeviceChoice::Reference => Ok(None),
        _ => Ok(pick(choice, &adapters_async().await, from_variable)?.cloned()),
    }
}

/// The adapter that a request means; `None` for the CPU executor.
fn pick<'a>(
    choice: &DeviceChoice,
    all: &'a [Adapter],
    from_variable: bool,
) -> Result<Option<&'a Adapter>> {
    let (found, wanted, why) = match choice {
        DeviceChoice::Auto => return Ok(automatic(all).0),
        DeviceChoice::Cpu | DeviceChoice::Reference => return Ok(None),
        DeviceChoice::Gpu => {
            let best = all.iter().min_by_key(|a| (a.kind.rank().unwrap_or(u8::MAX), a.index));
            (best, "gpu".to_owned(), "no driver offers an adapter")
        }
        DeviceChoice::Index(index) => {
            (all.get(*index), index.to_string(), "there is no adapter of this number")
        }
        DeviceChoice::Name(name) => {
            let part = name.to_lowercase();
            let found = all.iter().find(|a| a.name.to_lowercase().contains(&part));
            (found, name.clone(), "no adapter's name contains it")
        }
    };
    if found.is_some() {
        return Ok(found);
    }
    let names = all.iter().map(|a| format!("{} {} ({})", a.index, a.name, a.backend));
    let names = names.collect::<Vec<_>>().join(", ");
    let found = if names.is_empty() { "no adapter".to_owned() } else { names };
    let hint = match from_variable {
        true => format!("correct or unset {DEVICE_VARIABLE}, or choose `cpu`"),
        false => "choose one of these, or `cpu`, which always works".to_owned(),
    };
    Err(Error::NoDevice { wanted, why: why.to_owned(), found, hint })
}
