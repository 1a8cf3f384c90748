//! What a plan will cost, known before anything runs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::{WORD_BYTES as WORD, lifetimes};
use super::{Node, Op, Placement, Plan, Stage};
use crate::tensor::Element;

/// Cost of one stage.
#[derive(Debug, Clone, Default, Serialize, PartialEq)]
pub struct StageReport {
    /// "preprocess", "encode", "process", "decode", "postprocess".
    pub name: &'static str,
    /// Floating-point operations of matrix products, two for a multiply-add, padding not counted.
    pub flops: u64,
    /// The part of `flops` that does not depend on the input and runs once, at load.
    pub flops_once: u64,
    /// Bytes that the kernels must read and write at least.
    pub bytes: u64,
    /// Most bytes in use during the stage: parameters, inputs, and what lives in between.
    pub peak_bytes: u64,
    /// Kernel launches of one run.
    pub dispatches: u64,
    /// Submissions of one run that have a launch of the stage or a part of one, as far as can be told
    /// before anything is measured; 0 on the CPU, which has none.
    pub submissions: u64,
    /// Kernels that it uses, each once.
    pub kernels: Vec<&'static str>,
}

/// Cost of one node.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct NodeReport {
    /// The node's label.
    pub label: String,
    /// Its stage.
    pub stage: &'static str,
    /// Its kernel.
    pub kernel: &'static str,
    /// Shape of its first result.
    pub output: String,
    /// How that lies in memory.
    pub element: Element,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written at least.
    pub bytes: u64,
    /// Whether it runs once, at load.
    pub once: bool,
}

/// How the rows of a modality or the queries of an output are divided.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct WindowReport {
    /// "encode" or "decode".
    pub stage: &'static str,
    /// The modality or output.
    pub name: String,
    /// Rows of one item.
    pub rows: usize,
    /// Rows of a window at the most.
    pub window_rows: usize,
    /// Windows.
    pub windows: usize,
}

/// Cost of a plan.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct PlanReport {
    /// Stages that have at least one node, in order.
    pub stages: Vec<StageReport>,
    /// Every node in running order.
    pub nodes: Vec<NodeReport>,
    /// Items of one run.
    pub batch: usize,
    /// Sum over the stages.
    pub total_flops: u64,
    /// Kernel launches of one run.
    pub dispatches: u64,
    /// Submissions of one run, as far as can be told before anything is measured; 0 on the CPU.
    pub submissions: u64,
    /// Latent self-attention layers of one run, shared weights counted as often as they are used.
    pub layers: u64,
    /// Kernel launches of one such layer.
    pub dispatches_per_layer: u64,
    /// Parameters of the checkpoint that are used, without padding.
    pub parameters: u64,
    /// Bytes of the parameters as held for the kernels.
    pub parameter_bytes: u64,
    /// Bytes of inputs and of results that are computed once and kept.
    pub kept_bytes: u64,
    /// Bytes of the memory that values share.
    pub slot_bytes: u64,
    /// Bytes for transfers and uniforms on a GPU, 0 on the CPU.
    pub transfer_bytes: u64,
    /// Bytes allocated for a run in all: parameters, kept arrays, slots, transfers.
    pub peak_bytes: u64,
    /// How inputs and queries are divided; empty where the plan alone is known.
    pub windows: Vec<WindowReport>,
}

impl Plan {
    /// What this plan will cost. `dispatches` says how many launches a node takes.
    pub fn report(&self) -> PlanReport {
        let graph = self.graph();
        let lives = lifetimes(graph).unwrap_or_default();
        let parameter_bytes = WORD * self.parameter_words() as u64;
        let kept_bytes = WORD * self.own_words() as u64;
        let slot_bytes = WORD * self.slot_words() as u64;
        let fixed = parameter_bytes + kept_bytes;
        // Bytes in slots during each node, from what begins and what ends there.
        let mut live = vec![0i64; graph.nodes.len() + 2];
        for ((life, place), value) in lives.iter().zip(self.placements()).zip(&graph.values) {
            if let (Placement::Slot(_), Some(life)) = (place, life) {
                let bytes = value.bytes() as i64;
                live[life.from] += bytes;
                live[life.to + 1] -= bytes;
            }
        }
        for i in 1..live.len() {
            live[i] += live[i - 1];
        }
        let nodes = graph.nodes.iter().enumerate().map(|(i, n)| {
            let (cost, first) = (n.op.cost(), n.outputs.first().map(|&o| graph.value(o)));
            NodeReport {
                label: n.label.clone(),
                stage: n.stage.name(),
                kernel: n.op.kernel(),
                output: first.map_or_else(String::new, |v| v.extent.to_string()),
                element: first.map_or(Element::F32, |v| v.element),
                flops: cost.flops,
                bytes: cost.bytes,
                once: i < self.once(),
            }
        });
        let stages = Stage::ALL.into_iter().filter_map(|stage| {
            let mut report = StageReport { name: stage.name(), ..StageReport::default() };
            for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| n.stage == stage) {
                let cost = node.op.cost();
                if !report.kernels.contains(&node.op.kernel()) {
                    report.kernels.push(node.op.kernel());
                }
                report.flops += cost.flops;
                report.bytes += cost.bytes;
                report.peak_bytes = report.peak_bytes.max(fixed + live[i] as u64);
                if i < self.once() {
                    report.flops_once += cost.flops;
                } else {
                    report.dispatches += 1;
                }
            }
            (!report.kernels.is_empty()).then_some(report)
        });
        let stages: Vec<StageReport> = stages.collect();
        let is_layer = |n: &&Node| n.stage == Stage::Process && matches!(n.op, Op::Attention(_));
        let layers = graph.nodes.iter().skip(self.once()).filter(is_layer).count() as u64;
        let tensors: BTreeMap<_, _> = graph.parameters().flat_map(|(_, r)| r.tensors()).collect();
        let process = stages.iter().find(|s| s.name == Stage::Process.name());
        PlanReport {
            layers,
            dispatches_per_layer: process.map_or(0, |s| s.dispatches).div_ceil(layers.max(1)),
            total_flops: stages.iter().map(|s| s.flops).sum(),
            dispatches: stages.iter().map(|s| s.dispatches).sum(),
            submissions: 0,
            batch: graph.inputs().map(|(_, _, e)| e.batch).max().unwrap_or(1),
            stages,
            nodes: nodes.collect(),
            parameters: tensors
                .values()
                .map(|s| s.iter().map(|&n| n as u64).product::<u64>())
                .sum(),
            parameter_bytes,
            kept_bytes,
            slot_bytes,
            transfer_bytes: 0,
            peak_bytes: fixed + slot_bytes,
            windows: Vec::new(),
        }
    }
}
