//! Where a layer is timed, and the timing of one plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use perceiver::internals::cpu::CpuExecutor;
use perceiver::internals::graph::{Executor, Graph, Plan};
use perceiver::internals::measure::ceiling;
use perceiver::internals::weights::{ParameterStore, RandomTensors};
use perceiver::internals::{gpu, model};
use perceiver::profile::Ceiling;
use perceiver::{Engine, Precision, Result};

use super::scaling::{Series, Widths};

/// The CPU executor or a device.
pub enum Place {
    /// The CPU executor, f32.
    Cpu,
    /// An open device.
    Gpu(gpu::Device),
}

impl Place {
    /// The device of an engine, or the CPU.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        engine.device().map_or(Place::Cpu, Place::Gpu)
    }

    /// The adapter's name, or "cpu".
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Place::Cpu => "cpu",
            Place::Gpu(device) => device.name(),
        }
    }

    /// Bytes of the widest array of a window, as models have it here.
    #[must_use]
    pub fn window_bytes(&self) -> usize {
        match self {
            Place::Gpu(device) => model::window_bytes(Some(device.traits())),
            _ => model::window_bytes(None),
        }
    }

    /// What it does at best, measured now.
    ///
    /// # Errors
    /// What the device gives.
    pub fn ceiling(&self) -> Result<Ceiling> {
        match self {
            Place::Cpu => ceiling(None),
            Place::Gpu(device) => ceiling(Some(device)),
        }
    }

    /// The plan of a layer of a series for one size.
    ///
    /// # Errors
    /// [`perceiver::Error::Graph`] when the widths do not hold together.
    pub fn plan(&self, widths: &Widths, series: Series, size: usize) -> Result<Plan> {
        self.plan_of(widths.graph(series, size, self.window_bytes())?)
    }

    /// The plan of any graph.
    ///
    /// # Errors
    /// [`perceiver::Error::Graph`] when the graph does not hold together.
    pub fn plan_of(&self, graph: Graph) -> Result<Plan> {
        model::planned(
            graph,
            match self {
                Place::Cpu => None,
                Place::Gpu(device) => Some(device.traits()),
            },
            Precision::F32,
        )
    }
}

/// A plan on random weights with its inputs in place, ready to be timed. On a GPU the inputs lie on the
/// device and results stay there, so that transfers do not count.
pub struct Trial {
    session: Box<dyn Executor>,
}

impl Trial {
    /// Allocates, fills inputs with numbers of about unit size (no kernel is faster or slower for their
    /// values), and runs what runs once.
    ///
    /// # Errors
    /// What the device gives.
    pub fn new(place: &Place, plan: Plan) -> Result<Self> {
        let tensors = plan.graph().parameters().flat_map(|(_, r)| r.tensors());
        let weights = Arc::new(RandomTensors::new(tensors.collect::<Vec<_>>(), 1));
        // An input may be held by several arrays.
        let mut inputs: BTreeMap<String, usize> = BTreeMap::new();
        for (name, _, extent) in plan.graph().inputs() {
            *inputs.entry(name.to_owned()).or_default() += extent.len();
        }
        let noise = |n: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0).collect()
        };
        let mut session: Box<dyn Executor> = match place {
            Place::Cpu => {
                let store = ParameterStore::<f32>::new(weights);
                Box::new(CpuExecutor::new(plan, &store)?)
            }
            Place::Gpu(device) => {
                let parameters = gpu::Parameters::new(device.clone(), weights);
                Box::new(gpu::GpuExecutor::new(plan, &parameters)?)
            }
        };
        for (name, n) in inputs {
            session.write(&name, &noise(n))?;
        }
        if let Place::Gpu(_) = place {
            session.run(&mut |_, _| {})?;
        }
        Ok(Trial { session })
    }

    /// Runs the plan once.
    ///
    /// # Errors
    /// What the device gives.
    pub fn compute(&mut self) -> Result<()> {
        self.session.compute(&mut |_, _| {})
    }

    /// Seconds of one run.
    ///
    /// # Errors
    /// What the device gives.
    pub fn seconds(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.compute()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Bytes allocated, weights included.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.session.allocated_bytes()
    }
}
