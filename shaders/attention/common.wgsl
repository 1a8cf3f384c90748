// What all attentions share: bindings, the work of one workgroup, the tables of factored queries, the statistics of a
// state.
//
// Factored queries (decoders whose queries are content, table rows of a grid position and a constant): scores get one
// table entry per axis and key, the row's scale and a number per key. Head widths need not be powers of two: rows are
// padded with zeros to four, channels beyond are loaded as zeros.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        q            [batch or 1, queries, ..] as vectors of four
//   2 read        k            [batch, keys, ..] as vectors of four
//   3 read        v            [batch, keys, ..] as vectors of four
//   4 read        mask         [batch, 1, keys] as f32, non-zero keeps; or anything when absent
//   5 read        carry        accumulators so far [batch, queries, heads·pad(d_v)] as vectors of four
//   6 read        carry_stats  [batch, queries, 2·heads] as f32
//                 Factored queries have none of the three, but scales [batch or 1, 1, queries], tables
//                 [batch, table_rows, keys] and points [queries, 1]: read by scale_of_row, table and point_of
//   7 read_write  y            [splits·batch, queries, heads·pad(d_v)] as vectors of four
//   8 read_write  y_stats      [splits·batch, queries, 2·heads] as f32, written unless result is stored

struct Params {
    queries: u32,
    keys: u32,
    heads: u32,
    batch: u32,
    // vectors of four per row
    q_row: u32,
    k_row: u32,
    v_row: u32,
    y_row: u32,
    // vectors of four before the first head
    q_column: u32,
    k_column: u32,
    v_column: u32,
    mask_row: u32,
    // vectors of four of one head
    qk_vectors: u32,
    v_vectors: u32,
    stats_row: u32,
    split_keys: u32,
    scale: f32,
    // bit 0 queries shared by the batch, 1 masked, 2 carry, 3 store the result, 4 points, 5 causal
    flags: u32,
    query_tiles: u32,
    column_groups: u32,
    // workgroups per grid row, and in all
    groups_x: u32,
    groups: u32,
    // factored queries: axes and the tables' rows of their parts
    dimensions: u32,
    axis_a: u32,
    axis_b: u32,
    axis_c: u32,
    constant_row: u32,
    row_a: u32,
    row_b: u32,
    row_c: u32,
    table_rows: u32,
    first_position: u32,
    scale_row: u32,
}

alias q4 = vec4<f32>;
alias k4 = vec4<f32>;
alias v4 = vec4<f32>;
alias y4 = vec4<f32>;
fn from_q(v: q4) -> vec4<f32> { return v; }
fn from_k(v: k4) -> vec4<f32> { return v; }
fn from_v(v: v4) -> vec4<f32> { return v; }
fn from_y(v: y4) -> vec4<f32> { return v; }
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q4>;
@group(0) @binding(2) var<storage, read> k: array<k4>;
@group(0) @binding(3) var<storage, read> v: array<v4>;
@group(0) @binding(4) var<storage, read> mask: array<f32>;
@group(0) @binding(5) var<storage, read> carry: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> carry_stats: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<y4>;
@group(0) @binding(8) var<storage, read_write> y_stats: array<f32>;
// The first workgroup of the part of a dispatch that is to be computed.
@group(1) @binding(0) var<uniform> first_group: u32;

// Whether queries are given as factors. Where they are not, registers and compilers are spared the tables.
const FACTORED: u32 = 0u;

const LOWEST: f32 = -3.0e38;
const MASKED: f32 = -1.0e30;
// Where exponentials are powers of two, scores are in units of their own until a state is stored: a product of a query and a
// key is not scaled, one of factored queries is. Masked ones and none are powers of two there: multiplied with anything
// they stay what they are, so that a difference of equal ones is zero.
const MASKED_RAW: f32 = -0x1p100;
const LOWEST_RAW: f32 = -0x1p120;
const LOG2_E: f32 = 1.4426950408889634;

// The work of one workgroup: a tile of queries and a group of value columns of one head of one item, and a
// part of the keys.
struct Share {
    query_tile: u32,
    column_group: u32,
    head: u32,
    // of keys and results, and of queries
    item: u32,
    q_item: u32,
    split: u32,
    // keys first_key .. end_key
    first_key: u32,
    end_key: u32,
    masked: bool,
    causal: bool,
    carried: bool,
    store_result: bool,
}

fn share_of(group: u32) -> Share {
    let of_column = group / params.query_tiles;
    let of_head = of_column / params.column_groups;
    let of_item = of_head / params.heads;
    let item = of_item % params.batch;
    let split = of_item / params.batch;
    let first_key = split * params.split_keys;
    return Share(
        group % params.query_tiles,
        of_column % params.column_groups,
        of_head % params.heads,
        item,
        select(item, 0u, (params.flags & 1u) != 0u),
        split,
        first_key,
        min(first_key + params.split_keys, params.keys),
        (params.flags & 2u) != 0u,
        (params.flags & 32u) != 0u,
        (params.flags & 4u) != 0u && split == 0u,
        (params.flags & 8u) != 0u,
    );
}

// The unit of scores that are not scaled.
fn unit_of_scores() -> f32 {
    return select(params.scale, 1.0, FACTORED == 1u);
}

// A score in this unit, and one in it as states have it.
fn raw_score(score: f32, unit: f32) -> f32 {
    return select(max(score / unit, LOWEST_RAW), MASKED_RAW, score == MASKED);
}

fn score_of_raw(raw: f32, unit: f32) -> f32 {
    return select(select(raw * unit, LOWEST, raw == LOWEST_RAW), MASKED, raw == MASKED_RAW);
}

// Maximum and sum of a row and head, and with the first head the padding of the row.
fn store_statistics(row: u32, head: u32, maximum: f32, sum: f32) {
    let first = row * params.stats_row;
    y_stats[first + 2u * head] = maximum;
    y_stats[first + 2u * head + 1u] = sum;
    if (head == 0u && (2u * params.heads) % 4u != 0u) {
        y_stats[first + 2u * params.heads] = 0.0;
        y_stats[first + 2u * params.heads + 1u] = 0.0;
    }
}

// Scales of rows of factored queries.
fn scale_of_row(q_item: u32, query: u32) -> f32 {
    return mask[q_item * params.scale_row + query];
}

// An element of the tables of factored queries, and element `key` of a row of them.
fn table_element(at: u32) -> f32 {
    return carry[at / 4u][at % 4u];
}

fn table(item: u32, row: u32, key: u32) -> f32 {
    return table_element((item * params.table_rows + row) * params.mask_row + key);
}

// Grid position of a factored query, where they are given query by query.
fn point_of(query: u32) -> u32 {
    return u32(max(carry_stats[4u * query], 0.0));
}

// Rows of the tables of a query: one per axis.
fn table_rows(query: u32) -> vec3<u32> {
    var position = params.first_position + query;
    if ((params.flags & 16u) != 0u) {
        position = point_of(query);
    }
    var index = vec3<u32>(position % params.axis_a, 0u, 0u);
    if (params.dimensions == 2u) {
        index = vec3<u32>(position / params.axis_b % params.axis_a, position % params.axis_b, 0u);
    }
    if (params.dimensions == 3u) {
        index = vec3<u32>(
            position / (params.axis_b * params.axis_c) % params.axis_a,
            position / params.axis_c % params.axis_b,
            position % params.axis_c,
        );
    }
    return index + vec3<u32>(params.row_a, params.row_b, params.row_c);
}

// What a key adds to the score of a query with these rows.
fn table_score(item: u32, rows: vec3<u32>, key: u32) -> f32 {
    var sum = table(item, params.constant_row, key);
    if (params.dimensions > 0u) {
        sum += table(item, rows.x, key);
    }
    if (params.dimensions > 1u) {
        sum += table(item, rows.y, key);
    }
    if (params.dimensions > 2u) {
        sum += table(item, rows.z, key);
    }
    return sum;
}
