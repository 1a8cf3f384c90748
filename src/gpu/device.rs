//! An open device: opened here, or adopted from a host app.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_channel::oneshot;
use web_time::Instant;

use super::adapter::{Adapter, AdapterKind, adapters_async, name_of};
use super::bases;
use super::buffer::Buffer;
use super::cache_place::CachePlace;
use super::choice::Choices;
use super::pacing::{Ran, SubmissionBudget};
use super::pipeline::Pipelines;
use super::pipeline_cache::PipelineCache;
use crate::error::{Error, Result};
use crate::graph::{Pauses, Running, Waiting, blocking};
use crate::kernels::{DeviceTraits, SOFTWARE_LOOP_ITERATIONS, Variant};

/// Whether shaders check indices, loops and divisions at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShaderChecks {
    /// No: the shaders are our own, validated, and tested in checked mode.
    #[default]
    Trusted,
    /// Yes: for tests and for hunting driver defects.
    Checked,
}

/// What the engine can make use of on any adapter.
pub(crate) const USEFUL_FEATURES: wgpu::Features = wgpu::Features::PIPELINE_CACHE
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::SUBGROUP);

/// Says how many seconds a submission took.
pub(super) type Stopwatch = dyn Fn(&[Ran]) -> f64 + Send + Sync;

/// Says what wgpu is to have reported of what is labelled so.
type Faults = dyn Fn(&str) -> Option<wgpu::Error> + Send + Sync;

/// What a device that is not a host app's was opened with.
struct Opened {
    adapter: wgpu::AdapterInfo,
    checks: ShaderChecks,
}

/// A device with the pipelines compiled on it so far. Clones share everything.
#[derive(Clone)]
pub struct Device {
    pub(super) inner: Arc<Inner>,
}

/// What clones of a device share.
pub(super) struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: String,
    kind: AdapterKind,
    limits: wgpu::Limits,
    traits: DeviceTraits,
    pub(super) checks: ShaderChecks,
    pub(super) pipelines: Mutex<Pipelines>,
    /// What decides which variants are used.
    pub(super) choices: Mutex<Choices>,
    /// Where compiled pipelines and tuned choices are kept.
    place: Mutex<CachePlace>,
    /// Compiled pipelines on disk, if they are kept there.
    cache: Mutex<Option<Arc<PipelineCache>>>,
    /// Layout of bind group 1, which all pipelines have in common; made with the first of them.
    bases_layout: OnceLock<wgpu::BindGroupLayout>,
    budget: Mutex<SubmissionBudget>,
    stopwatch: Mutex<Option<Arc<Stopwatch>>>,
    /// Measured over cautious time of each variant, from sessions before.
    pub(super) factors: Mutex<HashMap<Variant, f64>>,
    /// How it was opened, unless it is a host app's.
    opened: Option<Opened>,
    /// Why the device was lost, once it was.
    lost: Arc<Mutex<Option<String>>>,
    /// Error scopes of a browser, which answers later.
    unsettled: Mutex<VecDeque<Unsettled>>,
    /// What tests have wgpu report.
    faults: Mutex<Option<Arc<Faults>>>,
}

impl Device {
    /// Opens an adapter with all the limits that it has.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver refuses.
    pub fn open(adapter: &Adapter, checks: ShaderChecks) -> Result<Self> {
        Self::open_with(adapter, adapter.limits(), checks)
    }

    /// Opens an adapter with these limits, for tests of what holds on lesser devices.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver refuses.
    pub fn open_with(
        adapter: &Adapter,
        limits: wgpu::Limits,
        checks: ShaderChecks,
    ) -> Result<Self> {
        blocking(Self::open_async(adapter, limits, checks))
    }

    /// As [`Device::open_with`], awaited, as it has to be in a browser.
    ///
    /// # Errors
    /// As [`Device::open_with`].
    pub async fn open_async(
        adapter: &Adapter,
        limits: wgpu::Limits,
        checks: ShaderChecks,
    ) -> Result<Self> {
        // Matrix loads that are checked element by element would not be uniform.
        let cooperative = match checks {
            ShaderChecks::Trusted => adapter.cooperative(),
            ShaderChecks::Checked => None,
        };
        let mut wanted = USEFUL_FEATURES;
        if adapter.kind == AdapterKind::Software {
            wanted |= wgpu::Features::SHADER_INT64;
        }
        let mut features = adapter.handle.features() & wanted;
        if cooperative.is_some() {
            features |= wgpu::Features::SHADER_F16;
            features |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        }
        let request = adapter.handle.request_device(&wgpu::DeviceDescriptor {
            label: Some("perceiver"),
            required_features: features,
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            experimental_features: match cooperative {
                Some(_) => experimental(),
                None => wgpu::ExperimentalFeatures::disabled(),
            },
            ..Default::default()
        });
        let (device, queue) = request.await.map_err(|e| {
            let hint = "update its driver, choose another device or the CPU executor";
            Error::device(&adapter.name, "cannot be opened", e, hint)
        })?;
        let lost = Arc::new(Mutex::new(None));
        let seen = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            let reason = format!("{reason:?}").to_lowercase();
            *lock(&seen) = Some(match message.is_empty() {
                true => reason,
                false => format!("{reason}: {message}"),
            });
        });
        // Whatever no error scope caught is logged rather than a panic, wgpu's default.
        device.on_uncaptured_error(Arc::new(|e: wgpu::Error| {
            tracing::error!(error = %e, "uncaptured GPU error");
        }));
        let opened = Opened { adapter: adapter.handle.get_info(), checks };
        Ok(Self::new(device, queue, Some(opened), lost, cooperative))
    }

    /// Takes the device and queue of a host app. Its limits are what the app asked for; its
    /// callbacks stay its own.
    pub fn adopt(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        // Which cooperative matrices it multiplies only its adapter could say.
        Self::new(device, queue, None, Arc::default(), None)
    }

    fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        opened: Option<Opened>,
        lost: Arc<Mutex<Option<String>>>,
        cooperative: Option<u32>,
    ) -> Self {
        let (info, limits) = (device.adapter_info(), device.limits());
        let traits = traits(&info, &limits, device.features(), cooperative);
        Device {
            inner: Arc::new(Inner {
                device,
                queue,
                name: name_of(&info),
                kind: AdapterKind::of(info.device_type),
                limits,
                traits,
                checks: opened.as_ref().map_or_else(ShaderChecks::default, |o| o.checks),
                pipelines: Mutex::new(HashMap::new()),
                choices: Mutex::new(Choices::new(&info)),
                place: Mutex::default(),
                cache: Mutex::default(),
                bases_layout: OnceLock::new(),
                budget: Mutex::default(),
                stopwatch: Mutex::default(),
                factors: Mutex::default(),
                opened,
                lost,
                unsettled: Mutex::default(),
                faults: Mutex::default(),
            }),
        }
    }

    /// True for an adapter that is a program on the host: its memory is the host's.
    pub(crate) fn is_software(&self) -> bool {
        self.inner.kind == AdapterKind::Software
    }

    /// The same device, if nothing else holds it yet, with the tiled variants that software adapters are spared: for
    /// tests of them without a GPU.
    #[doc(hidden)]
    #[must_use]
    pub fn with_tiles(mut self) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.traits.tiles = true;
        }
        self
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What the adapter is made of.
    pub fn kind(&self) -> AdapterKind {
        self.inner.kind
    }

    /// The limits that the device was opened with.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.inner.limits
    }

    /// What variant choice depends on.
    pub fn traits(&self) -> &DeviceTraits {
        &self.inner.traits
    }

    /// The wgpu device.
    pub fn wgpu_device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue.
    pub fn wgpu_queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// The longest that one submission may keep the device busy, for all sessions from their next run
    /// on; 100 ms unless this is called.
    pub fn set_submission_budget(&self, budget: SubmissionBudget) {
        *lock(&self.inner.budget) = budget;
    }

    /// The longest that one submission may keep the device busy.
    pub fn submission_budget(&self) -> SubmissionBudget {
        *lock(&self.inner.budget)
    }

    /// From now on submissions count as having taken what `seconds` says of what they had, instead of
    /// what a clock says: for tests, which thereby see a device of any speed.
    #[doc(hidden)]
    pub fn simulate_time(&self, seconds: impl Fn(&[Ran]) -> f64 + Send + Sync + 'static) {
        *lock(&self.inner.stopwatch) = Some(Arc::new(seconds));
    }

    /// What takes the place of the clock, if anything does.
    pub(super) fn stopwatch(&self) -> Option<Arc<Stopwatch>> {
        lock(&self.inner.stopwatch).clone()
    }

    /// Where compiled pipelines and tuned choices are kept between runs of a program: nowhere, unless
    /// this is called (an [`Engine`](crate::Engine) that opens its own device does). Pipelines are kept
    /// where the back end has a cache for them; what was tuned earlier on this adapter is read now.
    pub fn set_cache(&self, place: &CachePlace) {
        lock(&self.inner.place).clone_from(place);
        let folder = place.folder();
        let open = |folder| {
            // What goes wrong costs time, never a result.
            self.scoped("pipeline cache", 0, || PipelineCache::open(&self.inner.device, folder))
                .ok()?
        };
        *lock(&self.inner.cache) = folder.as_deref().and_then(open).map(Arc::new);
        self.read_tuning(folder);
    }

    /// As [`Engine::pipelines`](crate::Engine::pipelines).
    pub(crate) fn pipelines(&self) -> Option<Vec<u8>> {
        self.pipeline_cache()?.bytes()
    }

    /// As [`Engine::apply_pipelines`](crate::Engine::apply_pipelines).
    ///
    /// # Safety
    /// The bytes are what [`Device::pipelines`] gave.
    ///
    /// # Errors
    /// [`Error::Input`] for bytes that are not whole, [`Error::DeviceLost`].
    #[allow(unsafe_code, reason = "the app vouches for the bytes")]
    pub(crate) unsafe fn apply_pipelines(&self, bytes: &[u8]) -> Result<()> {
        let device = &self.inner.device;
        // SAFETY: the caller's word.
        let cache = self.scoped("pipeline cache", 0, || unsafe {
            PipelineCache::from_bytes(device, bytes)
        })??;
        *lock(&self.inner.cache) = cache.map(Arc::new);
        Ok(())
    }

    pub(super) fn pipeline_cache(&self) -> Option<Arc<PipelineCache>> {
        lock(&self.inner.cache).clone()
    }

    /// An error if the device is gone.
    pub(super) fn alive(&self) -> Result<()> {
        match &*lock(&self.inner.lost) {
            Some(reason) => {
                Err(Error::DeviceLost { device: self.inner.name.clone(), reason: reason.clone() })
            }
            None => Ok(()),
        }
    }

    /// Has the device be lost, as its owner says.
    pub(crate) fn set_lost(&self, reason: &str) {
        lock(&self.inner.lost).get_or_insert_with(|| reason.to_owned());
    }

    /// Whether the device is gone, which is asked of the driver where nobody has said so.
    pub(crate) fn is_lost(&self) -> bool {
        if self.alive().is_ok() {
            // Callbacks come with a poll, which does not fail where nothing is waited for.
            let _ = self.poll_wgpu(wgpu::PollType::Poll);
        }
        if self.alive().is_ok() && !self.answers() {
            self.set_lost(SILENT);
        }
        self.alive().is_err()
    }

    /// As [`Device::look`], and an error where a host's device is gone, which only asking it tells. In a browser the page
    /// hears of it.
    pub(super) fn look_again(&self) -> Result<()> {
        self.look()?;
        if self.inner.opened.is_none() && !BROWSER && !self.answers() {
            self.set_lost(SILENT);
        }
        self.alive()
    }

    /// An error as it is, or that the device is lost where it came of that.
    pub(super) fn judged(&self, error: Error) -> Error {
        if matches!(error, Error::Device { .. }) {
            self.is_lost();
        }
        self.alive().err().unwrap_or(error)
    }

    /// Whether the device still makes objects. wgpu tells of a loss by a callback alone, which on a host's device is
    /// the host's: all other calls fail without a word, and what they make is invalid.
    fn answers(&self) -> bool {
        let device = &self.inner.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("lost?"),
            size: wgpu::MAP_ALIGNMENT,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        // A browser's buffer is mapped whatever became of the device; the page hears of that.
        let mapped = BROWSER || buffer.get_mapped_range(..).is_ok();
        let [validation, memory] = [validation, memory].map(|scope| scope.pop());
        let mut reported = Box::pin(async { validation.await.or(memory.await) });
        let reported = reported.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        mapped || matches!(reported, Poll::Ready(Some(_)))
    }

    /// Opens the same adapter once more, with this device's settings and what was found out about it.
    ///
    /// # Errors
    /// [`Error::Input`] for a host app's device, [`Error::NoDevice`] where the adapter is gone, or as
    /// [`Device::open`].
    pub(super) async fn opened_again(&self) -> Result<Device> {
        let Some(opened) = &self.inner.opened else {
            let what = "is on a device of the app's, which it cannot open";
            let expected = "`Engine::from_wgpu` with a new device, and models loaded there";
            return Err(Error::input("engine", what, expected));
        };
        let all = adapters_async().await;
        let gone = || Error::NoDevice {
            wanted: self.inner.name.clone(),
            why: "the adapter that was lost has not come back".to_owned(),
            found: all.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", "),
            hint: "wait and try again, or build an Engine on another device".to_owned(),
        };
        let same = all.iter().find(|a| a.handle.get_info() == opened.adapter);
        let adapter = same.ok_or_else(gone)?;
        let limits = self.inner.limits.clone();
        let mut device = Self::open_async(adapter, limits, opened.checks).await?;
        device.set_cache(&lock(&self.inner.place).clone());
        if let Some(inner) = Arc::get_mut(&mut device.inner) {
            let old = &self.inner;
            inner.traits = old.traits;
            inner.choices = Mutex::new(lock(&old.choices).clone());
            inner.budget = Mutex::new(*lock(&old.budget));
            inner.stopwatch = Mutex::new(lock(&old.stopwatch).clone());
            inner.factors = Mutex::new(lock(&old.factors).clone());
        }
        Ok(device)
    }

    /// Whether two are one device.
    pub(super) fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// From now on what wgpu is asked for fails as `faults` says of its label, called before it is asked: for tests of
    /// what follows.
    #[doc(hidden)]
    pub fn set_faults(&self, faults: impl Fn(&str) -> Option<wgpu::Error> + Send + Sync + 'static) {
        *lock(&self.inner.faults) = Some(Arc::new(faults));
    }

    /// The layout of bind group 1, which all pipelines have in common.
    pub(super) fn bases_layout(&self) -> Result<&wgpu::BindGroupLayout> {
        if let Some(layout) = self.inner.bases_layout.get() {
            return Ok(layout);
        }
        let layout = self.scoped("first group", 0, || bases::layout(&self.inner.device))?;
        Ok(self.inner.bases_layout.get_or_init(|| layout))
    }

    /// A buffer, or why there is none.
    pub(super) fn buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
        mapped: bool,
    ) -> Result<Buffer> {
        self.alive()?;
        let limits = &self.inner.limits;
        // Bindings may not be empty, copies want multiples of four.
        let size = bytes.next_multiple_of(16).max(16);
        let storage = usage.contains(wgpu::BufferUsages::STORAGE);
        let binding = if storage { limits.max_storage_buffer_binding_size } else { u64::MAX };
        let limit = limits.max_buffer_size.min(binding);
        if size > limit {
            return Err(Error::Limit {
                what: format!("array `{label}` on `{}`", self.inner.name),
                needed: format!("{size} bytes"),
                limit: format!("{limit} bytes"),
                hint: "use a smaller batch or smaller windows, another device, or the CPU executor"
                    .to_owned(),
            });
        }
        let buffer = self.scoped(label, size, || {
            self.inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: mapped,
            })
        });
        buffer.map(Buffer::new)
    }

    /// Runs `make` and turns what wgpu reports meanwhile into an error about `label`.
    pub(super) fn scoped<T>(&self, label: &str, bytes: u64, make: impl FnOnce() -> T) -> Result<T> {
        let faults = lock(&self.inner.faults).clone();
        let fault = faults.and_then(|fault| fault(label));
        let device = &self.inner.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = make();
        let [internal, validation, memory] =
            [internal, validation, memory].map(|scope| scope.pop());
        let label = label.to_owned();
        let scopes = async { fault.or(internal.await).or(validation.await).or(memory.await) };
        let mut unsettled = Unsettled { label, bytes, scopes: Box::pin(scopes) };
        match unsettled.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(error) => self.settled(&unsettled, error)?,
            Poll::Pending => lock(&self.inner.unsettled).push_back(unsettled),
        }
        Ok(made)
    }

    /// What became of what an error scope was around.
    fn settled(&self, scope: &Unsettled, error: Option<wgpu::Error>) -> Result<()> {
        let Some(error) = error else { return Ok(()) };
        self.alive()?;
        let (device, what) = (self.inner.name.clone(), scope.label.clone());
        Err(match error {
            wgpu::Error::OutOfMemory { .. } => {
                Error::OutOfMemory { device, bytes: scope.bytes, what }
            }
            other => self.judged(Error::device(
                &self.inner.name,
                format!("refused `{what}`"),
                other,
                "report this with the name and driver of the device; the CPU executor is a way round",
            )),
        })
    }

    /// Waits for error scopes that a browser has not answered.
    async fn settle(&self) -> Result<()> {
        let next = || lock(&self.inner.unsettled).pop_front();
        let mut first = Ok(());
        while let Some(mut scope) = next() {
            let error = poll_fn(|context| scope.poll(context)).await;
            // What follows an error is of its making.
            first = first.and(self.settled(&scope, error));
        }
        first
    }

    /// Writes bytes into a buffer before what is submitted next runs.
    pub(super) fn write(
        &self,
        label: &str,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: &[u8],
    ) -> Result<()> {
        self.alive()?;
        self.scoped(label, bytes.len() as u64, || {
            self.inner.queue.write_buffer(buffer, offset, bytes);
        })
    }

    /// Gives mapped memory back to the device.
    pub(super) fn unmap(&self, label: &str, buffer: &wgpu::Buffer) -> Result<()> {
        self.scoped(label, 0, || buffer.unmap())
    }

    /// What commands are recorded into.
    pub(super) fn encoder(&self, label: &str) -> Result<wgpu::CommandEncoder> {
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some(label) };
        self.scoped(label, 0, || self.inner.device.create_command_encoder(&descriptor))
    }

    /// Submits commands.
    pub(super) fn submit(&self, commands: wgpu::CommandEncoder) -> Completion {
        self.submitted([commands.finish()])
    }

    /// What is complete when everything that was submitted before is.
    pub(super) fn submit_nothing(&self) -> Completion {
        self.submitted([])
    }

    /// Gives the thread back until the device is done, where that is awaited: a page, or an executor, does other things meanwhile.
    pub(crate) async fn rest(&self, waiting: Waiting) -> Result<()> {
        if waiting == Waiting::Block {
            return Ok(());
        }
        let nothing = self.scoped("break", 0, || self.submit_nothing())?;
        nothing.done(self, waiting).await
    }

    fn submitted<const N: usize>(&self, commands: [wgpu::CommandBuffer; N]) -> Completion {
        let index = self.inner.queue.submit(commands);
        let (sender, called) = oneshot::channel();
        self.inner.queue.on_submitted_work_done(move || {
            // Nobody listens where the run has failed, or waits by itself.
            let _ = sender.send(());
        });
        Completion { index, called }
    }

    /// What a callback of wgpu sends, which comes when somebody polls the device.
    pub(super) async fn called_back<T>(
        &self,
        mut result: oneshot::Receiver<T>,
        waiting: Waiting,
    ) -> Result<T> {
        let gone =
            |e| self.judged(Error::device(&self.inner.name, "dropped a callback", e, REBUILD));
        let sent = match waiting {
            Waiting::Block if !BROWSER => self.polled(&mut result)?,
            _ => result.await,
        };
        self.alive()?;
        self.settle().await?;
        sent.map_err(gone)
    }

    /// Polls until a callback has sent something, with naps in between that grow from some microseconds.
    ///
    /// wgpu's own way to wait holds a lock as long as it waits, which an app needs for its `present`; and with a
    /// timeout it panics where another thread's poll comes between the end of the wait and the look at the queue
    /// (wgpu 30).
    fn polled<T>(&self, result: &mut oneshot::Receiver<T>) -> Result<Result<T, oneshot::Canceled>> {
        let mut nap = Duration::from_micros(10);
        loop {
            self.look()?;
            match result.try_recv() {
                Ok(Some(sent)) => return Ok(Ok(sent)),
                Ok(None) => std::thread::sleep(nap),
                Err(gone) => return Ok(Err(gone)),
            }
            nap = (nap * 2).min(Duration::from_micros(500));
        }
    }

    /// Has callbacks come for what is done by now, and hears what error scopes have been answered.
    pub(super) fn look(&self) -> Result<()> {
        self.poll(wgpu::PollType::Poll)?;
        let context = &mut Context::from_waker(Waker::noop());
        let answered = || {
            let mut scopes = lock(&self.inner.unsettled);
            match scopes.front_mut()?.poll(context) {
                Poll::Ready(error) => Some((scopes.pop_front()?, error)),
                Poll::Pending => None,
            }
        };
        std::iter::from_fn(answered).try_for_each(|(scope, error)| self.settled(&scope, error))
    }

    /// Polls; false where what it waits for takes longer than it was given.
    fn poll(&self, until: wgpu::PollType) -> Result<bool> {
        let polled = self.poll_wgpu(until);
        self.alive()?;
        match polled {
            Ok(()) => Ok(true),
            Err(wgpu::PollError::Timeout) => Ok(false),
            Err(e) => {
                Err(self.judged(Error::device(&self.inner.name, "does not answer", e, REBUILD)))
            }
        }
    }

    /// Polls, and notes that the device is lost where wgpu panics because its driver says so (wgpu 30).
    fn poll_wgpu(&self, until: wgpu::PollType) -> Result<(), wgpu::PollError> {
        let poll = AssertUnwindSafe(|| self.inner.device.poll(until));
        match catch_unwind(poll) {
            Ok(polled) => polled.map(|_| ()),
            Err(panic) => match panic.downcast_ref::<String>() {
                Some(message) if message.starts_with("Error in Device::poll") => {
                    self.set_lost("its driver says so");
                    Ok(())
                }
                // A callback of the app's, say.
                _ => resume_unwind(panic),
            },
        }
    }
}

/// Whether this is a browser, where nothing may block.
pub(super) const BROWSER: bool = cfg!(target_arch = "wasm32");

/// An error scope that has been left and not yet answered.
struct Unsettled {
    /// What it was around.
    label: String,
    /// Bytes that this asked for.
    bytes: u64,
    scopes: Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>,
}

impl Unsettled {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<wgpu::Error>> {
        self.scopes.as_mut().poll(context)
    }
}

/// Gives the thread back now and then while a long work goes on in it, where waiting is awaited.
pub(super) struct Breaks {
    device: Device,
    waiting: Waiting,
    last: Instant,
}

impl Breaks {
    /// Longest that a browser's page is kept from its next frame: half of one of 60 a second.
    const MOST: Duration = Duration::from_millis(8);

    pub(super) fn new(device: &Device, waiting: Waiting) -> Self {
        Breaks { device: device.clone(), waiting, last: Instant::now() }
    }

    /// How a session waits that is made with these breaks.
    pub(super) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Takes a break if it is time for one.
    pub(super) async fn pause(&mut self) -> Result<()> {
        match self.due() {
            Some(pause) => pause.await,
            None => Ok(()),
        }
    }
}

impl Pauses for Breaks {
    fn due(&mut self) -> Option<Running<'_>> {
        let due = self.waiting == Waiting::Await && self.last.elapsed() > Self::MOST;
        due.then(|| -> Running<'_> {
            Box::pin(async {
                self.device.rest(self.waiting).await?;
                self.last = Instant::now();
                Ok(())
            })
        })
    }
}

/// Longest that wgpu keeps its locks for one wait, after which a device that is lost is seen to be.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that was submitted.
pub(super) struct Completion {
    index: wgpu::SubmissionIndex,
    called: oneshot::Receiver<()>,
}

impl Completion {
    /// Waits until the device is done with it.
    pub(super) fn wait(mut self, device: &Device) -> Result<()> {
        if BROWSER {
            return blocking(device.called_back(self.called, Waiting::Await));
        }
        if device.inner.opened.is_none() {
            // Where a callback is dropped, the device is gone, which the next call will say.
            return device.polled(&mut self.called).map(|_| ());
        }
        let (submission_index, timeout) = (Some(self.index), Some(PATIENCE));
        let wait = wgpu::PollType::Wait { submission_index, timeout };
        while !device.poll(wait.clone())? {}
        Ok(())
    }

    /// As [`Completion::wait`], one way or the other.
    pub(super) async fn done(self, device: &Device, waiting: Waiting) -> Result<()> {
        match waiting {
            Waiting::Block if !BROWSER => self.wait(device),
            _ => device.called_back(self.called, waiting).await,
        }
    }
}

/// What variant choice depends on, on a device of this adapter with these limits and features.
pub(super) fn traits(
    info: &wgpu::AdapterInfo,
    limits: &wgpu::Limits,
    features: wgpu::Features,
    cooperative: Option<u32>,
) -> DeviceTraits {
    let kind = AdapterKind::of(info.device_type);
    let software = kind == AdapterKind::Software;
    let subgroups = [info.subgroup_min_size, info.subgroup_max_size];
    DeviceTraits {
        software,
        int64: features.contains(wgpu::Features::SHADER_INT64),
        rewritten: software && info.backend != wgpu::Backend::BrowserWebGpu,
        tiles: !software,
        loop_iterations: if software { SOFTWARE_LOOP_ITERATIONS } else { u64::MAX },
        subgroups: features.contains(wgpu::Features::SUBGROUP).then_some(subgroups),
        cooperative,
        workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        array_bytes: limits.max_buffer_size.min(limits.max_storage_buffer_binding_size),
        invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        busy_workgroups: match kind {
            AdapterKind::Discrete | AdapterKind::Virtual => 256,
            AdapterKind::Integrated | AdapterKind::Other => 64,
            // One workgroup per thread of the processor.
            AdapterKind::Software => {
                std::thread::available_parallelism().map_or(2, |n| n.get() as u32)
            }
        },
    }
}

/// Why a device is lost that says nothing itself.
const SILENT: &str = "it makes no objects any more: destroyed, reset or unplugged";

/// What to try when a device no longer does what it did.
pub(super) const REBUILD: &str = "build a new Engine, or use the CPU executor";

/// What a mutex holds, whatever happened to the thread that held it last.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leave to use what wgpu calls experimental.
#[allow(unsafe_code, reason = "cooperative matrices are an experimental feature of wgpu")]
fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: the one such feature that is asked for, cooperative matrices, may be misused only by
    // shaders, and those are this crate's own: they are translated in tests, run only where the adapter
    // lists their shape, and what they compute is compared with the plain variants.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
