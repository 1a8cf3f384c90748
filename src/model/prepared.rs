//! Prepared runs: one request of a model with all that it needs, owned by an app that runs it at once,
//! awaits it, or records it slice by slice into its own commands.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_channel::oneshot;

use super::binding::{BoundInput, BoundOutput};
use super::{GpuInput, GpuOutput, Model, RunOptions, Session, Store};
use crate::error::{Error, Result};
use crate::gpu::{Bound, Device, GpuExecutor, Sliced, SubmissionBudget, try_transfer};
use crate::graph::passes::{finite, finite_of, from_texels, map_of, to_texels, warp, wheel_of};
use crate::graph::{Control, Executor, Graph, Plan, Waiting, blocking};
use crate::kernels::to_texels::wheel;
use crate::memory::zeroed;
use crate::perceiver::batch::{Array, Batch};
use crate::perceiver::blueprint::Skipped;
use crate::perceiver::official::optical_flow::FRAMES;
use crate::perceiver::{Architecture, Description, Request, build};
use crate::tensor::{DType, Data, Extent, NamedTensors, Tensor};

/// An input or output of a prepared run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Shape of its tensor.
    pub shape: Vec<usize>,
    /// Type of its tensor's numbers.
    pub dtype: DType,
    /// Rows of the graph's array, of all items, which a bound buffer or texture has.
    pub rows: usize,
    /// Channels of a row, one after the other.
    pub channels: usize,
}

/// How far a run in slices has come; see [`Prepared::step`]. Dropping it ends the run.
#[derive(Debug)]
pub struct Cursor {
    run: u64,
    sliced: Sliced,
    over: bool,
}

/// What a step of a run has recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Floating-point operations of the run that are recorded by now.
    pub done: u64,
    /// Floating-point operations of the run.
    pub total: u64,
    /// How long what this step recorded is expected to keep the device busy. Zero where nothing was
    /// recorded, because too many steps before it have not been submitted, or seen to end by a poll of the device.
    pub predicted: Duration,
    /// Whether the run ends with it.
    pub finished: bool,
}

/// One request of a model with kernels compiled, memory allocated and weights read; made by [`Model::prepare`].
///
/// It is driven in one of three ways. [`run`](Self::run) blocks, without holding a lock of wgpu for longer than
/// a millisecond. [`run_async`](Self::run_async) is awaited by any executor, while the app polls its device.
/// [`record`](Self::record) and [`step`](Self::step) record into the app's command encoders and never wait.
///
/// ```
/// # use perceiver::{Engine, NamedTensors, RunOptions, Tensor};
/// let model = Engine::cpu().load("models/text-tiny")?;
/// let mut prepared = model.prepare(&[("input_ids", &[1, 8])], RunOptions::default())?;
/// let ids = Tensor::i64(vec![1, 8], vec![7; 8])?;
/// prepared.write(&NamedTensors::from([("input_ids".to_owned(), ids)]))?;
/// let logits = &prepared.run()?["logits"];
/// assert_eq!(logits.shape(), prepared.outputs()[0].shape);
/// # Ok::<(), perceiver::Error>(())
/// ```
pub struct Prepared {
    model: Model,
    request: Request,
    options: RunOptions,
    session: Kind,
    /// Inputs as the host wrote them last, by the graph's names.
    arrays: Vec<Array>,
    /// Sets of them that are left alone.
    skipped: Option<Skipped>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    bound_inputs: BTreeMap<String, GpuInput>,
    bound_outputs: BTreeMap<String, GpuOutput>,
    /// Counts runs and bindings, so that a cursor of an earlier run is known.
    run: u64,
}

/// The session, on the CPU or on a GPU.
enum Kind {
    Cpu(Session),
    Gpu(Box<GpuExecutor>),
}

impl Model {
    /// A run of inputs of these shapes with all that it needs: compiles kernels, allocates memory, reads weights.
    /// Inputs hold zeros until they are written or bound; those that are optional and left out say nothing. All
    /// items go through together.
    ///
    /// # Errors
    /// [`Error::Input`] for unknown or missing names and wrong shapes; [`Error::Limit`] where all items together
    /// are beyond the memory budget or the device; otherwise what the device or the checkpoint gives.
    pub fn prepare(&self, shapes: &[(&str, &[usize])], options: RunOptions) -> Result<Prepared> {
        blocking(self.prepare_as(shapes, options, Waiting::Block))
    }

    async fn prepare_as(
        &self,
        shapes: &[(&str, &[usize])],
        options: RunOptions,
        waiting: Waiting,
    ) -> Result<Prepared> {
        let given = zero_inputs(&self.description, shapes)?;
        let Batch { items, sizes, arrays } = self.batch(&given, options)?;
        if sizes.bytes && items > 1 {
            let what = format!("are those of {items} items");
            return Err(Error::input(FRAMES, what, "one item, or `Model::run`"));
        }
        let request = self.request(items, sizes, options)?;
        let session = self.session_of(self.plan(&request)?, Bound::default(), waiting).await?;
        let plan = session.executor().plan();
        let info = |(name, tensor): (&String, &Tensor)| {
            let arrays = plan.graph().inputs().filter(|(n, ..)| n == name);
            let extents: Vec<_> = arrays.map(|(.., extent)| extent).collect();
            TensorInfo {
                name: name.clone(),
                shape: tensor.shape().to_vec(),
                dtype: match tensor.data() {
                    Data::I64(_) => DType::I64,
                    Data::U8(_) => DType::U8,
                    _ => DType::F32,
                },
                rows: extents.iter().map(|e| e.all_rows()).sum(),
                channels: extents.first().map_or(0, |e| e.cols),
            }
        };
        let inputs = given.iter().map(info).collect();
        let outputs = plan.graph().outputs.iter().map(|output| {
            let extents = || output.pieces.iter().map(|&p| plan.graph().extent(p));
            TensorInfo {
                name: output.name.clone(),
                shape: output.shape.clone(),
                dtype: DType::F32,
                rows: extents().map(|e| e.all_rows()).sum(),
                channels: extents().next().map_or(0, |e| e.cols),
            }
        });
        let outputs = outputs.collect();
        let mut prepared = Prepared {
            model: self.clone(),
            request,
            options,
            session,
            arrays,
            skipped: None,
            inputs,
            outputs,
            bound_inputs: BTreeMap::new(),
            bound_outputs: BTreeMap::new(),
            run: 0,
        };
        prepared.write_arrays()?;
        Ok(prepared)
    }

    /// As [`Model::prepare`], awaited: compiling and reading go on in a thread of their own until it is ready; in a
    /// browser, which has none, with breaks of the page's.
    ///
    /// # Errors
    /// As [`Model::prepare`].
    pub fn prepare_async(
        &self,
        shapes: &[(&str, &[usize])],
        options: RunOptions,
    ) -> impl Future<Output = Result<Prepared>> + Send + 'static {
        let model = self.clone();
        let shapes: Vec<(String, Vec<usize>)> =
            shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect();
        async move {
            if cfg!(target_arch = "wasm32") {
                return model.prepare_as(&borrowed(&shapes), options, Waiting::Await).await;
            }
            let (sender, made) = oneshot::channel();
            std::thread::spawn(move || {
                // Nobody listens where the future has been dropped.
                let _ = sender.send(model.prepare(&borrowed(&shapes), options));
            });
            let gone =
                |_| Error::graph("prepare", "ended without a result: a panic, see its message");
            made.await.map_err(gone)?
        }
    }

    async fn session_of(&self, plan: Plan, mut bound: Bound, waiting: Waiting) -> Result<Kind> {
        let Store::Gpu(parameters) = &*self.store else {
            return Ok(Kind::Cpu(self.prepared(plan, waiting, |_, _| {}).await?));
        };
        bound.resident = true;
        let session = GpuExecutor::with_bound(plan, parameters, bound, waiting, |_, _| {});
        Ok(Kind::Gpu(Box::new(session.await?)))
    }
}

fn borrowed(shapes: &[(String, Vec<usize>)]) -> Vec<(&str, &[usize])> {
    shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect()
}

/// Inputs of these shapes that hold zeros.
pub(super) fn zero_inputs(
    description: &Description,
    shapes: &[(&str, &[usize])],
) -> Result<NamedTensors> {
    let whole = description.whole_number_inputs();
    let mut given = NamedTensors::new();
    for (name, shape) in shapes {
        let elements = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        let too_many = || {
            let what = format!("has shape {shape:?}");
            Error::input(*name, what, "fewer elements than memory can hold")
        };
        let elements = elements.filter(|n| *n < isize::MAX as usize / 8).ok_or_else(too_many)?;
        let data = match *name {
            name if whole.iter().any(|known| known == name) => Data::I64(zeroed(name, elements)?),
            FRAMES if description.architecture() == Some(Architecture::OpticalFlow) => {
                Data::U8(zeroed(name, elements)?)
            }
            name => Data::F32(zeroed(name, elements)?),
        };
        let tensor = Tensor::new(shape.to_vec(), data)?;
        given.insert((*name).to_owned(), tensor);
    }
    Ok(given)
}

impl Kind {
    fn executor(&self) -> &dyn Executor {
        match self {
            Kind::Cpu(session) => session.as_ref(),
            Kind::Gpu(session) => session.as_ref(),
        }
    }

    fn executor_mut(&mut self) -> &mut (dyn Executor + 'static) {
        match self {
            Kind::Cpu(session) => session.as_mut(),
            Kind::Gpu(session) => session.as_mut(),
        }
    }
}

impl Prepared {
    /// The inputs, by name.
    #[must_use]
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// The outputs, bound ones included.
    #[must_use]
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// Bytes that it takes on its device, parameters included.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.session.executor().allocated_bytes()
    }

    /// Sets inputs that are not bound, of the shapes that were prepared; on a GPU for what is submitted from now on.
    /// Those that are bound may be left out.
    ///
    /// # Errors
    /// As [`Model::run_with`].
    pub fn write(&mut self, inputs: &NamedTensors) -> Result<()> {
        let bound = |name: &str| self.bound_inputs.contains_key(name);
        if let Some(name) = inputs.keys().find(|name| bound(name)) {
            let expected = "only inputs that the host writes";
            return Err(Error::input(name, "is bound to the app's memory", expected));
        }
        for info in &self.inputs {
            if let Some(tensor) = inputs.get(&info.name).filter(|t| t.shape() != info.shape) {
                let what = format!("has shape {:?}", tensor.shape());
                let expected = format!("{:?}, which was prepared", info.shape);
                return Err(Error::input(&info.name, what, expected));
            }
        }
        let filled: NamedTensors;
        let given = if self.bound_inputs.is_empty() {
            inputs
        } else {
            // What is checked and never written.
            let shapes = self.inputs.iter().filter(|info| bound(&info.name));
            let shapes: Vec<(&str, &[usize])> =
                shapes.map(|info| (info.name.as_str(), info.shape.as_slice())).collect();
            let mut zeros = zero_inputs(&self.model.description, &shapes)?;
            zeros.extend(inputs.iter().map(|(name, tensor)| (name.clone(), tensor.clone())));
            filled = zeros;
            &filled
        };
        self.arrays = self.model.batch(given, self.options)?.arrays;
        self.skipped = self.model.description.skipped(given);
        self.write_arrays()
    }

    /// Has an input read the app's memory in every run from now on. The session is made anew; cursors of runs
    /// before end.
    ///
    /// # Errors
    /// [`Error::Input`] for an unknown name, memory that does not fit (too small, of another device, without the
    /// usage for copies, of another size or format), and on a CPU executor.
    pub fn bind_input(&mut self, name: &str, input: GpuInput) -> Result<()> {
        blocking(self.bind_input_as(name, input, Waiting::Block))
    }

    /// As [`Prepared::bind_input`], awaited as [`Model::run_async`] is.
    ///
    /// # Errors
    /// As [`Prepared::bind_input`].
    pub async fn bind_input_async(&mut self, name: &str, input: GpuInput) -> Result<()> {
        self.bind_input_as(name, input, Waiting::Await).await
    }

    async fn bind_input_as(&mut self, name: &str, input: GpuInput, waiting: Waiting) -> Result<()> {
        let info = self.known(&self.inputs, name)?;
        if info.channels == 0 {
            let expected = "`patches` prepared, which two pictures can be bound to";
            return Err(Error::input(
                name,
                "cannot be bound: the host writes these bytes",
                expected,
            ));
        }
        let bound = BoundInput::new(name, info.rows, info.channels, &input)?;
        if let Kind::Gpu(_) = &self.session {
            for transfer in &bound.transfers {
                try_transfer(&self.device()?, transfer, bound.bytes(), false)?;
            }
        }
        let before = self.bound_inputs.insert(name.to_owned(), input);
        let made = self.bind_session(waiting).await;
        if made.is_err() {
            restore(&mut self.bound_inputs, name, before);
        }
        made
    }

    /// Has an output go to the app's memory in every run from now on, and no longer to the host. The session is
    /// made anew; cursors of runs before end.
    ///
    /// # Errors
    /// As [`Prepared::bind_input`].
    pub fn bind_output(&mut self, name: &str, output: GpuOutput) -> Result<()> {
        blocking(self.bind_output_as(name, output, Waiting::Block))
    }

    /// As [`Prepared::bind_output`], awaited as [`Model::run_async`] is.
    ///
    /// # Errors
    /// As [`Prepared::bind_input`].
    pub async fn bind_output_async(&mut self, name: &str, output: GpuOutput) -> Result<()> {
        self.bind_output_as(name, output, Waiting::Await).await
    }

    async fn bind_output_as(
        &mut self,
        name: &str,
        output: GpuOutput,
        waiting: Waiting,
    ) -> Result<()> {
        let info = self.known(&self.outputs, name)?;
        let bound = BoundOutput::new(name, info.rows, info.channels, &output)?;
        let whole = Extent::new(1, info.rows, info.channels);
        let op = bound.op(0, whole);
        let array = Extent::new(1, op.lines(), op.line);
        let bytes = (array.padded_len() * op.texels.bytes()) as u64;
        try_transfer(&self.device()?, &bound.transfer, bytes, true)?;
        let before = self.bound_outputs.insert(name.to_owned(), output);
        let made = self.bind_session(waiting).await;
        if made.is_err() {
            restore(&mut self.bound_outputs, name, before);
        }
        made
    }

    /// The same run on another engine, after a lost device say: `model` is the model loaded there. What the host has
    /// written comes along; what was bound is memory of the other device, so the app binds again.
    ///
    /// # Errors
    /// As [`Model::prepare`].
    pub fn rebuild(&self, model: &Model) -> Result<Prepared> {
        let shapes: Vec<(&str, &[usize])> =
            self.inputs.iter().map(|i| (i.name.as_str(), i.shape.as_slice())).collect();
        let mut rebuilt = model.prepare(&shapes, self.options)?;
        rebuilt.arrays.clone_from(&self.arrays);
        rebuilt.skipped.clone_from(&self.skipped);
        rebuilt.write_arrays()?;
        Ok(rebuilt)
    }

    /// Runs and waits; the outputs that are not bound.
    ///
    /// # Errors
    /// As [`Model::run_with`]; [`Error::NotFinite`] for what is bound too, unless
    /// [allowed](Model::set_non_finite_allowed).
    pub fn run(&mut self) -> Result<NamedTensors> {
        let control = self.model.control.clone();
        self.run += 1;
        let session = self.session.executor_mut();
        session.run_with(&control, &mut |done, total| control.tell(done, total))?;
        self.results()
    }

    /// As [`Prepared::run`], awaited by any executor while the app polls its device
    /// (`device.poll(wgpu::PollType::Poll)`, or once a frame by rendering); on the CPU it is done when it is first
    /// polled. Dropping the future ends the run with what has been submitted.
    ///
    /// # Errors
    /// As [`Prepared::run`]; [`Error::Cancelled`].
    pub async fn run_async(&mut self, control: &Control) -> Result<NamedTensors> {
        self.run += 1;
        let progress = &mut |done, total| control.tell(done, total);
        self.session.executor_mut().run_async(control, progress).await?;
        self.results()
    }

    /// Records a whole run. It reads what is bound when the commands execute, and what was written by then. In a browser this
    /// must not be dropped before they have been submitted.
    ///
    /// # Errors
    /// [`Error::Input`] on a CPU executor; [`Error::DeviceLost`].
    pub fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let mut cursor = self.begin()?;
        let session = self.gpu()?;
        let slice = session.slice(&mut cursor.sliced, SubmissionBudget::Unlimited, encoder)?;
        match slice.last {
            true => Ok(()),
            false => Err(Error::input(
                "encoder",
                "would be one of too many that have not been submitted",
                "earlier ones submitted, and the device polled",
            )),
        }
    }

    /// Begins a run in slices. Runs that were begun before end.
    ///
    /// # Errors
    /// As [`Prepared::record`].
    pub fn begin(&mut self) -> Result<Cursor> {
        self.run += 1;
        let run = self.run;
        let sliced = self.gpu()?.begin();
        Ok(Cursor { run, sliced, over: false })
    }

    /// Records as much of a run as is expected to keep the device busy for `gpu_time`, at least a workgroup. The
    /// commands of all steps must be submitted in their order. It never waits: how long steps took it learns when
    /// the app polls its device, so the first run on a device is cut finer than later ones.
    ///
    /// # Errors
    /// [`Error::Input`] for a cursor whose run is over: the last step or an error was before, another run has begun,
    /// or a binding has changed. [`Error::DeviceLost`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn frames(device: &wgpu::Device, queue: &wgpu::Queue, mut prepared: perceiver::Prepared) -> perceiver::Result<()> {
    /// let mut cursor = prepared.begin()?;
    /// loop {
    ///     let mut encoder = device.create_command_encoder(&Default::default());
    ///     // … the frame …
    ///     let step = prepared.step(&mut cursor, &mut encoder, Duration::from_millis(4))?;
    ///     queue.submit([encoder.finish()]);
    ///     let _ = device.poll(wgpu::PollType::Poll);
    ///     if step.finished {
    ///         return Ok(());
    ///     }
    /// }
    /// # }
    /// ```
    pub fn step(
        &mut self,
        cursor: &mut Cursor,
        encoder: &mut wgpu::CommandEncoder,
        gpu_time: Duration,
    ) -> Result<Step> {
        if cursor.over || cursor.run != self.run {
            let what = match cursor.over {
                true => "is that of a run that is over",
                false => "is that of a run before another began, or a binding changed",
            };
            return Err(Error::input("cursor", what, "one from `begin`"));
        }
        // Whatever goes wrong, the run cannot go on.
        cursor.over = true;
        let budget = SubmissionBudget::Bounded(gpu_time);
        let slice = self.gpu()?.slice(&mut cursor.sliced, budget, encoder)?;
        cursor.over = slice.last;
        let [done, total] = slice.done;
        Ok(Step { done, total, predicted: slice.predicted, finished: slice.last })
    }

    /// The outputs of the last run that was recorded and submitted, but for those that are bound; waits for it.
    ///
    /// # Errors
    /// As [`Prepared::run`]: here [`Error::NotFinite`] tells of what is bound too, which is written by then.
    pub fn read(&mut self) -> Result<NamedTensors> {
        if let Kind::Gpu(session) = &mut self.session {
            blocking(session.fetch(Waiting::Block))?;
        }
        self.results()
    }

    /// As [`Prepared::read`], awaited while the app polls its device.
    ///
    /// # Errors
    /// As [`Prepared::run`].
    pub async fn read_async(&mut self) -> Result<NamedTensors> {
        if let Kind::Gpu(session) = &mut self.session {
            session.fetch(Waiting::Await).await?;
        }
        self.results()
    }

    fn results(&self) -> Result<NamedTensors> {
        let mut outputs = NamedTensors::new();
        for TensorInfo { name, .. } in &self.outputs {
            if !self.bound_outputs.contains_key(name) {
                let tensor = self.session.executor().read(name)?;
                self.model.check_finite(name, &tensor)?;
                outputs.insert(name.clone(), tensor);
            } else if !self.model.non_finite {
                // What became of it the device alone has seen.
                let flags = self.session.executor().read(&finite_of(name))?;
                if flags.as_f32().is_some_and(|flags| flags.iter().any(|&flag| flag != 0.0)) {
                    let found = "infinities, or what is no number".to_owned();
                    return Err(Error::NotFinite { output: name.clone(), found });
                }
            }
        }
        self.model.upsampled(&self.request.sizes, &mut outputs)?;
        if let Some(skipped) = &self.skipped {
            skipped.apply(&mut outputs)?;
        }
        Ok(outputs)
    }

    fn known(&self, list: &[TensorInfo], name: &str) -> Result<TensorInfo> {
        self.device()?;
        let names: Vec<&str> = list.iter().map(|info| info.name.as_str()).collect();
        let found = list.iter().find(|info| info.name == name);
        let unknown =
            || Error::input(name, "cannot be bound: it is unknown", format!("one of {names:?}"));
        found.cloned().ok_or_else(unknown)
    }

    fn device(&self) -> Result<Device> {
        self.model.store.device().ok_or_else(no_gpu)
    }

    fn gpu(&mut self) -> Result<&mut GpuExecutor> {
        match &mut self.session {
            Kind::Gpu(session) => Ok(session),
            Kind::Cpu(_) => Err(no_gpu()),
        }
    }

    /// The session of the present bindings.
    async fn bind_session(&mut self, waiting: Waiting) -> Result<()> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for (name, input) in &self.bound_inputs {
            let info = self.known(&self.inputs, name)?;
            inputs.push((name, BoundInput::new(name, info.rows, info.channels, input)?));
        }
        for (name, output) in &self.bound_outputs {
            let info = self.known(&self.outputs, name)?;
            outputs.push((name, BoundOutput::new(name, info.rows, info.channels, output)?));
        }
        let blueprint = self.model.description.blueprint(&self.request.sizes);
        let make = |folded| -> Result<Graph> {
            let mut graph = build::graph(&blueprint, &Request { folded, ..self.request })?;
            for (name, bound) in &inputs {
                graph = from_texels(graph, name, bound.op)?;
            }
            for (name, bound) in &outputs {
                if !self.model.non_finite {
                    graph = finite(graph, name)?;
                }
                graph = if bound.warped {
                    let (input, op) = bound.warp(name, &inputs)?;
                    warp(graph, name, input, &op)?
                } else {
                    to_texels(graph, name, &|first, extent| bound.op(first, extent))?
                };
            }
            Ok(graph)
        };
        let (_, plan) = self.model.route(&make)?;
        let bound = Bound {
            inputs: inputs.iter().flat_map(|(_, b)| b.transfers.iter().cloned()).collect(),
            outputs: outputs.iter().map(|(_, b)| b.transfer.clone()).collect(),
            resident: true,
        };
        self.session = self.model.session_of(plan, bound, waiting).await?;
        self.run += 1;
        if let Kind::Gpu(session) = &self.session {
            for (name, bound) in inputs.iter().filter(|(_, b)| b.op.mapped) {
                session.write_now(&map_of(name), &bound.map)?;
            }
            for (name, bound) in &outputs {
                session.write_now(&map_of(name), &bound.map)?;
                if bound.wheel {
                    let colours = wheel().into_iter().flatten();
                    let colours: Vec<f32> = colours.map(|b| f32::from(b) / 255.0).collect();
                    session.write_now(&wheel_of(name), &colours)?;
                }
            }
        }
        self.write_arrays()
    }

    /// Writes what the host has given for inputs that are not bound.
    fn write_arrays(&mut self) -> Result<()> {
        for array in &self.arrays {
            if self.bound_inputs.contains_key(&*array.name) {
                continue;
            }
            let data = array.of_items(0, self.request.batch);
            match &mut self.session {
                Kind::Cpu(session) => session.write(&array.name, data)?,
                Kind::Gpu(session) => session.write_now(&array.name, data)?,
            }
        }
        Ok(())
    }
}

/// Puts back what was bound before.
fn restore<T>(bound: &mut BTreeMap<String, T>, name: &str, before: Option<T>) {
    match before {
        Some(before) => bound.insert(name.to_owned(), before),
        None => bound.remove(name),
    };
}

fn no_gpu() -> Error {
    let what = "is a CPU executor, which records no commands and has no buffers or textures";
    Error::input("engine", what, "one on a GPU, such as `Engine::from_wgpu`")
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("model", &self.model)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}
