//! `factored_attention`: softmax attention of a few queries over very many input rows that are given
//! as factors, so that neither the rows nor their keys and values exist.
//!
//! An input row is a sum of simple parts: content c, one table row per axis of its grid position, and
//! a constant u. Projections, LayerNorm gain and mean are folded into the queries when a model is
//! loaded, so with the row's LayerNorm scale r the score is
//!
//! ```text
//! S[n,m] = r[m]·(g_c[n]·c[m] + Σ_a g_a[n, i_a(m)] + g_u[n])
//! ```
//!
//! and all that the values need are softmax-weighted sums of r·c, of r along each axis (marginals)
//! and of r. They are the columns of the result, in the same layout as those of the queries.
//!
//! The state is that of `attention` (max, Σp, accumulators), so `attention_merge` merges it, and
//! modalities follow each other by carrying it: each has columns of its own.
//!
//! Content of few channels leaves most lanes of a tile's second product idle (16 and 4 of 32 column vectors), so there are
//! tiles whose invocations sum up the content of their own keys (`own`). Of the vector instructions of AMD's compiler 0.11,
//! 0.33, 0.42, now 0.50 are multiply-adds and exponentials for 3 channels, 0.42, 0.68, 0.73, 0.76 for 16. With 3 channels a
//! score is 14 instructions. Seven are work; two are its entries, scale and reference; three are sums, which are independent:
//! of exponentials, and of weights by position and by line; a half is the maximum, which is part of the state. So 0.56 is the most
//! that can be reached with one instruction for each. The rest is shared by four lines of a grid at a time; where splits have
//! few lines, tiles of one are chosen. Tried and dropped: scales beside the keys rather than in them, masks before the products (no
//! fewer instructions), loads in branches (twice the waits). No GPU has run them.
//!
//! With cooperative matrices (`coop`, content of f16 and 16 channels or more) folded queries are two numbers of f16 each, since
//! their entries are large and cancel, as `graph::passes::store_f16` says. Scales and marginals are of single scores, some
//! nine vector instructions each, so the share of matrix products is bounded by the channels: 14 in 200 instructions with 64, 8
//! with 32, 5 with 16. Not tried, since products of 32 cycles would take the place of instructions of one or two: axes as
//! one-hot columns of content. By prediction a 7900 XTX takes 0.7 of the time of the best tile of f32 with 48 and 64
//! channels, 0.8 with 16.
//!
//! What `attention` says of software adapters and `direct` is true here. Two queries a lane rather than four take 0.64
//! of the compiler's instructions and give 0.85 to 0.9 of the rate. Tried and dropped: eight keys a tile (0.5 to 0.7 of
//! the rate), entries of the fastest axis in workgroup memory (1.1 times the instructions, 0.63 to 0.9 of the rate).

pub(super) mod cases;
pub(super) mod cpu;
#[cfg(feature = "cpu")]
mod fast;

use crate::kernels::{
    Cost, DeviceTraits, Fill, Geometry, Kernel, Operand, Role, Signature, Variant, constant, named,
    shader_text, state, tiles, vectors, when, word,
};
use crate::tensor::{Element, Extent};

/// The columns of one modality: content, one per position of each axis, and a block of four for the
/// constant. Each part starts at a multiple of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Factors {
    /// Content channels.
    pub content: usize,
    /// Number of axes, 0 to 3.
    pub dimensions: usize,
    /// Lengths of the axes, slowest first; unused ones are 1.
    pub axes: [usize; 3],
}

impl Factors {
    /// First column of an axis.
    #[must_use]
    pub fn axis_column(&self, axis: usize) -> usize {
        let before = self.axes[..axis].iter().map(|n| n.next_multiple_of(4));
        self.content.next_multiple_of(4) + before.sum::<usize>()
    }

    /// Column of the constant. In a decoder's tables the one after it is the score that a key has
    /// whatever the query.
    #[must_use]
    pub fn constant_column(&self) -> usize {
        self.axis_column(self.dimensions)
    }

    /// All columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.constant_column() + 4
    }

    /// As shaders know them, the first column being this one: axes, the constant's column, those of the axes.
    pub(super) fn words(&self, first_column: usize) -> [u32; 8] {
        let [a, b, c] = self.axes.map(|n| word(n.max(1)));
        let constant = word(first_column + self.constant_column());
        let [d, e, f] = [0, 1, 2].map(|axis| match axis < self.dimensions {
            true => word(first_column + self.axis_column(axis)),
            false => 0,
        });
        [word(self.dimensions), a, b, c, constant, d, e, f]
    }

    /// Whether this many rows from this one on lie on the grid. Without axes all rows are alike.
    #[must_use]
    pub fn holds(&self, first: usize, rows: usize) -> bool {
        let grid = self.axes[..self.dimensions].iter().product();
        self.dimensions == 0 || first.checked_add(rows).is_some_and(|end| end <= grid)
    }

    /// Index on each axis of a grid position, the last axis fastest.
    #[must_use]
    pub fn indices(&self, mut position: usize) -> [usize; 3] {
        let mut indices = [0; 3];
        for axis in (0..self.dimensions).rev() {
            indices[axis] = position % self.axes[axis];
            position /= self.axes[axis];
        }
        indices
    }
}

/// Arguments of `factored_attention`.
///
/// Inputs: content `[batch, keys, content]` unless there is none, folded queries
/// `[1, queries, columns]` (shared by the batch), row scales `[batch, 1, keys]`, mask
/// `[batch, 1, keys]` if `masked` (non-zero keeps), and if `carry` the state so far. Outputs: if
/// `finish` and one split, the normalised sums `[batch, queries, columns]`; otherwise accumulators
/// `[splits·batch, queries, columns]` and statistics `[splits·batch, queries, 2]`. Key m is at grid
/// position `first_key + m`. The modality has columns `first_column ..`; others are carried along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FactoredAttention {
    /// Items that do not see each other.
    pub batch: usize,
    /// Query rows, heads counted as rows of their own.
    pub queries: usize,
    /// Input rows of one item.
    pub keys: usize,
    /// Grid position of the first row.
    pub first_key: usize,
    /// What a row is made of.
    pub factors: Factors,
    /// Columns of all modalities, a multiple of four.
    pub columns: usize,
    /// First column of this one, a multiple of four.
    pub first_column: usize,
    /// A key mask is given.
    pub masked: bool,
    /// A state so far is given.
    pub carry: bool,
    /// Normalise and store the result rather than the state.
    pub finish: bool,
    /// Parts that the keys are divided into, merged afterwards by `attention_merge`.
    pub splits: usize,
    /// How content lies in memory. Everything else is f32.
    pub content: Element,
}

impl FactoredAttention {
    /// Attention of one item to rows of one modality: no mask, no carried state, one split, the result
    /// normalised.
    #[must_use]
    pub fn new(queries: usize, keys: usize, factors: Factors) -> Self {
        FactoredAttention {
            batch: 1,
            queries,
            keys,
            first_key: 0,
            factors,
            columns: factors.columns(),
            first_column: 0,
            masked: false,
            carry: false,
            finish: true,
            splits: 1,
            content: Element::F32,
        }
    }

    /// Keys of one split (the last may have fewer).
    #[must_use]
    pub fn split_keys(&self) -> usize {
        self.keys.div_ceil(self.splits.max(1)).max(1)
    }

    /// True when the result is stored rather than the state.
    #[must_use]
    pub const fn stores_result(&self) -> bool {
        self.finish && self.splits == 1
    }
}

const fn technique(source: &'static str, entry: &'static str) -> Variant {
    Variant::plain("factored_attention", source, entry)
}

/// Tiled variants by queries × keys × content channels. Sixteen KiB of workgroup memory hold the first three, 32 KiB the
/// others.
const TILES: [(&str, [u32; 6]); 8] = [
    ("tiled-32x32x32", [8, 8, 1, 4, 1, 1]),
    ("tiled-32x32x64", [8, 8, 1, 4, 1, 2]),
    ("tiled-16x64x64", [16, 4, 1, 4, 1, 1]),
    ("tiled-32x64x64", [16, 8, 1, 4, 1, 1]),
    ("tiled-64x64x64", [16, 16, 1, 4, 1, 1]),
    ("tiled-64x32x64", [8, 16, 1, 4, 2, 1]),
    ("tiled-32x64x128", [16, 8, 1, 4, 1, 2]),
    ("tiled-32x64x256", [16, 8, 1, 4, 1, 4]),
];

static TILE_CONSTANTS: [[(&str, u32); 6]; TILES.len()] = named(tiles::CONSTANTS, TILES);

const TILED: [Variant; TILES.len()] =
    tiles::variants(technique("factored_attention/tiled", "tiled"), TILES, &TILE_CONSTANTS, true);

/// A tiled variant for very much content, in sixteen KiB: fewer rows of it at a time, so that sums stay in registers.
const MORE_TILE: [u32; 7] = [16, 4, 1, 2, 1, 8, 16];

static MORE_CONSTANTS: [(&str, u32); 7] = named(tiles::WITH_VALUES, [("", MORE_TILE)])[0];

const MORE: Variant = tiles::with_values(
    technique("factored_attention/tiled", "tiled"),
    "tiled-16x32x512",
    MORE_TILE,
    &MORE_CONSTANTS,
    true,
);

/// Tiles whose invocations keep their own keys, for content of few channels, by queries × keys × channels: rows of eight
/// invocations, positions of each, lines, vectors of content, whether there are three channels. Four lines are of a grid with
/// two axes. Sixteen KiB hold them.
const OWN_TILES: [(&str, [u32; 5]); 3] = [
    ("own-64x128x3", [16, 4, 4, 1, 1]),
    ("own-64x64x3", [16, 8, 1, 1, 1]),
    ("own-64x32x16", [16, 4, 1, 4, 0]),
];

static OWN_CONSTANTS: [[(&str, u32); 5]; OWN_TILES.len()] =
    named(["TY", "KEYS_EACH", "LINES", "CHUNKS", "THREE"], OWN_TILES);

const OWN: [Variant; OWN_TILES.len()] = {
    let mut all = [technique("factored_attention/own", "own"); OWN_TILES.len()];
    let mut i = 0;
    while i < all.len() {
        let (name, [ty, keys, lines, chunks, three]) = OWN_TILES[i];
        let keys = OWN_LANES * keys * lines;
        // Queries and keys, entries of slow axes, sums by line, maxima; scales that have no place in a key; a flag.
        let vectors = chunks * (4 * ty + keys) + 2 * lines * ty + (lines + 1) * OWN_LANES * ty;
        let bytes = 16 * vectors + 4 * keys * (1 - three) + 4;
        all[i] = all[i].sized(name, &OWN_CONSTANTS[i], OWN_LANES * ty, bytes);
        i += 1;
    }
    all
};

/// Invocations that share the keys of a query where each keeps its own.
const OWN_LANES: u32 = 8;

/// Tiles with cooperative matrices by queries × content channels, which are several chunks, each element of a query as two
/// numbers of f16: of NVIDIA, AMD, Metal, llvmpipe.
const COOP_TILES: [(&str, [u32; 9]); 12] = [
    ("coop-64x16", [32, 16, 4, 1, 1, 1, 4, 1, 2]),
    ("coop-64x32", [32, 16, 2, 2, 2, 1, 8, 1, 2]),
    ("coop-32x64", [32, 16, 2, 2, 1, 2, 16, 1, 2]),
    ("coop-32x512", [32, 16, 2, 2, 1, 2, 16, 8, 2]),
    ("coop-64x16-lanes64", [64, 16, 4, 1, 1, 1, 4, 1, 2]),
    ("coop-64x32-lanes64", [64, 16, 2, 2, 2, 1, 8, 1, 2]),
    ("coop-64x64-lanes64", [64, 16, 2, 2, 2, 2, 16, 1, 2]),
    ("coop-32x512-lanes64", [64, 16, 2, 2, 1, 2, 16, 8, 2]),
    ("coop-32x64x8", [32, 8, 2, 2, 2, 4, 16, 1, 2]),
    ("coop-32x16x8-lanes8", [8, 8, 4, 2, 1, 1, 4, 1, 2]),
    ("coop-8x64x8-lanes8", [8, 8, 1, 8, 1, 1, 16, 1, 2]),
    ("coop-16x512x8-lanes8", [8, 8, 2, 4, 1, 2, 16, 8, 2]),
];

static COOP_CONSTANTS: [[(&str, u32); 9]; COOP_TILES.len()] =
    named(tiles::COOP_ATTENTION, COOP_TILES);

// Scales of 64 keys.
const COOP: [Variant; COOP_TILES.len()] = tiles::coop_attention(
    technique("factored_attention/coop", "coop"),
    COOP_TILES,
    &COOP_CONSTANTS,
    256,
);

/// Content of fewer channels has too few products for cooperative matrices.
const COOP_CONTENT: usize = 16;

const fn direct(name: &'static str, constants: &'static [(&'static str, u32)]) -> Variant {
    let subgroups = constant(constants, "BROADCAST", 1) == 1;
    technique("factored_attention/direct", "direct").direct(name, constants, subgroups)
}

/// By queries × keys, for subgroups of eight lanes and of four, and without subgroups.
const DIRECT: [Variant; 3] = [
    direct("direct-16x16", &[("LANES", 8), ("KEY_TILE", 16)]),
    direct("direct-8x8", &[("LANES", 4), ("KEY_TILE", 8)]),
    direct("direct-16x8", &[("LANES", 8), ("KEY_TILE", 8), ("BROADCAST", 0)]),
];

/// Arrays of f16.
const F16: [&[&str]; 2] = [&[], &["content"]];

/// Queries of a workgroup, and keys of a tile.
fn tile(variant: &Variant) -> (usize, usize) {
    match variant.entry {
        "direct" => (2 * variant.size("LANES"), variant.size("KEY_TILE")),
        "coop" => (tiles::coop(variant.constants)[0][1] as usize, 64),
        "own" => (4 * variant.size("TY"), positions(variant) * variant.size("LINES")),
        _ => tiles::rows(variant),
    }
}

/// Positions of a line in a tile whose invocations keep their own keys.
fn positions(variant: &Variant) -> usize {
    OWN_LANES as usize * variant.size("KEYS_EACH")
}

/// Channels of content that a variant without cooperative matrices holds.
fn width(variant: &Variant) -> usize {
    match (variant.entry, variant.constant("THREE")) {
        ("own", Some(1)) => 3,
        ("own", _) => 4 * variant.size("CHUNKS"),
        _ => tiles::width(variant),
    }
}

/// Channels of content that a variant with cooperative matrices holds.
fn coop_width(variant: &Variant) -> usize {
    variant.size("CHUNKS") * tiles::coop(variant.constants)[1][1] as usize
}

impl FactoredAttention {
    /// Length of the fastest axis; all keys where there is none.
    fn fast_length(&self) -> usize {
        match self.factors.dimensions {
            0 => self.keys,
            n => self.factors.axes[n - 1],
        }
    }

    /// The fewest splits, from `wanted` upwards, with which the best variant runs on a device: the best of
    /// those that need no parts of fewer than 256 keys for that.
    #[must_use]
    pub fn feasible_splits(self, wanted: usize, device: &DeviceTraits) -> usize {
        let wanted = wanted.clamp(1, self.keys.max(1));
        let most = wanted.max(self.keys / 256);
        // Long parts with any variant rather than short ones with the best.
        for most in [wanted.max(self.keys / 4096), most] {
            for variant in self.candidates(device) {
                let within = |&splits: &usize| {
                    let iterations = FactoredAttention { splits, ..self }.iterations(&variant);
                    device.allows(&variant) && iterations <= device.loop_iterations
                };
                if let Some(splits) = (wanted..=most).find(within) {
                    return splits;
                }
            }
        }
        most
    }

    /// What a tiled variant takes beside others: as of `attention`.
    fn effort(&self, variant: &Variant, device: &DeviceTraits) -> f64 {
        let (queries, _) = tile(variant);
        let workgroups = self.batch * self.queries.div_ceil(queries);
        let work = match variant.entry {
            "own" => self.own_effort(variant),
            _ => 60.0 + tiles::effort(variant, self.factors.content),
        };
        let parts = self.splits.max(self.keys / 1024);
        (workgroups * queries) as f64 * work / device.busy(workgroups * parts, variant.invocations)
    }

    /// That of a query and a key where invocations keep their own keys: positions and lines of a tile may lie beyond the
    /// grid or the split, and what a tile costs by itself is shared by the keys of an invocation.
    fn own_effort(&self, variant: &Variant) -> f64 {
        let (keys, positions) = (self.split_keys(), positions(variant));
        let (line, lines) = (self.fast_length().max(1), variant.size("LINES"));
        // Where splits begin within lines they touch one more.
        let within = !keys.is_multiple_of(line) || !self.first_key.is_multiple_of(line);
        let of_lines = match lines {
            1 => keys as f64 / line as f64,
            _ => ((keys.div_ceil(line) + usize::from(within)).div_ceil(lines) * lines) as f64,
        };
        let computed = of_lines * line.next_multiple_of(positions) as f64;
        let each =
            6.0 + 2.25 * width(variant) as f64 + 80.0 / (variant.size("KEYS_EACH") * lines) as f64;
        each * computed / keys as f64
    }

    /// Workgroups of one split, of the best variant of a device.
    #[must_use]
    pub fn groups(&self, device: &DeviceTraits) -> usize {
        self.batch * self.queries.div_ceil(tile(&self.best(device)).0)
    }

    fn best(&self, device: &DeviceTraits) -> Variant {
        let list = self.candidates(device);
        list.into_iter().find(|v| device.allows(v)).unwrap_or(TILED[0])
    }
}

impl Kernel for FactoredAttention {
    const NAME: &'static str = "factored_attention";
    const SHADERS: &'static [(&'static str, &'static str)] = &[
        shader_text!("factored_attention/common"),
        shader_text!("factored_attention/coop"),
        shader_text!("factored_attention/direct"),
        shader_text!("factored_attention/own"),
        shader_text!("factored_attention/sums"),
        shader_text!("factored_attention/tiled"),
    ];

    fn signature(&self) -> Signature {
        let keys = Extent::new(self.batch, 1, self.keys);
        let content = self.factors.content;
        let rows = Extent::new(self.batch, self.keys, content);
        let queries = Extent::new(1, self.queries, self.columns);
        let acc = Extent::new(self.batch, self.queries, self.columns);
        let stats = Extent::new(self.batch, self.queries, 2);
        let finished = self.stores_result().then_some(Role::Wide);
        Signature {
            operands: vec![
                Operand::new("content", Role::Rows, rows, Fill::Weights).when(content > 0),
                // Padding between the parts is zero in a fold; here it must not matter.
                Operand::wide("queries", queries, Fill::Factors(content)),
                Operand::wide("scale", keys, Fill::Scales),
                Operand::wide("mask", keys, Fill::Mask).when(self.masked),
                Operand::wide("carry", acc, Fill::Weights).when(self.carry),
                Operand::wide("carry_stats", stats, Fill::Statistics).when(self.carry),
            ],
            results: state(finished, acc, self.splits, [acc, stats]),
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        (role == Role::Rows).then_some(&mut self.content)
    }

    /// Scores and sums of the content, two for each multiply-add.
    fn cost(&self) -> Cost {
        let pairs = (self.batch * self.queries) as u64 * self.keys as u64;
        let rows = (self.batch * self.keys * (self.factors.content + 1)) as u64;
        let state = (self.batch * self.queries * self.columns) as u64;
        Cost { flops: 4 * pairs * self.factors.content as u64, bytes: 4 * (rows + 3 * state) }
    }

    fn terms(&self) -> usize {
        self.keys + self.factors.content + 1
    }

    fn defect(&self) -> Option<&'static str> {
        let f = self.factors;
        if self.first_column + f.columns() > self.columns || !self.first_column.is_multiple_of(4) {
            return Some("rows have fewer columns than axes need");
        }
        (!f.holds(self.first_key, self.keys)).then_some("keys lie beyond their grid")
    }

    fn describe(&self) -> Vec<String> {
        let axes = &self.factors.axes[..self.factors.dimensions];
        vec![
            format!("{}×{}", self.queries, self.keys),
            format!("content {} axes {axes:?}", self.factors.content),
            format!("from {} batch {}", self.first_key, self.batch),
            when(self.splits > 1, format!("splits {}", self.splits)),
            when(self.masked, "mask"),
            when(self.carry, "carry"),
            when(!self.finish, "state"),
            when(self.first_column > 0, "columns"),
        ]
    }

    fn variants() -> Vec<Variant> {
        let all = [&TILED[..], &[MORE], &OWN, &DIRECT].concat();
        let plain = F16.iter().flat_map(|f16| all.iter().map(|v| v.storing_f16(f16)));
        plain.chain(COOP.map(|v| v.storing_f16(F16[1]))).collect()
    }

    /// Variants that hold the content, best first.
    fn candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        let mut list = [&TILED[..], &[MORE], &OWN].concat();
        let lines = |v: &Variant| v.constant("LINES") != Some(4) || self.factors.dimensions == 2;
        list.retain(|v| self.factors.content <= width(v) && lines(v));
        tiles::by_effort(&mut list, |v| self.effort(v, device));
        let at = if device.software { 0 } else { list.len() };
        list.splice(at..at, DIRECT);
        // Cooperative matrices multiply f16.
        if self.content.is_f16() && self.factors.content >= COOP_CONTENT {
            let mut coop = COOP.to_vec();
            coop.retain(|v| self.factors.content <= coop_width(v));
            coop.sort_by_key(coop_width);
            // Software adapters that have them have subgroups, too, and the last of `DIRECT` is for those without.
            let at = if device.software { DIRECT.len() - 1 } else { 0 };
            list.splice(at..at, coop);
        }
        let f16 = self.f16_set(&F16);
        list.into_iter().filter_map(|v| Some(v.storing_f16(f16?))).collect()
    }

    fn tile_space() -> Vec<[u32; 6]> {
        tiles::space()
    }

    fn tile(sizes: [u32; 6]) -> Option<Variant> {
        let tile = tiles::variant(technique("factored_attention/tiled", "tiled"), sizes, true)?;
        Some(tiles::as_named(tile, MORE, sizes))
    }

    /// Loop iterations of one invocation.
    fn iterations(&self, variant: &Variant) -> u64 {
        // Positions of a line in a tile: tiles of several lines are counted as if they had one.
        let keys = if variant.entry == "own" { positions(variant) } else { tile(variant).1 };
        let vectors = self.factors.content.div_ceil(4);
        let axes = self.factors.dimensions.saturating_sub(1);
        let slow: usize = self.factors.axes[..axes].iter().sum();
        // Tiles begin and end where lines do. Without a second axis there is one line, whose other segments are not
        // visited.
        let line = self.fast_length().max(1);
        let part = self.split_keys();
        let (lines, segments) = match self.factors.dimensions {
            0 | 1 => (1, (part.div_ceil(keys) + 1).min(line.div_ceil(keys))),
            _ => (part.div_ceil(line) + 1, line.div_ceil(keys)),
        };
        let tiles = (lines * segments).min(part / keys + 2 * lines);
        // Sums are begun, rescaled, which is rare, and ended.
        let (each, rest) = match variant.entry {
            // A loop takes one more than it has, its end. Vectors twice, the second time with a loop over queries;
            // axes twice, likewise. Where a segment begins and ends, loops over the tile's keys, likewise.
            "direct" => {
                let around = segments * (5 * keys + 8);
                (16 + 5 * vectors, around + 2 * self.columns + 12)
            }
            // Columns are begun, scaled and ended, four rows each, those of slow axes by two lanes a row; at the end there are
            // loops over lanes.
            "own" => {
                (0, 12 * (2 + self.columns / 8) + 8 * slow + 40 * (variant.size("CHUNKS") + 1))
            }
            // Slices and their vectors; maxima and sums of all lanes; chunks and their keys by fours. Columns as above,
            // those of slow axes by one lane a row.
            _ => {
                let chunks = variant.size("CHUNKS") * (2 + keys / 3);
                let lanes = variant.size("TX");
                let columns = 12 * variant.size("GROUPS") * (2 + self.columns / lanes) + 8 * slow;
                (1 + vectors.div_ceil(4) + vectors + 2 * lanes + chunks, columns)
            }
        };
        (lines * segments + tiles * each + rest) as u64
    }

    fn geometry(&self, variant: &Variant) -> Geometry {
        let args = *self;
        let query_tiles = args.queries.div_ceil(tile(variant).0);
        let groups = args.batch * query_tiles * args.splits;
        let words = move |groups_x: u32| {
            let flags = u32::from(args.masked)
                | u32::from(args.carry) << 1
                | u32::from(args.stores_result()) << 2;
            let mut words = vec![
                word(args.queries),
                word(args.keys),
                word(args.batch),
                word(args.first_key),
                word(vectors(args.factors.content)),
                word(args.columns),
                word(args.first_column),
            ];
            words.extend(args.factors.words(args.first_column));
            words.extend([
                word(args.keys.next_multiple_of(4)),
                word(args.split_keys()),
                flags,
                word(query_tiles),
                groups_x,
                word(groups),
            ]);
            words
        };
        (groups as u64, Box::new(words))
    }

    fn small(mut self) -> Self {
        self.batch = self.batch.min(2);
        self.queries = self.queries.min(21);
        self.keys = self.keys.min(131);
        self.splits = self.splits.min(3);
        self
    }
}
