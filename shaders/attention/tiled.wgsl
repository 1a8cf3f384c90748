// attention, tiled: softmax attention that never stores the matrix of scores.
//
// Algorithm (online softmax). A workgroup computes QUERY_TILE queries of one head and a group of value columns, tile of
// keys by tile of keys, divided among invocations as in `common/tiles`:
//   1. scores: 16 channels of queries and keys at a time are in workgroup memory, the next 16 (at the end, the first
//      16 of the next tile of keys) on their way in registers; 16·GROUPS·KEYS_EACH multiply-adds for every
//      4·GROUPS + KEYS_EACH loads;
//   2. softmax: the row maxima are exchanged where the weights then go, which are powers of two;
//   3. context: VALUE_TILE rows of a chunk of values at a time, the next ones on their way in registers;
//      16·GROUPS·COLUMNS_EACH multiply-adds for every GROUPS + COLUMNS_EACH loads.
//
// Bindings: see `attention/common`.
// Workgroup bytes: 16·(SLICE_VECTORS + GROUPS·TY·KEY_TILE), slices and weights: see `common/tiles`.
// Numerics: f32 throughout; a finite lowest score instead of infinity, so that no result depends on how a driver treats
// infinities. Sums of a row are partial per tx and added up in a fixed order at the end.

// #import common/tiles
// #import attention/common

// A vector of a row of Q, K or V from this place on. Beyond the head's channels it is their last, which is neither
// multiplied nor stored: AMD's compiler waits for each load that is in a branch with zeros on its other side. Of an array
// without channels the first element.
fn load_q(row: u32, vector: u32) -> vec4<f32> {
    let at = row + min(vector, params.qk_vectors - 1u);
    return from_q(q[select(0u, at, params.qk_vectors > 0u)]);
}

fn load_k(first: u32, key: u32, vector: u32) -> vec4<f32> {
    let at = first + min(key, params.keys - 1u) * params.k_row + min(vector, params.qk_vectors - 1u);
    return from_k(k[select(0u, at, params.qk_vectors > 0u)]);
}

// Rows key + TY·r, vectors + TX·n.
fn load_values(first: u32, key: u32, vector: u32, next_v: ptr<function, array<vec4<f32>, V_LOADS>>) {
    // #unroll
    for (var r = 0u; r < VALUE_ROWS; r++) {
        let row = first + min(key + TY * r, params.keys - 1u) * params.v_row;
        // #unroll
        for (var n = 0u; n < COLUMNS_EACH; n++) {
            let at = row + min(vector + TX * n, params.v_vectors - 1u);
            (*next_v)[COLUMNS_EACH * r + n] = from_v(v[select(0u, at, params.v_vectors > 0u)]);
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

    let q_from = params.q_column + share.head * params.qk_vectors;
    let k_from = share.item * params.keys * params.k_row + params.k_column + share.head * params.qk_vectors;
    let v_from = share.item * params.keys * params.v_row + params.v_column + share.head * params.v_vectors;
    let first_vector = share.column_group * CHUNK * CHUNKS;
    // Chunks that there are.
    let chunks = (params.v_vectors - first_vector + CHUNK - 1u) / CHUNK;

    // Powers of two are scores times this.
    let unit = unit_of_scores();
    let power = unit * LOG2_E;
    // State of the queries. The sums are partial: each tx has its own keys.
    var maximum: array<vec4<f32>, GROUPS>;
    var sum: array<vec4<f32>, GROUPS>;
    var acc: array<vec4<f32>, SUMS>;
    // Rows of the tables, and scales, of factored queries.
    var tables: array<vec3<u32>, ROWS>;
    var scales: array<vec4<f32>, GROUPS>;
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        maximum[g] = vec4<f32>(LOWEST_RAW);
        sum[g] = vec4<f32>(0.0);
        scales[g] = vec4<f32>(1.0);
    }
    // #unroll
    for (var a = 0u; a < SUMS; a++) {
        acc[a] = vec4<f32>(0.0);
    }
    if (share.carried) {
        // #unroll
        for (var r = 0u; r < ROWS; r++) {
            let row = share.item * params.queries + min(first_query + ty + TY * r, last_query);
            let at = row * params.stats_row + 2u * share.head;
            maximum[r / 4u][r % 4u] = raw_score(carry_stats[at], unit);
            sum[r / 4u][r % 4u] = select(0.0, carry_stats[at + 1u], tx == 0u);
            // #unroll
            for (var c = 0u; c < COLUMNS; c++) {
                let vector = first_vector + TX * c + tx;
                if (vector < params.v_vectors) {
                    acc[ROWS * c + r] = carry[row * params.y_row + share.head * params.v_vectors + vector];
                }
            }
        }
    }
    // #if FACTORED == 1
    // #unroll
    for (var r = 0u; r < ROWS; r++) {
        let query = min(first_query + ty + TY * r, last_query);
        tables[r] = table_rows(query);
        scales[r / 4u][r % 4u] = scale_of_row(share.q_item, query);
    }
    // #endif

    let slices = (params.qk_vectors + 3u) / 4u;
    var rows: array<u32, Q_LOADS>;
    var next_q: array<vec4<f32>, Q_LOADS>;
    var next_k: array<vec4<f32>, K_LOADS>;
    var next_v: array<vec4<f32>, V_LOADS>;
    // #unroll
    for (var i = 0u; i < Q_LOADS; i++) {
        let query = min(first_query + load_row + LOAD_STEP * i, last_query);
        rows[i] = (share.q_item * params.queries + query) * params.q_row + q_from;
        next_q[i] = load_q(rows[i], load_vector);
    }
    // #unroll
    for (var i = 0u; i < K_LOADS; i++) {
        next_k[i] = load_k(k_from, share.first_key + load_row + LOAD_STEP * i, load_vector);
    }
    for (var key = share.first_key; key < share.end_key; key += KEY_TILE) {
        // Keys of this tile.
        let keys = min(KEY_TILE, share.end_key - key);
        // 1. scores
        var score: array<vec4<f32>, SCORES>;
        // #unroll
        for (var i = 0u; i < SCORES; i++) {
            score[i] = vec4<f32>(0.0);
        }
        for (var s = 0u; s < slices; s++) {
            stage_rows(local, &next_q, &next_k);
            workgroupBarrier();
            let ends = s + 1u == slices;
            let vector = select(4u * s + 4u, 0u, ends) + load_vector;
            let next_key = select(key, key + KEY_TILE, ends) + load_row;
            // #unroll
            for (var i = 0u; i < Q_LOADS; i++) {
                next_q[i] = load_q(rows[i], vector);
            }
            // #unroll
            for (var i = 0u; i < K_LOADS; i++) {
                next_k[i] = load_k(k_from, next_key + LOAD_STEP * i, vector);
            }
            add_scores(tx, ty, min(4u, params.qk_vectors - 4u * s), &score);
            workgroupBarrier();
        }
        // 2. softmax
        if (FACTORED == 1u || share.masked || share.causal || keys < KEY_TILE) {
            // #unroll
            for (var j = 0u; j < KEYS_EACH; j++) {
                let in_tile = tx + TX * j;
                let real_key = min(key + in_tile, params.keys - 1u);
                // #unroll
                for (var g = 0u; g < GROUPS; g++) {
                    var s = score[GROUPS * j + g];
                    // #if FACTORED == 1
                    s += vec4<f32>(
                        table_score(share.item, tables[4u * g], real_key),
                        table_score(share.item, tables[4u * g + 1u], real_key),
                        table_score(share.item, tables[4u * g + 2u], real_key),
                        table_score(share.item, tables[4u * g + 3u], real_key),
                    );
                    s = s * scales[g] + table(share.item, params.constant_row + 1u, real_key);
                    // #endif
                    if (share.masked) {
                        s = select(vec4<f32>(MASKED_RAW), s, mask[share.item * params.mask_row + real_key] != 0.0);
                    }
                    if (share.causal) {
                        let query = first_query + ty + TY * (4u * g + vec4<u32>(0u, 1u, 2u, 3u));
                        s = select(vec4<f32>(MASKED_RAW), s, vec4<u32>(real_key) <= query);
                    }
                    score[GROUPS * j + g] = select(vec4<f32>(LOWEST_RAW), s, in_tile < keys);
                }
            }
        }
        store_maxima(tx, ty, &score);
        load_values(v_from, key + ty, first_vector + tx, &next_v);
        workgroupBarrier();
        var factor: array<vec4<f32>, GROUPS>;
        // #unroll
        for (var g = 0u; g < GROUPS; g++) {
            let most = row_maximum(TY * g + ty, maximum[g]);
            factor[g] = exp2((maximum[g] - most) * power);
            maximum[g] = most;
        }
        workgroupBarrier();
        // #unroll
        for (var g = 0u; g < GROUPS; g++) {
            var total = sum[g] * factor[g];
            let shift = -power * maximum[g];
            // #unroll
            for (var j = 0u; j < KEYS_EACH; j++) {
                let p = exp2(fma(score[GROUPS * j + g], vec4<f32>(power), shift));
                total += p;
                weight[(TY * g + ty) * WEIGHT_ROW + tx + TX * j] = p;
            }
            sum[g] = total;
        }
        // 3. context
        // #unroll
        for (var c = 0u; c < COLUMNS; c++) {
            // #unroll
            for (var g = 0u; g < GROUPS; g++) {
                acc[ROWS * c + 4u * g] *= factor[g].x;
                acc[ROWS * c + 4u * g + 1u] *= factor[g].y;
                acc[ROWS * c + 4u * g + 2u] *= factor[g].z;
                acc[ROWS * c + 4u * g + 3u] *= factor[g].w;
            }
        }
        // #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            if (c < chunks) {
                for (var part = 0u; part < PARTS; part++) {
                    stage_values(tx, ty, &next_v);
                    workgroupBarrier();
                    let ends = part + 1u == PARTS;
                    let row = key + select(part + 1u, 0u, ends) * VALUE_TILE + ty;
                    load_values(v_from, row, first_vector + select(c, c + 1u, ends) * CHUNK + tx, &next_v);
                    add_context(tx, ty, part, c, &acc);
                    workgroupBarrier();
                }
            }
        }
    }

    // The sums of all tx, in a fixed order.
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        weight[(TY * g + ty) * WEIGHT_ROW + tx] = sum[g];
    }
    workgroupBarrier();
    let out_item = (share.split * params.batch + share.item) * params.queries;
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        var total = vec4<f32>(0.0);
        for (var j = 0u; j < min(TX, TX * params.queries); j++) {
            total += weight[(TY * g + ty) * WEIGHT_ROW + j];
        }
        var inverse = vec4<f32>(1.0);
        if (share.store_result) {
            inverse = select(vec4<f32>(0.0), 1.0 / total, total > vec4<f32>(0.0));
        }
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            let query = first_query + ty + TY * (4u * g + i);
            if (query < params.queries) {
                // #unroll
                for (var c = 0u; c < COLUMNS; c++) {
                    let vector = first_vector + TX * c + tx;
                    if (vector < params.v_vectors) {
                        y[(out_item + query) * params.y_row + share.head * params.v_vectors + vector] =
                            to_y(acc[ROWS * c + 4u * g + i] * inverse[i]);
                    }
                }
                if (!share.store_result && tx == 0u && share.column_group == 0u) {
                    store_statistics(out_item + query, share.head, score_of_raw(maximum[g][i], unit), total[i]);
                }
            }
        }
    }
}
