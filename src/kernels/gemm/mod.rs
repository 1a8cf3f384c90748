//! `gemm`: a linear layer with its epilogue, Y = act(X·W + b) + R, after a LayerNorm if wanted.
//!
//! Software adapters load word by word and lane by lane, so multiplications per load decide: with
//! `direct`, each lane of a subgroup of eight loads rows of X for all of them.
//!
//! LayerNorm on the way, alternatives: normalising while slices are stored needs the statistics before
//! the first product, that is another pass over the rows per workgroup; statistics from the epilogue of the
//! product before need an array of partial sums per column tile and a tile width that both agree on.
//! Sums without a pivot lose digits where a row's mean is large, in the variance and in the product.
//!
//! Choice among variants is by effort, from the sizes alone.
//!
//! Tiles were chosen from some eighty on an H200: what decides is loads from workgroup memory per multiply-add (16×8
//! elements an invocation, 0.75 bytes: 1.2 times the rate of 8×8 in 256 invocations), whether the loops of a slice are
//! written out (64×128: 1.23), then whether the device is full. Tried there and dropped: two slices in workgroup memory
//! with one barrier each (0.84), X transposed in workgroup memory (0.93 to 1.03), 8×4 lanes a subgroup (1.00), padded rows
//! (0.97), tiles in an order that keeps rows in the cache (1.00), slices that are not fetched ahead (0.96), 256×128
//! elements (0.85), loads without checks of indices (0.92 to 1.08; of cooperative matrices 1.1 to 1.4, which have them),
//! loops over the vectors alone that a last slice has (0.98 to 1.02).
//! Fused sums gave 1.10 at 64×64 and 1.33 at 128×128.
//!
//! Indices of tiled shaders are clamped, not checked, for AMD's compiler alone, which waited for each checked load by itself
//! (`benches/results/2026-11-26-amd-compiler.md`); addresses of a slice are one sum and one minimum.
//!
//! What a turn of the loop over slices loads goes into workgroup memory at its end, after the product, rather than at the
//! beginning of the next: registers that are handed on from turn to turn became copies with AMD's compiler (20 to 40 of each
//! turn's instructions with cooperative matrices), and it waited for their loads before the product's end.
//!
//! For AMD, tiles of cooperative matrices were written by what its compiler makes of them (`benches/results`), which no
//! device has timed: a transposed slice of W, clamped indices rather than checked ones, one sum for each address. Tried and
//! dropped there: zeros beyond the end in a branch for the last slice (the compiler waits for all loads in it: 580 cycles
//! rather than 213), clamping an address as a whole (more instructions than clamping row and column).

pub(super) mod cases;
pub(super) mod cpu;
#[cfg(feature = "cpu")]
mod fast;

use crate::kernels::{
    Cost, DeviceTraits, Fill, Geometry, Kernel, Mode, Operand, Role, Signature, Variant, constant,
    named, shader_text, tiles, vectors, when, word,
};
use crate::tensor::{Element, Extent};

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
    /// max(x, 0).
    Relu,
    /// x/(1 + exp(−x)), also called swish.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// As shaders know it.
    pub(crate) const fn word(self) -> u32 {
        match self {
            Activation::None => 0,
            Activation::GeluErf => 1,
            Activation::GeluTanh => 2,
            Activation::Relu => 3,
            Activation::Silu => 4,
            Activation::Tanh => 5,
        }
    }

    /// In a word, none for none.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Activation::None => "",
            Activation::GeluErf => "gelu-erf",
            Activation::GeluTanh => "gelu-tanh",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
            Activation::Tanh => "tanh",
        }
    }
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
///
/// If `splits > 1`, the inner dimension is divided and Y is `[splits, rows, cols]`: the sums of each
/// part, without epilogue, for `gemm_merge` to add up.
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
    /// Parts that the inner dimension is divided into.
    pub splits: usize,
    /// How X lies in memory.
    pub x: Element,
    /// How W does.
    pub weight: Element,
    /// How Y does. b and R are f32.
    pub y: Element,
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
            splits: 1,
            x: Element::F32,
            weight: Element::F32,
            y: Element::F32,
        }
    }
}

const fn technique(source: &'static str, entry: &'static str) -> Variant {
    Variant::plain("gemm", source, entry)
}

/// Constants of a tiled variant: lanes side by side and one below the other; of each lane rows and column vectors;
/// vectors of a slice, and those that are multiplied without a loop.
const TILE: [&str; 6] = ["TX", "TY", "ROWS_EACH", "VECTORS_EACH", "SLICE", "DEPTH"];

/// Tiled variants by rows × columns. All fit the default limits of WebGPU.
const TILES: [(&str, [u32; 6]); 6] = [
    ("tiled-16x64", [16, 4, 4, 1, 8, 2]),
    ("tiled-32x32", [8, 8, 4, 1, 4, 2]),
    ("tiled-32x64", [16, 8, 4, 1, 8, 2]),
    ("tiled-64x64", [16, 8, 8, 1, 8, 2]),
    ("tiled-64x128", [16, 8, 8, 2, 4, 4]),
    ("tiled-128x64", [8, 8, 16, 2, 4, 1]),
];

/// What they reach on a device that is full, in TFLOP/s of an H200.
const RATES: [f64; TILES.len()] = [24.0, 28.0, 27.0, 35.0, 43.0, 38.0];

static TILE_CONSTANTS: [[(&str, u32); 6]; TILES.len()] = named(TILE, TILES);

const TILED: [Variant; TILES.len()] = {
    let mut all = [technique("gemm/tiled", "tiled"); TILES.len()];
    let mut i = 0;
    while i < all.len() {
        let (name, sizes) = TILES[i];
        all[i] = all[i].sized(name, &TILE_CONSTANTS[i], sizes[0] * sizes[1], tile_bytes(sizes));
        i += 1;
    }
    all
};

const fn tile_bytes([tx, ty, rows, vectors, slice, _]: [u32; 6]) -> u32 {
    16 * slice * (rows * ty + 4 * vectors * tx)
}

/// What the constants of a tile can be, for tuning.
const SPACE: tiles::Space =
    [&[4, 8, 16, 32], &[4, 8, 16, 32], &[2, 4, 8, 16], &[1, 2, 4], &[4, 8], &[1, 2, 4]];

/// Tiles with cooperative matrices by rows × columns: of NVIDIA, AMD, Metal and llvmpipe. Small ones of AMD are one or two
/// subgroups' work, with fewer loads for each product, or shared among four, for a device that is not full.
const COOP_TILES: [(&str, [u32; 7]); 15] = [
    ("coop-128x256", [32, 16, 2, 4, 4, 4, 8]),
    ("coop-128x128", [32, 16, 2, 2, 4, 4, 8]),
    ("coop-64x128", [32, 16, 2, 4, 2, 2, 8]),
    ("coop-64x64", [32, 16, 4, 2, 1, 2, 16]),
    ("coop-32x64", [32, 16, 2, 2, 1, 2, 16]),
    ("coop-128x256-lanes64", [64, 16, 2, 4, 4, 4, 8]),
    ("coop-128x128-lanes64", [64, 16, 2, 2, 4, 4, 8]),
    ("coop-64x128-lanes64", [64, 16, 2, 2, 2, 4, 16]),
    ("coop-64x64-lanes64", [64, 16, 2, 1, 2, 4, 16]),
    ("coop-32x64-lanes64", [64, 16, 1, 1, 2, 4, 16]),
    ("coop-64x64-lanes64-shared", [64, 16, 2, 2, 2, 2, 16]),
    ("coop-32x64-lanes64-shared", [64, 16, 2, 2, 1, 2, 16]),
    ("coop-128x128x8", [32, 8, 4, 2, 4, 8, 8]),
    ("coop-64x64x8", [32, 8, 2, 2, 4, 4, 8]),
    ("coop-16x32x8-lanes8", [8, 8, 1, 4, 2, 1, 8]),
];

static COOP_CONSTANTS: [[(&str, u32); 7]; COOP_TILES.len()] = named(tiles::COOP, COOP_TILES);

const COOP: [Variant; COOP_TILES.len()] = {
    let mut all = [technique("gemm/coop", "coop"); COOP_TILES.len()];
    let mut i = 0;
    while i < all.len() {
        let (name, [lanes, side, .., slice]) = COOP_TILES[i];
        let [[down, rows], [across, cols]] = tiles::coop(&COOP_CONSTANTS[i]);
        // But for subgroups of 32, the slice of W is transposed.
        let weight = if lanes == 32 { 4 * slice * (cols / 4 + 2) } else { cols * (slice + 2) };
        let slices = 8 * (rows * (slice + 2) + weight);
        let bytes = slices + 4 * down * across * side * side + 4 * rows + 4;
        all[i] = all[i].sized(name, &COOP_CONSTANTS[i], lanes * down * across, bytes);
        all[i] = all[i].with_cooperative(side);
        i += 1;
    }
    all
};

const LANES: Variant = technique("gemm/direct", "direct");

/// 24 rows × 64 columns, for subgroups of eight: 32 are 1.1 to 1.4 times as fast, and take llvmpipe of Mesa 25 up to 2.2
/// seconds to compile.
const BROADCAST: Variant = LANES.direct(
    "direct-24x64",
    &[("LANES", 8), ("ROWS", 24), ("COLS", 2), ("BROADCAST", 1)],
    true,
);
/// 4 rows × 32 columns, for any device: less wasted where there are few rows or columns.
const DIRECT: Variant =
    LANES.direct("direct-4x32", &[("LANES", 8), ("ROWS", 4), ("COLS", 1)], false);

/// 8 rows × 64 columns, without subgroups.
const ALONE: Variant =
    LANES.direct("direct-8x64", &[("LANES", 8), ("ROWS", 8), ("COLS", 2)], false);

const fn mode(name: &'static str, constants: &'static [(&'static str, u32)]) -> Mode {
    Mode { name, constants }
}

/// Modes by what the op wants (normalised rows) and what its sizes allow (no checks of indices).
const MODES: [[Mode; 2]; 2] = [
    [Mode::PLAIN, mode("aligned", &[("ALIGNED", 1)])],
    [mode("norm", &[("NORM", 1)]), mode("norm aligned", &[("NORM", 1), ("ALIGNED", 1)])],
];

/// Arrays of f16.
const F16: [&[&str]; 8] = [
    &[],
    &["y"],
    &["weight"],
    &["weight", "y"],
    &["x"],
    &["x", "y"],
    &["x", "weight"],
    &["x", "weight", "y"],
];

/// Rows and column vectors of one workgroup's tile.
fn tile(variant: &Variant) -> (usize, usize) {
    if variant.cooperative.is_some() {
        let [[_, rows], [_, cols]] = tiles::coop(variant.constants);
        (rows as usize, cols as usize / 4)
    } else if variant.entry == "tiled" {
        let [rows, vectors] = ["ROWS_EACH", "VECTORS_EACH"].map(|name| variant.size(name));
        (variant.size("TY") * rows, variant.size("TX") * vectors)
    } else {
        (variant.size("ROWS"), variant.size("LANES") * variant.size("COLS"))
    }
}

impl Gemm {
    /// Workgroups with a variant.
    fn workgroups(&self, variant: &Variant) -> u64 {
        let (rows, cols) = tile(variant);
        let tiles = self.rows.div_ceil(rows) as u64 * vectors(self.cols).div_ceil(cols) as u64;
        tiles * self.splits.max(1) as u64
    }

    /// Vectors of the inner dimension in each part: whole slices, so that no part reads another's.
    #[must_use]
    pub fn split_vectors(&self) -> usize {
        let all = vectors(self.inner);
        match self.splits {
            0 | 1 => all,
            n => all.div_ceil(n).next_multiple_of(8),
        }
    }

    /// Parts to divide the inner dimension into, so that few rows fill the device: one while half of it
    /// is busy, and never parts of less than 256 channels, which the merge would outweigh. Rows of a tower
    /// are enough by themselves, and its layers have no dispatch to spare.
    #[must_use]
    pub fn wanted_splits(&self, device: &DeviceTraits) -> usize {
        let groups = self.workgroups(&TILED[0]).max(1);
        let busy = u64::from(device.busy_workgroups);
        let few = self.rows > 0 && self.rows <= 64 && 2 * groups <= busy;
        if self.normalise || device.software || !few || self.inner < 512 {
            return 1;
        }
        // The sums of all parts are one array.
        let part = (4 * self.rows * self.cols.next_multiple_of(4)).max(1) as u64;
        let fit = usize::try_from(device.array_bytes / part).unwrap_or(usize::MAX);
        ((busy / groups) as usize).min(self.inner / 256).min(fit).clamp(1, 8)
    }

    /// What a variant takes beside others of its technique: multiply-adds, padding included, weighted with its rate
    /// and with the share of the device that has nothing to do.
    fn effort(&self, variant: &Variant, device: &DeviceTraits) -> f64 {
        let size = |name| variant.size(name) as f64;
        let rate = match TILES.iter().position(|tile| tile.0 == variant.name) {
            Some(i) => RATES[i],
            // Of cooperative matrices, loads per product decide.
            None => 1.0 / (1.0 + 4.0 / size("FRAGMENT_ROWS") + 4.0 / size("FRAGMENT_COLS")),
        };
        let (tile_rows, tile_vectors) = tile(variant);
        let workgroups = self.workgroups(variant) as usize;
        let products = (workgroups * tile_rows * tile_vectors) as f64;
        products / (rate * device.busy(workgroups, variant.invocations))
    }

    /// Whether rows, columns and inner dimension are whole tiles and slices of a variant.
    fn aligned(&self, variant: &Variant) -> bool {
        let (rows, cols) = tile(variant);
        let slice = 4 * constant(variant.constants, "SLICE", 4) as usize;
        self.rows.is_multiple_of(rows)
            && self.cols.next_multiple_of(4).is_multiple_of(4 * cols)
            && self.inner.next_multiple_of(4).is_multiple_of(slice)
            && self.inner > 0
            && self.splits <= 1
    }
}

impl Kernel for Gemm {
    const NAME: &'static str = "gemm";
    const SHADERS: &'static [(&'static str, &'static str)] = &[
        shader_text!("gemm/common"),
        shader_text!("gemm/coop"),
        shader_text!("gemm/direct"),
        shader_text!("gemm/tiled"),
    ];

    fn signature(&self) -> Signature {
        let rows = |rows, cols| Extent::new(1, rows, cols);
        let x = if self.normalise { Fill::Shifted } else { Fill::Numbers };
        let weight = if self.normalise { Fill::Centred(self.inner) } else { Fill::Weights };
        let inner = self.inner.next_multiple_of(4);
        let role = if self.splits > 1 { Role::Wide } else { Role::Result };
        let y = Extent::new(self.splits.max(1), self.rows, self.cols);
        Signature {
            operands: vec![
                Operand::new("x", Role::Rows, rows(self.rows, self.inner), x),
                Operand::new("weight", Role::Weight, rows(inner, self.cols), weight),
                Operand::wide("bias", rows(1, self.cols), Fill::Weights).when(self.bias),
                Operand::wide("residual", rows(self.residual_rows, self.cols), Fill::Numbers)
                    .when(self.residual_rows > 0),
            ],
            results: vec![Operand::result("y", role, y)],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        match role {
            Role::Rows => Some(&mut self.x),
            Role::Weight => Some(&mut self.weight),
            Role::Result => Some(&mut self.y),
            _ => None,
        }
    }

    /// Cost with unpadded sizes.
    fn cost(&self) -> Cost {
        let (m, k, n) = (self.rows as u64, self.inner as u64, self.cols as u64);
        let residual = if self.residual_rows > 0 { m * n } else { 0 };
        Cost {
            flops: 2 * m * k * n,
            bytes: self.x.bytes() as u64 * m * k
                + self.weight.bytes() as u64 * k * n
                + self.y.bytes() as u64 * m * n
                + 4 * residual
                + 4 * m * n * (self.splits.max(1) as u64 - 1),
        }
    }

    fn terms(&self) -> usize {
        self.inner
    }

    fn describe(&self) -> Vec<String> {
        vec![
            format!("{}×{}×{}", self.rows, self.inner, self.cols),
            when(self.normalise, "norm"),
            when(self.bias, "bias"),
            self.activation.name().to_owned(),
            when(self.residual_rows > 0, format!("residual {}", self.residual_rows)),
            when(self.splits > 1, format!("splits {}", self.splits)),
        ]
    }

    fn variants() -> Vec<Variant> {
        let mut list = Vec::new();
        for ([checked, aligned], f16) in MODES.iter().flat_map(|m| F16.map(|f16| (*m, f16))) {
            list.extend(TILED.map(|v| v.with(checked).storing_f16(f16)));
            list.extend([BROADCAST, ALONE, DIRECT].map(|v| v.with(checked).storing_f16(f16)));
            // Cooperative matrices multiply f16: only where weights are.
            if f16.contains(&"weight") {
                list.extend(COOP.map(|v| v.with(checked).storing_f16(f16)));
                list.extend(COOP.map(|v| v.with(aligned).storing_f16(f16)));
            }
        }
        list
    }

    /// Variants that fit, best first.
    fn candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        let mut tiled = TILED.to_vec();
        tiles::by_effort(&mut tiled, |v| self.effort(v, device));
        let [checked, aligned] = MODES[usize::from(self.normalise)];
        let Some(f16) = self.f16_set(&F16) else {
            return Vec::new();
        };
        let with_mode = |v: &Variant| v.with(if self.aligned(v) { aligned } else { checked });
        let tiled: Vec<Variant> = tiled.iter().map(|v| v.with(checked)).collect();
        let direct = if self.rows <= 8 || self.cols <= 32 {
            vec![DIRECT, BROADCAST, ALONE]
        } else {
            vec![BROADCAST, ALONE, DIRECT]
        };
        let direct: Vec<Variant> = direct.iter().map(|v| v.with(checked)).collect();
        // Large tiles where they fill the device; cooperative matrices only for more than a few rows.
        let mut coop: Vec<Variant> = COOP.iter().map(with_mode).collect();
        coop.retain(|_| self.weight.is_f16());
        tiles::by_effort(&mut coop, |v| self.effort(v, device));
        let list = if device.software {
            [direct, tiled, coop]
        } else if self.rows > 16 {
            [coop, tiled, direct]
        } else {
            [tiled, direct, coop]
        };
        list.concat().into_iter().map(|v| v.storing_f16(f16)).collect()
    }

    fn tile_space() -> Vec<[u32; 6]> {
        tiles::all(SPACE, |&[tx, ty, rows, vectors, slice, depth]| {
            // Loads are shared out evenly.
            let even = (rows * slice).is_multiple_of(tx)
                && (4 * slice * vectors).is_multiple_of(ty)
                && (tx * ty).is_multiple_of(slice)
                && ty.is_multiple_of(vectors);
            even.then_some([16 * rows * vectors * depth, 4 * rows * vectors])
        })
    }

    fn tile(sizes: [u32; 6]) -> Option<Variant> {
        let known = Self::tile_space().contains(&sizes);
        let plain = technique("gemm/tiled", "tiled");
        known.then(|| tiles::kept(plain, TILE, sizes, tile_bytes(sizes)))
    }

    fn iterations(&self, _: &Variant) -> u64 {
        self.split_vectors() as u64
    }

    fn geometry(&self, variant: &Variant) -> Geometry {
        let args = *self;
        let (rows, cols) = tile(variant);
        let words = move |groups_x: u32| {
            vec![
                word(args.rows),
                word(vectors(args.inner)),
                word(vectors(args.cols)),
                word(args.residual_rows),
                args.activation.word(),
                u32::from(args.bias),
                groups_x,
                word(vectors(args.cols).div_ceil(cols)),
                word(args.inner),
                word(args.split_vectors()),
                word(args.rows.div_ceil(rows)),
                word(args.splits.max(1)),
            ]
        };
        (self.workgroups(variant), Box::new(words))
    }

    fn small(mut self) -> Self {
        // Whole tiles stay whole: they may have a path of their own.
        let fewer = |n: usize, odd: usize| match n.is_multiple_of(128) {
            true => n.min(128),
            false => n.min(odd),
        };
        self.rows = fewer(self.rows, 67);
        self.inner = fewer(self.inner, 75);
        self.cols = fewer(self.cols, 53);
        self.residual_rows = self.residual_rows.min(self.rows);
        self
    }
}
