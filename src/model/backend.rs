//! Where a model runs: the executor of its plans and the store of its parameters.

use std::sync::Arc;

use crate::cpu::CpuExecutor;
use crate::error::Result;
use crate::gpu::{self, Bound, GpuExecutor, transfer_bytes};
use crate::graph::{Executor, Plan, Waiting};
use crate::weights::{ParameterStore, TensorSource};

/// What executes plans.
#[derive(Clone)]
pub(super) enum Backend {
    /// f32 on all threads.
    Cpu,
    /// f64 by plain loops.
    Reference,
    /// A GPU.
    Gpu(gpu::Slot),
}

impl Backend {
    /// A store of parameters from this source.
    pub(super) fn store(&self, source: Arc<dyn TensorSource>) -> Store {
        match self {
            Backend::Cpu => Store::Cpu(ParameterStore::new(source)),
            Backend::Reference => Store::Reference(ParameterStore::new(source)),
            Backend::Gpu(slot) => Store::Gpu(Box::new(gpu::Parameters::at(slot.clone(), source))),
        }
    }
}

/// Parameters where the engine wants them.
pub(crate) enum Store {
    Cpu(ParameterStore<f32>),
    Reference(ParameterStore<f64>),
    Gpu(Box<gpu::Parameters>),
}

/// A plan that is ready to run.
pub(crate) type Session = Box<dyn Executor>;

impl Store {
    /// Drops parameters that no executor holds.
    pub(super) fn release(&self) {
        match self {
            Store::Cpu(store) => store.release(),
            Store::Reference(store) => store.release(),
            Store::Gpu(parameters) => parameters.release(),
        }
    }

    /// Where the weights come from.
    pub(super) fn source(&self) -> &dyn TensorSource {
        match self {
            Store::Cpu(store) => store.source(),
            Store::Reference(store) => store.source(),
            Store::Gpu(parameters) => parameters.source(),
        }
    }

    /// The device, if it is a GPU.
    pub(crate) fn device(&self) -> Option<gpu::Device> {
        match self {
            Store::Gpu(parameters) => Some(parameters.device()),
            Store::Cpu(_) | Store::Reference(_) => None,
        }
    }

    /// True where the memory of sessions is the host's: on the CPU executors, and on adapters that are software.
    pub(crate) fn is_on_host(&self) -> bool {
        self.device().is_none_or(|device| device.is_software())
    }

    /// Bytes that an executor of a plan allocates: arrays, and those of transfers.
    pub(super) fn bytes(&self, plan: &Plan) -> Result<[u64; 2]> {
        let arrays = plan.array_bytes();
        Ok(match self {
            Store::Cpu(_) => [arrays, 0],
            // In float64.
            Store::Reference(_) => [2 * arrays, 0],
            Store::Gpu(parameters) => [arrays, transfer_bytes(plan, &parameters.device())?],
        })
    }

    /// Gives the thread back between two pieces of work on the CPU, where a GPU is awaited.
    pub(super) async fn rest(&self, waiting: Waiting) -> Result<()> {
        match self.device() {
            Some(device) => device.rest(waiting).await,
            None => Ok(()),
        }
    }

    /// An executor of a plan; `progress` hears of its making.
    pub(super) async fn prepare(
        &self,
        plan: Plan,
        waiting: Waiting,
        progress: impl FnMut(u64, u64),
    ) -> Result<Session> {
        Ok(match self {
            Store::Cpu(store) => Box::new(CpuExecutor::new(plan, store)?),
            Store::Reference(store) => Box::new(CpuExecutor::new(plan, store)?),
            Store::Gpu(parameters) => {
                let bound = Bound::default();
                Box::new(GpuExecutor::with_bound(plan, parameters, bound, waiting, progress).await?)
            }
        })
    }
}
