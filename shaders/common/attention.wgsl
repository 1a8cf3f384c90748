// What all attentions share: arguments, what a workgroup owns, the tables of factored queries, the statistics of
// a state. Whoever imports it declares params and the arrays carry, carry_stats and y_stats.

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
    // bit 0 queries shared by the batch, 1 masked, 2 carry, 3 store the result, 4 factored queries,
    // 5 points
    flags: u32,
    query_tiles: u32,
    column_groups: u32,
    // workgroups per grid row, and in all
    groups_x: u32,
    groups: u32,
    unused_a: u32,
    unused_b: u32,
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
    unused_c: u32,
}

const LOWEST: f32 = -3.0e38;
const MASKED: f32 = -1.0e30;

// What a workgroup owns: a tile of queries and a group of value columns of one head of one item, and a
// part of the keys.
struct Share {
    query_tile: u32,
    column_group: u32,
    head: u32,
    item: u32,
    split: u32,
}

fn share_of(group: u32) -> Share {
    let of_column = group / params.query_tiles;
    let of_head = of_column / params.column_groups;
    let of_item = of_head / params.heads;
    return Share(
        group % params.query_tiles,
        of_column % params.column_groups,
        of_head % params.heads,
        of_item % params.batch,
        of_item / params.batch,
    );
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

// Element `key` of a row of the tables.
fn table(item: u32, row: u32, key: u32) -> f32 {
    let at = (item * params.table_rows + row) * params.mask_row + key;
    return carry[at / 4u][at % 4u];
}

// Rows of the tables of a query: one per axis.
fn table_rows(query: u32) -> vec3<u32> {
    var position = params.first_position + query;
    if ((params.flags & 32u) != 0u) {
        position = u32(max(carry_stats[4u * query], 0.0));
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
