//! What was found out about an adapter: the fastest variants, and variants that are wrong on it.
//!
//! A file of this is JSON, which an app can ship:
//!
//! ```json
//! {
//!   "version": 1,
//!   "adapter": "llvmpipe (LLVM 15.0.6, 256 bits)", "backend": "vulkan", "driver": "llvmpipe Mesa 22.3.6",
//!   "shaders": "5f0c1d2e3b4a5968",
//!   "choices": [{ "kernel": "gemm", "bucket": "rows 512 inner 1024 cols 1024", "variant": "direct-32x128" }],
//!   "denied": [{ "kernel": "gemm", "variant": "direct-4x32", "why": "relative error 0.4 of 1e-6" }]
//! }
//! ```
//!
//! It holds for one adapter with one driver and for one set of shaders, whose fingerprint it carries;
//! for others it is stale. A variant that is no longer known is passed over, as is a tile (`tile-16.8.8.2.4.4`, by its
//! constants) that is not in the kernel's space or that the device cannot run. A bucket is a range of shapes, up to the next power of two in each size.

use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::shader;
use crate::error::{Error, Result};
use crate::kernels::{DeviceTraits, Op, Role, Variant};
use crate::output::write_bytes;
use crate::tensor::Element;

/// The form of the file.
const VERSION: u32 = 1;
/// More than this is no such file.
const MOST_BYTES: u64 = 16 << 20;

/// The variant to choose for a range of shapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedChoice {
    /// The kernel.
    pub kernel: String,
    /// The range of shapes.
    pub bucket: String,
    /// The variant's name.
    pub variant: String,
}

/// A variant that gives wrong results on an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denied {
    /// The kernel.
    pub kernel: String,
    /// The variant's name.
    pub variant: String,
    /// What was wrong.
    pub why: String,
}

/// What was found out about an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    version: u32,
    /// The adapter's name.
    pub adapter: String,
    /// Its back end: "vulkan", "metal", "dx12".
    pub backend: String,
    /// Its driver, with version.
    pub driver: String,
    /// Fingerprint of all shaders and their variants.
    pub shaders: String,
    /// The fastest variants.
    pub choices: Vec<TunedChoice>,
    /// Wrong variants.
    pub denied: Vec<Denied>,
}

fn senseless(name: impl Display, what: String) -> Error {
    let expected = "a file of tuned variants, as `Tuning::save` writes it";
    Error::input(name.to_string(), what, expected)
}

impl Tuning {
    /// Nothing yet.
    pub(super) fn new(info: &wgpu::AdapterInfo) -> Self {
        Tuning {
            version: VERSION,
            adapter: info.name.clone(),
            backend: info.backend.to_str().to_owned(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            shaders: format!("{:016x}", shader::fingerprint()),
            choices: Vec::new(),
            denied: Vec::new(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Input`] when it is none of these.
    pub fn load(file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        let long = || senseless(file.display(), format!("has more than {MOST_BYTES} bytes"));
        let bytes = crate::open::bytes(file, MOST_BYTES)?.ok_or_else(long)?;
        Self::read(&bytes, file.display())
    }

    /// Reads what [`Tuning::to_bytes`] gave.
    ///
    /// # Errors
    /// [`Error::Input`] when it is none of these.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, "tuning")
    }

    /// The bytes of the file that [`Tuning::save`] writes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Names and texts alone, which JSON can always hold.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    fn read(bytes: &[u8], name: impl Display) -> Result<Self> {
        let tuning: Tuning =
            serde_json::from_slice(bytes).map_err(|e| senseless(&name, e.to_string()))?;
        if tuning.version != VERSION {
            return Err(senseless(&name, format!("has version {}", tuning.version)));
        }
        Ok(tuning)
    }

    /// Writes a file, whole or not at all; its folder is made if need be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, file: impl AsRef<Path>) -> Result<()> {
        let file = file.as_ref();
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        }
        write_bytes(file, &self.to_bytes())
    }

    /// Why this does not hold for another adapter, driver or set of shaders, if it does not.
    pub fn stale(&self, now: &Tuning) -> Option<String> {
        let parts = [
            ("adapter", &self.adapter, &now.adapter),
            ("back end", &self.backend, &now.backend),
            ("driver", &self.driver, &now.driver),
            ("shaders", &self.shaders, &now.shaders),
        ];
        let other = parts.iter().find(|(_, a, b)| a != b);
        other.map(|(what, was, is)| format!("made for {what} `{was}`, not `{is}`"))
    }

    /// The name of an adapter's file in a cache folder.
    pub fn file_name(&self) -> String {
        let key = format!("{}\n{}", self.adapter, self.backend);
        format!("tuned-{:016x}.json", super::fingerprint(key.as_bytes()))
    }

    /// The variant chosen for an op.
    pub fn choice(&self, op: &Op) -> Option<&str> {
        let bucket = bucket(op)?;
        let is_it = |c: &&TunedChoice| c.kernel == op.kernel() && c.bucket == bucket;
        self.choices.iter().find(is_it).map(|c| c.variant.as_str())
    }

    /// Candidates for an op on a device, the chosen one first, `offered` before the others, and without those that are
    /// known to be wrong. What is chosen may be any tile that the device can run the op with.
    #[must_use]
    pub fn candidates(
        &self,
        op: &Op,
        traits: &DeviceTraits,
        offered: impl IntoIterator<Item = Variant>,
    ) -> Vec<Variant> {
        let tile = self.choice(op).and_then(|name| op.tile_candidate(name, traits));
        let all = offered.into_iter().chain(op.candidates(traits)).chain(tile);
        let mut list: Vec<Variant> = all.filter(|v| !self.denies(v.kernel, &v.title())).collect();
        if let Some(name) = self.choice(op)
            && let Some(at) = list.iter().position(|v| v.name == name)
        {
            list[..=at].rotate_right(1);
        }
        list
    }

    /// Sets the variant for a range of shapes.
    pub(crate) fn choose(&mut self, choice: TunedChoice) {
        self.choices.retain(|c| c.kernel != choice.kernel || c.bucket != choice.bucket);
        self.choices.push(choice);
    }

    /// Notes that a variant is wrong.
    pub(crate) fn deny(&mut self, denied: Denied) {
        if !self.denies(&denied.kernel, &denied.variant) {
            self.denied.push(denied);
        }
    }

    /// Whether a variant is known to be wrong.
    pub fn denies(&self, kernel: &str, variant: &str) -> bool {
        self.denied.iter().any(|d| d.kernel == kernel && d.variant == variant)
    }
}

/// The range of shapes that an op belongs to; `None` for kernels without a choice of variants.
pub fn bucket(op: &Op) -> Option<String> {
    let sizes: &[(&str, usize)] = match op {
        Op::Gemm(a) => &[("rows", a.rows), ("inner", a.inner), ("cols", a.cols)],
        Op::LayerNorm(a) => &[("rows", a.rows), ("cols", a.cols)],
        Op::Attention(a) => &[
            ("groups", a.batch * a.heads * a.splits),
            ("queries", a.queries),
            ("keys", a.keys),
            ("qk", a.d_qk),
            ("v", a.d_v),
        ],
        Op::FactoredAttention(a) => &[
            ("groups", a.batch * a.splits),
            ("queries", a.queries),
            ("keys", a.keys),
            ("content", a.factors.content),
            ("columns", a.columns),
        ],
        _ => return None,
    };
    let sizes = sizes.iter().map(|(name, n)| format!("{name} {}", n.next_power_of_two()));
    // Arrays of f16 are other shaders.
    let f16 = Role::NARROW
        .into_iter()
        .filter(|&role| op.element(role) == Element::F16)
        .map(|role| format!("f16 {role:?}").to_lowercase());
    Some(sizes.chain(f16).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
#[path = "../../tests/unit/gpu_tuning.rs"]
mod tests;
