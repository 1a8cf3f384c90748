//! Which variant of a kernel a device runs an op with.

use super::device::Device;
use crate::error::{Error, Result};
use crate::graph::Op;
use crate::kernels::{self, Variant};

impl Device {
    /// The variant that sessions of this device run an op with: the first that its limits allow.
    ///
    /// # Errors
    /// [`Error::Limit`] when the limits allow none.
    pub fn variant_for(&self, op: &Op) -> Result<Variant> {
        let first = kernels::candidates(op, self.traits()).into_iter().next();
        first.ok_or_else(|| self.no_variant(op))
    }

    /// The error for an op that no variant can run.
    pub(super) fn no_variant(&self, op: &Op) -> Error {
        let traits = self.traits();
        Error::Limit {
            what: format!("kernel `{}`", op.kernel()),
            needed: "a workgroup that no variant can do without".to_owned(),
            limit: format!(
                "{} invocations and {} bytes on `{}`",
                traits.invocations,
                traits.workgroup_bytes,
                self.name()
            ),
            hint: "use another device or the CPU executor (--device cpu)".to_owned(),
        }
    }
}
