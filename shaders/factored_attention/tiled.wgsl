// factored_attention, tiled: attention over keys that are content, table rows of a grid position and a constant.
//
// Algorithm. That of `attention/tiled` with the content as keys and as values, arranged so that nothing but slow
// marginals is added up in memory. A workgroup computes QUERY_TILE queries of one item and a share of the keys (split);
// invocations divide a tile as in `common/tiles`. The fastest axis is cut into segments of KEY_TILE positions, and each
// segment is followed along all lines of the grid that the split covers, so that the segment's table entries and
// marginals stay in registers. For each tile:
//   1. scores: 16 channels of queries and content at a time are in workgroup memory, the next ones on their way in
//      registers; then the tables' entries, the constant and the row's scale;
//   2. the maximum is exchanged; the reference of the exponentials is moved only when the maximum passes it by SLACK,
//      since moving it means rescaling all sums of the query;
//   3. sums of weights times content, VALUE_TILE rows of a chunk at a time; the sum of the weights, which is the tile's
//      part of the slow marginals, is added up by the invocation that owns them: one a query and axis. With OWN, invocations
//      keep the weights of their keys to themselves and sum up the content of those, which lies in the slice anyway; their
//      sums are added up at the end, and maxima are exchanged only when one passes the reference by SLACK.
// Every element of y has one invocation that reads and writes it; there are no atomics and no storage barriers, and
// results are deterministic.
//
// Bindings: see `factored_attention/common`.
// Workgroup bytes: 16·(SLICE_VECTORS + GROUPS·TY·(WEIGHT_ROW + TX)): slices, weights (before: maxima), sums of weights.
// Numerics: f32 throughout. Content sums stay in registers, the other columns of y in y.

// #import common/tiles
// #import factored_attention/common

@group(0) @binding(7) var<storage, read_write> y: array<f32>;

// Whether invocations sum up the content of their own keys, all of it, and their sums are added up at the end: content of
// few channels, CHUNKS vectors, would leave most column vectors of a chunk without work. Content is scaled on its way into
// the slice then, so that scores and sums are products with it.
const OWN: u32 = 0u;
// Whether the fourth channel is padding.
const THREE: u32 = 0u;

// What entries and folded queries are multiplied with, so that scores are powers of two, and what scores are then.
// #if OWN == 1
const OF_QUERIES: f32 = LOG2_E;
var<workgroup> own_scales: array<f32, KEY_TILE>;
// Whether a maximum has passed its reference by SLACK.
var<workgroup> risen: atomic<u32>;
// #else
const OF_QUERIES: f32 = 1.0;
// #endif

// Sums of the weights of each tx.
var<workgroup> weights: array<vec4<f32>, GROUPS * TY * TX>;

// Beyond the content it is the last vector, which is neither multiplied nor stored, as in `attention/tiled`.
fn load_query(row: u32, vector: u32) -> vec4<f32> {
    let at = (row * params.columns + params.first_column) / 4u + min(vector, params.content - 1u);
    return from_queries(queries[select(0u, at, params.content > 0u)]);
}

fn load_content(row: u32, vector: u32) -> vec4<f32> {
    let at = row * params.content + min(vector, params.content - 1u);
    return from_content(content[select(0u, at, params.content > 0u)]);
}

// Rows row + TY·r of a tile, vectors + TX·n.
fn load_values(
    first_item_key: u32,
    tile: Tile,
    row: u32,
    vector: u32,
    next_v: ptr<function, array<vec4<f32>, V_LOADS>>,
) {
    // #unroll
    for (var r = 0u; r < VALUE_ROWS; r++) {
        let key = first_item_key + (tile.key + clamp(row + TY * r, tile.first, tile.last));
        // #unroll
        for (var n = 0u; n < COLUMNS_EACH; n++) {
            (*next_v)[COLUMNS_EACH * r + n] = load_content(key, vector + TX * n);
        }
    }
}

@compute @workgroup_size(THREADS)
fn tiled(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let tx = local % TX;
    let ty = local / TX;
    // As a loader of slices.
    let load_row = local / 4u;
    let load_vector = local % 4u;
    let first_query = QUERY_TILE * share.query_tile;
    let last_query = params.queries - 1u;
    let first_item_key = share.item * params.keys;
    let lines = lines_of(share.split, KEY_TILE);
    // The first row of y of this ty, and elements to the next of its rows.
    let first_out = ((share.split * params.batch + share.item) * params.queries + first_query + ty) * params.columns;
    let next_out = TY * params.columns;
    let real_rows = (params.queries - min(first_query + ty, params.queries) + TY - 1u) / TY;

    var query_row: array<u32, ROWS>;
    var maximum: array<vec4<f32>, GROUPS>;
    var shift: array<vec4<f32>, GROUPS>;
    // Sums of tx's own keys: of exponentials, and of weights.
    var sum: array<vec4<f32>, GROUPS>;
    var total: array<vec4<f32>, GROUPS>;
    var acc: array<vec4<f32>, SUMS>;
    // #unroll
    for (var r = 0u; r < ROWS; r++) {
        let query = min(first_query + ty + TY * r, last_query);
        query_row[r] = query;
        let in_row = share.item * params.queries + query;
        let in_at = in_row * params.columns;
        maximum[r / 4u][r % 4u] = LOWEST;
        sum[r / 4u][r % 4u] = 0.0;
        total[r / 4u][r % 4u] = 0.0;
        if (share.carried) {
            maximum[r / 4u][r % 4u] = to_power(carry_stats[in_row].x);
            sum[r / 4u][r % 4u] = select(0.0, carry_stats[in_row].y, tx == 0u);
            total[r / 4u][r % 4u] = select(0.0, carry_element(in_at + params.constant_column), tx == 0u);
        }
        // #unroll
        for (var c = 0u; c < COLUMNS; c++) {
            acc[ROWS * c + r] = vec4<f32>(0.0);
            let vector = select(TX * c + tx, c, OWN == 1u);
            let mine = vector < params.content && (OWN == 0u || tx == 0u);
            if (share.carried && mine) {
                acc[ROWS * c + r] = from_carry(carry[(in_at + params.first_column) / 4u + vector]);
            }
        }
    }
    // Columns of axes: of the fastest, the invocation with this position in a tile owns those of all its rows; of the others,
    // one invocation owns those of a row.
    for (var r = 0u; r < min(ROWS, real_rows); r++) {
        for (var c = lines.fast_column + tx; c < fast_end(); c += TX) {
            start_sum(share, first_query + ty + TY * r, first_out + next_out * r, c);
        }
    }
    for (var o = tx; o < 2u * ROWS; o += TX) {
        let axis = slow_axis(o / ROWS);
        for (var c = axis.x; c < select(axis.x, axis.y, o % ROWS < real_rows); c++) {
            start_sum(share, first_query + ty + TY * (o % ROWS), first_out + next_out * (o % ROWS), c);
        }
    }
    let first_maximum = maximum;
    shift = maximum;

    let slices = (params.content + 3u) / 4u;
    let chunks = (params.content + CHUNK - 1u) / CHUNK;
    var next_q: array<vec4<f32>, Q_LOADS>;
    var next_k: array<vec4<f32>, K_LOADS>;
    var next_v: array<vec4<f32>, V_LOADS>;
    // #if OWN == 1
    // All channels of the queries are one slice, which stays.
    // #unroll
    for (var i = 0u; i < Q_LOADS; i++) {
        next_q[i] = load_query(min(first_query + load_row + LOAD_STEP * i, last_query), load_vector);
        slice[load_vector * QUERY_ROW + load_row + LOAD_STEP * i] = next_q[i] * OF_QUERIES;
    }
    // #endif
    for (var segment = lines.first_segment; segment < lines.end_segment; segment++) {
        let fast = KEY_TILE * segment;
        // Entries and marginals of the fastest axis.
        var entry: array<vec4<f32>, SCORES>;
        var marginal: array<vec4<f32>, SCORES>;
        // #unroll
        for (var j = 0u; j < KEYS_EACH; j++) {
            let column = lines.fast_column + min(fast + tx + TX * j, lines.length - 1u);
            // #unroll
            for (var r = 0u; r < ROWS; r++) {
                var value = query_element(query_row[r], params.constant_column);
                if (params.dimensions > 0u) {
                    value += query_element(query_row[r], column);
                }
                entry[GROUPS * j + r / 4u][r % 4u] = value * OF_QUERIES;
            }
            // #unroll
            for (var g = 0u; g < GROUPS; g++) {
                marginal[GROUPS * j + g] = vec4<f32>(0.0);
            }
        }
        for (var line = lines.first; line < lines.end; line++) {
            let tile = tile_of(lines, line, fast, KEY_TILE);
            // Of the first and the last line, parts may be missing.
            if (i32(tile.last) < i32(tile.first)) {
                continue;
            }
            let slow_at = slow_of(line);

            // 1. scores
            // #if OWN == 0
            // #unroll
            for (var i = 0u; i < Q_LOADS; i++) {
                next_q[i] = load_query(min(first_query + load_row + LOAD_STEP * i, last_query), load_vector);
            }
            // #unroll
            for (var i = 0u; i < K_LOADS; i++) {
                let row = tile.key + clamp(load_row + LOAD_STEP * i, tile.first, tile.last);
                next_k[i] = load_content(first_item_key + row, load_vector);
            }
            // #endif
            var slow: array<vec4<f32>, GROUPS>;
            // #unroll
            for (var r = 0u; r < ROWS; r++) {
                var value = 0.0;
                if (params.dimensions > 1u) {
                    value = query_element(query_row[r], params.column_a + slow_at.x);
                }
                if (params.dimensions > 2u) {
                    value += query_element(query_row[r], params.column_b + slow_at.y);
                }
                slow[r / 4u][r % 4u] = value * OF_QUERIES;
            }
            var score: array<vec4<f32>, SCORES>;
            var scales: array<f32, KEYS_EACH>;
            // #unroll
            for (var j = 0u; j < KEYS_EACH; j++) {
                // #unroll
                for (var g = 0u; g < GROUPS; g++) {
                    score[GROUPS * j + g] = entry[GROUPS * j + g] + slow[g];
                }
            }
            // #if OWN == 1
            for (var i = 0u; i < (KEY_TILE * CHUNKS + THREADS - 1u) / THREADS; i++) {
                let u = local + THREADS * i;
                if (u < KEY_TILE * CHUNKS) {
                    let key = tile.key + clamp(u / CHUNKS, tile.first, tile.last);
                    let of_key = scale[share.item * params.mask_row + key];
                    let value = load_content(first_item_key + key, u % CHUNKS);
                    slice[KEYS_AT + u % CHUNKS * KEY_ROW + u / CHUNKS] = value * of_key;
                    own_scales[u / CHUNKS] = of_key;
                }
            }
            if (local == 0u) {
                atomicStore(&risen, 0u);
            }
            workgroupBarrier();
            // #unroll
            for (var j = 0u; j < KEYS_EACH; j++) {
                scales[j] = own_scales[tx + TX * j];
                // #unroll
                for (var g = 0u; g < GROUPS; g++) {
                    score[GROUPS * j + g] *= scales[j];
                }
            }
            // #if THREE == 1
            add_three(tx, ty, &score);
            // #else
            add_scores(tx, ty, params.content, &score);
            // #endif
            // #else
            for (var s = 0u; s < slices; s++) {
                stage_rows(local, &next_q, &next_k);
                workgroupBarrier();
                let vector = 4u * s + 4u + load_vector;
                // #unroll
                for (var i = 0u; i < Q_LOADS; i++) {
                    next_q[i] = load_query(min(first_query + load_row + LOAD_STEP * i, last_query), vector);
                }
                // #unroll
                for (var i = 0u; i < K_LOADS; i++) {
                    let row = tile.key + clamp(load_row + LOAD_STEP * i, tile.first, tile.last);
                    next_k[i] = load_content(first_item_key + row, vector);
                }
                add_scores(tx, ty, min(4u, params.content - 4u * s), &score);
                workgroupBarrier();
            }
            // The first values are on their way from here on.
            load_values(first_item_key, tile, ty, tx, &next_v);
            // #unroll
            for (var j = 0u; j < KEYS_EACH; j++) {
                let key = tile.key + clamp(tx + TX * j, tile.first, tile.last);
                scales[j] = scale[share.item * params.mask_row + key];
                // #unroll
                for (var g = 0u; g < GROUPS; g++) {
                    score[GROUPS * j + g] *= scales[j] * LOG2_E;
                }
            }
            // #endif
            if (share.masked || tile.last - tile.first + 1u < KEY_TILE) {
                // #unroll
                for (var j = 0u; j < KEYS_EACH; j++) {
                    let in_tile = tx + TX * j;
                    let key = share.item * params.mask_row + tile.key + clamp(in_tile, tile.first, tile.last);
                    let inside = in_tile >= tile.first && in_tile <= tile.last;
                    // #unroll
                    for (var g = 0u; g < GROUPS; g++) {
                        var s = score[GROUPS * j + g];
                        if (share.masked) {
                            s = select(vec4<f32>(MASKED), s, mask[key] != 0.0);
                        }
                        score[GROUPS * j + g] = select(vec4<f32>(LOWEST), s, inside);
                    }
                }
            }

            // 2. maxima
            // #if OWN == 1
            // #unroll
            for (var g = 0u; g < GROUPS; g++) {
                // #unroll
                for (var j = 0u; j < KEYS_EACH; j++) {
                    maximum[g] = max(maximum[g], score[GROUPS * j + g]);
                }
                weight[(TY * g + ty) * WEIGHT_ROW + tx] = maximum[g];
                if (any(maximum[g] > shift[g] + SLACK)) {
                    atomicStore(&risen, 1u);
                }
            }
            workgroupBarrier();
            if (atomicLoad(&risen) != 0u) {
            // #else
            store_maxima(tx, ty, &score);
            workgroupBarrier();
            {
            // #endif
                // #unroll
                for (var g = 0u; g < GROUPS; g++) {
                    maximum[g] = row_maximum(TY * g + ty, maximum[g]);
                    let moved = maximum[g] > shift[g] + SLACK;
                    if (any(moved)) {
                        let reference = select(shift[g], maximum[g], moved);
                        let factor = exp2(shift[g] - reference);
                        // Before the first key there is nothing to rescale.
                        let filled = moved & (shift[g] > vec4<f32>(LOWEST));
                        shift[g] = reference;
                        sum[g] *= factor;
                        total[g] *= factor;
                        // #unroll
                        for (var j = 0u; j < KEYS_EACH; j++) {
                            marginal[GROUPS * j + g] *= factor;
                        }
                        // #unroll
                        for (var i = 0u; i < 4u; i++) {
                            // #unroll
                            for (var c = 0u; c < COLUMNS; c++) {
                                acc[ROWS * c + 4u * g + i] *= factor[i];
                            }
                            if (filled[i] && 4u * g + i < real_rows) {
                                scale_sums(lines, tx, first_out + next_out * (4u * g + i), 4u * g + i, factor[i]);
                            }
                        }
                    }
                }
            }
            // #if OWN == 0
            workgroupBarrier();
            // #endif
            // #unroll
            for (var g = 0u; g < GROUPS; g++) {
                var of_tile = vec4<f32>(0.0);
                // #unroll
                for (var j = 0u; j < KEYS_EACH; j++) {
                    let p = exp2(score[GROUPS * j + g] - shift[g]);
                    sum[g] += p;
                    // #if OWN == 1
                    marginal[GROUPS * j + g] = fma(p, vec4<f32>(scales[j]), marginal[GROUPS * j + g]);
                    of_tile = fma(p, vec4<f32>(scales[j]), of_tile);
                    score[GROUPS * j + g] = p;
                    // #else
                    let w = p * scales[j];
                    marginal[GROUPS * j + g] += w;
                    of_tile += w;
                    weight[(TY * g + ty) * WEIGHT_ROW + tx + TX * j] = w;
                    // #endif
                }
                total[g] += of_tile;
                weights[(TY * g + ty) * TX + tx] = of_tile;
            }

            // 3. content
            // #if OWN == 1
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                if (c < params.content) {
                    // #unroll
                    for (var j = 0u; j < KEYS_EACH; j++) {
                        let value = slice[KEYS_AT + c * KEY_ROW + tx + TX * j];
                        // #unroll
                        for (var r = 0u; r < ROWS; r++) {
                            let p = score[GROUPS * j + r / 4u][r % 4u];
                            // #if THREE == 1
                            acc[r] = vec4<f32>(fma(vec3<f32>(p), value.xyz, acc[r].xyz), acc[r].w);
                            // #else
                            acc[ROWS * c + r] = fma(vec4<f32>(p), value, acc[ROWS * c + r]);
                            // #endif
                        }
                    }
                }
            }
            workgroupBarrier();
            // #else
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                if (c < chunks) {
                    for (var part = 0u; part < PARTS; part++) {
                        stage_values(tx, ty, &next_v);
                        workgroupBarrier();
                        let ends = part + 1u == PARTS;
                        let next_row = select(part + 1u, 0u, ends) * VALUE_TILE + ty;
                        load_values(first_item_key, tile, next_row, select(c, c + 1u, ends) * CHUNK + tx, &next_v);
                        add_context(tx, ty, part, c, &acc);
                        workgroupBarrier();
                    }
                }
            }
            // Without content nothing has waited for the sums yet.
            if (chunks == 0u) {
                workgroupBarrier();
            }
            // #endif
            // The sums of the tile, by the invocations that own them: rows of the first slow axis, then of the second.
            let slow_rows = ROWS * (max(params.dimensions, 1u) - 1u);
            for (var k = 0u; k < (2u * ROWS + TX - 1u) / TX; k++) {
                let row = (tx + TX * k) % ROWS;
                if (tx + TX * k < slow_rows && row < real_rows) {
                    var of_tile = 0.0;
                    // #unroll
                    for (var j = 0u; j < TX; j++) {
                        of_tile += weights[(TY * (row / 4u) + ty) * TX + j][row % 4u];
                    }
                    let column = select(params.column_b + slow_at.y, params.column_a + slow_at.x, tx + TX * k < ROWS);
                    y[first_out + next_out * row + column] += of_tile;
                }
            }
        }
        if (params.dimensions > 0u) {
            // #unroll
            for (var j = 0u; j < KEYS_EACH; j++) {
                let position = fast + tx + TX * j;
                // #unroll
                for (var r = 0u; r < ROWS; r++) {
                    if (r < real_rows && position < lines.length) {
                        y[first_out + next_out * r + lines.fast_column + position] += marginal[GROUPS * j + r / 4u][r % 4u];
                    }
                }
            }
        }
    }

    // #if OWN == 1
    // Sums of the content of all tx, in a fixed order, by the first of them.
    // #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        // #unroll
        for (var r = 0u; r < ROWS; r++) {
            workgroupBarrier();
            weights[ty * TX + tx] = acc[ROWS * c + r];
            workgroupBarrier();
            acc[ROWS * c + r] = vec4<f32>(0.0);
            for (var j = 0u; j < min(TX, TX * params.queries); j++) {
                acc[ROWS * c + r] += weights[ty * TX + j];
            }
        }
    }
    // Maxima of all tx.
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        weight[(TY * g + ty) * WEIGHT_ROW + tx] = maximum[g];
    }
    workgroupBarrier();
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        maximum[g] = row_maximum(TY * g + ty, maximum[g]);
    }
    workgroupBarrier();
    // #endif
    // The sums of all tx, in a fixed order.
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        weight[(TY * g + ty) * WEIGHT_ROW + tx] = sum[g];
        weights[(TY * g + ty) * TX + tx] = total[g];
    }
    workgroupBarrier();
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        var all = vec4<f32>(0.0);
        var all_weights = vec4<f32>(0.0);
        for (var j = 0u; j < min(TX, TX * params.queries); j++) {
            all += weight[(TY * g + ty) * WEIGHT_ROW + j];
            all_weights += weights[(TY * g + ty) * TX + j];
        }
        var factor = exp2(clamp(shift[g] - maximum[g], vec4<f32>(-120.0), vec4<f32>(120.0)));
        if (share.store_result) {
            factor = select(vec4<f32>(1.0), 1.0 / all, all > vec4<f32>(0.0));
        }
        // What has been carried in other columns is relative to the maximum then.
        let others = exp2(first_maximum[g] - shift[g]) * factor;
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            let query = query_row[4u * g + i];
            let out = first_out + next_out * (4u * g + i);
            if (4u * g + i < real_rows) {
                scale_sums(lines, tx, out, 4u * g + i, factor[i]);
                // #unroll
                for (var c = 0u; c < COLUMNS; c++) {
                    let vector = select(TX * c + tx, c, OWN == 1u);
                    if (vector < params.content && (OWN == 0u || tx == c % TX)) {
                        let at = out + params.first_column + 4u * vector;
                        let value = acc[ROWS * c + 4u * g + i] * factor[i];
                        y[at] = value.x;
                        y[at + 1u] = value.y;
                        y[at + 2u] = value.z;
                        y[at + 3u] = value.w;
                    }
                }
                if (tx == 0u) {
                    y[out + params.constant_column] = all_weights[i] * factor[i];
                }
                for (var c = tx; c < params.columns; c += TX) {
                    if (c < params.first_column || c > params.constant_column) {
                        var value = 0.0;
                        if (share.carried) {
                            value = carry_element((share.item * params.queries + query) * params.columns + c) * others[i];
                        }
                        y[out + c] = value;
                    }
                }
                if (!share.store_result && tx == 0u) {
                    let row = (share.split * params.batch + share.item) * params.queries + query;
                    y_stats[row] = vec4<f32>(from_power(maximum[g][i]), all[i] * factor[i], 0.0, 0.0);
                }
            }
        }
    }
}

// The columns of a slow axis.
fn slow_axis(i: u32) -> vec2<u32> {
    if (params.dimensions < i + 2u) {
        return vec2<u32>(0u);
    }
    return select(vec2<u32>(params.column_b, params.column_c), vec2<u32>(params.column_a, params.column_b), i == 0u);
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

// Multiplies the sums of a row that are this invocation's.
fn scale_sums(lines: Lines, tx: u32, out: u32, row: u32, factor: f32) {
    for (var c = lines.fast_column + tx; c < fast_end(); c += TX) {
        y[out + c] *= factor;
    }
    for (var i = 0u; i < 2u; i++) {
        let axis = slow_axis(i);
        for (var c = axis.x; c < select(axis.x, axis.y, (ROWS * i + row) % TX == tx); c++) {
            y[out + c] *= factor;
        }
    }
}

// #if THREE == 1
// Adds the products of three channels of queries and keys that are in the slice to the scores.
fn add_three(tx: u32, ty: u32, score: ptr<function, array<vec4<f32>, SCORES>>) {
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        let at = ty + TY * 4u * g;
        let q0 = slice[at].xyz;
        let q1 = slice[at + TY].xyz;
        let q2 = slice[at + TY * 2u].xyz;
        let q3 = slice[at + TY * 3u].xyz;
        // #unroll
        for (var j = 0u; j < KEYS_EACH; j++) {
            let key = slice[KEYS_AT + tx + TX * j].xyz;
            var s = (*score)[GROUPS * j + g];
            s = fma(vec4<f32>(q0.x, q1.x, q2.x, q3.x), key.xxxx, s);
            s = fma(vec4<f32>(q0.y, q1.y, q2.y, q3.y), key.yyyy, s);
            (*score)[GROUPS * j + g] = fma(vec4<f32>(q0.z, q1.z, q2.z, q3.z), key.zzzz, s);
        }
    }
}
// #endif
