//! Which variant of a kernel a device runs an op with.
//!
//! The first of `kernels::candidates`, unless tuning found a faster one. Variants that lean on more than
//! plain shaders (`Variant::accelerated`) are checked when an adapter first meets them, in a small case of
//! the same op against the f64 reference; one that is wrong goes on a deny list, a warning tells of it,
//! and the next one takes over.

use std::collections::HashSet;
use std::path::PathBuf;

use super::device::{Device, lock};
use super::trial::{found, outcome};
use super::tuning::{Denied, Tuning};
use crate::error::{Error, Result};
use crate::graph::{Waiting, blocking};
use crate::kernels::{DeviceTraits, Op, Outcome, Problem, Row, Variant};

/// What decides the choice on one device.
#[derive(Clone)]
pub(super) struct Choices {
    tuning: Tuning,
    /// Where the tuning is kept.
    file: Option<PathBuf>,
    /// Accelerated variants that are right here.
    checked: HashSet<Variant>,
    /// Variants that go before all others of their kernel, and are checked: for tests.
    offered: Vec<Variant>,
}

impl Choices {
    pub(super) fn new(info: &wgpu::AdapterInfo) -> Self {
        Choices {
            tuning: Tuning::new(info),
            file: None,
            checked: HashSet::new(),
            offered: Vec::new(),
        }
    }
}

impl Device {
    /// The variant that sessions of this device run an op with.
    ///
    /// # Errors
    /// [`Error::Limit`] when the limits allow none.
    pub fn variant_for(&self, op: &Op) -> Result<Variant> {
        blocking(self.chosen(op, Waiting::Block))
    }

    /// As [`Device::variant_for`], in either way to wait for a check.
    pub(super) async fn chosen(&self, op: &Op, waiting: Waiting) -> Result<Variant> {
        for variant in self.candidates(op) {
            let doubtful = {
                let choices = lock(&self.inner.choices);
                let accelerated = variant.accelerated() || choices.offered.contains(&variant);
                accelerated && !choices.checked.contains(&variant)
            };
            // Not under the lock: the check makes a session.
            if !doubtful || self.self_check(op, variant, waiting).await? {
                return Ok(variant);
            }
        }
        Err(self.no_variant(op))
    }

    /// The variants that can run an op on this device, the one to choose first; those that are known to
    /// be wrong are left out.
    pub fn candidates(&self, op: &Op) -> Vec<Variant> {
        let choices = lock(&self.inner.choices);
        let offered = choices.offered.iter().copied().filter(|v| v.kernel == op.kernel());
        choices.tuning.candidates(op, self.traits(), offered)
    }

    /// Whether a variant is right in a small case of an op. One that is not is denied from now on.
    async fn self_check(&self, op: &Op, variant: Variant, waiting: Waiting) -> Result<bool> {
        let Some(failure) = self.failure(op, variant, waiting).await? else {
            lock(&self.inner.choices).checked.insert(variant);
            return Ok(true);
        };
        self.deny(variant, failure);
        Ok(false)
    }

    /// What is wrong with a variant in a small case of an op, if anything is.
    ///
    /// # Errors
    /// What says nothing about the variant: a device that is lost, out of memory or too small.
    pub(crate) async fn failure(
        &self,
        op: &Op,
        variant: Variant,
        waiting: Waiting,
    ) -> Result<Option<String>> {
        let row = Row::of(op.small());
        // What the op alone decides, such as whole tiles, may be otherwise in the small case.
        let known = op.candidates(self.traits()).contains(&variant);
        let same = |v: &Variant| known && v.name == variant.name && v.f16 == variant.f16;
        let small = row.op.candidates(self.traits()).into_iter().find(same);
        let problem = Problem::new(&row, 0x5e1f);
        let variant = small.unwrap_or(variant);
        let found = match found(&problem, self, variant, waiting).await {
            Err(
                e @ (Error::DeviceLost { .. } | Error::OutOfMemory { .. } | Error::Limit { .. }),
            ) => return Err(e),
            found => found,
        };
        let Outcome { passed, failure, shape, error, tolerance, .. } =
            outcome(&problem, variant, found);
        let off = || format!("{shape}: relative error {error:.1e}, allowed {tolerance:.1e}");
        Ok((!passed).then(|| failure.unwrap_or_else(off)))
    }

    /// Puts a variant on the deny list.
    pub(crate) fn deny(&self, variant: Variant, why: String) {
        tracing::warn!(
            kernel = variant.kernel, variant = variant.name, device = self.name(), why = %why,
            "wrong on this device: another variant takes over"
        );
        lock(&self.inner.choices).tuning.deny(Denied {
            kernel: variant.kernel.to_owned(),
            variant: variant.title(),
            why,
        });
        self.keep_tuning();
    }

    /// What has been found out about this device: tuned choices and the deny list.
    pub fn tuning(&self) -> Tuning {
        lock(&self.inner.choices).tuning.clone()
    }

    /// Takes over what was found out earlier, by `perceiver tune` say, for sessions made from now on.
    ///
    /// # Errors
    /// [`Error::Input`] when it is for another adapter, driver or set of shaders.
    pub fn apply_tuning(&self, tuning: &Tuning) -> Result<()> {
        let mut choices = lock(&self.inner.choices);
        if let Some(why) = tuning.stale(&choices.tuning) {
            let expected = format!("one made on `{}` as it is now", self.name());
            return Err(Error::input("tuning", format!("was {why}"), expected));
        }
        choices.tuning = tuning.clone();
        Ok(())
    }

    /// Reads what was found out earlier from a cache folder, where it is kept from now on.
    pub(super) fn read_tuning(&self, folder: Option<PathBuf>) {
        let file = folder.map(|f| f.join(lock(&self.inner.choices).tuning.file_name()));
        lock(&self.inner.choices).file.clone_from(&file);
        let Some(file) = file.filter(|f| f.exists()) else {
            return;
        };
        if let Err(error) = Tuning::load(&file).and_then(|t| self.apply_tuning(&t)) {
            tracing::warn!(file = %file.display(), error = %error, "tuned choices are ignored");
        }
    }

    /// Writes what has been found out, where it is kept.
    pub(crate) fn keep_tuning(&self) {
        let (tuning, file) = {
            let choices = lock(&self.inner.choices);
            (choices.tuning.clone(), choices.file.clone())
        };
        if let Some(file) = file
            && let Err(error) = tuning.save(&file)
        {
            tracing::warn!(error = %error, "cannot keep tuned choices");
        }
    }

    /// Changes what has been found out.
    pub(crate) fn change_tuning(&self, change: impl FnOnce(&mut Tuning)) {
        change(&mut lock(&self.inner.choices).tuning);
    }

    /// Has a variant go before all others of its kernel, after a check: for tests of what happens to
    /// wrong ones.
    #[doc(hidden)]
    pub fn offer(&self, variant: Variant) {
        lock(&self.inner.choices).offered.push(variant);
    }

    /// The error for an op that no variant can run.
    pub(super) fn no_variant(&self, op: &Op) -> Error {
        let DeviceTraits { invocations, workgroup_bytes: bytes, .. } = self.traits();
        Error::Limit {
            what: format!("kernel `{}`", op.kernel()),
            needed: "a workgroup that no variant can do without".to_owned(),
            limit: format!("{invocations} invocations and {bytes} bytes on `{}`", self.name()),
            hint: "use another device or the CPU executor".to_owned(),
        }
    }
}
