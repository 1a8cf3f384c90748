//! How runs and streams are cut so that they fit a budget of memory.
//!
//! A plan's memory is known before anything is allocated. A budget is met by fewer items at a time and
//! by windows that are halved until the plan fits. What it covers is what a session allocates:
//! parameters, arrays, and on a GPU transfers. Tensors that a caller hands in or gets back are the
//! caller's.

use crate::error::{Error, Result};
use crate::graph::{Graph, Plan, PlanReport};
use crate::memory::MemorySize;
use crate::model::Model;

/// Windows are not made smaller than this: rows do not go below 64 anyway.
const LEAST_WINDOW: usize = 1 << 16;
/// Windows larger than this are cut down to it before they are halved.
const LARGE_WINDOW: usize = 1 << 28;

impl Model {
    /// Bytes that a session of a plan allocates.
    pub(crate) fn session_bytes(&self, plan: &Plan) -> Result<u64> {
        Ok(self.store.bytes(plan)?.iter().sum())
    }

    /// Bytes that a session of a graph would allocate.
    pub(crate) fn graph_bytes(&self, graph: Graph) -> Result<u64> {
        self.session_bytes(&self.planned(graph)?)
    }

    /// A plan's report, with what it takes on this model's device.
    pub(crate) fn reported(&self, plan: &Plan) -> Result<PlanReport> {
        let mut report = plan.report();
        report.transfer_bytes = self.store.bytes(plan)?[1];
        report.peak_bytes += report.transfer_bytes;
        Ok(report)
    }

    /// The largest window, at most the model's, with which `bytes` are within the budget.
    ///
    /// # Errors
    /// [`Error::Limit`] with the least that would do, or what `bytes` gives.
    pub(crate) fn fit(&self, bytes: &dyn Fn(usize) -> Result<u64>) -> Result<usize> {
        let mut window = self.window_bytes;
        let Some(MemorySize(budget)) = self.budget else {
            return Ok(window);
        };
        let mut least = u64::MAX;
        loop {
            let needed = bytes(window)?;
            if needed <= budget {
                return Ok(window);
            }
            least = least.min(needed);
            if window <= LEAST_WINDOW {
                let least = MemorySize(least);
                return Err(Error::Limit {
                    what: format!("{} on {}", self.description.name(), self.device_name()),
                    needed: format!("at least {least} of memory for inputs of this size"),
                    limit: format!("{}, the memory budget", MemorySize(budget)),
                    hint: "give that much, or smaller inputs".to_owned(),
                });
            }
            window = (window / 2).clamp(LEAST_WINDOW, LARGE_WINDOW);
        }
    }
}
