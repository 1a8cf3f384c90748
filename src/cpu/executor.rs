//! Runs a [`Plan`] on the CPU.
//!
//! All memory is allocated when the session is made; a run allocates only the small tiles of the
//! attention kernel.

use std::sync::Arc;
use web_time::Instant;

use crate::error::Result;
use crate::graph::{
    Control, Executor, Placement, Plan, Running, Source, Span, Spans, ValueId, View, input_parts,
    output, repeat_to, sealed,
};
use crate::kernels::{Op, Real, unpad};
use crate::memory::{room, zeroed};
use crate::parallel::{in_pool, threads_ready};
use crate::tensor::Tensor;
use crate::weights::ParameterStore;

/// A number type that plans can be run in.
pub trait Execute: Real + Send + Sync {
    /// What runs in it are called.
    const NAME: &'static str;

    /// Runs one op on the arrays that there are, in the order of its signature.
    fn execute(op: &Op, inputs: &[&[Self]], outputs: &mut [&mut [Self]]);
}

impl Execute for f64 {
    const NAME: &'static str = "reference";

    fn execute(op: &Op, inputs: &[&[Self]], outputs: &mut [&mut [Self]]) {
        op.reference(inputs, outputs);
    }
}

impl Execute for f32 {
    const NAME: &'static str = "cpu";

    fn execute(op: &Op, inputs: &[&[Self]], outputs: &mut [&mut [Self]]) {
        op.fast(inputs, outputs);
    }
}

/// A plan with its memory, ready to run any number of times.
pub struct CpuExecutor<T: Execute> {
    plan: Plan,
    /// Parameters by value.
    parameters: Vec<Option<Arc<Vec<T>>>>,
    /// Memory of values with [`Placement::Own`], by value.
    own: Vec<Vec<T>>,
    slots: Vec<Vec<T>>,
    /// Seconds of the last run, by node.
    seconds: Vec<f64>,
    /// Ops of the nodes, with keys where the next run has them.
    ops: Vec<Op>,
}

impl<T: Execute> CpuExecutor<T> {
    /// Allocates the plan's memory and runs the part that runs once.
    ///
    /// # Errors
    /// Whatever reading a parameter from the checkpoint gives.
    pub fn new(plan: Plan, store: &ParameterStore<T>) -> Result<Self> {
        threads_ready()?;
        let mut parameters = Vec::with_capacity(plan.graph().values.len());
        let mut own = Vec::with_capacity(plan.graph().values.len());
        for (value, place) in plan.graph().values.iter().zip(plan.placements()) {
            parameters.push(match (&value.source, place) {
                (Source::Parameter(recipe), Placement::Parameter) => Some(store.get(recipe)?),
                _ => None,
            });
            own.push(match place {
                Placement::Own => zeroed("an array of the plan", value.extent.padded_len())?,
                _ => Vec::new(),
            });
        }
        let slots = plan.slots().iter().map(|&n| zeroed("an array of the plan", n));
        let slots = slots.collect::<Result<_>>()?;
        let ops = plan.graph().nodes.iter().map(|n| n.op).collect();
        let mut session = CpuExecutor { plan, parameters, own, slots, seconds: Vec::new(), ops };
        session.prepare()?;
        Ok(session)
    }

    fn run_steps(&mut self, control: &Control, tell: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let steps = self.plan.once()..self.plan.graph().nodes.len();
        let flops = |i: usize| self.plan.graph().nodes[i].op.cost().flops;
        let total: u64 = steps.clone().map(flops).sum();
        let mut done = 0;
        self.seconds.clear();
        self.seconds.resize(steps.end, 0.0);
        for i in steps {
            control.check()?;
            let start = Instant::now();
            self.run_node(i)?;
            self.seconds[i] = start.elapsed().as_secs_f64();
            done += self.plan.graph().nodes[i].op.cost().flops;
            tell(done, total);
        }
        Ok(())
    }

    fn run_node(&mut self, i: usize) -> Result<()> {
        let outputs = self.plan.graph().nodes[i].outputs.clone();
        // What may fail comes before anything is taken.
        let spare = outputs.iter().map(|&o| self.spare(o)).collect::<Result<Vec<_>>>()?;
        let taken = outputs.iter().zip(spare).map(|(&o, spare)| self.take(o).unwrap_or(spare));
        let mut taken: Vec<Vec<T>> = taken.collect();
        {
            let node = &self.plan.graph().nodes[i];
            let inputs: Vec<&[T]> = node.inputs.iter().map(|&v| self.slice(v)).collect();
            let mut results: Vec<&mut [T]> = taken
                .iter_mut()
                .zip(&outputs)
                .map(|(t, &o)| &mut t[..self.plan.graph().extent(o).padded_len()])
                .collect();
            T::execute(&self.ops[i], &inputs, &mut results);
        }
        for (o, memory) in outputs.into_iter().zip(taken) {
            self.put_back(o, memory);
        }
        Ok(())
    }

    /// Memory of a value that a node is about to write. Results never share memory with operands,
    /// so the rest stays readable.
    fn take(&mut self, id: ValueId) -> Option<Vec<T>> {
        match self.plan.placements()[id.index()] {
            Placement::Slot(slot) => Some(std::mem::take(&mut self.slots[slot.0])),
            Placement::Own => Some(std::mem::take(&mut self.own[id.index()])),
            Placement::Parameter | Placement::Unused => None,
        }
    }

    /// Memory of a value that nothing reads, but the op writes.
    fn spare(&self, id: ValueId) -> Result<Vec<T>> {
        match self.plan.placements()[id.index()] {
            Placement::Slot(_) | Placement::Own => Ok(Vec::new()),
            Placement::Parameter | Placement::Unused => {
                zeroed("an array of the plan", self.plan.graph().extent(id).padded_len())
            }
        }
    }

    fn put_back(&mut self, id: ValueId, memory: Vec<T>) {
        match self.plan.placements()[id.index()] {
            Placement::Slot(slot) => self.slots[slot.0] = memory,
            Placement::Own => self.own[id.index()] = memory,
            Placement::Parameter | Placement::Unused => {}
        }
    }

    fn slice(&self, view: View) -> &[T] {
        let memory: &[T] = match self.plan.placements()[view.value.index()] {
            Placement::Slot(slot) => &self.slots[slot.0],
            Placement::Own => &self.own[view.value.index()],
            Placement::Parameter => {
                self.parameters[view.value.index()].as_deref().map_or(&[], Vec::as_slice)
            }
            Placement::Unused => &[],
        };
        let first = view.first_row * view.extent.stride();
        &memory[first..first + view.extent.padded_len()]
    }
}

impl<T: Execute> sealed::Sealed for CpuExecutor<T> {}

impl<T: Execute> Executor for CpuExecutor<T> {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn write(&mut self, name: &str, data: &[f32]) -> Result<()> {
        for (id, extent, elements) in input_parts(&self.plan, name, data.len())? {
            if extent.cols == 0 {
                continue;
            }
            let own = self.own[id.index()].chunks_exact_mut(extent.stride());
            for (to, from) in own.zip(data[elements].chunks_exact(extent.cols)) {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = T::from_f32(from);
                }
            }
        }
        Ok(())
    }

    fn run_with(&mut self, control: &Control, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        // The steps may be over before a callback that ends the run has been called.
        let mut ended = Ok(());
        let mut told = |done, total| {
            progress(done, total);
            if done < total && ended.is_ok() {
                ended = control.check();
            }
        };
        in_pool(|tell| self.run_steps(control, tell), &mut told)?;
        ended
    }

    fn run_async<'a>(
        &'a mut self,
        control: &'a Control,
        progress: &'a mut (dyn FnMut(u64, u64) + Send),
    ) -> Running<'a> {
        Box::pin(async { self.run_with(control, progress) })
    }

    fn compute(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.run(progress)
    }

    fn read(&self, name: &str) -> Result<Tensor> {
        let output = output(&self.plan, name)?;
        let mut data = room(name, output.shape.iter().product())?;
        for &piece in &output.pieces {
            let extent = self.plan.graph().extent(piece);
            unpad(extent, self.slice(self.plan.graph().view(piece)), &mut data);
        }
        let elements = output.shape.iter().product();
        Tensor::f32(output.shape.clone(), repeat_to(elements, data))
    }

    fn prepare(&mut self) -> Result<()> {
        for i in 0..self.plan.once() {
            self.run_node(i)?;
        }
        Ok(())
    }

    fn prepare_async(&mut self) -> Running<'_> {
        Box::pin(async { self.prepare() })
    }

    fn set_first_key(&mut self, first: usize) -> Result<()> {
        for (node, op) in self.plan.graph().nodes.iter().zip(&mut self.ops) {
            if let Some(moved) = node.op.moved_by(first) {
                moved.check(&node.label)?;
                *op = moved;
            }
        }
        Ok(())
    }

    fn allocated_bytes(&self) -> u64 {
        let arrays = self.own.iter().chain(&self.slots);
        let parameters = self.parameters.iter().flatten().map(|p| p.len());
        let elements = arrays.map(Vec::len).chain(parameters).sum::<usize>();
        (elements * size_of::<T>()) as u64
    }

    fn staging_bytes(&self) -> u64 {
        0
    }

    fn profile(&mut self) -> Result<Spans> {
        self.run(&mut |_, _| {})?;
        let mut at = 0.0;
        let nodes = self.seconds.iter().enumerate().skip(self.plan.once());
        let device = nodes.map(|(node, &seconds)| {
            let start = at;
            at += seconds;
            Span { node, start, seconds }
        });
        Ok(Spans { device: device.collect(), ..Spans::default() })
    }

    fn variant_names(&self) -> Vec<&'static str> {
        vec![T::NAME; self.ops.len()]
    }
}
