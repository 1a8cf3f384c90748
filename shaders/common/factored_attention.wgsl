// What both factored attentions share: their arguments.

struct Params {
    queries: u32,
    keys: u32,
    batch: u32,
    first_key: u32,
    // vectors of four of the content
    content: u32,
    columns: u32,
    first_column: u32,
    dimensions: u32,
    axis_a: u32,
    axis_b: u32,
    axis_c: u32,
    constant_column: u32,
    column_a: u32,
    column_b: u32,
    column_c: u32,
    mask_row: u32,
    split_keys: u32,
    // bit 0 masked, 1 carry, 2 store the result
    flags: u32,
    query_tiles: u32,
    // workgroups per grid row, and in all
    groups_x: u32,
    groups: u32,
    unused_a: u32,
    unused_b: u32,
    unused_c: u32,
}

const LOWEST: f32 = -3.0e38;
const MASKED: f32 = -1.0e30;
// How far the maximum may pass the reference of the exponentials: a few millions of exp(40) times any
// content are far from the end of f32, and moving the reference means rescaling all sums.
const SLACK: f32 = 40.0;
