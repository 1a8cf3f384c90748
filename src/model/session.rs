//! What runs a plan, whichever executor it is on.

use crate::cpu;
use crate::error::Result;
use crate::gpu;
use crate::graph::Plan;
use crate::tensor::Tensor;
use crate::weights::ParameterStore;

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
    pub(super) fn release(&self) {
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
            Session::Gpu(s) => s.set_first_key(first),
        }
    }

    pub(super) fn plan(&self) -> &Plan {
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
