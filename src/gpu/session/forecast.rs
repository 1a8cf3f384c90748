//! What the submissions of a run will be, before anything is allocated.

use std::ops::RangeInclusive;

use super::super::device::{Device, lock};
use super::super::pacing::{Classes, Pacer, Position, Work};
use crate::error::Result;
use crate::graph::Plan;

impl Device {
    /// The nodes of each submission of a run, as far as can be told from the cautious rates of devices
    /// of this kind and from what earlier sessions measured on this one.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] when a node cannot run on this device.
    pub fn submissions_of(&self, plan: &Plan) -> Result<Vec<RangeInclusive<usize>>> {
        let (mut works, mut classes) = (Vec::new(), Classes::default());
        for node in &plan.graph().nodes {
            let variant = self.variant_for(&node.op)?;
            let launch = node.op.launch(variant, self.traits())?;
            works.push(Work::new(&node.op, &launch, &mut classes, self.kind()));
        }
        let known = lock(&self.inner.factors);
        let factors = classes.variants().map(|v| known.get(v).copied());
        let pacer = Pacer::new(u64::from(self.traits().busy_workgroups), factors).trust();
        let (mut at, mut parts, mut all) = (Position::at(plan.once()), Vec::new(), Vec::new());
        loop {
            let budget = self.submission_budget();
            pacer.next(&works, &mut at, works.len(), budget, &mut parts);
            match (parts.first(), parts.last()) {
                (Some(first), Some(last)) => all.push(first.step..=last.step),
                _ => return Ok(all),
            }
        }
    }
}
