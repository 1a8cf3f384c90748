//! From a configuration or blueprint to the plan for a device: which passes run, with which parts.

use super::Precision;
use crate::error::{Error, Result};
use crate::graph::passes::{fuse_norms, limit_arrays, split, store_f16};
use crate::graph::{ELEMENT_BYTES, Graph, Plan};
use crate::kernels::{DeviceTraits, Op};
use crate::perceiver::blueprint::Blueprint;
use crate::perceiver::{PerceiverConfig, Request, build};

/// The graph of a model for some shapes, before any pass.
///
/// # Errors
/// [`crate::Error::Graph`] when the configuration does not hold together.
pub fn graph(config: &PerceiverConfig, request: &Request) -> Result<Graph> {
    build::graph(&config.blueprint(&request.sizes), request)
}

/// The plan of a model for some shapes: on a GPU with these traits, or on the CPU.
///
/// # Errors
/// As [`graph`].
pub fn plan(
    config: &PerceiverConfig,
    request: &Request,
    device: Option<&DeviceTraits>,
) -> Result<Plan> {
    let blueprint = config.blueprint(&request.sizes);
    plan_of(&blueprint, request, device, Precision::F32)
}

/// The plan of a blueprint for some shapes: on a GPU with these traits, or on the CPU.
///
/// # Errors
/// As [`graph`].
pub fn plan_of(
    blueprint: &Blueprint,
    request: &Request,
    device: Option<&DeviceTraits>,
    precision: Precision,
) -> Result<Plan> {
    let make = |folded| build::graph(blueprint, &Request { folded, ..*request });
    Ok(route(request.folded, &make, device, precision)?.1)
}

/// The plan of a graph by the folded or the plain route, and whether it is the folded one. What the
/// folded route cannot divide to fit a device, the plain one can.
pub(super) fn route(
    folded: bool,
    make: &dyn Fn(bool) -> Result<Graph>,
    device: Option<&DeviceTraits>,
    precision: Precision,
) -> Result<(bool, Plan)> {
    match planned(make(folded)?, device, precision) {
        Err(Error::Limit { .. }) if folded => {
            Ok((false, planned(make(false)?, device, precision)?))
        }
        plan => Ok((folded, plan?)),
    }
}

/// The plan of a graph: on a GPU with these traits, or on the CPU.
pub fn planned(graph: Graph, device: Option<&DeviceTraits>, precision: Precision) -> Result<Plan> {
    let graph = match device {
        Some(traits) => {
            let graph = limit_arrays(graph, traits.array_bytes)?;
            split(fuse_norms(graph), &|op| splits(op, traits))
        }
        None => graph,
    };
    Plan::new(match precision {
        Precision::F32 => graph,
        Precision::F16 => store_f16(graph, device.is_some_and(|d| d.software)),
    })
}

/// Operations of one workgroup that take some tens of milliseconds: on a core, on a part of a GPU.
/// Nothing can cut a workgroup once it runs.
const fn most_of_a_workgroup(device: &DeviceTraits) -> u64 {
    if device.software { 500_000_000 } else { 2_000_000_000 }
}

/// Parts to divide a product's inner dimension or an attention's keys into, so that few rows still fill
/// the device. Of an attention: one while four fifths of the device are busy, and never parts of less than
/// 256 keys, which the merge would outweigh.
/// More where a workgroup would otherwise run for too long.
pub fn splits(op: &Op, device: &DeviceTraits) -> usize {
    let (groups, keys, pairs) = match op {
        Op::Attention(a) => {
            let pairs = a.batch * a.heads * a.queries * a.keys;
            (a.groups(device), a.keys, pairs)
        }
        Op::FactoredAttention(a) => (a.groups(device), a.keys, a.batch * a.queries * a.keys),
        Op::Gemm(a) => return a.wanted_splits(device),
        _ => return 1,
    };
    let busy = device.busy_workgroups as usize;
    let wanted = if groups == 0 || 5 * groups >= 4 * busy { 1 } else { busy.div_ceil(groups) };
    // An exponential is worth about twenty operations.
    let work = op.cost().flops + 20 * pairs as u64;
    let bounded = work.div_ceil(most_of_a_workgroup(device) * groups.max(1) as u64) as usize;
    let wanted = wanted.max(bounded).min(keys / 256).max(1);
    // The states of all parts are one array.
    let state = match op {
        Op::Attention(a) => a.batch * a.queries * a.heads * a.v_stride(),
        Op::FactoredAttention(a) => a.batch * a.queries * a.columns.next_multiple_of(4),
        _ => 0,
    };
    let state = (ELEMENT_BYTES * state as u64).max(1);
    let most = usize::try_from(device.array_bytes / state).unwrap_or(usize::MAX);
    let wanted = wanted.min(most.max(1));
    match op {
        Op::Attention(a) => a.feasible_splits(wanted, device),
        Op::FactoredAttention(a) => a.feasible_splits(wanted, device),
        _ => 1,
    }
}

/// Bytes of the widest array of a window: on the CPU about what its caches hold, on a GPU enough to
/// fill it, within what it can bind.
pub fn window_bytes(device: Option<&DeviceTraits>) -> usize {
    match device {
        Some(traits) => traits.array_bytes.min(32 << 20) as usize,
        None => 8 << 20,
    }
}
