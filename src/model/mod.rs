//! A model: a configuration and weights on an engine, run on named tensors.
//!
//! Plans are made for the shapes that come and kept for the next run of the same shapes, so that
//! only the first run of a shape allocates and compiles.

mod backend;
mod binding;
mod budget;
mod engine;
mod latents;
mod planning;
mod precision;
mod prepared;
mod run;
mod sessions;

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use backend::{Session, Store};
pub use binding::{BufferElement, BufferRows, GpuInput, GpuOutput, PixelMap, TextureRegion};
pub use engine::{DEVICE_VARIABLE, DeviceChoice, Engine, automatic, chosen_adapter};
pub use latents::Latents;
use planning::route;
pub use planning::{graph, plan, plan_of, planned, splits, window_bytes};
pub use precision::Precision;
pub use prepared::{Cursor, Prepared, Step, TensorInfo};
use sessions::Sessions;

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::graph::{Control, Graph, Plan, PlanReport};
use crate::kernels::DeviceTraits;
use crate::memory::MemorySize;
use crate::perceiver::batch::not_finite;
use crate::perceiver::blueprint::Blueprint;
use crate::perceiver::{Architecture, Description, PerceiverConfig, Request, Sizes, build};
use crate::tensor::Tensor;

/// What a run returns beside the model's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RunOptions {
    /// Also the arrays on the way: encoder input, latents after the cross-attention, after the first
    /// layer and block, last latents, decoder query, hidden and output.
    pub intermediates: bool,
    /// For pictures or frames of another size than a model with learned positions or a flow model was
    /// trained on: resize the positions (`interpolate_pos_encoding`), or let the training's Fourier
    /// features lie closer or wider apart.
    pub resize_positions: bool,
}

/// A configuration and weights on an engine.
///
/// Clones share weights and sessions and cost nothing; a setting that is changed on one of them is its own
/// from then on. Runs from several threads go side by side, each in a session of its own, unless the
/// memory budget has no room: then they wait for each other.
#[derive(Clone)]
pub struct Model {
    pub(crate) description: Arc<Description>,
    pub(crate) store: Arc<Store>,
    sessions: Arc<Sessions>,
    pub(crate) window_bytes: usize,
    pub(crate) budget: Option<MemorySize>,
    known: Arc<Known>,
    /// Whether cross-attention is folded where that pays.
    pub(crate) folded: bool,
    precision: Precision,
    /// Whether outputs may have numbers that are not finite.
    non_finite: bool,
    pub(crate) control: Control,
}

/// What has been found out about requests.
#[derive(Default)]
struct Known {
    /// Windows that fit the budget, by request with the model's window.
    windows: Mutex<HashMap<Request, usize>>,
    /// Items that go through together, by request with all of them.
    items: Mutex<HashMap<Request, usize>>,
}

impl Model {
    pub(crate) fn new(description: Description, store: Arc<Store>) -> Self {
        Model {
            description: Arc::new(description),
            window_bytes: window_bytes(store.device().as_ref().map(Device::traits)),
            store,
            sessions: Arc::default(),
            budget: None,
            known: Arc::default(),
            folded: true,
            precision: Precision::F32,
            non_finite: false,
            control: Control::new(),
        }
    }

    /// What the model is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`crate::Error::Input`] when the model is a blueprint, which has none.
    pub fn config(&self) -> Result<&PerceiverConfig> {
        self.description.config()
    }

    /// The class of the model; `None` for a blueprint.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        self.description.architecture()
    }

    /// The name of the device that it runs on.
    #[must_use]
    pub fn device_name(&self) -> &str {
        match &*self.store {
            Store::Cpu(_) => "cpu",
            Store::Reference(_) => "reference",
            Store::Gpu(parameters) => parameters.device_name(),
        }
    }

    /// Bounds the bytes of the widest array of a window of inputs or queries; sessions made before
    /// are dropped.
    #[doc(hidden)]
    pub fn set_window_bytes(&mut self, bytes: usize) {
        self.window_bytes = bytes.max(1);
        self.forget();
    }

    /// Bounds what a session of this model allocates: parameters, arrays, and on a GPU transfers. Fewer
    /// items go through at once and windows become smaller, until the plan fits; where it cannot, runs
    /// are refused with the least that would do. With a budget one session is kept instead of two.
    /// The tensors that a caller hands in and gets back are not counted.
    pub fn set_memory_budget(&mut self, budget: Option<MemorySize>) {
        self.budget = budget;
        self.forget();
    }

    /// Whether runs give outputs that have infinities or what is no number, which is otherwise an [`Error::NotFinite`]. The
    /// device looks at what is bound to an app's buffers and textures, before it is scaled and rounded to their format:
    /// [`Prepared::run`] tells of it, and of what was recorded [`Prepared::read`]. Runs that are prepared already stay as
    /// they are.
    pub fn set_non_finite_allowed(&mut self, allowed: bool) {
        self.non_finite = allowed;
    }

    /// An error where an output has numbers that are not finite, unless they are allowed.
    pub(crate) fn check_finite(&self, name: &str, output: &Tensor) -> Result<()> {
        let numbers = output.as_f32().unwrap_or(&[]);
        match not_finite(numbers) {
            Some(at) if !self.non_finite => Err(Error::NotFinite {
                output: name.to_owned(),
                found: format!("{} at element {at}", numbers[at]),
            }),
            _ => Ok(()),
        }
    }

    /// Has later runs make their sessions anew.
    pub(crate) fn drop_sessions(&self) {
        self.sessions.clear();
    }

    /// Leaves the sessions, and windows that were found for them, to clones with other settings.
    fn forget(&mut self) {
        self.sessions = Arc::default();
        self.known = Arc::default();
    }

    /// The same model with its runs, and those of the encoders, decoders and pipelines that are made of it,
    /// under this control.
    #[must_use]
    pub fn controlled(&self, control: &Control) -> Model {
        Model { control: control.clone(), ..self.clone() }
    }

    /// The part of a model of arrays that is made of one of them, which a run is given as an input of its name: kept latents,
    /// say. Weights are shared with this model.
    ///
    /// # Errors
    /// As [`Blueprint::starting_at`](crate::blueprint::Blueprint::starting_at).
    pub fn starting_at(&self, array: &str) -> Result<Model> {
        self.part(|blueprint| blueprint.starting_at(array))
    }

    /// The part of a model of arrays that one of them is made of; the array is the output.
    ///
    /// # Errors
    /// As [`Blueprint::starting_at`](crate::blueprint::Blueprint::starting_at).
    pub fn ending_at(&self, array: &str) -> Result<Model> {
        self.part(|blueprint| blueprint.ending_at(array))
    }

    fn part(&self, of: impl Fn(&Blueprint) -> Result<Blueprint>) -> Result<Model> {
        let part = match &*self.description {
            Description::Blueprint(blueprint) => of(blueprint)?,
            Description::Config(_) => {
                let expected = "a model that is a list of arrays";
                return Err(Error::input("model", "has no arrays to begin or end at", expected));
            }
        };
        let mut model =
            Model { description: Arc::new(Description::Blueprint(part)), ..self.clone() };
        model.forget();
        Ok(model)
    }

    /// Whether projections and positions of cross-attention are folded into the short side where that
    /// takes fewer operations, which is so by default; sessions made before are dropped. The result is
    /// the same but for rounding.
    pub fn set_folded(&mut self, folded: bool) {
        self.folded = folded;
        self.forget();
    }

    /// How numbers are stored; f32 unless said otherwise. Sessions made before are dropped, and
    /// weights are uploaded again as they are needed.
    ///
    /// # Errors
    /// [`Error::Input`] for f16 on the CPU executors, which have f32 (and f64) only: precision is
    /// never other than what was asked for.
    pub fn set_precision(&mut self, precision: Precision) -> Result<()> {
        if precision == Precision::F16 && self.store.device().is_none() {
            let what = "is f16, which the CPU executor does not store numbers in";
            return Err(Error::input("precision", what, "f32, or a GPU"));
        }
        self.precision = precision;
        self.forget();
        self.store.release();
        Ok(())
    }

    /// How numbers are stored.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Cost of the plan that a run of these sizes replays.
    ///
    /// # Errors
    /// As [`plan`].
    pub fn report(&self, batch: usize, sizes: Sizes, options: RunOptions) -> Result<PlanReport> {
        let request = self.request(batch, sizes, options)?;
        let plan = self.plan(&request)?;
        let mut report = self.reported(&plan)?;
        report.windows = build::window_report(&self.description.blueprint(&sizes), &request);
        if let Some(device) = self.store.device() {
            let submissions = device.submissions_of(&plan)?;
            report.submissions = submissions.len() as u64;
            for stage in &mut report.stages {
                let has = |nodes: &&RangeInclusive<usize>| {
                    let nodes = &plan.graph().nodes[(*nodes).clone()];
                    nodes.iter().any(|n| n.stage.name() == stage.name)
                };
                stage.submissions = submissions.iter().filter(has).count() as u64;
            }
        }
        Ok(report)
    }

    /// Bytes allocated by the sessions that are kept, parameters included.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.sessions.bytes()
    }

    /// Bytes that the session that ran last has on a GPU for transfers and uniforms, beside what its
    /// plan predicts; 0 on the CPU.
    #[doc(hidden)]
    pub fn staging_bytes(&self) -> u64 {
        self.sessions.last(|s| s.staging_bytes()).unwrap_or(0)
    }

    /// Plan report of the session that ran last.
    #[doc(hidden)]
    pub fn last_report(&self) -> Option<PlanReport> {
        self.sessions.last(|session| self.reported(session.plan()).ok())?
    }

    /// The request for some items, with windows that fit the budget.
    pub(crate) fn request(
        &self,
        batch: usize,
        sizes: Sizes,
        options: RunOptions,
    ) -> Result<Request> {
        let mut request = self.unfitted(batch, sizes, options);
        if self.budget.is_some() {
            let known = lock(&self.known.windows).get(&request).copied();
            let bytes = |window_bytes| {
                let request = Request { window_bytes, ..request };
                self.session_bytes(&self.plan(&request)?)
            };
            let window = known.map_or_else(|| self.fit(&bytes), Ok)?;
            lock(&self.known.windows).insert(request, window);
            request.window_bytes = window;
        }
        Ok(request)
    }

    fn unfitted(&self, batch: usize, sizes: Sizes, options: RunOptions) -> Request {
        Request {
            batch,
            sizes,
            window_bytes: self.window_bytes,
            intermediates: options.intermediates,
            folded: self.folded,
        }
    }

    pub(crate) fn plan(&self, request: &Request) -> Result<Plan> {
        let blueprint = self.description.blueprint(&request.sizes);
        plan_of(&blueprint, request, self.traits().as_ref(), self.precision)
    }

    /// The plan of a graph that is made by one route or the other, and whether it is the folded one.
    pub(crate) fn route(&self, make: &dyn Fn(bool) -> Result<Graph>) -> Result<(bool, Plan)> {
        route(self.folded, make, self.traits().as_ref(), self.precision)
    }

    /// The plan of a graph on this model's device.
    pub(crate) fn planned(&self, graph: Graph) -> Result<Plan> {
        planned(graph, self.traits().as_ref(), self.precision)
    }

    /// What plans are made for; `None` on the CPU.
    fn traits(&self) -> Option<DeviceTraits> {
        self.store.device().map(|device| *device.traits())
    }

    /// A tensor of the weights.
    pub(crate) fn read_tensor(&self, name: &str) -> Result<Vec<f32>> {
        self.store.source().read_f32(name)
    }
}

/// What a mutex holds, whatever happened to the thread that held it last.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.description.name())
            .field("device", &self.device_name())
            .field("precision", &self.precision)
            .finish_non_exhaustive()
    }
}
