// attention, for software adapters: softmax attention with online softmax, without workgroup memory or barriers.
//
// Algorithm. The lanes of a workgroup are the slots of one CPU vector, or half of them. A lane computes four
// neighbouring queries, as the components of its vectors, so that no maximum or sum crosses lanes; the workgroup
// computes 4·LANES queries of one head of one item, a part of the keys (split) and all value columns. KEY_TILE keys at
// a time:
//   1. scores: every key's vector times four queries, onto the table entries of factored queries;
//   2. softmax: masks, maxima, exponentials;
//   3. context: four queries × one vector of value columns at a time; the accumulators are in y.
// The carried state joins at the end, as another part of the keys would.
// Software adapters load word by word and lane by lane, and their compilers write a branch for each word of each
// lane. So each lane loads the vector of one key and all lanes receive it from there, and what is done for each query
// is a loop. Without BROADCAST, for devices without subgroups, all lanes load all keys.
//
// Factored queries and bindings: see `attention/common`. Workgroup bytes: none.
// Numerics: those of `attention/tiled`, but y is not stored as f16, as it holds the accumulators.

// #import common/lanes
// #import attention/common

@compute @workgroup_size(LANES)
fn direct(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let last_query = params.queries - 1u;
    let last_key = params.keys - 1u;

    let wanted = 4u * (LANES * share.query_tile + local) + vec4<u32>(0u, 1u, 2u, 3u);
    let query = min(wanted, vec4<u32>(last_query));
    // Which of the queries exist.
    let real = wanted < vec4<u32>(params.queries);
    let q_at = (share.q_item * params.queries + query) * params.q_row + params.q_column + share.head * params.qk_vectors;
    let out_row = (share.split * params.batch + share.item) * params.queries + query;
    let y_at = out_row * params.y_row + share.head * params.v_vectors;
    var maximum = vec4<f32>(LOWEST);
    var sum = vec4<f32>(0.0);
    // #if FACTORED == 1
    // First elements of the tables' rows of the queries, and their scales.
    var table_a = vec4<u32>(0u);
    var table_b = table_a;
    var table_c = table_a;
    var scales = vec4<f32>(0.0);
    for (var e = 0u; e < 4u; e++) {
        let rows = (share.item * params.table_rows + table_rows(query[e])) * params.mask_row;
        table_a[e] = rows.x;
        table_b[e] = rows.y;
        table_c[e] = rows.z;
        scales[e] = scale_of_row(share.q_item, query[e]);
    }
    // #endif

    // Scores, then probabilities: components are queries.
    var s: array<vec4<f32>, KEY_TILE>;
    // One tile at least, as the first begins the accumulators.
    for (var key = share.first_key; key < max(share.end_key, share.first_key + 1u); key += KEY_TILE) {
        // 1. scores
        let k_head = params.k_column + share.head * params.qk_vectors;
        // #unroll
        for (var j = 0u; j < KEY_TILE; j++) {
            s[j] = vec4<f32>(0.0);
        }
        // #if FACTORED == 1
        for (var i = 0u; i < KEY_TILE; i++) {
            var part = vec4<f32>(0.0);
            for (var a = 0u; a < params.dimensions; a++) {
                let rows = select(select(table_c, table_b, a == 1u), table_a, a == 0u);
                part += gather(rows + min(key + i, last_key));
            }
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                s[j] = select(s[j], part, i == j);
            }
        }
        // #endif
        for (var d = 0u; d < params.qk_vectors; d++) {
            // Query columns d, d + 1, ..: the transpose costs nothing where components are registers.
            let qa = from_q(q[q_at.x + d]);
            let qb = from_q(q[q_at.y + d]);
            let qc = from_q(q[q_at.z + d]);
            let qd = from_q(q[q_at.w + d]);
            let c0 = vec4<f32>(qa.x, qb.x, qc.x, qd.x);
            let c1 = vec4<f32>(qa.y, qb.y, qc.y, qd.y);
            let c2 = vec4<f32>(qa.z, qb.z, qc.z, qd.z);
            let c3 = vec4<f32>(qa.w, qb.w, qc.w, qd.w);
            // #unroll
            for (var h = 0u; h < GROUPS; h++) {
                // #if BROADCAST == 1
                let own = load_k(share.item, key + LANES * h + local, k_head + d);
                // #endif
                // #unroll
                for (var j = 0u; j < LANES; j++) {
                    // #if BROADCAST == 1
                    let row = subgroupBroadcast(own, j);
                    // #else
                    let row = load_k(share.item, key + LANES * h + j, k_head + d);
                    // #endif
                    s[LANES * h + j] += row.x * c0 + row.y * c1 + row.z * c2 + row.w * c3;
                }
            }
        }
        // 2. softmax
        let before = maximum;
        // #unroll
        for (var h = 0u; h < GROUPS; h++) {
            // #if BROADCAST == 1
            let own = of_key(share, min(key + LANES * h + local, last_key));
            // #endif
            // #unroll
            for (var j = 0u; j < LANES; j++) {
                // #if BROADCAST == 1
                let add = subgroupBroadcast(own, j);
                // #else
                let add = of_key(share, min(key + LANES * h + j, last_key));
                // #endif
                // #if FACTORED == 1
                let score = (s[LANES * h + j] + add.x) * scales + add.y;
                // #else
                var keep = vec4<bool>(add.x != 0.0);
                if (share.causal) {
                    keep = keep & (vec4<u32>(key + LANES * h + j) <= query);
                }
                let score = select(vec4<f32>(MASKED), s[LANES * h + j] * params.scale, keep);
                // #endif
                s[LANES * h + j] = score;
                maximum = select(maximum, max(maximum, score), key + LANES * h + j < share.end_key);
            }
        }
        let factor = exp(before - maximum);
        var tile_sum = vec4<f32>(0.0);
        // #unroll
        for (var j = 0u; j < KEY_TILE; j++) {
            s[j] = select(vec4<f32>(0.0), exp(s[j] - maximum), key + j < share.end_key);
            tile_sum += s[j];
        }
        sum = sum * factor + tile_sum;
        // 3. context: one vector of queries per value column
        let v_head = params.v_column + share.head * params.v_vectors;
        for (var c = 0u; c < params.v_vectors; c++) {
            var o0 = vec4<f32>(0.0);
            var o1 = vec4<f32>(0.0);
            var o2 = vec4<f32>(0.0);
            var o3 = vec4<f32>(0.0);
            // #unroll
            for (var h = 0u; h < GROUPS; h++) {
                // #if BROADCAST == 1
                let own = load_v(share.item, key + LANES * h + local, v_head + c);
                // #endif
                // #unroll
                for (var j = 0u; j < LANES; j++) {
                    // #if BROADCAST == 1
                    let row = subgroupBroadcast(own, j);
                    // #else
                    let row = load_v(share.item, key + LANES * h + j, v_head + c);
                    // #endif
                    let p = s[LANES * h + j];
                    o0 += row.x * p;
                    o1 += row.y * p;
                    o2 += row.z * p;
                    o3 += row.w * p;
                }
            }
            for (var e = 0u; e < 4u; e++) {
                let at = y_at[e] + c;
                let so_far = select(vec4<f32>(0.0), from_y(y[at]), key > share.first_key);
                if (real[e]) {
                    y[at] = to_y(so_far * factor[e] + vec4<f32>(o0[e], o1[e], o2[e], o3[e]));
                }
            }
        }
    }

    // The carried state, and the end.
    for (var e = 0u; e < 4u; e++) {
        let in_row = share.item * params.queries + query[e];
        var other = vec2<f32>(LOWEST, 0.0);
        // #if FACTORED == 0
        if (share.carried) {
            let at = in_row * params.stats_row + 2u * share.head;
            other = vec2<f32>(carry_stats[at], carry_stats[at + 1u]);
        }
        // #endif
        let most = max(maximum[e], other.x);
        let factor = exp(vec2<f32>(maximum[e], other.x) - most);
        let total = dot(factor, vec2<f32>(sum[e], other.y));
        if (real[e]) {
            if (share.carried || share.store_result) {
                let inverse = select(1.0, select(0.0, 1.0 / total, total > 0.0), share.store_result);
                let carry_at = in_row * params.y_row + share.head * params.v_vectors;
                for (var c = 0u; c < params.v_vectors; c++) {
                    let at = y_at[e] + c;
                    var value = from_y(y[at]) * factor.x;
                    // #if FACTORED == 0
                    if (share.carried) {
                        value += carry[carry_at + c] * factor.y;
                    }
                    // #endif
                    y[at] = to_y(value * inverse);
                }
            }
            if (!share.store_result) {
                store_statistics(out_row[e], share.head, most, total);
            }
        }
    }
}

// A vector of a key's or a value's row; keys beyond the end repeat the last, and have no weight.
fn load_k(item: u32, key: u32, vector: u32) -> vec4<f32> {
    return from_k(k[(item * params.keys + min(key, params.keys - 1u)) * params.k_row + vector]);
}

fn load_v(item: u32, key: u32, vector: u32) -> vec4<f32> {
    return from_v(v[(item * params.keys + min(key, params.keys - 1u)) * params.v_row + vector]);
}

// What a key adds to all scores, before and after they are scaled, with factored queries; without, whether it is kept.
fn of_key(share: Share, key: u32) -> vec2<f32> {
    // #if FACTORED == 1
    return vec2<f32>(
        table(share.item, params.constant_row, key), table(share.item, params.constant_row + 1u, key),
    );
    // #else
    var keep = 1.0;
    if (share.masked) {
        keep = mask[share.item * params.mask_row + key];
    }
    return vec2<f32>(keep, 0.0);
    // #endif
}

// Four elements of the tables.
fn gather(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(table_element(at.x), table_element(at.y), table_element(at.z), table_element(at.w));
}
