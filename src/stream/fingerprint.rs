//! What tells a model's encoder states from those of another: its blueprint, the route, and the weights
//! that a state depends on.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::model::Model;
use crate::perceiver::chunks::{SMALLEST, StreamEncoder};

/// FNV-1a over words.
struct Hash(u64);

impl Hash {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        // Words are wider than the bytes that the multiplication is made for.
        self.0 ^= self.0 >> 29;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for &byte in bytes {
            self.add(u64::from(byte));
        }
    }
}

/// The fingerprint of an encoder: the same for the same blueprint (sizes of the inputs included), route
/// and weights, whatever the device; another for any other, but for one chance in 2⁶⁴.
pub(super) fn fingerprint(model: &Model, parts: &StreamEncoder) -> Result<i64> {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    let blueprint = serde_json::to_vec(&parts.blueprint).unwrap_or_default();
    hash.bytes(&blueprint);
    hash.add(u64::from(parts.folded));
    let mut tensors = BTreeMap::new();
    for modality in 0..parts.blueprint.inputs.len() {
        let size = parts.chunk_size(modality, SMALLEST, SMALLEST);
        let graph = parts.chunk(modality, size)?;
        for (_, recipe) in graph.parameters() {
            tensors.extend(recipe.tensors());
        }
    }
    for name in tensors.keys() {
        hash.bytes(name.as_bytes());
        for value in model.read_tensor(name)? {
            hash.add(u64::from(value.to_bits()));
        }
    }
    Ok(hash.0 as i64)
}
