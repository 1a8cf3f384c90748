//! Tiles of the two tiled attentions: constants of their shaders, and what follows from them.

use crate::kernels::Variant;

/// Constants of a tile: lanes side by side and one below the other; of each lane queries by four, keys, column
/// vectors, and chunks of them.
pub(super) const CONSTANTS: [&str; 6] =
    ["TX", "TY", "GROUPS", "KEYS_EACH", "COLUMNS_EACH", "CHUNKS"];

/// Bytes of a tile's slices, of queries and keys or of 32 values, and of its probabilities.
pub(super) const fn bytes([tx, ty, groups, keys, columns, _]: [u32; 6]) -> u32 {
    let rows = 4 * (4 * groups * ty + 2) + 4 * (tx * keys + 2);
    let values = 32 * tx * columns;
    let slices = if rows > values { rows } else { values };
    16 * (slices + groups * ty * tx * keys)
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
