//! Dispatches as the pacer sees them, and what they take on a weak device.

use super::super::adapter::AdapterKind;
use crate::kernels::{Launch, Op, Variant};

/// Seconds that an op takes at the cautious rate. Exponentials and look-ups of attention count too,
/// which the paper's operations leave out.
fn cautious_seconds(op: &Op, kind: AdapterKind) -> f64 {
    // Operations and bytes per second.
    let (flops, bytes) = match kind {
        AdapterKind::Discrete | AdapterKind::Virtual => (5e11, 5e10),
        AdapterKind::Integrated | AdapterKind::Other => (5e10, 5e9),
        AdapterKind::Software => (4e9, 1e9),
    };
    let cost = op.cost();
    let pairs = match op {
        Op::Attention(a) => (a.batch * a.heads * a.queries) as f64 * a.keys as f64,
        Op::FactoredAttention(a) => (a.batch * a.queries) as f64 * a.keys as f64,
        _ => 0.0,
    };
    (cost.flops as f64 + 20.0 * pairs) / flops + cost.bytes as f64 / bytes
}

/// A dispatch as the pacer sees it.
#[derive(Debug, Clone, Copy)]
pub(in crate::gpu) struct Work {
    /// Its class.
    pub(in crate::gpu) class: usize,
    /// Seconds at the cautious rate.
    pub(in crate::gpu) cautious: f64,
    /// Workgroups.
    pub(in crate::gpu) groups: u64,
    /// Workgroups of one row of the dispatch.
    pub(in crate::gpu) groups_x: u64,
}

impl Work {
    /// A launch of an op.
    pub(in crate::gpu) fn new(
        op: &Op,
        launch: &Launch,
        classes: &mut Classes,
        kind: AdapterKind,
    ) -> Self {
        let [x, y] = launch.workgroups.map(u64::from);
        Work {
            class: classes.of(op, &launch.variant),
            cautious: cautious_seconds(op, kind),
            groups: x * y,
            groups_x: x,
        }
    }
}

/// Classes of dispatches: one for each op with one variant.
#[derive(Default)]
pub(in crate::gpu) struct Classes(Vec<(Op, Variant)>);

impl Classes {
    /// The class of an op with a variant, a new one if it has none.
    pub(in crate::gpu) fn of(&mut self, op: &Op, variant: &Variant) -> usize {
        let known = self.0.iter().position(|(o, v)| o == op && v == variant);
        known.unwrap_or_else(|| {
            self.0.push((*op, *variant));
            self.0.len() - 1
        })
    }

    /// Their variants.
    pub(in crate::gpu) fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.0.iter().map(|(_, variant)| variant)
    }
}
