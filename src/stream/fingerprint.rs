//! What tells a model's encoder states from those of another: its blueprint, the route, and the weights
//! that a state depends on; and what tells whole models apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::model::Model;
use crate::perceiver::blueprint::Blueprint;
use crate::perceiver::chunks::{SMALLEST, StreamEncoder};

/// FNV-1a over words.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

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

    fn blueprint(&mut self, blueprint: &Blueprint) {
        self.bytes(&serde_json::to_vec(blueprint).unwrap_or_default());
    }

    fn tensors<'a>(
        &mut self,
        model: &Model,
        names: impl Iterator<Item = &'a String>,
    ) -> Result<()> {
        for name in names {
            self.bytes(name.as_bytes());
            for value in model.read_tensor(name)? {
                self.add(u64::from(value.to_bits()));
            }
        }
        Ok(())
    }
}

/// The fingerprint of an encoder: the same for the same blueprint (sizes of the inputs included), route
/// and weights, whatever the device; another for any other, but for one chance in 2⁶⁴.
pub(super) fn fingerprint(model: &Model, parts: &StreamEncoder) -> Result<i64> {
    let mut hash = Hash::default();
    hash.blueprint(&parts.blueprint);
    hash.add(u64::from(parts.folded));
    let mut tensors = BTreeMap::new();
    for modality in 0..parts.blueprint.inputs.len() {
        let size = parts.chunk_size(modality, SMALLEST, SMALLEST);
        let graph = parts.chunk(modality, size)?;
        for (_, recipe) in graph.parameters() {
            tensors.extend(recipe.tensors());
        }
    }
    hash.tensors(model, tensors.keys())?;
    Ok(hash.0 as i64)
}

impl Model {
    /// A number that is the same for the same description and weights, whatever the files and the device; for other ones it is
    /// another, but for one chance in 2⁶⁴. So machines that work together can tell whether they have the same model. Reads all
    /// weights.
    ///
    /// # Errors
    /// What reading the checkpoint gives.
    pub fn fingerprint(&self) -> Result<u64> {
        let mut hash = Hash::default();
        hash.blueprint(&self.description.blueprint(&self.description.usual_sizes()));
        let names: BTreeSet<String> =
            self.description.tensors()?.into_iter().map(|(name, _)| name).collect();
        hash.tensors(self, names.iter())?;
        Ok(hash.0)
    }
}
