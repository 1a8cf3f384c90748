// What tiled factored attentions add up in y: the marginals of the axes. Invocation (tx, ty) of TX × TY has rows ty + TY·r,
// ROWS of them. Of the fastest axis, the invocation with a position in a tile owns its column in all its rows.

// #import common/tiles
// #import factored_attention/common

// Lines of a tile: one, or four of a grid with two axes.
const LINES: u32 = 1u;

@group(0) @binding(7) var<storage, read_write> y: array<f32>;

// The columns of a slow axis.
fn slow_axis(i: u32) -> vec2<u32> {
    if (params.dimensions < i + 2u) {
        return vec2<u32>(0u);
    }
    return select(vec2<u32>(params.column_b, params.column_c), vec2<u32>(params.column_a, params.column_b), i == 0u);
}

// The columns of a slow axis that an invocation owns in a row, (first, end, step): one invocation has those of a row and axis,
// or, where tiles have four lines, four of eight the even ones of a row each, the others the odd ones.
fn owned(axis: u32, row: u32, tx: u32) -> vec3<u32> {
    let columns = slow_axis(axis);
    // #if LINES == 4
    return vec3<u32>(columns.x + tx / ROWS, select(0u, columns.y, tx % ROWS == row), 2u);
    // #else
    return vec3<u32>(columns.x, select(0u, columns.y, (ROWS * axis + row) % TX == tx), 1u);
    // #endif
}

// The end of the columns of the fastest axis.
fn fast_end() -> u32 {
    return select(0u, params.constant_column, params.dimensions > 0u);
}

// Begins a sum with what is carried.
fn start_sum(share: Share, query: u32, out: u32, column: u32) {
    var start = 0.0;
    if (share.carried) {
        start = carry_element((share.item * params.queries + query) * params.columns + column);
    }
    y[out + column] = start;
}

// Begins the sums of all rows of an invocation, the first of which are at first_out, next_out elements apart.
fn start_sums(share: Share, lines: Lines, tx: u32, first_query: u32, real_rows: u32, first_out: u32, next_out: u32) {
    for (var r = 0u; r < min(ROWS, real_rows); r++) {
        for (var c = lines.fast_column + tx; c < fast_end(); c += TX) {
            start_sum(share, first_query + TY * r, first_out + next_out * r, c);
        }
    }
    for (var o = 0u; o < 2u * ROWS; o++) {
        let row = o % ROWS;
        let columns = owned(o / ROWS, row, tx);
        for (var c = columns.x; c < select(0u, columns.y, row < real_rows); c += columns.z) {
            start_sum(share, first_query + TY * row, first_out + next_out * row, c);
        }
    }
}

// Multiplies the sums of a row that are this invocation's.
fn scale_sums(lines: Lines, tx: u32, out: u32, row: u32, factor: f32) {
    for (var c = lines.fast_column + tx; c < fast_end(); c += TX) {
        y[out + c] *= factor;
    }
    for (var i = 0u; i < 2u; i++) {
        let columns = owned(i, row, tx);
        for (var c = columns.x; c < columns.y; c += columns.z) {
            y[out + c] *= factor;
        }
    }
}

// Stores a vector of the content's sums.
fn store_content(out: u32, vector: u32, value: vec4<f32>) {
    let at = out + params.first_column + 4u * vector;
    y[at] = value.x;
    y[at + 1u] = value.y;
    y[at + 2u] = value.z;
    y[at + 3u] = value.w;
}

// Ends a row with its maximum and its sums of exponentials and of weights: the columns that are no sums, and statistics. What has
// been carried in other columns is multiplied with `others`.
fn end_row(share: Share, query: u32, out: u32, tx: u32, maximum: f32, all: f32, all_weights: f32, others: f32) {
    let carried_at = (share.item * params.queries + query) * params.columns;
    for (var c = tx; c < params.columns; c += TX) {
        if (c < params.first_column || c > params.constant_column) {
            var value = 0.0;
            if (share.carried) {
                value = carry_element(carried_at + c) * others;
            }
            y[out + c] = value;
        }
    }
    if (tx == 0u) {
        y[out + params.constant_column] = all_weights;
        if (!share.store_result) {
            let row = (share.split * params.batch + share.item) * params.queries + query;
            y_stats[row] = vec4<f32>(from_power(maximum), all, 0.0, 0.0);
        }
    }
}

// An element that nothing is added up in: what invocations load that own none, so that loads are in no branch.
fn idle_element(share: Share) -> u32 {
    let last = (share.split * params.batch + share.item + 1u) * params.queries - 1u;
    return last * params.columns + params.constant_column + 1u;
}

// Positions of the fastest axis that an invocation has in a segment, all its rows. Marginals are loaded first and stored then,
// so that loads do not wait for each other.
const MARGINALS: u32 = GROUPS * KEYS_EACH;

fn add_marginals(
    lines: Lines,
    first: u32,
    real_rows: u32,
    first_out: u32,
    next_out: u32,
    idle: u32,
    marginal: ptr<function, array<vec4<f32>, MARGINALS>>,
) {
    let end = select(0u, lines.length, params.dimensions > 0u);
    let first_at = first_out + lines.fast_column;
    // #unroll
    for (var j = 0u; j < KEYS_EACH; j++) {
        let position = first + TX * j;
        // #unroll
        for (var r = 0u; r < ROWS; r++) {
            let there = r < real_rows && position < end;
            (*marginal)[GROUPS * j + r / 4u][r % 4u] += y[select(idle, first_at + next_out * r + position, there)];
        }
    }
    // #unroll
    for (var j = 0u; j < KEYS_EACH; j++) {
        let position = first + TX * j;
        // #unroll
        for (var r = 0u; r < ROWS; r++) {
            if (r < real_rows && position < end) {
                y[first_at + next_out * r + position] = (*marginal)[GROUPS * j + r / 4u][r % 4u];
            }
        }
    }
}
