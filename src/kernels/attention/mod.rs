//! `attention`: softmax attention of queries over keys, fused, with an optional running state.
//!
//! The state per query and head is (max, Σp, Σp·v). It merges exactly, which is what lets long
//! inputs be encoded window by window and lets few queries be spread over many workgroups.
//!
//! Software adapters load word by word and lane by lane, so multiplications per load decide: with `direct`, each lane
//! of a subgroup of eight, or of four, loads one key and hands it to the others. llvmpipe of Mesa 25 writes out every
//! load for every lane with a branch for each word, and what LLVM takes is about 3 million instructions for each basic
//! block and 20 to 120 million for each variable that a loop changes; arithmetic costs next to nothing. So what is done
//! for each of four queries is a loop, whose end the driver must not know (`gpu::shader`), words are of 64 bits, and
//! there is no loop over groups of keys that changes all scores. That gave 0.3 to 0.45 of the compiler's instructions on
//! Mesa 25.0.7, and 1.0 to 1.4 times the rate on 22.3.6. Tried there and dropped: scores in an array with variable indices
//! (1.2 to 1.5 times the instructions), one load of queries in a loop (1.2 times), 32 keys a tile (1.0 to 1.2 times the
//! rate, 1.5 times the instructions).
//!
//! For GPUs, `tiled` keeps a part of the scores and of the result in registers, in shapes that were chosen from some
//! hundred on an H200: what decides is loads from workgroup memory per multiply-add, then whether the device is full.
//! Tried there and dropped: values that are not fetched ahead (0.95 to 0.98), 64 values at a time rather than 32 (1.00).
//! Figures are in `benches/results`.
//!
//! AMD's compiler made 11 instructions of each score's way through the softmax. A branch for what few tiles of keys need
//! (masks, keys beyond the end), exponentials of base two with the scale folded in, and no scale before leave five.
//! Rows of 96, 160 and 288 values have tiles of their own, so that fewer lanes are idle. They have been compiled for AMD,
//! and timed nowhere. 704 values are one tile of 32 queries, 0.87 multiply-adds; as two groups of 384, each of which computed all scores,
//! they were 0.61, and 1.2 to 1.3 times the time by prediction. Tried and dropped: one tile of 64×64 for them, 0.93 but 1.1 times
//! the time of the two, since it reads workgroup memory twice as often; a loop over chunks that Mesa writes out, 80 KiB of
//! instructions.
//!
//! With cooperative matrices, accumulators stay fragments, since passing them through workgroup memory for every tile of
//! keys left 6 matrix products in 1380 instructions of AMD's compiler; now 32 in 434. Dropped there: a branch for each
//! step of channels, for heads of less than 64 (the compiler does not overlap loads across it).

pub(super) mod cases;
pub(super) mod cpu;
#[cfg(feature = "cpu")]
mod fast;

use crate::kernels::factored_attention::Factors;
use crate::kernels::{
    Cost, DeviceTraits, Fill, Geometry, Kernel, Mode, Operand, Role, Signature, Variant, constant,
    named, shader_text, state, tiles, vectors, when, word,
};
use crate::tensor::{Element, Extent};

/// The score that a masked key gets. Finite, so that no kernel depends on infinities (Metal's fast
/// math); far below any real score, so that its weight is exactly zero beside a real key; and the
/// same for all masked keys, so that a row with no key left is the plain mean, as in Hugging Face.
pub const MASKED_SCORE: f32 = -1.0e30;

/// The running maximum before any key: lower than [`MASKED_SCORE`].
pub const LOWEST_SCORE: f32 = -3.0e38;

/// Queries that are given as factors: what `factored_attention` is for keys, for a decoder. The score
/// of query o and key n is
///
/// ```text
/// S[o,n] = r[o]·(c[o]·k[n] + Σ_a T[a, i_a(o)][n] + T[constant][n]) + T[constant + 1][n]
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryFactors {
    /// What a query is made of; its content are the query channels.
    pub factors: Factors,
    /// First row of this modality in the tables.
    pub first_column: usize,
    /// Rows of the tables.
    pub columns: usize,
    /// Grid position of query 0.
    pub first_query: usize,
    /// Whether grid positions are given query by query.
    pub indexed: bool,
}

/// Arguments of `attention`.
///
/// Inputs: Q `[batch or 1, queries, ..]`, K and V `[batch, keys, ..]` (may be one array), mask
/// `[batch, 1, keys]` if `masked` (non-zero keeps), and if `carry` the state so far: its
/// accumulators and statistics.
///
/// If `factors` (then there is one head, no mask and no carried state): Q and K unless `d_qk == 0`, V,
/// row scales `[batch or 1, 1, queries]`, tables `[batch, columns, keys]`, points `[1, queries, 1]` if
/// indexed.
///
/// Head h reads columns `q_column + h·pad(d_qk) ..` of Q and so on, where `pad` rounds up to four;
/// padding columns are zero.
///
/// Outputs: if `finish` and one split, the result `[batch, queries, heads·pad(d_v)]`. Otherwise
/// accumulators `[splits·batch, queries, heads·pad(d_v)]`, not normalised, and statistics
/// `[splits·batch, queries, 2·heads]`: maximum and sum of each head. Split s covers keys
/// `s·split_keys ..`; the carried state joins split 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Items that do not see each other.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Query rows of one item.
    pub queries: usize,
    /// Key rows of one item.
    pub keys: usize,
    /// Query and key channels of one head.
    pub d_qk: usize,
    /// Value channels of one head.
    pub d_v: usize,
    /// Factor of the scores, 1/√d_qk.
    pub scale: f32,
    /// Q has one item that serves the whole batch.
    pub shared_queries: bool,
    /// Elements from one row of Q to the next.
    pub q_row: usize,
    /// Elements from one row of K to the next.
    pub k_row: usize,
    /// Elements from one row of V to the next.
    pub v_row: usize,
    /// First column of Q in its rows.
    pub q_column: usize,
    /// First column of K in its rows.
    pub k_column: usize,
    /// First column of V in its rows.
    pub v_column: usize,
    /// A key mask is given.
    pub masked: bool,
    /// Query i does not see keys beyond key i.
    pub causal: bool,
    /// A state so far is given.
    pub carry: bool,
    /// Normalise and store the result rather than the state.
    pub finish: bool,
    /// Parts that the keys are divided into, merged afterwards by `attention_merge`.
    pub splits: usize,
    /// Queries are given as factors.
    pub factors: Option<QueryFactors>,
    /// How Q and V lie in memory.
    pub rows: Element,
    /// How K does: f32 at least where Q and V are.
    pub key_rows: Element,
    /// How the result does. States, masks, scales and tables are f32.
    pub result: Element,
}

impl Attention {
    /// Attention of one item over arrays of its own: no mask, no carried state, one split, the result
    /// normalised.
    #[must_use]
    pub fn new(queries: usize, keys: usize, heads: usize, d_qk: usize, d_v: usize) -> Self {
        let qk_row = heads * d_qk.next_multiple_of(4);
        Attention {
            batch: 1,
            heads,
            queries,
            keys,
            d_qk,
            d_v,
            scale: (1.0 / (d_qk as f64).sqrt()) as f32,
            shared_queries: false,
            q_row: qk_row,
            k_row: qk_row,
            v_row: heads * d_v.next_multiple_of(4),
            q_column: 0,
            k_column: 0,
            v_column: 0,
            masked: false,
            causal: false,
            carry: false,
            finish: true,
            splits: 1,
            factors: None,
            rows: Element::F32,
            key_rows: Element::F32,
            result: Element::F32,
        }
    }

    /// Columns of one head in Q and K.
    #[must_use]
    pub const fn qk_stride(&self) -> usize {
        self.d_qk.next_multiple_of(4)
    }

    /// Columns of one head in V and in the output.
    #[must_use]
    pub const fn v_stride(&self) -> usize {
        self.d_v.next_multiple_of(4)
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
    Variant::plain("attention", source, entry)
}

/// Tiled variants by queries × keys × value columns. Sixteen KiB of workgroup memory hold the first seven, 32 KiB seven
/// more.
const TILES: [(&str, [u32; 6]); 20] = [
    ("tiled-32x32x32", [8, 4, 2, 4, 1, 1]),
    ("tiled-64x32x64", [8, 8, 2, 4, 2, 1]),
    ("tiled-32x64x64", [16, 8, 1, 4, 1, 1]),
    ("tiled-32x64x128", [16, 8, 1, 4, 1, 2]),
    ("tiled-32x64x192", [16, 4, 2, 4, 1, 3]),
    ("tiled-32x64x384", [16, 8, 1, 4, 1, 6]),
    ("tiled-16x64x512", [16, 4, 1, 4, 1, 8]),
    ("tiled-64x64x96", [8, 16, 1, 8, 3, 1]),
    ("tiled-64x32x160", [8, 16, 1, 4, 5, 1]),
    ("tiled-64x32x288", [8, 16, 1, 4, 3, 3]),
    ("tiled-32x128x128", [16, 8, 1, 8, 2, 1]),
    ("tiled-64x64x128", [16, 8, 2, 4, 2, 1]),
    ("tiled-64x64x384", [16, 16, 1, 4, 2, 3]),
    ("tiled-64x64x512", [16, 16, 1, 4, 2, 4]),
    ("tiled-128x64x32", [8, 16, 2, 8, 1, 1]),
    ("tiled-128x64x64", [8, 16, 2, 8, 2, 1]),
    ("tiled-128x64x128", [16, 16, 2, 4, 2, 1]),
    ("tiled-64x128x192", [16, 16, 1, 8, 1, 3]),
    ("tiled-64x128x384", [16, 16, 1, 8, 2, 3]),
    ("tiled-64x128x512", [16, 16, 1, 8, 2, 4]),
];

static TILE_CONSTANTS: [[(&str, u32); 6]; TILES.len()] = named(tiles::CONSTANTS, TILES);

const TILED: [Variant; TILES.len()] =
    tiles::variants(technique("attention/tiled", "tiled"), TILES, &TILE_CONSTANTS, false);

/// A tile for very many value columns, whose scores are computed once: eight rows of values at a time, in 32 KiB.
const MORE_TILE: [u32; 7] = [32, 8, 1, 4, 3, 2, 8];

static MORE_CONSTANTS: [(&str, u32); 7] = named(tiles::WITH_VALUES, [("", MORE_TILE)])[0];

const MORE: Variant = tiles::with_values(
    technique("attention/tiled", "tiled"),
    "tiled-32x128x768",
    MORE_TILE,
    &MORE_CONSTANTS,
    false,
);

/// Tiles with cooperative matrices by queries × value columns, which are several chunks: of NVIDIA, AMD, Metal, llvmpipe.
const COOP_TILES: [(&str, [u32; 9]); 17] = [
    ("coop-64x32", [32, 16, 2, 2, 2, 1, 8, 1, 1]),
    ("coop-64x64", [32, 16, 2, 2, 2, 2, 16, 1, 1]),
    ("coop-64x128", [32, 16, 2, 2, 2, 2, 16, 2, 1]),
    ("coop-64x192", [32, 16, 2, 4, 2, 1, 16, 3, 1]),
    ("coop-64x384", [32, 16, 2, 4, 2, 1, 16, 6, 1]),
    ("coop-64x512", [32, 16, 2, 4, 2, 1, 16, 8, 1]),
    ("coop-64x32-lanes64", [64, 16, 2, 1, 2, 2, 8, 1, 1]),
    ("coop-64x64-lanes64", [64, 16, 2, 2, 2, 2, 16, 1, 1]),
    ("coop-64x128-lanes64", [64, 16, 2, 2, 2, 2, 16, 2, 1]),
    ("coop-64x192-lanes64", [64, 16, 2, 2, 2, 2, 16, 3, 1]),
    ("coop-64x384-lanes64", [64, 16, 2, 2, 2, 2, 16, 6, 1]),
    ("coop-32x32x8", [32, 8, 2, 2, 2, 2, 8, 1, 1]),
    ("coop-32x64x8", [32, 8, 2, 2, 2, 4, 16, 1, 1]),
    ("coop-32x128x8", [32, 8, 2, 2, 2, 4, 16, 2, 1]),
    ("coop-32x384x8", [32, 8, 2, 4, 2, 2, 16, 6, 1]),
    ("coop-8x64x8-lanes8", [8, 8, 1, 8, 1, 1, 16, 1, 1]),
    ("coop-8x128x8-lanes8", [8, 8, 1, 8, 1, 1, 8, 2, 1]),
];

static COOP_CONSTANTS: [[(&str, u32); 9]; COOP_TILES.len()] =
    named(tiles::COOP_ATTENTION, COOP_TILES);

const COOP: [Variant; COOP_TILES.len()] =
    tiles::coop_attention(technique("attention/coop", "coop"), COOP_TILES, &COOP_CONSTANTS, 0);

const fn direct(name: &'static str, constants: &'static [(&'static str, u32)]) -> Variant {
    let subgroups = constant(constants, "BROADCAST", 1) == 1;
    technique("attention/direct", "direct").direct(name, constants, subgroups)
}

const FOUR: Variant = direct("direct-16x8", &[("LANES", 4), ("KEY_TILE", 8)]);
const ALONE: Variant = direct("direct-32x8", &[("LANES", 8), ("KEY_TILE", 8), ("BROADCAST", 0)]);

/// By queries × keys, for subgroups of eight lanes and of four, and without subgroups; of plain queries and of factored ones.
const DIRECT: [[Variant; 3]; 2] = [
    [direct("direct-32x24", &[("LANES", 8), ("KEY_TILE", 24)]), FOUR, ALONE],
    [direct("direct-32x16", &[("LANES", 8), ("KEY_TILE", 16)]), FOUR, ALONE],
];

/// Arrays of f16: K is f32 where Q and V are.
const F16: [&[&str]; 6] =
    [&[], &["y"], &["q", "v"], &["q", "v", "y"], &["q", "k", "v"], &["q", "k", "v", "y"]];

/// By whether queries are given as factors.
const MODES: [Mode; 2] = [Mode::PLAIN, Mode { name: "factored", constants: &[("FACTORED", 1)] }];

/// Queries of one workgroup.
fn query_tile(variant: &Variant) -> usize {
    match variant.entry {
        "direct" => 4 * variant.size("LANES"),
        "tiled" => tiles::rows(variant).0,
        _ => tiles::coop(variant.constants)[0][1] as usize,
    }
}

/// Value columns that one workgroup accumulates; `None` for all.
fn columns(variant: &Variant) -> Option<usize> {
    match variant.entry {
        "direct" => None,
        "tiled" => Some(tiles::width(variant)),
        _ => Some(variant.size("CHUNKS") * tiles::coop(variant.constants)[1][1] as usize),
    }
}

impl Attention {
    /// Workgroups of one split and one group of columns, of the best variant of a device.
    #[must_use]
    pub fn groups(&self, device: &DeviceTraits) -> usize {
        self.batch * self.heads * self.queries.div_ceil(query_tile(&self.best(device)))
    }

    /// Workgroups of a variant.
    fn workgroups(&self, variant: &Variant) -> usize {
        let query_tiles = self.queries.div_ceil(query_tile(variant));
        let column_groups = columns(variant).map_or(1, |width| self.d_v.div_ceil(width).max(1));
        self.batch * self.heads * query_tiles * column_groups * self.splits
    }

    /// What a tiled variant takes beside others: multiply-adds, padding included, weighted with what its tile loads
    /// for each, and with the share of the device that has nothing to do. Fitted to times of an H200. Many keys can
    /// be split until the device is full.
    fn effort(&self, variant: &Variant, device: &DeviceTraits) -> f64 {
        let workgroups = self.workgroups(variant);
        let pairs = (workgroups / self.splits.max(1) * query_tile(variant)) as f64;
        let parts = (self.keys / 1024).max(1).div_ceil(self.splits.max(1));
        let work = 48.0 + tiles::effort(variant, self.d_qk);
        pairs * work / device.busy(workgroups * parts, variant.invocations)
    }

    fn best(&self, device: &DeviceTraits) -> Variant {
        let list = self.candidates(device);
        let found = list.into_iter().find(|v| device.allows(v));
        found.unwrap_or(TILED[0])
    }

    /// The fewest splits, from `wanted` upwards, with which the best variant of a device can run.
    #[must_use]
    pub fn feasible_splits(mut self, wanted: usize, device: &DeviceTraits) -> usize {
        self.splits = wanted.clamp(1, self.keys.max(1));
        let best = self.best(device);
        while self.iterations(&best) > device.loop_iterations && self.splits < self.keys {
            self.splits += 1;
        }
        self.splits
    }
}

impl Kernel for Attention {
    const NAME: &'static str = "attention";
    const SHADERS: &'static [(&'static str, &'static str)] = &[
        shader_text!("attention/common"),
        shader_text!("attention/coop"),
        shader_text!("attention/direct"),
        shader_text!("attention/tiled"),
    ];

    fn signature(&self) -> Signature {
        let items = if self.shared_queries { 1 } else { self.batch };
        let queries = |columns| Extent::new(self.batch, self.queries, columns);
        let keys = |columns| Extent::new(self.batch, self.keys, columns);
        let acc = queries(self.heads * self.v_stride());
        let stats = queries(2 * self.heads);
        // With one head the padding of the row is that of the head.
        let columns = if self.heads == 1 { self.d_v } else { acc.cols };
        let q = Extent::new(items, self.queries, self.q_row);
        let mut operands = vec![
            Operand::new("q", Role::Rows, q, Fill::Heads(self.d_qk, self.q_column)),
            Operand::new(
                "k",
                Role::Keys,
                keys(self.k_row),
                Fill::WeightHeads(self.d_qk, self.k_column),
            ),
            Operand::new(
                "v",
                Role::Rows,
                keys(self.v_row),
                Fill::WeightHeads(self.d_v, self.v_column),
            ),
        ];
        let rest = match self.factors {
            None => [
                Operand::wide("mask", Extent::new(self.batch, 1, self.keys), Fill::Mask)
                    .when(self.masked),
                Operand::wide("carry", acc, Fill::WeightHeads(self.d_v, 0)).when(self.carry),
                Operand::wide("carry_stats", stats, Fill::Statistics).when(self.carry),
            ],
            Some(f) => {
                for operand in &mut operands[..2] {
                    operand.present = self.d_qk > 0;
                }
                let grid = f.factors.axes[..f.factors.dimensions].iter().product();
                let tables = Extent::new(self.batch, f.columns, self.keys);
                [
                    Operand::wide("scales", Extent::new(items, 1, self.queries), Fill::Scales),
                    Operand::wide("tables", tables, Fill::Numbers),
                    Operand::wide("points", Extent::new(1, self.queries, 1), Fill::Ids(grid))
                        .when(f.indexed),
                ]
            }
        };
        operands.extend(rest);
        let finished = self.stores_result().then_some(Role::Result);
        let results = state(finished, queries(columns), self.splits, [acc, stats]);
        Signature { operands, results }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        match role {
            Role::Rows => Some(&mut self.rows),
            Role::Keys => Some(&mut self.key_rows),
            Role::Result => Some(&mut self.result),
            _ => None,
        }
    }

    /// Scores and context, with unpadded sizes.
    fn cost(&self) -> Cost {
        let pairs = self.batch as u64 * self.heads as u64 * self.queries as u64 * self.keys as u64;
        let heads = (self.batch * self.heads) as u64;
        let (q, m) = (self.queries as u64, self.keys as u64);
        let (d_qk, d_v) = (self.d_qk as u64, self.d_v as u64);
        Cost {
            flops: 2 * pairs * (d_qk + d_v),
            bytes: heads
                * (self.rows.bytes() as u64 * (q * d_qk + m * d_v)
                    + self.key_rows.bytes() as u64 * m * d_qk
                    + self.result.bytes() as u64 * q * d_v),
        }
    }

    fn terms(&self) -> usize {
        self.keys + self.d_qk
    }

    fn defect(&self) -> Option<&'static str> {
        let pitches = [self.q_row, self.k_row, self.v_row];
        let columns = [self.q_column, self.k_column, self.v_column];
        let heads = [self.qk_stride(), self.qk_stride(), self.v_stride()].map(|n| self.heads * n);
        let narrow = (0..3).any(|i| columns[i] + heads[i] > pitches[i]);
        if narrow && self.queries > 0 && self.keys > 0 {
            return Some("heads are wider than rows");
        }
        if pitches.iter().chain(&columns).any(|n| !n.is_multiple_of(4)) {
            return Some("columns do not begin at multiples of four");
        }
        match self.factors {
            Some(f) if f.first_column + f.factors.columns() > f.columns => {
                Some("tables have fewer rows than axes need")
            }
            Some(f) if !f.indexed && !f.factors.holds(f.first_query, self.queries) => {
                Some("queries lie beyond their grid")
            }
            Some(_) if self.heads != 1 || self.masked || self.causal || self.carry => {
                Some("factored queries have one head, no mask and no carried state")
            }
            _ => None,
        }
    }

    fn describe(&self) -> Vec<String> {
        let axes = self.factors.map_or(String::new(), |f| {
            let axes = &f.factors.axes[..f.factors.dimensions];
            format!("query axes {axes:?} from {}", f.first_query)
        });
        vec![
            format!("{}×{}", self.queries, self.keys),
            format!("heads {}×{}/{}", self.heads, self.d_qk, self.d_v),
            format!("batch {}", self.batch),
            when(self.splits > 1, format!("splits {}", self.splits)),
            when(self.masked, "mask"),
            when(self.causal, "causal"),
            when(self.carry, "carry"),
            when(!self.finish, "state"),
            when(self.shared_queries, "shared queries"),
            when(self.k_column > 0, "columns"),
            when(self.factors.is_some_and(|f| f.indexed), "points"),
            axes,
        ]
    }

    fn variants() -> Vec<Variant> {
        let mut list = Vec::new();
        for (mode, f16) in MODES.iter().flat_map(|mode| F16.map(|f16| (*mode, f16))) {
            let mut plain = [&TILED[..], &[MORE]].concat();
            if f16.contains(&"q") {
                plain.extend(COOP);
            }
            // Their accumulators live in y.
            if !f16.contains(&"y") {
                plain.extend(DIRECT[usize::from(mode != Mode::PLAIN)]);
            }
            list.extend(plain.into_iter().map(|v| v.with(mode).storing_f16(f16)));
        }
        list
    }

    /// Variants that fit, best first.
    fn candidates(&self, device: &DeviceTraits) -> Vec<Variant> {
        let mut tiled = [&TILED[..], &[MORE]].concat();
        tiles::by_effort(&mut tiled, |v| self.effort(v, device));
        let waste = |v: &Variant| {
            let width = columns(v).unwrap_or(usize::MAX);
            let groups = self.d_v.div_ceil(width);
            (groups, groups * width)
        };
        // With one chunk of values, channels of queries and keys are one slice.
        let fits = |v: &Variant| v.size("CHUNKS") > 1 || self.d_qk <= 4 * v.size("SLICE");
        // Cooperative matrices multiply f16.
        let mut coop = COOP.to_vec();
        coop.sort_by_key(waste);
        coop.retain(|v| self.rows.is_f16() && fits(v));
        let Some(f16) = self.f16_set(&F16) else {
            return Vec::new();
        };
        // The accumulators of direct variants are in the result.
        let factored = usize::from(self.factors.is_some());
        let direct: &[Variant] = if f16.contains(&"y") { &[] } else { &DIRECT[factored] };
        let list = match device.software {
            true => [direct, &tiled, &coop],
            false => [&coop, &tiled, direct],
        };
        list.concat().into_iter().map(|v| v.with(MODES[factored]).storing_f16(f16)).collect()
    }

    fn tile_space() -> Vec<[u32; 6]> {
        tiles::space()
    }

    fn tile(sizes: [u32; 6]) -> Option<Variant> {
        let tile = tiles::variant(technique("attention/tiled", "tiled"), sizes, false)?;
        Some(tiles::as_named(tile, MORE, sizes))
    }

    /// Loop iterations of one invocation.
    fn iterations(&self, variant: &Variant) -> u64 {
        let (qk, v) = (self.qk_stride() / 4, self.v_stride() / 4);
        let (tile, each, rest) = if variant.entry == "direct" {
            // A loop takes one more than it has, its end. Values with a loop over queries; keys with one over axes;
            // queries with one over values.
            let keys = variant.size("KEY_TILE");
            let tables = self.factors.map_or(0, |f| 1 + keys * (2 + f.factors.dimensions));
            (keys, 4 + qk + 6 * v + tables, 4 * (v + 2) + 8)
        } else if variant.entry == "tiled" {
            let (tx, chunks) = (variant.size("TX"), variant.size("CHUNKS"));
            let keys = tiles::rows(variant).1;
            // Slices and their vectors; maxima of all lanes; chunks and their keys by fours.
            (keys, 1 + qk.div_ceil(4) + qk + tx + chunks * (1 + keys / 3), 128)
        } else {
            // Slices of queries and keys, chunks of values, loaded and rescaled, by all invocations.
            let loads = 1024 / variant.invocations as usize + 2;
            let slices = qk.div_ceil(variant.size("SLICE"));
            let chunks = variant.size("CHUNKS");
            (64, 1 + slices * (1 + 2 * loads) + chunks * 5 * loads, 8 + chunks * loads)
        };
        (self.split_keys().div_ceil(tile) * each + rest) as u64
    }

    fn geometry(&self, variant: &Variant) -> Geometry {
        let args = *self;
        let query_tiles = args.queries.div_ceil(query_tile(variant));
        let column_groups = columns(variant).map_or(1, |width| args.d_v.div_ceil(width).max(1));
        let groups = args.workgroups(variant);
        let words = move |groups_x: u32| {
            let flags = u32::from(args.shared_queries)
                | u32::from(args.masked) << 1
                | u32::from(args.carry) << 2
                | u32::from(args.stores_result()) << 3
                | u32::from(args.factors.is_some_and(|f| f.indexed)) << 4
                | u32::from(args.causal) << 5;
            let mut words = vec![
                word(args.queries),
                word(args.keys),
                word(args.heads),
                word(args.batch),
                word(args.q_row / 4),
                word(args.k_row / 4),
                word(args.v_row / 4),
                word(args.heads * args.v_stride() / 4),
                word(args.q_column / 4),
                word(args.k_column / 4),
                word(args.v_column / 4),
                word(4 * vectors(args.keys)),
                word(args.qk_stride() / 4),
                word(args.v_stride() / 4),
                word(4 * vectors(2 * args.heads)),
                word(args.split_keys()),
                args.scale.to_bits(),
                flags,
                word(query_tiles),
                word(column_groups),
                groups_x,
                word(groups),
            ];
            if let Some(f) = args.factors {
                words.extend(f.factors.words(f.first_column));
                words
                    .extend([f.columns, f.first_query, args.queries.next_multiple_of(4)].map(word));
            }
            words.resize(33, 0);
            words
        };
        (groups as u64, Box::new(words))
    }

    fn small(mut self) -> Self {
        self.batch = self.batch.min(2);
        self.queries = self.queries.min(41);
        self.keys = self.keys.min(83);
        self.splits = self.splits.min(3);
        self
    }
}
