//! A model: a configuration and weights on an engine, run on named tensors.
//!
//! Plans are made for the shapes that come and kept for the next run of the same shapes, so that
//! only the first run of a shape allocates and compiles.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cpu;
use crate::description::Description;
use crate::error::{Error, Result};
use crate::gpu;
use crate::graph::passes::{fuse_norms, halve, limit_arrays, split_attention, split_products};
use crate::graph::{ELEMENT_BYTES, Graph, Op, Plan, PlanReport, Stage};
use crate::kernels::DeviceTraits;
use crate::memory::MemorySize;
use crate::perceiver::batch::Batch;
use crate::perceiver::blueprint::{Blueprint, Content};
use crate::perceiver::parameters::{ParameterStore, TensorSource};
use crate::perceiver::stack::{Request, Sizes};
use crate::perceiver::stream::LATENTS;
use crate::perceiver::{Architecture, PerceiverConfig, blueprint_inputs, build};
use crate::stream::{Decoder, Encoder, Latents};
use crate::tasks::{
    image_classification, masked_lm, multimodal, optical_flow, text_classification,
};
use crate::tensor::{NamedTensors, Tensor};

/// Sessions kept per model: a caller who alternates between two shapes makes each once.
const SESSIONS: usize = 2;
/// Most items in one run; more are run in turns, so that memory does not grow with the batch.
const ITEMS: usize = 8;

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

/// How a model's numbers are stored and multiplied. Sums are f32 whatever the precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
    /// Weights and most arrays as 16-bit floats, which halves memory and what is read of it, and lets
    /// matrix units multiply. Sums, statistics, softmax, the states of attention and the residual
    /// stream are f32. Whole models are right to 5·10⁻³ instead of 10⁻⁵.
    F16,
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.to_lowercase().as_str() {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            _ => Err("f32 or f16".to_owned()),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        })
    }
}

/// A configuration and weights on an engine.
pub struct Model {
    pub(crate) description: Description,
    source: Arc<dyn TensorSource>,
    pub(crate) store: Store,
    sessions: Mutex<VecDeque<(Request, Session)>>,
    pub(crate) window_bytes: usize,
    pub(crate) budget: Option<MemorySize>,
    /// Windows that fit the budget, by request with the model's window.
    fitted: Mutex<HashMap<Request, usize>>,
    /// Items that go through together, by request with all of them.
    items: Mutex<HashMap<Request, usize>>,
    folded: bool,
    precision: Precision,
}

/// What executes plans.
#[derive(Clone)]
pub(crate) enum Backend {
    /// f32 on all threads.
    Cpu,
    /// f64 by plain loops.
    Reference,
    /// A GPU.
    Gpu(gpu::Device),
}

/// Parameters where the engine wants them.
pub(crate) enum Store {
    Cpu(ParameterStore<f32>),
    Reference(ParameterStore<f64>),
    Gpu(gpu::Parameters),
}

impl Store {
    /// Drops parameters that no session holds.
    fn release(&self) {
        match self {
            Store::Cpu(store) => store.release(),
            Store::Reference(store) => store.release(),
            Store::Gpu(parameters) => parameters.release(),
        }
    }
}

/// A plan that is ready to run.
pub(crate) enum Session {
    Cpu(cpu::Session<f32>),
    Reference(cpu::Session<f64>),
    Gpu(Box<gpu::Session>),
}

impl Session {
    pub(crate) fn write(&mut self, name: &str, data: &[f32]) -> Result<()> {
        match self {
            Session::Cpu(s) => s.write(name, data),
            Session::Reference(s) => s.write(name, data),
            Session::Gpu(s) => s.write(name, data),
        }
    }

    pub(crate) fn run(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        match self {
            Session::Cpu(s) => s.run(progress),
            Session::Reference(s) => s.run(progress),
            Session::Gpu(s) => s.run(progress),
        }
    }

    pub(crate) fn read(&self, name: &str) -> Result<Tensor> {
        match self {
            Session::Cpu(s) => s.read(name),
            Session::Reference(s) => s.read(name),
            Session::Gpu(s) => s.read(name),
        }
    }

    /// After inputs that are kept have been written.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        match self {
            Session::Cpu(s) => s.prepare(),
            Session::Reference(s) => s.prepare(),
            Session::Gpu(s) => return s.prepare(),
        }
        Ok(())
    }

    /// Where factored attentions begin on their grid.
    pub(crate) fn set_first_key(&mut self, first: usize) -> Result<()> {
        match self {
            Session::Cpu(s) => s.set_first_key(first),
            Session::Reference(s) => s.set_first_key(first),
            Session::Gpu(s) => return s.set_first_key(first),
        }
        Ok(())
    }

    fn plan(&self) -> &Plan {
        match self {
            Session::Cpu(s) => s.plan(),
            Session::Reference(s) => s.plan(),
            Session::Gpu(s) => s.plan(),
        }
    }

    pub(crate) fn allocated_bytes(&self) -> u64 {
        match self {
            Session::Cpu(s) => s.allocated_bytes(),
            Session::Reference(s) => s.allocated_bytes(),
            Session::Gpu(s) => s.allocated_bytes(),
        }
    }
}

/// A model as data, for items of these sizes.
#[must_use]
pub fn blueprint(config: &PerceiverConfig, sizes: &Sizes) -> Blueprint {
    match config.architecture {
        Architecture::MaskedLm => masked_lm::blueprint(config, sizes),
        Architecture::SequenceClassification => text_classification::blueprint(config, sizes),
        Architecture::ImageLearned
        | Architecture::ImageFourier
        | Architecture::ImageConvolution => image_classification::blueprint(config, sizes),
        Architecture::OpticalFlow => optical_flow::blueprint(config, sizes),
        Architecture::Multimodal => multimodal::blueprint(config, sizes),
    }
}

/// The graph of a model for some shapes, before any pass.
///
/// # Errors
/// [`crate::Error::Graph`] when the configuration does not hold together.
pub fn graph(config: &PerceiverConfig, request: &Request) -> Result<Graph> {
    build::graph(&blueprint(config, &request.sizes), request)
}

/// The plan of a model for some shapes: on a GPU with these traits, or on the CPU.
///
/// # Errors
/// As [`graph`].
pub fn plan(
    config: &PerceiverConfig,
    request: &Request,
    device: Option<&DeviceTraits>,
) -> Result<Plan> {
    plan_of(
        &blueprint(config, &request.sizes),
        request,
        device,
        Precision::F32,
    )
}

fn plan_of(
    blueprint: &Blueprint,
    request: &Request,
    device: Option<&DeviceTraits>,
    precision: Precision,
) -> Result<Plan> {
    let make = |folded| build::graph(blueprint, &Request { folded, ..*request });
    Ok(route(request.folded, &make, device, precision)?.1)
}

/// The plan of a graph by the folded or the plain route, and whether it is the folded one. What the
/// folded route cannot divide to fit a device, the plain one can.
fn route(
    folded: bool,
    make: &dyn Fn(bool) -> Result<Graph>,
    device: Option<&DeviceTraits>,
    precision: Precision,
) -> Result<(bool, Plan)> {
    match planned(make(folded)?, device, precision) {
        Err(Error::Limit { .. }) if folded => {
            Ok((false, planned(make(false)?, device, precision)?))
        }
        plan => Ok((folded, plan?)),
    }
}

/// The plan of a graph: on a GPU with these traits, or on the CPU.
pub(crate) fn planned(
    graph: Graph,
    device: Option<&DeviceTraits>,
    precision: Precision,
) -> Result<Plan> {
    let graph = match device {
        Some(traits) => {
            let graph = limit_arrays(graph, traits.array_bytes)?;
            let graph = split_products(fuse_norms(graph), &|a| a.wanted_splits(traits));
            split_attention(graph, &|a| splits(a, traits))
        }
        None => graph,
    };
    Plan::new(match precision {
        Precision::F32 => graph,
        Precision::F16 => halve(graph, device.is_some_and(|d| d.software)),
    })
}

/// Operations of one workgroup that take some tens of milliseconds: on a core, on a part of a GPU.
/// Nothing can cut a workgroup once it runs.
const fn most_of_a_workgroup(device: &DeviceTraits) -> u64 {
    if device.software {
        500_000_000
    } else {
        2_000_000_000
    }
}

/// Parts to divide an attention's keys into, so that few queries still fill the device: one while
/// four fifths of it are busy, and never parts of less than 256 keys, which the merge would outweigh.
/// More where a workgroup would otherwise run for too long.
#[must_use]
pub fn splits(op: &Op, device: &DeviceTraits) -> usize {
    let (groups, keys, pairs) = match op {
        Op::Attention(a) => {
            let pairs = a.batch * a.heads * a.queries * a.keys;
            (a.groups(device), a.keys, pairs)
        }
        Op::FactoredAttention(a) => (a.groups(device), a.keys, a.batch * a.queries * a.keys),
        _ => return 1,
    };
    let busy = device.busy_workgroups as usize;
    let wanted = if groups == 0 || 5 * groups >= 4 * busy {
        1
    } else {
        busy.div_ceil(groups)
    };
    // An exponential is worth about twenty operations.
    let work = op.cost().flops + 20 * pairs as u64;
    let bounded = work.div_ceil(most_of_a_workgroup(device) * groups.max(1) as u64) as usize;
    let wanted = wanted.max(bounded).min(keys / 256).max(1);
    // The states of all parts are one array.
    let state = match op {
        Op::Attention(a) => a.batch * a.queries * a.heads * a.v_stride(),
        Op::FactoredAttention(a) => a.batch * a.queries * a.columns.next_multiple_of(4),
        _ => 0,
    };
    let state = (ELEMENT_BYTES * state as u64).max(1);
    let most = usize::try_from(device.array_bytes / state).unwrap_or(usize::MAX);
    let wanted = wanted.min(most.max(1));
    match op {
        Op::Attention(a) => a.feasible_splits(wanted, device),
        Op::FactoredAttention(a) => a.feasible_splits(wanted, device),
        _ => 1,
    }
}

/// Bytes of the widest array of a window: on the CPU about what its caches hold, on a GPU enough to
/// fill it, within what it can bind.
pub(crate) fn window_bytes(device: Option<&DeviceTraits>) -> usize {
    match device {
        Some(traits) => traits.array_bytes.min(32 << 20) as usize,
        None => 8 << 20,
    }
}

/// Inputs of an official model, checked.
fn official_inputs(
    config: &PerceiverConfig,
    inputs: &NamedTensors,
    options: RunOptions,
) -> Result<Batch> {
    match config.architecture {
        Architecture::MaskedLm | Architecture::SequenceClassification => {
            masked_lm::inputs(config, inputs)
        }
        Architecture::ImageLearned
        | Architecture::ImageFourier
        | Architecture::ImageConvolution => {
            image_classification::inputs(config, inputs, options.resize_positions)
        }
        Architecture::OpticalFlow => optical_flow::inputs(config, inputs, options.resize_positions),
        Architecture::Multimodal => multimodal::inputs(config, inputs),
    }
}

impl Model {
    pub(crate) fn new(
        backend: Backend,
        description: Description,
        source: Arc<dyn TensorSource>,
    ) -> Self {
        let traits = match &backend {
            Backend::Gpu(device) => Some(device.traits()),
            _ => None,
        };
        Model {
            description,
            window_bytes: window_bytes(traits),
            source: Arc::clone(&source),
            store: match backend {
                Backend::Cpu => Store::Cpu(ParameterStore::new(source)),
                Backend::Reference => Store::Reference(ParameterStore::new(source)),
                Backend::Gpu(device) => Store::Gpu(gpu::Parameters::new(device, source)),
            },
            sessions: Mutex::new(VecDeque::new()),
            budget: None,
            fitted: Mutex::default(),
            items: Mutex::default(),
            folded: true,
            precision: Precision::F32,
        }
    }

    /// Names and shapes of the tensors that a configuration needs.
    ///
    /// # Errors
    /// As [`graph`].
    pub fn tensors(config: &PerceiverConfig) -> Result<Vec<(String, Vec<usize>)>> {
        let request = Request {
            batch: 1,
            sizes: Sizes {
                length: 1,
                points: [1, 1],
                ..Sizes::usual(config)
            },
            window_bytes: usize::MAX / 8,
            intermediates: true,
            folded: false,
        };
        let graph = graph(config, &request)?;
        let mut tensors = BTreeMap::new();
        for (_, recipe) in graph.parameters() {
            tensors.extend(recipe.tensors());
        }
        Ok(tensors.into_iter().collect())
    }

    /// Names of tensors that Hugging Face's checkpoints have and that change no result.
    #[must_use]
    pub fn unused_tensors(config: &PerceiverConfig) -> &'static [&'static str] {
        match config.architecture {
            Architecture::ImageConvolution => {
                &["perceiver.input_preprocessor.convnet.batchnorm.num_batches_tracked"]
            }
            Architecture::Multimodal => &multimodal::UNUSED,
            _ => &[],
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
        match &self.store {
            Store::Cpu(_) => "cpu",
            Store::Reference(_) => "reference",
            Store::Gpu(parameters) => parameters.device().name(),
        }
    }

    /// Bounds the bytes of the widest array of a window of inputs or queries; sessions made before
    /// are dropped.
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

    /// The budget, if there is one.
    #[must_use]
    pub fn memory_budget(&self) -> Option<MemorySize> {
        self.budget
    }

    /// Has later runs make their sessions anew.
    pub(crate) fn drop_sessions(&self) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.clear();
    }

    /// Drops all sessions, and windows that were found for them.
    fn forget(&mut self) {
        let lock = PoisonError::into_inner;
        self.sessions.get_mut().unwrap_or_else(lock).clear();
        for known in [&mut self.fitted, &mut self.items] {
            known
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
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
        if precision == Precision::F16 && !matches!(self.store, Store::Gpu(_)) {
            return Err(Error::input(
                "precision",
                "is f16, which the CPU executor does not store numbers in",
                "f32, or a GPU (--device gpu; `perceiver devices` lists them)",
            ));
        }
        self.precision = precision;
        self.sessions
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        if let Store::Gpu(parameters) = &self.store {
            parameters.release();
        }
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
        if let Store::Gpu(parameters) = &self.store {
            let submissions = parameters.device().submissions_of(&plan)?;
            report.submissions = submissions.len() as u64;
            for stage in &mut report.stages {
                let has = |nodes: &&std::ops::RangeInclusive<usize>| {
                    let mut of_stage = plan.graph.nodes[(*nodes).clone()].iter();
                    of_stage.any(|n| n.stage.name() == stage.name)
                };
                stage.submissions = submissions.iter().filter(has).count() as u64;
            }
        }
        Ok(report)
    }

    /// Bytes allocated by the sessions that are kept, parameters included.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let each = sessions.iter().map(|(_, s)| s.allocated_bytes());
        each.max().unwrap_or(0)
    }

    /// Bytes that the session that ran last has on a GPU for transfers and uniforms, beside what its
    /// plan predicts; 0 on the CPU.
    #[must_use]
    pub fn staging_bytes(&self) -> u64 {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.front() {
            Some((_, Session::Gpu(s))) => s.staging_bytes(),
            _ => 0,
        }
    }

    /// Plan report of the session that ran last.
    #[must_use]
    pub fn last_report(&self) -> Option<PlanReport> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, session) = sessions.front()?;
        self.reported(session.plan()).ok()
    }

    /// Seconds of the last run, by node in the order of [`PlanReport::nodes`]; `None` before the first
    /// run and on a GPU, where nodes share submissions.
    #[must_use]
    pub fn last_node_seconds(&self) -> Option<Vec<f64>> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.front() {
            Some((_, Session::Cpu(s))) => Some(s.node_seconds().to_vec()),
            Some((_, Session::Reference(s))) => Some(s.node_seconds().to_vec()),
            _ => None,
        }
    }

    /// Seconds of the last run, by stage in the order of [`Stage::ALL`](crate::graph::Stage::ALL);
    /// `None` as [`Model::last_node_seconds`].
    #[must_use]
    pub fn last_stage_seconds(&self) -> Option<[f64; 5]> {
        let (seconds, report) = (self.last_node_seconds()?, self.last_report()?);
        let mut stages = [0.0; 5];
        for (stage, sum) in Stage::ALL.iter().zip(&mut stages) {
            let of_stage = report.nodes.iter().zip(&seconds);
            *sum = of_stage
                .filter(|(node, _)| node.stage == stage.name())
                .map(|(_, seconds)| seconds)
                .sum();
        }
        Some(stages)
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
            let known = |fitted: &HashMap<Request, usize>| fitted.get(&request).copied();
            let found = known(&self.fitted.lock().unwrap_or_else(PoisonError::into_inner));
            let window = match found {
                Some(window) => window,
                None => self.fit(&|window_bytes| {
                    let request = Request {
                        window_bytes,
                        ..request
                    };
                    self.session_bytes(&self.plan(&request)?)
                })?,
            };
            let mut fitted = self.fitted.lock().unwrap_or_else(PoisonError::into_inner);
            fitted.insert(request, window);
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
        plan_of(&blueprint, request, self.traits(), self.precision)
    }

    /// The plan of a graph that is made by one route or the other, and whether it is the folded one.
    pub(crate) fn route(&self, make: &dyn Fn(bool) -> Result<Graph>) -> Result<(bool, Plan)> {
        route(self.folded, make, self.traits(), self.precision)
    }

    /// The plan of a graph on this model's device.
    pub(crate) fn planned(&self, graph: Graph) -> Result<Plan> {
        planned(graph, self.traits(), self.precision)
    }

    /// What plans are made for; `None` on the CPU.
    fn traits(&self) -> Option<&DeviceTraits> {
        match &self.store {
            Store::Gpu(parameters) => Some(parameters.device().traits()),
            _ => None,
        }
    }

    /// As [`Model::run_with`], without intermediates.
    ///
    /// # Errors
    /// As [`Model::run_with`].
    pub fn run(
        &self,
        inputs: &NamedTensors,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<NamedTensors> {
        self.run_with(inputs, RunOptions::default(), progress)
    }

    /// Runs the model on named tensors. Texts: `input_ids` and optionally `attention_mask` (i64,
    /// `[batch, length]`). Pictures: `pixel_values` (f32, `[batch, 3, height, width]`). Optical flow:
    /// `patches` (f32, `[batch, 2, 27, height, width]`). Multimodal: `image` (f32,
    /// `[batch, frames, 3, height, width]`), `audio` (f32, `[batch, samples, 1]`), `points.image` and
    /// `points.audio` (i64, what to decode), optionally `label`. Returns `logits`, or `logits.image`,
    /// `logits.audio` and `logits.label`. A blueprint names its inputs and outputs itself; see
    /// [`Blueprint`] for their shapes.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for unknown or missing names, wrong shapes and values out of range;
    /// otherwise what the device or the checkpoint gives.
    pub fn run_with(
        &self,
        inputs: &NamedTensors,
        options: RunOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<NamedTensors> {
        let batch = self.batch(inputs, options)?;
        let most = self.most_items(&batch, options)?;
        self.run_items(batch, most, options, progress)
    }

    /// Makes what a run of these inputs needs, so that the first run takes no longer than later ones:
    /// compiles kernels, allocates memory, reads weights. Only the shapes of the inputs matter.
    /// `progress` hears how many of how many kernels and parameters are done; on the CPU, which compiles
    /// nothing, only of the end.
    ///
    /// # Errors
    /// As [`Model::run_with`].
    ///
    /// ```
    /// # use perceiver::{Engine, NamedTensors, RunOptions, Tensor};
    /// let model = Engine::cpu().load("models/text-tiny")?;
    /// let ids = Tensor::i64(vec![1, 64], vec![0; 64])?;
    /// let inputs = NamedTensors::from([("input_ids".to_owned(), ids)]);
    /// model.warmup(&inputs, RunOptions::default(), &mut |done, total| {
    ///     println!("{done} of {total}");
    /// })?;
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    pub fn warmup(
        &self,
        inputs: &NamedTensors,
        options: RunOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let batch = self.batch(inputs, options)?;
        let items = self
            .most_items(&batch, options)?
            .clamp(1, batch.items.max(1));
        let request = self.request(items, batch.sizes, options)?;
        self.with_session(&request, progress, |_| Ok(()))?;
        progress(1, 1);
        Ok(())
    }

    /// Checked inputs in the form that graphs read.
    pub(crate) fn batch(&self, inputs: &NamedTensors, options: RunOptions) -> Result<Batch> {
        match &self.description {
            Description::Config(config) => official_inputs(config, inputs, options),
            Description::Blueprint(blueprint) => blueprint_inputs::inputs(blueprint, inputs),
        }
    }

    /// Encode and process alone: the last latents of every item, and the sizes to decode them with.
    /// Inputs as for [`Model::run_with`]; points are not needed.
    ///
    /// # Errors
    /// As [`Model::run_with`].
    pub fn encode(
        &self,
        inputs: &NamedTensors,
        options: RunOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Sizes, Vec<Latents>)> {
        let batch = self.encoder_batch(inputs, options)?;
        let blueprint = self.description.blueprint(&batch.sizes);
        let mut request = self.unfitted(1, batch.sizes, RunOptions::default());
        let plan = |request: Request| {
            let make = |folded| build::encoder(&blueprint, &Request { folded, ..request });
            Ok::<_, Error>(self.route(&make)?.1)
        };
        request.window_bytes = self.fit(&|window_bytes| {
            let request = Request {
                window_bytes,
                ..request
            };
            self.session_bytes(&plan(request)?)
        })?;
        let mut session = self.prepared(plan(request)?, &mut |_, _| {})?;
        let mut latents = Vec::with_capacity(batch.items);
        let items = batch.items as u64;
        // Points are for decoders.
        let known: Vec<String> = session
            .plan()
            .graph
            .inputs()
            .map(|(n, ..)| n.to_owned())
            .collect();
        for item in 0..batch.items {
            for array in &batch.arrays {
                if known.iter().any(|n| *n == array.name) {
                    session.write(&array.name, array.of_item(item))?;
                }
            }
            session.run(&mut |done, total| progress(item as u64 * total + done, items * total))?;
            let tensor = session.read(LATENTS)?;
            let [n, d] = [blueprint.latents.rows, blueprint.latents.channels];
            latents.push(Latents::new(n, d, tensor.as_f32().unwrap_or(&[]).to_vec())?);
        }
        Ok((batch.sizes, latents))
    }

    /// The inputs of one item as rows, `[rows, channels]` by modality: what [`Model::encoder`] takes,
    /// and what queries bring along that are made of inputs.
    ///
    /// # Errors
    /// [`crate::Error::Input`] as [`Model::run_with`], and for several items.
    pub fn input_rows(
        &self,
        inputs: &NamedTensors,
        options: RunOptions,
    ) -> Result<(Sizes, NamedTensors)> {
        let batch = self.encoder_batch(inputs, options)?;
        if batch.items != 1 {
            let what = format!("hold {} items", batch.items);
            return Err(Error::input("inputs", what, "one item"));
        }
        let mut rows = NamedTensors::new();
        for array in &self.description.blueprint(&batch.sizes).inputs {
            let (Content::Given { input, channels }
            | Content::Linear {
                input, channels, ..
            }) = &array.content
            else {
                continue;
            };
            for given in batch.arrays.iter().filter(|a| a.name == *input) {
                let tensor = Tensor::f32(vec![array.count, *channels], given.data.clone())?;
                rows.insert(array.name.clone(), tensor);
            }
        }
        Ok((batch.sizes, rows))
    }

    /// As [`Model::batch`], without points and what else decoders read.
    fn encoder_batch(&self, inputs: &NamedTensors, options: RunOptions) -> Result<Batch> {
        if let Description::Blueprint(blueprint) = &self.description {
            return blueprint_inputs::encoder_inputs(blueprint, inputs);
        }
        if self.architecture() != Some(Architecture::Multimodal) {
            return self.batch(inputs, options);
        }
        let mut inputs = inputs.clone();
        for name in ["points.image", "points.audio"] {
            inputs.insert(name.to_owned(), Tensor::i64(vec![1], vec![0])?);
        }
        self.batch(&inputs, options)
    }

    /// Items of one run: one where inputs or outputs are divided into windows, which are windows of
    /// one item; otherwise as many as fit the budget.
    pub(crate) fn most_items(&self, batch: &Batch, options: RunOptions) -> Result<usize> {
        // Texts are short.
        if !self.architecture().is_some_and(Architecture::is_text) {
            let blueprint = self.description.blueprint(&batch.sizes);
            let request = self.unfitted(1, batch.sizes, options);
            if !blueprint.batches() || build::window_count(&blueprint, &request) > 1 {
                return Ok(1);
            }
        }
        let mut most = ITEMS.min(batch.items.max(1));
        if most == 1 || (self.budget.is_none() && self.traits().is_none()) {
            return Ok(most);
        }
        let key = self.unfitted(most, batch.sizes, options);
        let known = |fitted: &HashMap<Request, usize>| fitted.get(&key).copied();
        if let Some(most) = known(&self.items.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(most);
        }
        while most > 1 {
            let budget = self.budget.map_or(u64::MAX, |MemorySize(bytes)| bytes);
            let plan = self.plan(&self.unfitted(most, batch.sizes, options));
            most = match plan {
                Ok(plan) if self.session_bytes(&plan)? <= budget => break,
                // Arrays of several items are not divided.
                Err(Error::Limit { .. }) => 1,
                Err(error) => return Err(error),
                Ok(_) => most.div_ceil(2).min(most - 1),
            };
        }
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.insert(key, most);
        Ok(most)
    }

    /// Runs items, at most `most` at a time, and joins the results.
    fn run_items(
        &self,
        batch: Batch,
        most: usize,
        options: RunOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<NamedTensors> {
        let turns = batch.items.div_ceil(most.max(1)).max(1) as u64;
        let mut results: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        for turn in 0..turns {
            let first = turn as usize * most;
            let items = most.min(batch.items - first);
            let request = self.request(items, batch.sizes, options)?;
            let mut inner = |done: u64, total: u64| {
                progress(turn * total + done, turns * total);
            };
            let outputs = self.with_session(&request, &mut |_, _| {}, |session| {
                for array in &batch.arrays {
                    session.write(&array.name, array.of_items(first, items))?;
                }
                session.run(&mut inner)?;
                let outputs = &session.plan().graph.outputs;
                let names: Vec<String> = outputs.iter().map(|o| o.name.clone()).collect();
                let read = names
                    .into_iter()
                    .map(|n| Ok((n.clone(), session.read(&n)?)));
                read.collect::<Result<Vec<_>>>()
            })?;
            for (name, tensor) in outputs {
                let (shape, all) = results
                    .entry(name)
                    .or_insert_with(|| (tensor.shape().to_vec(), Vec::new()));
                if turn > 0 {
                    shape[0] += tensor.shape()[0];
                }
                all.extend_from_slice(tensor.as_f32().unwrap_or(&[]));
            }
        }
        let mut outputs = NamedTensors::new();
        for (name, (shape, data)) in results {
            outputs.insert(name, Tensor::f32(shape, data)?);
        }
        if let Description::Blueprint(_) = &self.description {
            let blueprint = self.description.blueprint(&batch.sizes);
            blueprint.upsample(&mut outputs)?;
        }
        Ok(outputs)
    }

    /// Lends the session for a request, made now if it is new; `progress` hears of the making.
    pub(crate) fn with_session<R>(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(u64, u64),
        work: impl FnOnce(&mut Session) -> Result<R>,
    ) -> Result<R> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sessions.iter().position(|(r, _)| r == request);
        let mut session = match known.and_then(|i| sessions.remove(i)) {
            Some((_, session)) => session,
            None => {
                // Make room before allocating, not after.
                let others = if self.budget.is_some() {
                    0
                } else {
                    SESSIONS - 1
                };
                sessions.truncate(others);
                self.session(request, progress)?
            }
        };
        // A session that failed is dropped: its staging memory may be in any state.
        let result = work(&mut session)?;
        sessions.push_front((*request, session));
        Ok(result)
    }

    fn session(&self, request: &Request, progress: &mut dyn FnMut(u64, u64)) -> Result<Session> {
        let plan = self.plan(request)?;
        tracing::debug!(?request, nodes = plan.graph.nodes.len(), "new session");
        self.prepared(plan, progress)
    }

    /// A session of a graph over this model's weights.
    pub(crate) fn open(&self, graph: Graph) -> Result<Session> {
        self.prepared(self.planned(graph)?, &mut |_, _| {})
    }

    /// Whether cross-attention is folded where that pays.
    pub(crate) fn folded(&self) -> bool {
        self.folded
    }

    /// A tensor of the weights.
    pub(crate) fn read_tensor(&self, name: &str) -> Result<Vec<f32>> {
        self.source.read_f32(name)
    }

    /// An encoder that takes input rows in chunks of any size and order: pixels of a picture, patches
    /// of frames, blocks and samples of a clip. `sizes` are those of the whole input.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for models that read their inputs more than once.
    ///
    /// ```
    /// # use perceiver::{Architecture, Engine, Model, PerceiverConfig, Sizes, Tensor};
    /// # use perceiver::perceiver::parameters::RandomTensors;
    /// # let mut config = PerceiverConfig::new(Architecture::ImageFourier);
    /// # (config.num_latents, config.d_latents, config.num_self_attends_per_block) = (4, 16, 1);
    /// # config.num_cross_attention_heads = 1;
    /// # let weights = RandomTensors::new(Model::tensors(&config)?, 1);
    /// # let model = Engine::cpu().load_from(config, std::sync::Arc::new(weights))?;
    /// let sizes = Sizes { image: [8, 8], ..Sizes::default() };
    /// let mut encoder = model.encoder(&sizes)?;
    /// encoder.push("pixel", 0, &Tensor::f32(vec![24, 3], vec![0.5; 72])?)?;
    /// encoder.push("pixel", 24, &Tensor::f32(vec![40, 3], vec![0.1; 120])?)?;
    /// let latents = encoder.finish()?;
    /// assert_eq!(latents.shape(), [4, 16]);
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    pub fn encoder(&self, sizes: &Sizes) -> Result<Encoder<'_>> {
        Encoder::new(self, self.description.blueprint(sizes))
    }

    /// A decoder of any queries over these latents. `sizes` are those that the latents were made with.
    ///
    /// # Errors
    /// [`crate::Error::Input`] when the latents are of another model.
    pub fn decoder<'a>(&'a self, sizes: &Sizes, latents: &'a Latents) -> Result<Decoder<'a>> {
        Decoder::new(self, self.description.blueprint(sizes), latents)
    }

    pub(crate) fn prepared(
        &self,
        plan: Plan,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Session> {
        if self.budget.is_some() {
            // What sessions before this one needed is not in its plan.
            self.store.release();
        }
        Ok(match &self.store {
            Store::Cpu(store) => Session::Cpu(cpu::Session::new(plan, store)?),
            Store::Reference(store) => Session::Reference(cpu::Session::new(plan, store)?),
            Store::Gpu(parameters) => {
                let session = gpu::Session::with_progress(plan, parameters, progress)?;
                Session::Gpu(Box::new(session))
            }
        })
    }
}
