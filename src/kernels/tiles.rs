//! Tiles of the two tiled attentions and of cooperative matrices: constants of their shaders, and what follows from them.
//!
//! Beside the tiles that have names there are those of the spaces: every tile whose constants a tiled shader can have,
//! for `perceiver tune` to search. Such a variant is called by its constants, `tile-16.8.8.2.4.4`, so that a file can
//! hold it and the name is all that must be checked when it comes back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::kernels::{Variant, constant};

/// What each of the six constants of a tile may be.
pub(super) type Space = [&'static [u32]; 6];

/// Most products that are written out one after the other, and most registers of sums: more compiles for too long and
/// does not fit any GPU.
const MOST_WRITTEN: u32 = 2048;
const MOST_SUMS: u32 = 160;

/// The tiles of a space for which this holds, with products that are written out and registers of sums from `sizes`.
pub(super) fn all(space: Space, sizes: impl Fn(&[u32; 6]) -> Option<[u32; 2]>) -> Vec<[u32; 6]> {
    let mut list = vec![[0; 6]];
    for (i, values) in space.iter().enumerate() {
        let with = |tile: [u32; 6]| {
            values.iter().map(move |&value| {
                let mut tile = tile;
                tile[i] = value;
                tile
            })
        };
        list = list.into_iter().flat_map(with).collect();
    }
    let within = |tile: &[u32; 6]| {
        let threads = tile[0] * tile[1];
        let small = |[written, sums]: [u32; 2]| written <= MOST_WRITTEN && sums <= MOST_SUMS;
        (32..=256).contains(&threads) && sizes(tile).is_some_and(small)
    };
    list.retain(within);
    list
}

/// The space of the attentions.
pub(super) fn space() -> Vec<[u32; 6]> {
    const SPACE: Space = [
        &[4, 8, 16, 32],
        &[4, 8, 16, 32],
        &[1, 2],
        &[1, 2, 4, 8],
        &[1, 2, 3, 4, 5],
        &[1, 2, 3, 4, 6, 8],
    ];
    all(SPACE, |&[tx, ty, groups, keys, columns, chunks]| {
        // Loads are shared out evenly, and a tile has whole parts of 32 keys.
        let even = ((16 * groups).is_multiple_of(tx) || tx == 32)
            && (4 * keys).is_multiple_of(ty)
            && 32u32.is_multiple_of(ty)
            && (tx * ty).is_multiple_of(4)
            && (tx * keys).is_multiple_of(32);
        let sums = 16 * groups * columns * chunks + 4 * groups * keys;
        let written = 16 * groups * keys + 64 * groups * columns * chunks;
        even.then_some([written, sums])
    })
}

/// The constants in the name of a variant of a space.
pub(super) fn named_sizes(name: &str) -> Option<[u32; 6]> {
    let numbers = name.strip_prefix("tile-")?.split('.').map(|n| n.parse().ok());
    let list: Vec<u32> = numbers.collect::<Option<_>>()?;
    let sizes: [u32; 6] = list.try_into().ok()?;
    (name_of(&sizes) == name).then_some(sizes)
}

fn name_of(sizes: &[u32; 6]) -> String {
    format!("tile-{}", sizes.map(|n| n.to_string()).join("."))
}

/// A variant of a space, which has been found to be in it. Names and constants are kept for ever: as many as spaces have.
pub(super) fn kept(
    technique: Variant,
    constants: [&'static str; 6],
    sizes: [u32; 6],
    bytes: u32,
) -> Variant {
    type Key = (&'static str, [u32; 6]);
    static KEPT: Mutex<BTreeMap<Key, Variant>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    *kept.entry((technique.source, sizes)).or_insert_with(|| {
        let named: [_; 6] = std::array::from_fn(|i| (constants[i], sizes[i]));
        let name: &'static str = Box::leak(name_of(&sizes).into_boxed_str());
        let [tx, ty, ..] = sizes;
        technique.sized(name, Box::leak(Box::new(named)), tx * ty, bytes)
    })
}

/// The tile of these sizes as a variant of an attention, if it is in their space.
pub(super) fn variant(technique: Variant, sizes: [u32; 6], lane_sums: bool) -> Option<Variant> {
    let known = space().contains(&sizes);
    known.then(|| kept(technique, CONSTANTS, sizes, bytes(sizes, lane_sums)))
}

/// Constants of a tile with cooperative matrices: lanes of subgroups; the side of fragments; subgroups along rows and
/// columns; fragments of each; vectors of a slice.
pub(super) const COOP: [&str; 7] = [
    "LANES",
    "FRAGMENT",
    "SUBGROUP_ROWS",
    "SUBGROUP_COLS",
    "FRAGMENT_ROWS",
    "FRAGMENT_COLS",
    "SLICE",
];

/// The same of an attention, with chunks of value columns, and numbers of f16 that make an element of a query.
pub(super) const COOP_ATTENTION: [&str; 9] = {
    let [lanes, side, rows, cols, of_rows, of_cols, slice] = COOP;
    [lanes, side, rows, cols, of_rows, of_cols, slice, "CHUNKS", "PARTS"]
};

/// Subgroups and rows of a tile with cooperative matrices, and subgroups and columns.
pub(super) const fn coop(constants: &[(&str, u32)]) -> [[u32; 2]; 2] {
    let side = constant(constants, "FRAGMENT", 16);
    let [down, across] =
        [constant(constants, "SUBGROUP_ROWS", 2), constant(constants, "SUBGROUP_COLS", 2)];
    let rows = down * constant(constants, "FRAGMENT_ROWS", 4) * side;
    [[down, rows], [across, across * constant(constants, "FRAGMENT_COLS", 4) * side]]
}

/// The variants of some tiles of an attention with cooperative matrices, with so many bytes of workgroup memory of their own.
pub(super) const fn coop_attention<const N: usize>(
    technique: Variant,
    tiles: [(&'static str, [u32; 9]); N],
    constants: &'static [[(&'static str, u32); 9]; N],
    own: u32,
) -> [Variant; N] {
    let mut all = [technique; N];
    let mut i = 0;
    while i < N {
        let (name, [lanes, side, .., slice, _, parts]) = tiles[i];
        let [[down, rows], [across, columns]] = coop(&constants[i]);
        let channels = slice + 2;
        let slice = if 64 * channels > 18 * columns { 64 * channels } else { 18 * columns };
        // Queries, keys or values, probabilities; scores; factors.
        let staged = parts * rows * channels + slice + 18 * rows;
        let bytes = 8 * staged + 4 * 68 * rows + 8 * rows + 8 + own;
        all[i] = all[i].sized(name, &constants[i], lanes * down * across, bytes);
        all[i] = all[i].with_cooperative(side);
        i += 1;
    }
    all
}

/// Constants of a tile: lanes side by side and one below the other; of each lane queries by four, keys, column
/// vectors, and chunks of them.
pub(super) const CONSTANTS: [&str; 6] =
    ["TX", "TY", "GROUPS", "KEYS_EACH", "COLUMNS_EACH", "CHUNKS"];

/// The variants of some tiles.
pub(super) const fn variants<const N: usize>(
    technique: Variant,
    tiles: [(&'static str, [u32; 6]); N],
    constants: &'static [[(&'static str, u32); 6]; N],
    lane_sums: bool,
) -> [Variant; N] {
    let mut all = [technique; N];
    let mut i = 0;
    while i < N {
        let (name, sizes) = tiles[i];
        let [tx, ty, ..] = sizes;
        all[i] = technique.sized(name, &constants[i], tx * ty, bytes(sizes, lane_sums));
        i += 1;
    }
    all
}

/// Workgroup memory of a tile: slices, of queries and keys or of 32 values, weights, and where `lane_sums` a sum of each
/// lane.
pub(super) const fn bytes(sizes: [u32; 6], lane_sums: bool) -> u32 {
    let [tx, ty, groups, keys, ..] = sizes;
    let of_row = tx * keys + if lane_sums { tx } else { 0 };
    slice_bytes(sizes, 32) + 16 * groups * ty * of_row
}

/// The constants of a tile that has not 32 rows of values at a time.
pub(super) const WITH_VALUES: [&str; 7] = {
    let [tx, ty, groups, keys, columns, chunks] = CONSTANTS;
    [tx, ty, groups, keys, columns, chunks, "VALUE_TILE"]
};

/// The variant of such a tile.
pub(super) const fn with_values(
    technique: Variant,
    name: &'static str,
    [tx, ty, groups, keys, columns, chunks, values]: [u32; 7],
    constants: &'static [(&'static str, u32); 7],
    lane_sums: bool,
) -> Variant {
    let of_row = tx * keys + if lane_sums { tx } else { 0 };
    let slices = slice_bytes([tx, ty, groups, keys, columns, chunks], values);
    technique.sized(name, constants, tx * ty, slices + 16 * groups * ty * of_row)
}

/// A tile of the space, with the constants of the named one where that has these sizes and more.
pub(super) fn as_named(tile: Variant, named: Variant, sizes: [u32; 6]) -> Variant {
    match CONSTANTS.map(|n| named.constant(n)) == sizes.map(Some) {
        true => tile.sized(tile.name, named.constants, named.invocations, named.workgroup_bytes),
        false => tile,
    }
}

/// That of slices, with so many rows of values at a time.
const fn slice_bytes([tx, ty, groups, keys, columns, _]: [u32; 6], rows_of_values: u32) -> u32 {
    let rows = 4 * (4 * groups * ty + 2) + 4 * (tx * keys + 2);
    let values = rows_of_values * tx * columns;
    16 * if rows > values { rows } else { values }
}

/// Queries and keys of a tile.
pub(super) fn rows(variant: &Variant) -> (usize, usize) {
    let [tx, ty, groups, keys] = ["TX", "TY", "GROUPS", "KEYS_EACH"].map(|n| variant.size(n));
    (4 * groups * ty, tx * keys)
}

/// Value columns of a tile.
pub(super) fn width(variant: &Variant) -> usize {
    4 * variant.size("TX") * variant.size("COLUMNS_EACH") * variant.size("CHUNKS")
}

/// Puts variants of the least effort first.
pub(super) fn by_effort(variants: &mut [Variant], effort: impl Fn(&Variant) -> f64) {
    // No effort is negative: their bits are ordered as they are.
    variants.sort_by_cached_key(|variant| effort(variant).to_bits());
}

/// Multiply-adds of a query and a key with this many channels, padding of the values included, weighted with what a
/// tile loads for each.
pub(super) fn effort(variant: &Variant, channels: usize) -> f64 {
    let size = |name| variant.size(name) as f64;
    let score = channels as f64 * (1.0 + 1.0 / size("KEYS_EACH") + 0.25 / size("GROUPS"));
    let context = 1.0 + 0.25 / size("COLUMNS_EACH") + 0.25 / size("GROUPS");
    score + width(variant) as f64 * context
}
