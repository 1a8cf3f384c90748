//! Tiles of the two tiled attentions and of cooperative matrices: constants of their shaders, and what follows from them.

use crate::kernels::{Variant, constant};

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

/// Subgroups and rows of a tile with cooperative matrices, and subgroups and columns.
pub(super) const fn coop(constants: &[(&str, u32)]) -> [[u32; 2]; 2] {
    let side = constant(constants, "FRAGMENT", 16);
    let [down, across] =
        [constant(constants, "SUBGROUP_ROWS", 2), constant(constants, "SUBGROUP_COLS", 2)];
    let rows = down * constant(constants, "FRAGMENT_ROWS", 4) * side;
    [[down, rows], [across, across * constant(constants, "FRAGMENT_COLS", 4) * side]]
}

/// Constants of a tile: lanes side by side and one below the other; of each lane queries by four, keys, column
/// vectors, and chunks of them.
pub(super) const CONSTANTS: [&str; 6] =
    ["TX", "TY", "GROUPS", "KEYS_EACH", "COLUMNS_EACH", "CHUNKS"];

/// The variants of some tiles. Workgroup memory holds slices, of queries and keys or of 32 values, weights, and where
/// `lane_sums` a sum of each lane.
pub(super) const fn variants<const N: usize>(
    technique: Variant,
    tiles: [(&'static str, [u32; 6]); N],
    constants: &'static [[(&'static str, u32); 6]; N],
    lane_sums: bool,
) -> [Variant; N] {
    let mut all = [technique; N];
    let mut i = 0;
    while i < N {
        let (name, [tx, ty, groups, keys, columns, _]) = tiles[i];
        let rows = 4 * (4 * groups * ty + 2) + 4 * (tx * keys + 2);
        let values = 32 * tx * columns;
        let slices = if rows > values { rows } else { values };
        let of_row = tx * keys + if lane_sums { tx } else { 0 };
        let bytes = 16 * (slices + groups * ty * of_row);
        all[i] = technique.sized(name, &constants[i], tx * ty, bytes);
        i += 1;
    }
    all
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

/// Multiply-adds of a query and a key with this many channels, padding of the values included, weighted with what a
/// tile loads for each.
pub(super) fn effort(variant: &Variant, channels: usize) -> f64 {
    let size = |name| variant.size(name) as f64;
    let score = channels as f64 * (1.0 + 1.0 / size("KEYS_EACH") + 0.25 / size("GROUPS"));
    let context = 1.0 + 0.25 / size("COLUMNS_EACH") + 0.25 / size("GROUPS");
    score + width(variant) as f64 * context
}
