//! `gemm`: a linear layer with its epilogue, Y = act(X·W + b) + R, after a LayerNorm if wanted.
//!
//! Tried on llvmpipe (Mesa 22.3, two cores, 512³ and 1024³, GFLOP/s): 16×64 per workgroup 24 and 26,
//! 16×128 24 and 30, 32×128 32 and 34, 32×256 25 and 41 but more than a minute to compile the first
//! time, 8×128 25 and 25. Its loads go lane by lane, so multiplications per load decide.

use super::{Bindings, Cost, DeviceTraits, Geometry, Mode, Variant, vectors, word};

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
///
/// If `normalise`, each row of X is normalised first, (x − μ)/√(σ² + eps) with the biased variance.
/// Then every column of W must sum to zero, so that μ need not be known to multiply with W; gain and
/// bias of a LayerNorm are folded into W and b when a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Rows of X and Y, all batch items together.
    pub rows: usize,
    /// Columns of X, rows of W.
    pub inner: usize,
    /// Columns of W and Y.
    pub cols: usize,
    /// Whether rows of X are normalised.
    pub normalise: bool,
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
            normalise: false,
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

/// Tiles of 16·rows × 64·vectors, in slices of 16 columns.
const fn tiled(name: &'static str, constants: &'static [(&'static str, u32)], kib: u32) -> Variant {
    Variant {
        kernel: "gemm",
        name,
        mode: Mode::PLAIN,
        entry: "tiled",
        constants,
        invocations: 256,
        workgroup_bytes: kib * 1024,
        software: false,
    }
}

/// 16×64 tiles for few rows.
const TILED_16: Variant = tiled(
    "tiled-16x64",
    &[("ROWS_EACH", 1), ("VECTORS_EACH", 1), ("X_LOADS", 1)],
    5,
);
/// 32×64 tiles.
const TILED_32: Variant = tiled(
    "tiled-32x64",
    &[("ROWS_EACH", 2), ("VECTORS_EACH", 1), ("X_LOADS", 1)],
    6,
);
/// 64×64 tiles: fits the default limits of WebGPU twice.
const TILED_64: Variant = tiled(
    "tiled-64x64",
    &[("ROWS_EACH", 4), ("VECTORS_EACH", 1), ("X_LOADS", 1)],
    8,
);
/// 64×64 tiles in slices of 32: half the barriers, twice the loads in flight.
const TILED_64_DEEP: Variant = tiled(
    "tiled-64x64x32",
    &[
        ("ROWS_EACH", 4),
        ("VECTORS_EACH", 1),
        ("SLICE", 8),
        ("X_LOADS", 2),
        ("WEIGHT_LOADS", 2),
    ],
    16,
);
/// 64×128 tiles, between the next two in work per loaded element and in number.
const TILED_64_128: Variant = tiled(
    "tiled-64x128",
    &[
        ("ROWS_EACH", 4),
        ("VECTORS_EACH", 2),
        ("X_LOADS", 1),
        ("WEIGHT_LOADS", 2),
    ],
    12,
);
/// 128×128 tiles: twice the work per loaded element of 64×64.
const TILED_128: Variant = tiled(
    "tiled-128x128",
    &[
        ("ROWS_EACH", 8),
        ("VECTORS_EACH", 2),
        ("X_LOADS", 2),
        ("WEIGHT_LOADS", 2),
    ],
    16,
);
/// 128×128 tiles in slices of 32, for devices with 32 KiB.
const TILED_128_DEEP: Variant = tiled(
    "tiled-128x128x32",
    &[
        ("ROWS_EACH", 8),
        ("VECTORS_EACH", 2),
        ("SLICE", 8),
        ("X_LOADS", 4),
        ("WEIGHT_LOADS", 4),
    ],
    32,
);

const fn direct(name: &'static str, constants: &'static [(&'static str, u32)]) -> Variant {
    Variant {
        kernel: "gemm",
        name,
        mode: Mode::PLAIN,
        entry: "direct",
        constants,
        invocations: 8,
        workgroup_bytes: 0,
        software: true,
    }
}

/// 32 rows × 128 columns per workgroup of eight, no workgroup memory.
const DIRECT: Variant = direct(
    "direct-32x128",
    &[("LANES", 8), ("DIRECT_ROWS", 32), ("DIRECT_COLS", 4)],
);
/// 4 rows × 32 columns: less wasted where there are few rows or columns.
const DIRECT_SMALL: Variant = direct(
    "direct-4x32",
    &[("LANES", 8), ("DIRECT_ROWS", 4), ("DIRECT_COLS", 1)],
);

const TILED: [Variant; 7] = [
    TILED_16,
    TILED_32,
    TILED_64,
    TILED_64_DEEP,
    TILED_64_128,
    TILED_128,
    TILED_128_DEEP,
];

const fn mode(name: &'static str, constants: &'static [(&'static str, u32)]) -> Mode {
    Mode { name, constants }
}

/// Modes by what the op wants (normalised rows) and what its sizes allow (no checks of indices).
const MODES: [[Mode; 2]; 2] = [
    [Mode::PLAIN, mode("aligned", &[("ALIGNED", 1)])],
    [
        mode("norm", &[("NORM", 1)]),
        mode("norm aligned", &[("NORM", 1), ("ALIGNED", 1)]),
    ],
];

/// All variants.
#[must_use]
pub fn variants() -> Vec<Variant> {
    let mut list = Vec::new();
    for [checked, aligned] in MODES {
        list.extend(TILED.map(|v| v.with(checked)));
        list.extend(TILED.map(|v| v.with(aligned)));
        list.extend([DIRECT, DIRECT_SMALL].map(|v| v.with(checked)));
    }
    list
}

/// Rows and column vectors of one workgroup's tile.
fn tile(variant: &Variant) -> (usize, usize) {
    let constant = |name: &str| variant.constant(name).unwrap_or(1) as usize;
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

    /// Whether rows, columns and inner dimension are whole tiles and slices of a variant.
    fn aligned(&self, variant: &Variant) -> bool {
        let (rows, cols) = tile(variant);
        let slice = 4 * variant.constant("SLICE").unwrap_or(4) as usize;
        self.rows.is_multiple_of(rows)
            && self.cols.next_multiple_of(4).is_multiple_of(4 * cols)
            && self.inner.next_multiple_of(4).is_multiple_of(slice)
            && self.inner > 0
    }

    /// Variants that fit, best first: large tiles where they fill the device, small ones where not.
    #[must_use]
    pub fn candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        let busy = u64::from(device.busy_workgroups);
        let mut tiled = if self.workgroups(&TILED_128) >= busy {
            vec![
                TILED_128,
                TILED_128_DEEP,
                TILED_64_128,
                TILED_64,
                TILED_64_DEEP,
            ]
        } else if self.workgroups(&TILED_64_128) >= busy {
            vec![TILED_64_128, TILED_64, TILED_64_DEEP, TILED_128]
        } else if self.rows > 32 && self.workgroups(&TILED_64) >= busy / 2 {
            vec![TILED_64, TILED_64_DEEP, TILED_32, TILED_64_128]
        } else if self.rows > 16 && self.workgroups(&TILED_32) >= busy / 4 {
            vec![TILED_32, TILED_16, TILED_64]
        } else {
            vec![TILED_16, TILED_32, TILED_64]
        };
        let rest: Vec<Variant> = TILED.into_iter().filter(|v| !tiled.contains(v)).collect();
        tiled.extend(rest);
        let [checked, aligned] = MODES[usize::from(self.normalise)];
        let tiled = tiled.into_iter().map(|v| {
            let mode = if self.aligned(&v) { aligned } else { checked };
            v.with(mode)
        });
        let direct = if self.rows <= 8 || self.cols <= 32 {
            [DIRECT_SMALL, DIRECT]
        } else {
            [DIRECT, DIRECT_SMALL]
        };
        let direct = direct.map(|v| v.with(checked)).into_iter();
        if device.software {
            direct.chain(tiled).collect()
        } else {
            tiled.chain(direct).collect()
        }
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
                word(args.inner),
                0,
                0,
                0,
            ]
        };
        (self.workgroups(variant), Box::new(words))
    }
}
