// attention in larger blocks: 64 queries × 32 keys, within the default limit of workgroup memory.
//
// Algorithm. That of `attention/tiled`, with 256 invocations; invocation (tx, ty) computes queries ty + 16 i as the
// components of its vectors, keys tx and tx + 16 of a tile, and column vectors tx + 16 c:
//   1. scores: 16 channels of queries and keys at a time are in workgroup memory, the next 16 (at the end, the first
//      16 of the next tile of keys) on their way in registers; 4 × 2 products of vectors for every six loads;
//   2. softmax: the row maxima are exchanged where the probabilities then go;
//   3. context: 64 value columns at a time, the next 64 on their way in registers; four queries × one vector for
//      every load of a value and of the four queries' probabilities, which are one vector.
//
// Bindings: see `attention/common`.
// Workgroup bytes: 8 KiB (query and key slices, or value slice) + 8 KiB probabilities (before: maxima). Slices are
// kept channel by channel, rows of 66 and 34 vectors, so that neither the stores nor the loads of eight neighbouring
// invocations meet in a bank.
// Numerics: those of `attention/tiled`.

// #import common/dot
// #import attention/common

// Accumulator vectors of an invocation per query: value columns of a workgroup / 64.
const CHUNKS: u32 = 1u;
// Vectors from one channel of the slices to the next, and where keys begin.
const QUERY_ROW: u32 = 66u;
const KEY_ROW: u32 = 34u;
const KEYS_AT: u32 = 264u;

// Four vectors of 64 queries and of 32 keys, by vector; or 16 vectors of 32 values, by row.
var<workgroup> slice: array<vec4<f32>, 512>;
// Probabilities of a ty's four queries, by key.
var<workgroup> probability: array<vec4<f32>, 512>;

// A vector of a row of Q or K from this place on, zero beyond the head's channels.
fn load_q(row: u32, vector: u32) -> vec4<f32> {
    if (vector < params.qk_vectors) {
        return from_q(q[row + vector]);
    }
    return vec4<f32>(0.0);
}

fn load_k(first: u32, key: u32, vector: u32) -> vec4<f32> {
    if (vector < params.qk_vectors) {
        return from_k(k[first + min(key, params.keys - 1u) * params.k_row + vector]);
    }
    return vec4<f32>(0.0);
}

fn load_v(first: u32, key: u32, vector: u32) -> vec4<f32> {
    if (vector < params.v_vectors) {
        return from_v(v[first + min(key, params.keys - 1u) * params.v_row + vector]);
    }
    return vec4<f32>(0.0);
}

// What a key adds to the scores of four queries with these rows of the tables.
fn table_scores(item: u32, a: vec3<u32>, b: vec3<u32>, c: vec3<u32>, d: vec3<u32>, key: u32) -> vec4<f32> {
    return vec4<f32>(
        table_score(item, a, key),
        table_score(item, b, key),
        table_score(item, c, key),
        table_score(item, d, key),
    );
}

@compute @workgroup_size(256)
fn blocked(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let tx = local % 16u;
    let ty = local / 16u;
    // As a loader of slices.
    let load_row = local / 4u;
    let load_vector = local % 4u;
    let first_query = 64u * share.query_tile;
    let last_query = params.queries - 1u;

    let q_row = share.q_item * params.queries + min(first_query + load_row, last_query);
    let q_from = q_row * params.q_row
        + params.q_column + share.head * params.qk_vectors;
    let k_from = share.item * params.keys * params.k_row + params.k_column + share.head * params.qk_vectors;
    let v_from = share.item * params.keys * params.v_row + params.v_column + share.head * params.v_vectors;
    let first_vector = share.column_group * 16u * CHUNKS;
    // Chunks that there are: compilers do not know how many, so they do not write loops over them out.
    let chunks = min(CHUNKS, (params.v_vectors - first_vector + 15u) / 16u);

    // State of the four queries. The sums are partial: each tx has its own keys.
    let wanted = first_query + ty + vec4<u32>(0u, 16u, 32u, 48u);
    let query = min(wanted, vec4<u32>(last_query));
    var maximum = vec4<f32>(LOWEST);
    var sum = vec4<f32>(0.0);
    var acc: array<vec4<f32>, 4u * CHUNKS>;
    // #unroll
    for (var c = 0u; c < 4u * CHUNKS; c++) {
        acc[c] = vec4<f32>(0.0);
    }
    if (share.carried) {
        for (var i = 0u; i < min(4u, 4u * params.queries); i++) {
            let row = share.item * params.queries + query[i];
            let at = row * params.stats_row + 2u * share.head;
            maximum[i] = carry_stats[at];
            sum[i] = select(0.0, carry_stats[at + 1u], tx == 0u);
            for (var c = 0u; c < chunks; c++) {
                let vector = first_vector + 16u * c + tx;
                if (vector < params.v_vectors) {
                    let value = carry[row * params.y_row + share.head * params.v_vectors + vector];
                    // #unroll
                    for (var n = 0u; n < 4u * CHUNKS; n++) {
                        if (4u * c + i == n) {
                            acc[n] = value;
                        }
                    }
                }
            }
        }
    }
    var tables_a = vec3<u32>(0u);
    var tables_b = vec3<u32>(0u);
    var tables_c = vec3<u32>(0u);
    var tables_d = vec3<u32>(0u);
    var scales = vec4<f32>(params.scale);
    if (FACTORED == 1u) {
        tables_a = table_rows(query.x);
        tables_b = table_rows(query.y);
        tables_c = table_rows(query.z);
        tables_d = table_rows(query.w);
        scales = scales_of_rows(share.q_item, query);
    }

    let slices = (params.qk_vectors + 3u) / 4u;
    var next_q = load_q(q_from, load_vector);
    var next_k = load_k(k_from, share.first_key + load_row, load_vector);
    for (var key = share.first_key; key < share.end_key; key += 32u) {
        // Keys of this tile: compilers do not know how many, so they do not write loops over them out.
        let keys = min(32u, share.end_key - key);
        // 1. scores
        var score_a = vec4<f32>(0.0);
        var score_b = vec4<f32>(0.0);
        for (var s = 0u; s < slices; s++) {
            slice[load_vector * QUERY_ROW + load_row] = next_q;
            if (load_row < 32u) {
                slice[KEYS_AT + load_vector * KEY_ROW + load_row] = next_k;
            }
            workgroupBarrier();
            let ends = s + 1u == slices;
            let vector = select(4u * s + 4u, 0u, ends) + load_vector;
            next_q = load_q(q_from, vector);
            if (load_row < 32u) {
                next_k = load_k(k_from, select(key, key + 32u, ends) + load_row, vector);
            }
            for (var e = 0u; e < min(4u, params.qk_vectors - 4u * s); e++) {
                let a = slice[KEYS_AT + e * KEY_ROW + tx];
                let b = slice[KEYS_AT + e * KEY_ROW + tx + 16u];
                let q0 = slice[e * QUERY_ROW + ty];
                let q1 = slice[e * QUERY_ROW + ty + 16u];
                let q2 = slice[e * QUERY_ROW + ty + 32u];
                let q3 = slice[e * QUERY_ROW + ty + 48u];
                score_a = add_dots(q0, q1, q2, q3, a, score_a);
                score_b = add_dots(q0, q1, q2, q3, b, score_b);
            }
            workgroupBarrier();
        }
        // 2. softmax
        let key_a = min(key + tx, params.keys - 1u);
        let key_b = min(key + tx + 16u, params.keys - 1u);
        if (FACTORED == 1u) {
            score_a += table_scores(share.item, tables_a, tables_b, tables_c, tables_d, key_a);
            score_b += table_scores(share.item, tables_a, tables_b, tables_c, tables_d, key_b);
            score_a = score_a * scales + table(share.item, params.constant_row + 1u, key_a);
            score_b = score_b * scales + table(share.item, params.constant_row + 1u, key_b);
        } else {
            score_a *= params.scale;
            score_b *= params.scale;
        }
        if (share.masked) {
            let m = share.item * params.mask_row;
            score_a = select(vec4<f32>(MASKED), score_a, mask[m + key_a] != 0.0);
            score_b = select(vec4<f32>(MASKED), score_b, mask[m + key_b] != 0.0);
        }
        let inside_a = key + tx < share.end_key;
        let inside_b = key + tx + 16u < share.end_key;
        probability[32u * ty + tx] = max(
            select(vec4<f32>(LOWEST), score_a, inside_a),
            select(vec4<f32>(LOWEST), score_b, inside_b),
        );
        var next_a = load_v(v_from, key + ty, first_vector + tx);
        var next_b = load_v(v_from, key + ty + 16u, first_vector + tx);
        workgroupBarrier();
        var new_maximum = maximum;
        for (var j = 0u; j < min(16u, keys); j++) {
            new_maximum = max(new_maximum, probability[32u * ty + j]);
        }
        workgroupBarrier();
        let factor = exp(maximum - new_maximum);
        maximum = new_maximum;
        let p_a = select(vec4<f32>(0.0), exp(score_a - maximum), inside_a);
        let p_b = select(vec4<f32>(0.0), exp(score_b - maximum), inside_b);
        sum = sum * factor + (p_a + p_b);
        probability[32u * ty + tx] = p_a;
        probability[32u * ty + tx + 16u] = p_b;
        // 3. context
        for (var c = 0u; c < chunks; c++) {
            slice[16u * ty + tx] = next_a;
            slice[16u * ty + 256u + tx] = next_b;
            workgroupBarrier();
            if (c + 1u < chunks) {
                let vector = first_vector + 16u * c + 16u + tx;
                next_a = load_v(v_from, key + ty, vector);
                next_b = load_v(v_from, key + ty + 16u, vector);
            }
            var a0 = vec4<f32>(0.0);
            var a1 = vec4<f32>(0.0);
            var a2 = vec4<f32>(0.0);
            var a3 = vec4<f32>(0.0);
            for (var j = 0u; j < keys; j += 4u) {
                // #unroll
                for (var u = 0u; u < 4u; u++) {
                    let p = probability[32u * ty + j + u];
                    let value = slice[16u * (j + u) + tx];
                    a0 += p.x * value;
                    a1 += p.y * value;
                    a2 += p.z * value;
                    a3 += p.w * value;
                }
            }
            // #unroll
            for (var n = 0u; n < CHUNKS; n++) {
                if (c == n) {
                    acc[4u * n] = acc[4u * n] * factor.x + a0;
                    acc[4u * n + 1u] = acc[4u * n + 1u] * factor.y + a1;
                    acc[4u * n + 2u] = acc[4u * n + 2u] * factor.z + a2;
                    acc[4u * n + 3u] = acc[4u * n + 3u] * factor.w + a3;
                }
            }
            workgroupBarrier();
        }
    }

    // The sums of all tx, in a fixed order.
    probability[32u * ty + tx] = sum;
    workgroupBarrier();
    var total = vec4<f32>(0.0);
    for (var j = 0u; j < min(16u, 16u * params.queries); j++) {
        total += probability[32u * ty + j];
    }
    var inverse = vec4<f32>(1.0);
    if (share.store_result) {
        inverse = select(vec4<f32>(0.0), 1.0 / total, total > vec4<f32>(0.0));
    }
    let out_item = (share.split * params.batch + share.item) * params.queries;
    for (var i = 0u; i < min(4u, 4u * params.queries); i++) {
        if (wanted[i] < params.queries) {
            for (var c = 0u; c < chunks; c++) {
                var sums = vec4<f32>(0.0);
                // #unroll
                for (var n = 0u; n < 4u * CHUNKS; n++) {
                    if (4u * c + i == n) {
                        sums = acc[n];
                    }
                }
                let vector = first_vector + 16u * c + tx;
                if (vector < params.v_vectors) {
                    y[(out_item + wanted[i]) * params.y_row + share.head * params.v_vectors + vector] =
                        to_y(sums * inverse[i]);
                }
            }
            if (!share.store_result && tx == 0u && share.column_group == 0u) {
                store_statistics(out_item + wanted[i], share.head, maximum[i], total[i]);
            }
        }
    }
}
