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
//      part of the slow marginals, is added up by the invocation that owns them: one a query and axis.
// Every element of y has one invocation that reads and writes it; there are no atomics and no storage barriers, and
// results are deterministic.
//
// Bindings: see `factored_attention/common`.
// Workgroup bytes: 16·(SLICE_VECTORS + GROUPS·TY·(WEIGHT_ROW + TX)): slices, weights (before: maxima), sums of weights.
// Numerics: f32 throughout. Content sums stay in registers, the other columns of y in y.

// #import factored_attention/sums

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
            let vector = TX * c + tx;
            if (share.carried && vector < params.content) {
                acc[ROWS * c + r] = from_carry(carry[(in_at + params.first_column) / 4u + vector]);
            }
        }
    }
    start_sums(share, lines, tx, first_query + ty, real_rows, first_out, next_out);
    let idle = idle_element(share);
    var constant: array<vec4<f32>, GROUPS>;
    // #unroll
    for (var r = 0u; r < ROWS; r++) {
        constant[r / 4u][r % 4u] = query_element(query_row[r], params.constant_column);
    }
    let first_maximum = maximum;
    shift = maximum;

    let slices = (params.content + 3u) / 4u;
    let chunks = (params.content + CHUNK - 1u) / CHUNK;
    var next_q: array<vec4<f32>, Q_LOADS>;
    var next_k: array<vec4<f32>, K_LOADS>;
    var next_v: array<vec4<f32>, V_LOADS>;
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
                let value = query_element(query_row[r], select(params.constant_column, column, params.dimensions > 0u));
                entry[GROUPS * j + r / 4u][r % 4u] = constant[r / 4u][r % 4u] + select(0.0, value, params.dimensions > 0u);
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
            // #unroll
            for (var i = 0u; i < Q_LOADS; i++) {
                next_q[i] = load_query(min(first_query + load_row + LOAD_STEP * i, last_query), load_vector);
            }
            // #unroll
            for (var i = 0u; i < K_LOADS; i++) {
                let row = tile.key + clamp(load_row + LOAD_STEP * i, tile.first, tile.last);
                next_k[i] = load_content(first_item_key + row, load_vector);
            }
            var slow: array<vec4<f32>, GROUPS>;
            // #unroll
            for (var g = 0u; g < GROUPS; g++) {
                slow[g] = vec4<f32>(0.0);
            }
            if (params.dimensions > 1u) {
                // #unroll
                for (var r = 0u; r < ROWS; r++) {
                    slow[r / 4u][r % 4u] = query_element(query_row[r], params.column_a + slow_at.x);
                }
            }
            if (params.dimensions > 2u) {
                // #unroll
                for (var r = 0u; r < ROWS; r++) {
                    slow[r / 4u][r % 4u] += query_element(query_row[r], params.column_b + slow_at.y);
                }
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
            store_maxima(tx, ty, &score);
            workgroupBarrier();
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
            workgroupBarrier();
            // #unroll
            for (var g = 0u; g < GROUPS; g++) {
                var of_tile = vec4<f32>(0.0);
                // #unroll
                for (var j = 0u; j < KEYS_EACH; j++) {
                    let p = exp2(score[GROUPS * j + g] - shift[g]);
                    sum[g] += p;
                    let w = p * scales[j];
                    marginal[GROUPS * j + g] += w;
                    of_tile += w;
                    weight[(TY * g + ty) * WEIGHT_ROW + tx + TX * j] = w;
                }
                total[g] += of_tile;
                weights[(TY * g + ty) * TX + tx] = of_tile;
            }

            // 3. content
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
        add_marginals(lines, fast + tx, real_rows, first_out, next_out, idle, &marginal);
    }

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
                    let vector = TX * c + tx;
                    if (vector < params.content) {
                        store_content(out, vector, acc[ROWS * c + 4u * g + i] * factor[i]);
                    }
                }
                let weights_sum = all_weights[i] * factor[i];
                end_row(share, query, out, tx, maximum[g][i], all[i] * factor[i], weights_sum, others[i]);
            }
        }
    }
}
