//! What a session of a plan allocates beside its arrays, known before anything is allocated.

use std::collections::BTreeSet;

use super::bases;
use super::device::Device;
use crate::error::Result;
use crate::graph::{Plan, ValueId};
use crate::kernels::Op;

/// Bytes for transfers and uniforms: one buffer for all inputs, one for all outputs, the words of every
/// launch, where parts of dispatches begin, and what absent operands are bound to.
pub(crate) fn transfer_bytes(plan: &Plan, device: &Device) -> Result<u64> {
    let graph = &plan.graph();
    let size = |id: ValueId| graph.value(id).bytes().next_multiple_of(wgpu::MAP_ALIGNMENT);
    let buffer = |bytes: u64| bytes.next_multiple_of(16).max(16);
    let upload: u64 = graph.inputs().map(|(_, id, _)| size(id)).sum();
    let pieces: BTreeSet<ValueId> = graph.outputs.iter().flat_map(|o| o.pieces.clone()).collect();
    let download: u64 = pieces.into_iter().map(size).sum();
    let align = device.limits().min_uniform_buffer_offset_alignment.max(16);
    let (mut words, mut known) = (0, Vec::<(&Op, u64)>::new());
    for op in graph.nodes.iter().map(|node| &node.op) {
        // Layers are alike.
        let own = match known.iter().find(|(known, _)| *known == op) {
            Some((_, own)) => *own,
            None => {
                // Uniforms are as large whichever variant reads them.
                let variant = device.candidates(op).into_iter().next();
                let launch = variant.map(|variant| op.launch(variant, device.traits()));
                let own = launch.transpose()?.map_or(0, |launch| 4 * launch.params.len() as u64);
                known.push((op, own));
                own
            }
        };
        words += own.next_multiple_of(u64::from(align));
    }
    let bases = buffer(bases::bytes(device.limits()));
    Ok(buffer(upload) + buffer(download) + buffer(words) + bases + 32)
}
