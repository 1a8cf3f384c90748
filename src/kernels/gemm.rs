//! `gemm`: a linear layer with its epilogue, Y = act(X·W + b) + R.
//!
//! Tried on llvmpipe (Mesa 22.3, two cores, 512³ and 1024³, GFLOP/s): 16×64 per workgroup 24 and 26,
//! 16×128 24 and 30, 32×128 32 and 34, 32×256 25 and 41 but more than a minute to compile the first
//! time, 8×128 25 and 25. Its loads go lane by lane, so multiplications per load decide.

use super::{Bindings, Cost, DeviceTraits, Geometry, Variant, vectors, word};

/// What happens to X·W + b before it is stored.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// The exact GELU, x/2·(1 + erf(x/√2)), which Hugging Face's checkpoints run with.
    GeluErf,
    /// The tanh approximation of GELU, which DeepMind's JAX code uses.
    GeluTanh,
}

/// Arguments of `gemm`.
///
/// Inputs: X `[rows, inner]`, W `[inner, cols]` (already transposed from Hugging Face's
/// `[out, in]`), b `[1, cols]` if `bias`, R `[residual_rows, cols]` if `residual_rows > 0`.
/// Output: Y `[rows, cols]`. Row r of Y gets row `r % residual_rows` of R, so that one latent array
/// serves a whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Rows of X and Y, all batch items together.
    pub rows: usize,
    /// Columns of X, rows of W.
    pub inner: usize,
    /// Columns of W and Y.
    pub cols: usize,
    /// Whether b is given.
    pub bias: bool,
    /// Applied to X·W + b.
    pub activation: Activation,
    /// Rows of R; 0 when there is none.
    pub residual_rows: usize,
}

impl Gemm {
    /// The plain product X·W.
    #[must_use]
    pub const fn new(rows: usize, inner: usize, cols: usize) -> Self {
        Gemm {
            rows,
            inner,
            cols,
            bias: false,
            activation: Activation::None,
            residual_rows: 0,
        }
    }

    /// Cost with unpadded sizes.
    #[must_use]
    pub fn cost(&self) -> Cost {
        let (m, k, n) = (self.rows as u64, self.inner as u64, self.cols as u64);
        let residual = if self.residual_rows > 0 { m * n } else { 0 };
        Cost {
            flops: 2 * m * k * n,
            bytes: 4 * (m * k + k * n + m * n + residual),
        }
    }
}

/// x, weight, bias, residual; y.
pub const BINDINGS: Bindings = Bindings {
    reads: 4,
    writes: 1,
};

/// 64×64 tiles, 8 KiB: fits the default limits of WebGPU twice.
const TILED_64: Variant = Variant {
    kernel: "gemm",
    name: "tiled-64x64",
    entry: "tiled",
    constants: &[("ROWS_EACH", 4), ("VECTORS_EACH", 1), ("X_LOADS", 1)],
    invocations: 256,
    workgroup_bytes: 8 * 1024,
    software: false,
};

/// 128×128 tiles, 16 KiB: four times the work per loaded element of the smaller one halved.
const TILED_128: Variant = Variant {
    kernel: "gemm",
    name: "tiled-128x128",
    entry: "tiled",
    constants: &[("ROWS_EACH", 8), ("VECTORS_EACH", 2), ("X_LOADS", 2)],
    invocations: 256,
    workgroup_bytes: 16 * 1024,
    software: false,
};

/// 16×64 tiles for few rows.
const TILED_16: Variant = Variant {
    kernel: "gemm",
    name: "tiled-16x64",
    entry: "tiled",
    constants: &[("ROWS_EACH", 1), ("VECTORS_EACH", 1), ("X_LOADS", 1)],
    invocations: 256,
    workgroup_bytes: 5 * 1024,
    software: false,
};

/// 32 rows × 128 columns per workgroup of eight, no workgroup memory.
const DIRECT: Variant = Variant {
    kernel: "gemm",
    name: "direct-32x128",
    entry: "direct",
    constants: &[("LANES", 8), ("DIRECT_ROWS", 32), ("DIRECT_COLS", 4)],
    invocations: 8,
    workgroup_bytes: 0,
    software: true,
};

/// 4 rows × 32 columns: less wasted where there are few rows or columns.
const DIRECT_SMALL: Variant = Variant {
    kernel: "gemm",
    name: "direct-4x32",
    entry: "direct",
    constants: &[("LANES", 8), ("DIRECT_ROWS", 4), ("DIRECT_COLS", 1)],
    invocations: 8,
    workgroup_bytes: 0,
    software: true,
};

/// All variants.
pub const VARIANTS: &[Variant] = &[TILED_64, TILED_128, TILED_16, DIRECT, DIRECT_SMALL];

/// Rows and column vectors of one workgroup's tile.
fn tile(variant: &Variant) -> (usize, usize) {
    let constant = |name: &str| {
        let found = variant.constants.iter().find(|(n, _)| *n == name);
        found.map_or(1, |&(_, value)| value as usize)
    };
    if variant.entry == "tiled" {
        (16 * constant("ROWS_EACH"), 16 * constant("VECTORS_EACH"))
    } else {
        (
            constant("DIRECT_ROWS"),
            constant("LANES") * constant("DIRECT_COLS"),
        )
    }
}

impl Gemm {
    /// Workgroups with a variant.
    fn workgroups(&self, variant: &Variant) -> u64 {
        let (rows, cols) = tile(variant);
        self.rows.div_ceil(rows) as u64 * vectors(self.cols).div_ceil(cols) as u64
    }

    /// Variants that fit, best first: large tiles where they fill the device, small ones where not.
    #[must_use]
    pub fn candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        let mut list = if device.software {
            if self.rows <= 8 || self.cols <= 32 {
                vec![DIRECT_SMALL, DIRECT]
            } else {
                vec![DIRECT, DIRECT_SMALL]
            }
        } else {
            let busy = u64::from(device.busy_workgroups);
            if self.workgroups(&TILED_128) >= busy {
                vec![TILED_128, TILED_64, TILED_16]
            } else if self.rows > 16 && self.workgroups(&TILED_64) >= busy / 4 {
                vec![TILED_64, TILED_16, TILED_128]
            } else {
                vec![TILED_16, TILED_64, TILED_128]
            }
        };
        let rest = VARIANTS.iter().filter(|v| !list.contains(v)).copied();
        list.extend(rest.collect::<Vec<_>>());
        list
    }

    pub(crate) fn geometry(&self, variant: &Variant) -> Geometry {
        let args = *self;
        let (_, cols) = tile(variant);
        let words = move |groups_x: u32| {
            vec![
                word(args.rows),
                word(vectors(args.inner)),
                word(vectors(args.cols)),
                word(args.residual_rows),
                match args.activation {
                    Activation::None => 0,
                    Activation::GeluErf => 1,
                    Activation::GeluTanh => 2,
                },
                u32::from(args.bias),
                groups_x,
                word(vectors(args.cols).div_ceil(cols)),
            ]
        };
        (self.workgroups(variant), Box::new(words))
    }
}
