//! The parts of the shaders that a prediction counts: how often each is passed, from an op's sizes and a tile's constants,
//! and what a pass should cost where no compiler has been asked.

use super::{Counts, Kind, Part, bytes_of};
use crate::kernels::attention::Attention;
use crate::kernels::factored_attention::FactoredAttention;
use crate::kernels::gemm::{Activation, Gemm};
use crate::kernels::{Op, Variant, vectors};

/// Cycles that a subgroup alone waits: for workgroup memory, for what it has asked memory for, and at a barrier.
const SHARED_WAIT: f64 = 60.0;
const MEMORY_WAIT: f64 = 400.0;
const BARRIER: f64 = 32.0;
/// Instructions of one load from memory: address, check.
const ADDRESS: f64 = 6.0;

/// The parts of a variant that runs an op, outer ones before what lies within; empty where nothing is known.
pub(super) fn parts(op: &Op, variant: &Variant, subgroup: f64) -> Vec<Part> {
    match (op, variant.entry) {
        (Op::Gemm(op), "tiled") => product(op, variant),
        (Op::Gemm(op), "coop") => coop_product(op, variant, subgroup),
        (Op::Gemm(op), "direct") => direct_product(op, variant),
        (Op::Attention(op), "tiled") => attention(op, variant),
        (Op::Attention(op), "coop") => coop_attention(op, variant, subgroup),
        (Op::Attention(op), "direct") => direct_attention(op, variant),
        (Op::FactoredAttention(op), "tiled") => factored(op, variant),
        (Op::FactoredAttention(op), "own") => own_factored(op, variant),
        (Op::FactoredAttention(op), "coop") => coop_factored(op, variant, subgroup),
        (Op::FactoredAttention(op), "direct") => direct_factored(op, variant),
        _ => Vec::new(),
    }
}

/// Vector registers of a lane: what is held all the time, with room for addresses.
pub(super) fn registers(op: &Op, variant: &Variant) -> f64 {
    let size = |name| variant.size(name) as f64;
    let invocations = f64::from(variant.invocations);
    match (op, variant.entry) {
        (Op::Gemm(_), "tiled") => {
            let (rows, columns, slice) = (size("ROWS_EACH"), size("VECTORS_EACH"), size("SLICE"));
            let loads = slice * (rows / size("TX") + 4.0 * columns / size("TY"));
            4.0 * (rows * columns + rows + 4.0 + loads) + 24.0
        }
        (Op::Attention(_) | Op::FactoredAttention(_), "tiled") => {
            let (groups, keys) = (size("GROUPS"), size("KEYS_EACH"));
            let columns = size("COLUMNS_EACH");
            let rows = 4.0 * (4.0 * groups * size("TY") + size("TX") * keys) / invocations;
            let values = value_rows(variant) * size("TX") * columns / invocations;
            let sums = 4.0 * groups * columns * size("CHUNKS") + groups * keys;
            4.0 * (sums + keys + 4.0 + rows.max(values)) + 40.0
        }
        (_, "coop") => {
            let of = size("FRAGMENT").powi(2) / size("LANES");
            let (rows, columns) = (size("FRAGMENT_ROWS"), size("FRAGMENT_COLS"));
            of * (rows * columns * size("CHUNKS") + (rows + columns) / 2.0) + 60.0
        }
        _ => 64.0,
    }
}

const fn part(kind: Kind, passes: f64, work: f64, estimate: Counts) -> Part {
    Part { kind, passes, work, estimate }
}

const NOTHING: Counts = Counts {
    products: 0.0,
    paired: 0.0,
    other: 0.0,
    slow: 0.0,
    matrix: 0.0,
    shared: 0.0,
    memory: 0.0,
    waits: 0.0,
};

/// What comes before the loops.
const ONCE: Part = part(Kind::Once, 1.0, 0.0, Counts { other: 120.0, waits: 1000.0, ..NOTHING });

/// Storing so many vectors of four, with what is done to each element before.
fn stores(vectors: f64, of_element: f64, bytes: f64) -> Part {
    let other = vectors * (ADDRESS + 4.0 * of_element);
    part(Kind::Last, 1.0, 0.0, Counts { other, memory: 4.0 * bytes * vectors, ..NOTHING })
}

/// Loading so many vectors of four and putting them into workgroup memory.
fn staged(vectors: f64, bytes: f64) -> Counts {
    Counts {
        other: ADDRESS * vectors,
        shared: 16.0 * vectors,
        memory: 4.0 * bytes * vectors,
        waits: SHARED_WAIT + 2.0 * BARRIER,
        ..NOTHING
    }
}

/// Instructions for an element of a product on its way to memory.
fn epilogue(op: &Gemm) -> f64 {
    let activation = match op.activation {
        Activation::None => 0.0,
        Activation::GeluErf => 30.0,
        Activation::GeluTanh => 15.0,
        Activation::Relu => 1.0,
        Activation::Silu | Activation::Tanh => 10.0,
    };
    activation + f64::from(u8::from(op.bias)) + f64::from(u8::from(op.residual_rows > 0)) + 1.0
}

fn product(op: &Gemm, variant: &Variant) -> Vec<Part> {
    let size = |name| variant.size(name) as f64;
    let (rows, columns, slice) = (size("ROWS_EACH"), size("VECTORS_EACH"), size("SLICE"));
    let slices = (op.split_vectors() as f64 / slice).ceil();
    let x = slice * rows / size("TX");
    let weight = 4.0 * slice * columns / size("TY");
    let bytes =
        (bytes_of(op.x.is_f16()) * x + bytes_of(op.weight.is_f16()) * weight) / (x + weight);
    let mut tile = staged(x + weight, bytes);
    if op.normalise {
        tile.products += 12.0 * x;
    }
    let each = 16.0 * rows * columns;
    vec![
        ONCE,
        part(Kind::Tile, slices, 0.0, tile),
        // A vector of the inner dimension.
        part(
            Kind::Score,
            0.0,
            slices * (slice * each + tile.products),
            Counts {
                products: each,
                other: 4.0,
                shared: 16.0 * (rows + 4.0 * columns),
                waits: SHARED_WAIT / 2.0,
                ..NOTHING
            },
        ),
        stores(rows * columns, epilogue(op), bytes_of(op.y.is_f16())),
    ]
}

fn coop_product(op: &Gemm, variant: &Variant, subgroup: f64) -> Vec<Part> {
    let size = |name| variant.size(name) as f64;
    let (side, slice) = (size("FRAGMENT"), size("SLICE"));
    let (rows, columns) = (size("FRAGMENT_ROWS") * side, size("FRAGMENT_COLS") * side);
    let (down, across) = (size("SUBGROUP_ROWS"), size("SUBGROUP_COLS"));
    let slices = (op.split_vectors() as f64 / slice).ceil();
    let of = |vectors: f64| vectors / f64::from(variant.invocations);
    let (x, weight) = (of(down * rows * slice), of(across * columns * slice));
    let mut tile = staged(x + weight, 2.0);
    tile.shared = 8.0 * (x + weight);
    let steps = 4.0 * slice / side;
    tile.matrix = steps * rows * columns / side / side * (side / 16.0).powi(3);
    // Every lane of a subgroup of 64 holds its fragment twice, as subgroups of 32 do once.
    tile.shared += steps * 2.0 * side * (rows + columns) / subgroup.min(32.0);
    vec![
        ONCE,
        part(Kind::Tile, slices, 0.0, tile),
        stores(rows * columns / 4.0 / subgroup, epilogue(op) + 4.0, bytes_of(op.y.is_f16())),
    ]
}

/// Eight lanes or fewer, vectors of four each; loads go word by word and lane by lane.
fn direct_product(op: &Gemm, variant: &Variant) -> Vec<Part> {
    let size = |name| variant.size(name) as f64;
    let (rows, columns) = (size("ROWS"), size("COLS"));
    let held =
        if size("BROADCAST") == 1.0 && variant.subgroups { rows / size("LANES") } else { rows };
    let loads = Counts {
        products: 16.0 * rows * columns,
        memory: 16.0 * (held + 4.0 * columns),
        other: if op.normalise { 12.0 * held } else { 0.0 },
        ..NOTHING
    };
    vec![
        part(Kind::Once, 1.0, 0.0, Counts { other: 40.0 * rows, ..NOTHING }),
        part(Kind::Tile, op.split_vectors() as f64, 0.0, loads),
        stores(rows * columns, 4.0 + 2.0 * epilogue(op), 4.0),
    ]
}

/// Sizes of a tile of one of the two attentions, an invocation's own.
struct Tile {
    groups: f64,
    keys: f64,
    columns: f64,
    chunks: f64,
    tx: f64,
    rows: f64,
    values: f64,
    at_a_time: f64,
}

/// Rows of values that are in workgroup memory at a time.
fn value_rows(variant: &Variant) -> f64 {
    f64::from(variant.constant("VALUE_TILE").unwrap_or(32))
}

impl Tile {
    fn of(variant: &Variant, channels: usize, whole: bool) -> Self {
        let size = |name| variant.size(name) as f64;
        let invocations = f64::from(variant.invocations);
        let (groups, keys, tx) = (size("GROUPS"), size("KEYS_EACH"), size("TX"));
        let columns = size("COLUMNS_EACH");
        let all = size("CHUNKS");
        let there = (vectors(channels) as f64 / (tx * columns)).ceil();
        // Groups of columns that are less than whole are what workgroups of their own have.
        let chunks = if whole { there.min(all) } else { there / (there / all).ceil().max(1.0) };
        let rows = 4.0 * (4.0 * groups * size("TY") + tx * keys) / invocations;
        let at_a_time = value_rows(variant);
        let values = at_a_time * tx * columns / invocations;
        Tile { groups, keys, columns, chunks, tx, rows, values, at_a_time }
    }

    /// The parts within a tile of keys.
    fn parts(&self, tiles: f64, of_keys: usize, tile: Counts, bytes: [f64; 2]) -> Vec<Part> {
        let Tile { groups, keys, columns, chunks, tx, rows, values, at_a_time } = *self;
        let slices = (of_keys as f64 / 4.0).ceil();
        let scores = 16.0 * groups * keys;
        let context = 16.0 * groups * columns;
        vec![
            part(Kind::Tile, tiles, 0.0, tile),
            part(Kind::Slice, tiles * slices, 0.0, staged(rows, bytes[0])),
            // A vector of channels.
            part(
                Kind::Score,
                0.0,
                tiles * of_keys as f64 * scores,
                Counts {
                    products: scores,
                    other: 2.0,
                    shared: 16.0 * (keys + 4.0 * groups),
                    waits: SHARED_WAIT / 2.0,
                    ..NOTHING
                },
            ),
            part(
                Kind::Lanes,
                tiles * tx,
                0.0,
                Counts { paired: 4.0 * groups, shared: 16.0 * groups, waits: 4.0, ..NOTHING },
            ),
            part(Kind::Part, tiles * chunks * tx * keys / at_a_time, 0.0, staged(values, bytes[1])),
            // A key.
            part(
                Kind::Context,
                0.0,
                tiles * chunks * tx * keys * context,
                Counts {
                    products: context,
                    other: 0.5,
                    shared: 16.0 * (groups + columns),
                    waits: SHARED_WAIT / 4.0,
                    ..NOTHING
                },
            ),
        ]
    }

    /// The softmax of a tile of keys: of each score about ten instructions and an exponential.
    fn softmax(&self, of_score: f64, rescaled: f64) -> Counts {
        let scores = 4.0 * self.groups * self.keys;
        Counts {
            paired: rescaled * 16.0 * self.groups * self.columns * self.chunks,
            other: of_score * scores + 40.0,
            slow: scores + 4.0 * self.groups,
            shared: 4.0 * scores + 32.0 * self.groups,
            waits: MEMORY_WAIT + 2.0 * SHARED_WAIT + 3.0 * BARRIER,
            ..NOTHING
        }
    }
}

fn attention(op: &Attention, variant: &Variant) -> Vec<Part> {
    let tile = Tile::of(variant, op.d_v, false);
    let tiles = (op.split_keys() as f64 / (tile.tx * tile.keys)).ceil();
    let bytes = [op.key_rows.bytes() as f64, op.rows.bytes() as f64];
    let of_score = if op.factors.is_some() { 24.0 } else { 8.0 };
    let mut list = vec![ONCE];
    list.extend(tile.parts(tiles, op.qk_stride() / 4, tile.softmax(of_score, 1.0), bytes));
    let vectors = 4.0 * tile.groups * tile.columns * tile.chunks;
    list.push(stores(vectors, 1.0, op.result.bytes() as f64));
    list
}

/// Segments of lines, and tiles of so many keys.
fn segments(op: &FactoredAttention, of_tile: f64) -> (f64, f64) {
    let part_keys = op.split_keys() as f64;
    let dimensions = op.factors.dimensions;
    let line = if dimensions > 1 { op.factors.axes[dimensions - 1] as f64 } else { part_keys };
    let segments = (line / of_tile).ceil();
    // Tiles begin and end where lines do.
    (segments, (part_keys / line).ceil().max(1.0) * segments)
}

fn factored(op: &FactoredAttention, variant: &Variant) -> Vec<Part> {
    let tile = Tile::of(variant, op.factors.content, true);
    let (segments, tiles) = segments(op, tile.tx * tile.keys);
    let bytes = [op.content.bytes() as f64; 2];
    let mut list = vec![ONCE];
    let entries = 4.0 * tile.groups * tile.keys;
    list.push(part(
        Kind::Segment,
        segments,
        0.0,
        Counts {
            other: 10.0 * entries,
            memory: 8.0 * entries,
            waits: MEMORY_WAIT * 4.0,
            ..NOTHING
        },
    ));
    list.extend(tile.parts(tiles, vectors(op.factors.content), tile.softmax(14.0, 0.0), bytes));
    let columns = (op.columns as f64 / tile.tx / 4.0).ceil() * 4.0 * tile.groups;
    list.push(stores(columns, 4.0, 4.0));
    list
}

/// Tiles of some positions and lines, the products written out.
fn own_factored(op: &FactoredAttention, variant: &Variant) -> Vec<Part> {
    let size = |name| variant.size(name) as f64;
    let (positions, lines, chunks) = (size("KEYS_EACH"), size("LINES"), size("CHUNKS"));
    let (segments, tiles) = segments(op, 8.0 * positions);
    let scores = 4.0 * positions * lines;
    let entries = 4.0 * positions;
    let channels = if size("THREE") == 1.0 { 3.0 } else { 4.0 * chunks };
    let keys = 8.0 * positions * lines / f64::from(variant.invocations);
    let tile = Counts {
        products: 2.0 * channels * scores,
        paired: 2.0 * scores,
        other: 4.0 * scores + 40.0 * keys.max(1.0),
        slow: scores,
        shared: 16.0 * chunks * (positions * lines + 4.0) * 2.0 + 64.0 * lines,
        memory: 4.0 * chunks * op.content.bytes() as f64 * keys + 24.0,
        waits: MEMORY_WAIT + 4.0 * SHARED_WAIT + 3.0 * BARRIER,
        ..NOTHING
    };
    let segment =
        Counts { other: 10.0 * entries, memory: 8.0 * entries, waits: MEMORY_WAIT, ..NOTHING };
    vec![
        ONCE,
        part(Kind::Segment, segments, 0.0, segment),
        part(Kind::Tile, segments * (tiles / segments / lines).ceil(), 0.0, tile),
        stores(op.columns as f64 / 8.0, 4.0, 4.0),
    ]
}

fn coop_attention(op: &Attention, variant: &Variant, subgroup: f64) -> Vec<Part> {
    let tiles = (op.split_keys() as f64 / 64.0).ceil();
    let (tile, score, stored) = coop_tile(variant, subgroup, op.d_v, 10.0);
    let slices = vectors(op.qk_stride()).div_ceil(variant.size("SLICE")) as f64;
    vec![
        ONCE,
        part(Kind::Tile, tiles, 0.0, tile),
        part(Kind::Score, tiles * slices, 0.0, score),
        stores(stored, 4.0, op.result.bytes() as f64),
    ]
}

fn coop_factored(op: &FactoredAttention, variant: &Variant, subgroup: f64) -> Vec<Part> {
    let (segments, tiles) = segments(op, 64.0);
    let content = op.factors.content;
    let (tile, score, _) = coop_tile(variant, subgroup, content, 14.0);
    let rows = ["SUBGROUP_ROWS", "FRAGMENT_ROWS", "FRAGMENT"].map(|n| variant.size(n) as f64);
    let rows_each = rows.iter().product::<f64>() / f64::from(variant.invocations);
    let scores = 64.0 * rows_each;
    let segment =
        Counts { other: 10.0 * scores, memory: 8.0 * scores, waits: MEMORY_WAIT * 4.0, ..NOTHING };
    let slices = vectors(content).div_ceil(variant.size("SLICE")) as f64;
    vec![
        ONCE,
        part(Kind::Segment, segments, 0.0, segment),
        part(Kind::Tile, tiles, 0.0, tile),
        part(Kind::Score, tiles * slices, 0.0, score),
        stores(op.columns as f64 * rows_each / 4.0, 4.0, 4.0),
    ]
}

/// A tile of 64 keys with cooperative matrices, a slice of its scores' channels, and vectors that an invocation stores.
fn coop_tile(
    variant: &Variant,
    subgroup: f64,
    values: usize,
    of_score: f64,
) -> (Counts, Counts, f64) {
    let size = |name| variant.size(name) as f64;
    let side = size("FRAGMENT");
    let (rows, columns) = (size("FRAGMENT_ROWS") * side, size("FRAGMENT_COLS") * side);
    let (down, across) = (size("SUBGROUP_ROWS"), size("SUBGROUP_COLS"));
    let width = across * columns;
    let chunks = (values as f64 / width).ceil().min(size("CHUNKS"));
    let of_tile = |side_by_side: f64| Counts {
        matrix: down * rows * side_by_side * 64.0 / 4096.0 / (down * across),
        other: 60.0,
        shared: 4.0 * 64.0 * (rows + columns) / subgroup,
        memory: 2.0 * 64.0 * side_by_side / f64::from(variant.invocations),
        waits: MEMORY_WAIT / 2.0 + 2.0 * BARRIER + SHARED_WAIT,
        ..NOTHING
    };
    let scores = down * rows * 64.0 / f64::from(variant.invocations);
    let softmax = Counts {
        other: of_score * scores + 40.0,
        slow: scores,
        shared: 12.0 * scores,
        waits: 2.0 * SHARED_WAIT + 3.0 * BARRIER,
        ..NOTHING
    };
    let context = of_tile(width);
    let mut tile = softmax;
    tile.matrix = chunks * context.matrix;
    tile.other += chunks * context.other;
    tile.shared += chunks * context.shared;
    tile.memory += chunks * context.memory;
    tile.waits += chunks * context.waits;
    let mut score = of_tile((4.0 * size("SLICE")).min(64.0));
    score.matrix *= size("PARTS");
    (tile, score, chunks * rows * columns / 4.0 / subgroup)
}

/// A lane computes four queries; each loads one key or value for all.
fn direct_attention(op: &Attention, variant: &Variant) -> Vec<Part> {
    let lanes = variant.size("LANES") as f64;
    let (qk, v) = (op.qk_stride() as f64, op.v_stride() as f64);
    // A key; accumulators are loaded and stored once for each tile of keys.
    let tile = variant.size("KEY_TILE") as f64;
    let key = Counts {
        products: 4.0 * (qk + v),
        other: if op.factors.is_some() { 120.0 } else { 60.0 },
        memory: 4.0 * (qk + v) / lanes + (16.0 * qk + 32.0 * v) / tile,
        ..NOTHING
    };
    vec![
        part(Kind::Once, 1.0, 0.0, Counts { other: 400.0, ..NOTHING }),
        part(Kind::Tile, op.split_keys() as f64, 0.0, key),
    ]
}

/// A lane computes two queries.
fn direct_factored(op: &FactoredAttention, variant: &Variant) -> Vec<Part> {
    let lanes = variant.size("LANES") as f64;
    let content = 4.0 * vectors(op.factors.content) as f64;
    let tile = variant.size("KEY_TILE") as f64;
    let key = Counts {
        products: 4.0 * content,
        other: 60.0,
        memory: 4.0 * (content + 1.0) / lanes + 24.0 * content / tile + 8.0,
        ..NOTHING
    };
    vec![
        part(Kind::Once, 1.0, 0.0, Counts { other: 8.0 * op.columns as f64, ..NOTHING }),
        part(Kind::Tile, op.split_keys() as f64, 0.0, key),
    ]
}
