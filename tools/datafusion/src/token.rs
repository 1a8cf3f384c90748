//! Which model a plan is for, in the few bytes that go with it from machine to machine.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};

use crate::shared::rows_type;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) fingerprint: u64,
    /// Latents N and channels D, without which a plan for another model could not be made to refuse it by name.
    pub(crate) latents: [u32; 2],
}

impl Token {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.fingerprint.to_le_bytes().to_vec();
        bytes.extend(self.latents.iter().flat_map(|n| n.to_le_bytes()));
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (fingerprint, rest) = bytes.split_first_chunk()?;
        let (n, rest) = rest.split_first_chunk()?;
        let latents = [u32::from_le_bytes(*n), u32::from_le_bytes(rest.try_into().ok()?)];
        Some(Token { fingerprint: u64::from_le_bytes(*fingerprint), latents })
    }

    pub(crate) fn latents_type(self) -> DataType {
        let [n, d] = self.latents.map(|n| n as usize);
        rows_type(rows_type(DataType::Float32, d), n)
    }

    pub(crate) fn refuse<T>(self, function: &str, own: u64) -> Result<T> {
        let found = self.fingerprint;
        exec_err!(
            "{function}: the plan is for the model with fingerprint {found:016x}, and this machine has {own:016x}: all machines must have the same description, weights and sizes"
        )
    }
}
