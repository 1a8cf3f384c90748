//! Runs of a model: inputs are checked, items go through in turns, sessions are made and kept.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::sessions::Lease;
use super::{Latents, Model, RunOptions, Session, lock};
use crate::error::{Error, Result};
use crate::graph::{Graph, Plan, Source, Value, Waiting, blocking};
use crate::memory::{self, MemorySize, more};
use crate::perceiver::batch::Batch;
use crate::perceiver::blueprint::{self, Content};
use crate::perceiver::chunks::LATENTS;
use crate::perceiver::official::optical_flow;
use crate::perceiver::{Architecture, Description, Request, Sizes, build};
use crate::tensor::{Data, NamedTensors, Tensor};

/// Most items in one run; more are run in turns, so that memory does not grow with the batch.
const ITEMS: usize = 8;

impl Model {
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
    /// `patches` (f32, `[batch, 2, 27, height, width]`), or `frames` (u8, `[batch, 2, height, width, 3]`) that the
    /// device makes patches of. Multimodal: `image` (f32,
    /// `[batch, frames, 3, height, width]`), `audio` (f32, `[batch, samples, 1]`), `points.image` and
    /// `points.audio` (i64, what to decode), optionally `label`. Returns `logits`, or `logits.image`,
    /// `logits.audio` and `logits.label`. A blueprint names its inputs and outputs itself; see
    /// [`crate::perceiver::blueprint::Blueprint`] for their shapes.
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
        blocking(self.run_as(inputs, options, Waiting::Block, progress))
    }

    /// As [`Model::run_with`], awaited by any executor while the app polls its device, or in a browser. Progress and
    /// a way to end it are those of a [`controlled`](Self::controlled) model. What inputs of new shapes take is
    /// compiled and read between polls; [`Model::prepare_async`] leaves that to a thread.
    ///
    /// # Errors
    /// As [`Model::run_with`]; [`Error::Cancelled`].
    pub async fn run_async(
        &self,
        inputs: &NamedTensors,
        options: RunOptions,
    ) -> Result<NamedTensors> {
        self.run_as(inputs, options, Waiting::Await, |_, _| {}).await
    }

    /// A run in one way or the other; only one that blocks tells `progress`. Inputs that it is given to own are gone before
    /// there is a session.
    pub(crate) async fn run_as(
        &self,
        inputs: impl Borrow<NamedTensors>,
        options: RunOptions,
        waiting: Waiting,
        progress: impl FnMut(u64, u64),
    ) -> Result<NamedTensors> {
        let batch = self.batch(inputs.borrow(), options)?;
        let skipped = self.description.skipped(inputs.borrow());
        drop(inputs);
        let most = self.most_items(&batch, options)?;
        let mut outputs = self.run_items(batch, most, options, waiting, progress).await?;
        if let Some(skipped) = skipped {
            skipped.apply(&mut outputs)?;
        }
        Ok(outputs)
    }

    /// Refuses sizes of an item that a run on this machine could not have memory for, before anything is made of them. `beside`
    /// are bytes of what a pipeline holds meanwhile.
    pub(crate) fn allow_item(&self, sizes: Sizes, beside: u64) -> Result<()> {
        let request = self.request(1, sizes, RunOptions::default())?;
        self.allow(&self.plan(&request)?, beside)
    }

    /// Refuses a plan that is beyond the limit of the host's memory.
    fn allow(&self, plan: &Plan, beside: u64) -> Result<()> {
        let own = if self.store.is_on_host() { self.session_bytes(plan)? } else { 0 };
        let what = format_args!("{} on {}", self.description.name(), self.device_name());
        memory::allow(what, own.saturating_add(beside))
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
        let items = self.most_items(&batch, options)?.clamp(1, batch.items.max(1));
        let request = self.request(items, batch.sizes, options)?;
        let made = |done, total| progress(done, total);
        let lease = blocking(self.lend(&request, Waiting::Block, made))?;
        lease.end(Ok(()))?;
        progress(1, 1);
        Ok(())
    }

    /// Checked inputs in the form that graphs read.
    pub(crate) fn batch(&self, inputs: &NamedTensors, options: RunOptions) -> Result<Batch> {
        self.description.batch(inputs, options.resize_positions)
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
        let progress = |done, total| progress(done, total);
        blocking(self.encode_as(inputs, options, Waiting::Block, progress))
    }

    /// As [`Model::encode`], awaited as [`Model::run_async`] is.
    ///
    /// # Errors
    /// As [`Model::run_async`].
    pub async fn encode_async(
        &self,
        inputs: &NamedTensors,
        options: RunOptions,
    ) -> Result<(Sizes, Vec<Latents>)> {
        self.encode_as(inputs, options, Waiting::Await, |_, _| {}).await
    }

    async fn encode_as(
        &self,
        inputs: &NamedTensors,
        options: RunOptions,
        waiting: Waiting,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(Sizes, Vec<Latents>)> {
        if let Description::Blueprint(blueprint) = &*self.description
            && let Some(array) = blueprint.latents_array()
        {
            return self.encode_arrays(array, inputs, waiting, progress).await;
        }
        let batch = self.encoder_batch(inputs, options)?;
        let blueprint = self.description.blueprint(&batch.sizes);
        let mut request = self.unfitted(1, batch.sizes, RunOptions::default());
        let plan = |request: Request| {
            let make = |folded| build::encoder(&blueprint, &Request { folded, ..request });
            Ok::<_, Error>(self.route(&make)?.1)
        };
        request.window_bytes = self.fit(&|window_bytes| {
            let request = Request { window_bytes, ..request };
            self.session_bytes(&plan(request)?)
        })?;
        let mut session = self.prepared(plan(request)?, waiting, |_, _| {}).await?;
        let mut latents = Vec::with_capacity(batch.items);
        let items = batch.items as u64;
        // Points are for decoders.
        let known: Vec<String> =
            session.plan().graph().inputs().map(|(n, ..)| n.to_owned()).collect();
        for item in 0..batch.items {
            for array in &batch.arrays {
                if known.iter().any(|n| *n == array.name) {
                    session.write(&array.name, array.of_items(item, 1))?;
                }
            }
            let turn = [item as u64, items];
            session.run_as(waiting, &self.control, turn, &mut progress).await?;
            let tensor = session.read(LATENTS)?;
            let [n, d] = [blueprint.latents.rows, blueprint.latents.channels];
            latents.push(Latents::new(n, d, tensor.as_f32().unwrap_or(&[]).to_vec())?);
        }
        Ok((batch.sizes, latents))
    }

    /// The latents of a model of arrays; inputs of what follows them may be there or not.
    async fn encode_arrays(
        &self,
        array: &str,
        inputs: &NamedTensors,
        waiting: Waiting,
        progress: impl FnMut(u64, u64),
    ) -> Result<(Sizes, Vec<Latents>)> {
        let part = self.ending_at(array)?;
        let (of_part, of_whole) = (part.input_names(), self.input_names());
        let wanted = |name: &String| of_part.contains(name) || !of_whole.contains(name);
        let own = match inputs.keys().all(wanted) {
            true => Cow::Borrowed(inputs),
            false => {
                let own = inputs.iter().filter(|(name, _)| wanted(name));
                Cow::Owned(own.map(|(n, t)| (n.clone(), t.clone())).collect())
            }
        };
        let outputs = part.run_as(own, RunOptions::default(), waiting, progress).await?;
        let found = outputs.get(array).and_then(|t| Some((t.shape(), t.as_f32()?)));
        let Some((&[items, .., channels], data)) = found else {
            return Err(Error::input(array, "is no array of items", "rows of channels"));
        };
        let rows = data.len() / (items * channels).max(1);
        let each = data.chunks_exact((rows * channels).max(1));
        let latents = each.map(|item| Latents::new(rows, channels, item.to_vec()));
        Ok((Sizes::default(), latents.collect::<Result<_>>()?))
    }

    fn input_names(&self) -> Vec<String> {
        let shapes = self.description.blueprint(&Sizes::default()).input_shapes();
        shapes.into_iter().map(|shape| shape.name).collect()
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
        if batch.sizes.bytes {
            return Err(Error::input(optical_flow::FRAMES, "are bytes, not rows", "`patches`"));
        }
        let mut rows = NamedTensors::new();
        for array in &self.description.blueprint(&batch.sizes).inputs {
            let (Content::Given { input, channels } | Content::Linear { input, channels, .. }) =
                &array.content
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
        if let Description::Blueprint(blueprint) = &*self.description {
            return blueprint::encoder_inputs(blueprint, inputs);
        }
        let points = self.architecture().map_or(&[][..], |a| a.class().points);
        let mut inputs = inputs.clone();
        for name in points {
            inputs.insert((*name).to_owned(), Tensor::i64(vec![1], vec![0])?);
        }
        self.batch(&inputs, options)
    }

    /// Items of one run: one where inputs or outputs are divided into windows, which are windows of
    /// one item; otherwise as many as fit the budget.
    pub(crate) fn most_items(&self, batch: &Batch, options: RunOptions) -> Result<usize> {
        let mut limit = ITEMS;
        // Texts are short.
        if !self.architecture().is_some_and(Architecture::is_text) {
            let blueprint = self.description.blueprint(&batch.sizes);
            let request = self.unfitted(1, batch.sizes, options);
            // The kernel that makes patches of bytes knows of no items.
            if batch.sizes.bytes
                || !blueprint.batches()
                || build::window_count(&blueprint, &request) > 1
            {
                return Ok(1);
            }
            if !blueprint.arrays.is_empty() && batch.items > ITEMS {
                // Many small items go through together, as many as a window holds of their widest array.
                let plan = self.plan(&self.unfitted(1, batch.sizes, options))?;
                let made = plan.graph().values.iter().filter(|v| v.source == Source::Node);
                let widest = made.map(Value::bytes).max().unwrap_or(0).max(1);
                limit =
                    usize::try_from(self.window_bytes as u64 / widest).unwrap_or(ITEMS).max(ITEMS);
            }
        }
        let mut most = limit.min(batch.items.max(1));
        if most == 1 || (self.budget.is_none() && self.traits().is_none()) {
            return Ok(most);
        }
        let key = self.unfitted(most, batch.sizes, options);
        if let Some(&most) = lock(&self.known.items).get(&key) {
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
        lock(&self.known.items).insert(key, most);
        Ok(most)
    }

    /// Runs items, at most `most` at a time, and joins the results.
    async fn run_items(
        &self,
        batch: Batch,
        most: usize,
        options: RunOptions,
        waiting: Waiting,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<NamedTensors> {
        let turns = batch.items.div_ceil(most.max(1)).max(1) as u64;
        let mut results: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        for turn in 0..turns {
            let first = turn as usize * most;
            let items = most.min(batch.items - first);
            let request = self.request(items, batch.sizes, options)?;
            let mut lease = self.lend(&request, waiting, |_, _| {}).await?;
            let ended = async {
                let session = lease.executor()?;
                for array in &batch.arrays {
                    session.write(&array.name, array.of_items(first, items))?;
                }
                session.run_as(waiting, &self.control, [turn, turns], &mut progress).await?;
                let outputs = session.plan().graph().outputs.iter();
                let read = outputs.map(|o| {
                    let tensor = session.read(&o.name)?;
                    self.check_finite(&o.name, &tensor)?;
                    Ok((o.name.clone(), tensor))
                });
                read.collect::<Result<Vec<_>>>()
            };
            let ended = ended.await;
            for (name, tensor) in lease.end(ended)? {
                let (shape, Data::F32(data)) = tensor.into_parts() else { continue };
                match results.entry(name) {
                    Entry::Vacant(first) => _ = first.insert((shape, data)),
                    Entry::Occupied(mut before) => {
                        let (all_shape, all) = before.get_mut();
                        all_shape[0] += shape[0];
                        more(all, data.len())?;
                        all.extend(data);
                    }
                }
            }
        }
        let mut outputs = NamedTensors::new();
        for (name, (shape, data)) in results {
            outputs.insert(name, Tensor::f32(shape, data)?);
        }
        self.upsampled(&batch.sizes, &mut outputs)?;
        Ok(outputs)
    }

    /// Upsamples outputs of a blueprint that says so.
    pub(super) fn upsampled(&self, sizes: &Sizes, outputs: &mut NamedTensors) -> Result<()> {
        match &*self.description {
            Description::Blueprint(_) => self.description.blueprint(sizes).upsample(outputs),
            Description::Config(_) => Ok(()),
        }
    }

    /// Lends the session for a request, made now if it is new; `progress` hears of the making.
    pub(crate) async fn lend(
        &self,
        request: &Request,
        waiting: Waiting,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Lease<'_>> {
        if let Some(lease) = self.sessions.lend(request, waiting) {
            return Ok(lease);
        }
        loop {
            self.store.rest(waiting).await?;
            let plan = self.plan(request)?;
            self.store.rest(waiting).await?;
            let bytes = self.session_bytes(&plan)?;
            let mut lease = self.sessions.room(request, &plan, bytes, self.budget, waiting).await?;
            if lease.session.is_some() {
                return Ok(lease);
            }
            tracing::debug!(?request, nodes = plan.graph().nodes.len(), "new session");
            match self.prepared(plan, waiting, &mut progress).await {
                Ok(session) => {
                    lease.session = Some(session);
                    return Ok(lease);
                }
                Err(error @ Error::OutOfMemory { .. }) => {
                    drop(lease);
                    // Runs side by side did not leave enough.
                    if !self.sessions.wait_for_one(waiting).await {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A session of a graph over this model's weights.
    pub(crate) fn open(&self, graph: Graph) -> Result<Session> {
        blocking(self.prepared(self.planned(graph)?, Waiting::Block, |_, _| {}))
    }

    pub(crate) async fn prepared(
        &self,
        plan: Plan,
        waiting: Waiting,
        progress: impl FnMut(u64, u64),
    ) -> Result<Session> {
        if self.budget.is_some() {
            // What sessions before this one needed is not in its plan.
            self.store.release();
        }
        self.allow(&plan, 0)?;
        self.store.rest(waiting).await?;
        self.store.prepare(plan, waiting, progress).await
    }
}
