//! What a dispatch should take on a card, told from counts: a prediction that can be wrong, no measurement.
//!
//! A shader is divided into parts, its loops ([`Kind`]). Of each part it is known how often a lane passes through it, from
//! the sizes alone, and what one pass costs ([`Counts`]): either counted in what a compiler made of the shader, or
//! estimated from the tile. From both follow, for one multiprocessor ("unit") of a [`Card`] and the workgroups it gets:
//!
//! * *issue*: vector instructions of the subgroups that share a SIMD, each for as many cycles as the card needs for a
//!   subgroup; what comes last is the unit with the most workgroups, so that a part-filled card is slow;
//! * *shared*: bytes to and from workgroup memory at the unit's rate;
//! * *waits*: the time of one workgroup alone, waits for loads and barriers included, as often as workgroups follow each
//!   other; how many run side by side is decided by registers, workgroup memory and the most subgroups of a SIMD;
//! * *cache*: what all workgroups load, at the rate of the last cache;
//! * *memory*: what must be read and written at least, at the rate of the memory, or of a large cache that holds it.
//!
//! The time is the fourth root of the sum of their fourth powers: the longest, and up to a fifth more where two are
//! alike, since they do not overlap wholly. A dispatch costs a fixed time on top. Kernels without an estimate of their
//! own are taken for copies of their bytes beside their operations at a quarter of the peak.

mod shape;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kernels::{DeviceTraits, Op, Variant};
use crate::tensor::Element;

/// A part of a shader: what is outside of its loops, or one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Outside of all loops.
    Once,
    /// Around tiles of keys, once for each segment of a line.
    Segment,
    /// Slices of the inner dimension, or tiles of keys, less the loops within.
    Tile,
    /// Slices of queries and keys, less the product within.
    Slice,
    /// The product of queries and keys, or of X and W.
    Score,
    /// Over the lanes of a row.
    Lanes,
    /// Parts of a chunk of values, less the product within.
    Part,
    /// The product of weights and values.
    Context,
    /// What follows the loops; always estimated, since it depends on the op.
    Last,
}

/// What one pass through a part costs a lane.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(from = "[f64; 8]")]
pub struct Counts {
    /// Multiply-adds.
    pub products: f64,
    /// Other vector instructions that can be issued as fast as multiply-adds.
    pub paired: f64,
    /// Other vector instructions.
    pub other: f64,
    /// Instructions at a quarter of the rate: exponentials, products of integers.
    pub slow: f64,
    /// Products of cooperative matrices, of the whole subgroup.
    pub matrix: f64,
    /// Bytes to and from workgroup memory.
    pub shared: f64,
    /// Bytes to and from memory.
    pub memory: f64,
    /// Cycles that a subgroup waits if it has a SIMD to itself.
    pub waits: f64,
}

impl From<[f64; 8]> for Counts {
    fn from(n: [f64; 8]) -> Self {
        let [products, paired, other, slow, matrix, shared, memory, waits] = n;
        Counts { products, paired, other, slow, matrix, shared, memory, waits }
    }
}

/// What a compiler made of a variant.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Counted {
    /// Vector registers of a lane.
    pub registers: u32,
    /// Those that had no room.
    pub spilled: u32,
    /// Bytes of code.
    pub code: u32,
    /// One pass of each part that the compiler left.
    pub parts: BTreeMap<Kind, Counts>,
}

/// A part, how often it is passed, and what that should cost.
#[derive(Debug, Clone, Copy)]
struct Part {
    kind: Kind,
    passes: f64,
    /// Of a product: multiply-adds that a lane has to do in it and in the part around it.
    work: f64,
    estimate: Counts,
}

/// A GPU as data sheets and guides to its instruction set tell of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Card {
    /// Its name.
    pub name: &'static str,
    /// The compiler's name for its instruction set, where there are counts.
    pub family: &'static str,
    /// Compute units, multiprocessors, cores.
    pub units: f64,
    /// SIMDs of a unit.
    pub simds: f64,
    /// Lanes of a SIMD.
    pub lanes: f64,
    /// Lanes of the subgroups that the driver gives shaders.
    pub subgroup: f64,
    /// Cycles a second.
    pub clock: f64,
    /// Multiply-adds of a lane in one cycle.
    pub pairs: f64,
    /// Cycles of one product of cooperative matrices of side 16 on a SIMD; 0 without.
    pub matrix_cycles: f64,
    /// Bytes of workgroup memory that a unit reads or writes in a cycle.
    pub shared_rate: f64,
    /// Bytes of workgroup memory of a unit.
    pub shared_bytes: f64,
    /// Vector registers of a SIMD, of one lane each.
    pub registers: f64,
    /// Most subgroups of a SIMD.
    pub subgroups: f64,
    /// Bytes a second of the last cache that all units share.
    pub cache_rate: f64,
    /// Bytes of a cache before the memory, and bytes a second of it.
    pub large_cache: [f64; 2],
    /// Bytes a second of the memory.
    pub memory_rate: f64,
    /// Seconds of a dispatch by itself.
    pub launch: f64,
}

/// What bounds a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Vector instructions.
    Issue,
    /// Workgroup memory.
    Shared,
    /// Too few subgroups to hide waits.
    Waits,
    /// The last cache.
    Cache,
    /// Memory.
    Memory,
    /// The dispatch by itself.
    Launch,
}

/// What a dispatch should take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// Seconds.
    pub seconds: f64,
    /// Seconds by the card's peaks: the longer of operations and bytes.
    pub least: f64,
    /// What bounds it.
    pub bound: Bound,
    /// Whether instructions were counted in what a compiler made, rather than estimated.
    pub counted: bool,
    /// Workgroups.
    pub workgroups: u64,
    /// Subgroups that run side by side on a SIMD.
    pub resident: f64,
}

impl Card {
    /// A GPU of which nothing is known but its traits: what orders tiles before they are measured.
    #[must_use]
    pub fn of(traits: &DeviceTraits) -> Card {
        let subgroup = traits.subgroups.map_or(32.0, |[_, most]| f64::from(most.clamp(8, 64)));
        Card {
            name: "any GPU",
            family: "",
            units: f64::from(traits.busy_workgroups) / 2.0,
            simds: 4.0,
            lanes: 32.0,
            subgroup,
            clock: 1.8e9,
            pairs: 1.0,
            matrix_cycles: 0.0,
            shared_rate: 128.0,
            shared_bytes: f64::from(traits.workgroup_bytes).max(65_536.0),
            registers: 16_384.0,
            subgroups: 16.0,
            cache_rate: 4e12,
            large_cache: [0.0, 0.0],
            memory_rate: 1e12,
            launch: 4e-6,
        }
    }

    /// Operations a second of multiply-adds in f32, or of cooperative matrices.
    #[must_use]
    pub fn peak(&self, matrix: bool) -> f64 {
        let simds = self.units * self.simds * self.clock;
        match matrix && self.matrix_cycles > 0.0 {
            true => simds * 2.0 * 4096.0 / self.matrix_cycles,
            false => simds * 2.0 * self.lanes * self.pairs,
        }
    }

    /// Cycles that the vector instructions of a subgroup take on a SIMD.
    fn issue(&self, counts: &Counts) -> f64 {
        let subgroup = self.subgroup / self.lanes;
        let fast = (counts.products + counts.paired) / self.pairs;
        let vector = subgroup * (fast + counts.other + 4.0 * counts.slow);
        vector + counts.matrix * self.matrix_cycles
    }

    /// The time of some bytes that must be read and written.
    fn moved(&self, bytes: f64) -> f64 {
        let [size, rate] = self.large_cache;
        bytes / if bytes <= size { rate } else { self.memory_rate }
    }

    /// What an op should take with a variant.
    #[must_use]
    pub fn predict(&self, op: &Op, variant: &Variant, counted: Option<&Counted>) -> Prediction {
        let cost = op.cost();
        let (flops, bytes) = (cost.flops as f64, cost.bytes as f64);
        let memory = self.moved(bytes);
        let matrix = variant.cooperative.is_some();
        let least = memory.max(flops / self.peak(matrix));
        let workgroups = op.workgroups(variant);
        let parts = shape::parts(op, variant, self.subgroup);
        let counted = counted.filter(|_| !parts.is_empty());
        let invocations = f64::from(variant.invocations);
        let subgroups = (invocations / self.subgroup).ceil();
        let registers = counted
            .map_or_else(|| shape::registers(op, variant).min(256.0), |c| f64::from(c.registers));
        let fit = |room: f64, need: f64| if need > 0.0 { (room / need).floor() } else { f64::MAX };
        let of_simd = fit(self.registers, registers * self.subgroup).min(self.subgroups);
        let side_by_side = fit(self.simds * of_simd, subgroups)
            .min(fit(self.shared_bytes, f64::from(variant.workgroup_bytes)))
            .max(1.0);
        // Of one subgroup.
        let (mut issue, mut shared, mut loaded, mut waits) = (0.0, 0.0, 0.0, 0.0);
        for (passes, counts) in passes(&parts, counted, self.subgroup) {
            issue += passes * self.issue(&counts);
            shared += passes * counts.shared * self.subgroup / self.shared_rate;
            loaded += passes * counts.memory * self.subgroup;
            waits += passes * counts.waits;
        }
        if parts.is_empty() {
            let work = flops / (0.25 * self.peak(false)) + bytes / self.cache_rate;
            issue = work * self.clock * self.units * self.simds
                / (workgroups as f64 * subgroups).max(1.0);
        }
        let most = (workgroups as f64 / self.units).ceil();
        let rounds = (most / side_by_side).max(1.0);
        let times = [
            (Bound::Issue, (most * subgroups / self.simds).ceil() * issue / self.clock),
            (Bound::Shared, most * subgroups * shared / self.clock),
            (Bound::Waits, rounds * (issue + shared + waits) / self.clock),
            (Bound::Cache, workgroups as f64 * subgroups * loaded / self.cache_rate),
            (Bound::Memory, memory),
        ];
        let sum: f64 = times.iter().map(|(_, t)| t.powi(4)).sum();
        let longest = times.iter().fold((Bound::Launch, self.launch), |longest, &time| {
            if time.1 > longest.1 { time } else { longest }
        });
        Prediction {
            seconds: self.launch + sum.sqrt().sqrt(),
            least,
            bound: longest.0,
            counted: counted.is_some(),
            workgroups,
            resident: (most.min(side_by_side) * subgroups / self.simds).min(of_simd),
        }
    }
}

/// How often each part is passed, and what a pass costs, with counts where there are any.
fn passes<'a>(
    parts: &'a [Part],
    counted: Option<&'a Counted>,
    subgroup: f64,
) -> impl Iterator<Item = (f64, Counts)> + 'a {
    let mut around = 0.0;
    parts.iter().filter_map(move |part| {
        let counts = match counted {
            Some(counted) if part.kind != Kind::Last => counted.parts.get(&part.kind).copied(),
            _ => Some(part.estimate),
        };
        let Some(counts) = counts else {
            around = 0.0;
            return None;
        };
        // Sixteen by sixteen by sixteen, shared among the lanes of a subgroup.
        let of_pass = counts.products + counts.matrix * 4096.0 / subgroup;
        let passes = match part.work > 0.0 {
            true if of_pass > 0.0 => (part.work - around).max(0.0) / of_pass,
            true => 0.0,
            false => part.passes,
        };
        // A product that the compiler has written out is in the part around it.
        around = passes * of_pass;
        Some((passes, counts))
    })
}

/// Bytes of an element.
fn bytes_of(f16: bool) -> f64 {
    if f16 { Element::F16.bytes() as f64 } else { Element::F32.bytes() as f64 }
}

#[cfg(test)]
#[path = "../../../tests/unit/predict.rs"]
mod tests;
