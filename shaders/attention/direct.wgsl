// attention, for software adapters: softmax attention with online softmax, without workgroup memory or barriers.
//
// Algorithm. The lanes of a workgroup are the slots of one CPU vector. A lane computes four neighbouring queries, as
// the components of its vectors, so that no maximum or sum crosses lanes; the workgroup computes 32 queries of one
// head of one item, a part of the keys (split) and all value columns. KEY_TILE keys at a time:
//   1. scores: every key's vector times four queries;
//   2. softmax: masks, tables of factored queries, maxima, exponentials;
//   3. context: four queries × one vector of value columns at a time; the accumulators are in y.
// Software adapters load element by element and lane by lane, and what their compilers need grows faster than the
// number of loads in the text. So with BROADCAST, where a workgroup is one subgroup, each lane loads the vector of
// one key and all lanes receive it from there; otherwise every lane loads it from the same address. Step 2 is a loop
// over groups of eight keys for the same reason.
//
// Factored queries and bindings: see `attention/common`. Workgroup bytes: none.
// Numerics: those of `attention/tiled`, but y is not stored as f16, as it holds the accumulators.

// #import common/lanes
// #import attention/common

@compute @workgroup_size(8)
fn direct(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let last_query = params.queries - 1u;
    let last_key = params.keys - 1u;

    let wanted = 32u * share.query_tile + 4u * local + vec4<u32>(0u, 1u, 2u, 3u);
    let query = min(wanted, vec4<u32>(last_query));
    // Which of the queries exist.
    let real = wanted < vec4<u32>(params.queries);
    let q_at = (share.q_item * params.queries + query) * params.q_row + params.q_column + share.head * params.qk_vectors;
    let in_row = share.item * params.queries + query;
    let out_row = (share.split * params.batch + share.item) * params.queries + query;
    let y_at = out_row * params.y_row + share.head * params.v_vectors;
    var maximum = vec4<f32>(LOWEST);
    var sum = vec4<f32>(0.0);
    if (share.carried) {
        let at = in_row * params.stats_row + 2u * share.head;
        maximum = vec4<f32>(carry_stats[at.x], carry_stats[at.y], carry_stats[at.z], carry_stats[at.w]);
        sum = vec4<f32>(
            carry_stats[at.x + 1u], carry_stats[at.y + 1u], carry_stats[at.z + 1u], carry_stats[at.w + 1u],
        );
    }
    let carry_at = in_row * params.y_row + share.head * params.v_vectors;
    // #if FACTORED == 1
    // First elements of the tables' rows of the queries, and their scales.
    let rows_x = table_rows(query.x);
    let rows_y = table_rows(query.y);
    let rows_z = table_rows(query.z);
    let rows_w = table_rows(query.w);
    let first_table = vec4<u32>(share.item * params.table_rows);
    let table_a = (first_table + vec4<u32>(rows_x.x, rows_y.x, rows_z.x, rows_w.x)) * params.mask_row;
    let table_b = (first_table + vec4<u32>(rows_x.y, rows_y.y, rows_z.y, rows_w.y)) * params.mask_row;
    let table_c = (first_table + vec4<u32>(rows_x.z, rows_y.z, rows_z.z, rows_w.z)) * params.mask_row;
    let scales = scales_of_rows(share.q_item, query);
    // #endif

    // GROUPS, as there are queries; compilers do not know that, so they do not write the loops out.
    let groups = min(GROUPS, GROUPS * params.queries);
    // Scores, then probabilities: components are queries.
    var s: array<vec4<f32>, KEY_TILE>;
    // One tile at least, as the first begins the accumulators and the last ends them.
    for (var key = share.first_key; key < max(share.end_key, share.first_key + 1u); key += KEY_TILE) {
        // 1. scores
        let k_head = params.k_column + share.head * params.qk_vectors;
        // #unroll
        for (var j = 0u; j < KEY_TILE; j++) {
            s[j] = vec4<f32>(0.0);
        }
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
                let own = load_k(share.item, key + 8u * h + local, k_head + d);
                // #endif
                // #unroll
                for (var j = 0u; j < 8u; j++) {
                    // #if BROADCAST == 1
                    let row = subgroupBroadcast(own, j);
                    // #else
                    let row = load_k(share.item, key + 8u * h + j, k_head + d);
                    // #endif
                    s[8u * h + j] += row.x * c0 + row.y * c1 + row.z * c2 + row.w * c3;
                }
            }
        }
        // 2. softmax
        let before = maximum;
        for (var g = 0u; g < groups; g++) {
            var score: array<vec4<f32>, 8>;
            // #unroll
            for (var j = 0u; j < 8u; j++) {
                score[j] = s[j];
                // #unroll
                for (var h = 0u; h < GROUPS; h++) {
                    score[j] = select(score[j], s[8u * h + j], g == h);
                }
            }
            let at = key + 8u * g;
            // #if FACTORED == 1
            // #unroll
            for (var j = 0u; j < 8u; j++) {
                score[j] += table(share.item, params.constant_row, min(at + j, last_key));
            }
            for (var a = 0u; a < params.dimensions; a++) {
                let rows = select(select(table_c, table_b, a == 1u), table_a, a == 0u);
                // #unroll
                for (var j = 0u; j < 8u; j++) {
                    score[j] += gather(rows + min(at + j, last_key));
                }
            }
            // #unroll
            for (var j = 0u; j < 8u; j++) {
                score[j] = score[j] * scales + table(share.item, params.constant_row + 1u, min(at + j, last_key));
            }
            // #else
            // #unroll
            for (var j = 0u; j < 8u; j++) {
                score[j] *= params.scale;
            }
            // #endif
            if (share.masked) {
                // #unroll
                for (var j = 0u; j < 8u; j++) {
                    let keep = mask[share.item * params.mask_row + min(at + j, last_key)] != 0.0;
                    score[j] = select(vec4<f32>(MASKED), score[j], keep);
                }
            }
            // #unroll
            for (var j = 0u; j < 8u; j++) {
                maximum = select(maximum, max(maximum, score[j]), at + j < share.end_key);
                // #unroll
                for (var h = 0u; h < GROUPS; h++) {
                    s[8u * h + j] = select(s[8u * h + j], score[j], g == h);
                }
            }
        }
        let factor = exp(before - maximum);
        var tile_sum = vec4<f32>(0.0);
        for (var g = 0u; g < groups; g++) {
            // #unroll
            for (var j = 0u; j < 8u; j++) {
                var score = s[j];
                // #unroll
                for (var h = 0u; h < GROUPS; h++) {
                    score = select(score, s[8u * h + j], g == h);
                }
                let p = select(vec4<f32>(0.0), exp(score - maximum), key + 8u * g + j < share.end_key);
                tile_sum += p;
                // #unroll
                for (var h = 0u; h < GROUPS; h++) {
                    s[8u * h + j] = select(s[8u * h + j], p, g == h);
                }
            }
        }
        sum = sum * factor + tile_sum;
        var inverse = vec4<f32>(1.0);
        if (share.store_result && key + KEY_TILE >= share.end_key) {
            inverse = select(vec4<f32>(0.0), 1.0 / sum, sum > vec4<f32>(0.0));
        }
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
                let own = load_v(share.item, key + 8u * h + local, v_head + c);
                // #endif
                // #unroll
                for (var j = 0u; j < 8u; j++) {
                    // #if BROADCAST == 1
                    let row = subgroupBroadcast(own, j);
                    // #else
                    let row = load_v(share.item, key + 8u * h + j, v_head + c);
                    // #endif
                    let p = s[8u * h + j];
                    o0 += row.x * p;
                    o1 += row.y * p;
                    o2 += row.z * p;
                    o3 += row.w * p;
                }
            }
            let at = y_at + c;
            var a = vec4<f32>(0.0);
            var b = vec4<f32>(0.0);
            var d = vec4<f32>(0.0);
            var e = vec4<f32>(0.0);
            if (key > share.first_key) {
                a = from_y(y[at.x]);
                b = from_y(y[at.y]);
                d = from_y(y[at.z]);
                e = from_y(y[at.w]);
            } else if (share.carried) {
                a = carry[carry_at.x + c];
                b = carry[carry_at.y + c];
                d = carry[carry_at.z + c];
                e = carry[carry_at.w + c];
            }
            store4(
                at, real,
                (a * factor.x + vec4<f32>(o0.x, o1.x, o2.x, o3.x)) * inverse.x,
                (b * factor.y + vec4<f32>(o0.y, o1.y, o2.y, o3.y)) * inverse.y,
                (d * factor.z + vec4<f32>(o0.z, o1.z, o2.z, o3.z)) * inverse.z,
                (e * factor.w + vec4<f32>(o0.w, o1.w, o2.w, o3.w)) * inverse.w,
            );
        }
    }

    if (!share.store_result) {
        for (var e = 0u; e < min(4u, params.queries); e++) {
            if (real[e]) {
                store_statistics(out_row[e], share.head, maximum[e], sum[e]);
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

// Four elements of the tables.
fn gather(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(table_element(at.x), table_element(at.y), table_element(at.z), table_element(at.w));
}

// Stores one vector of each of four rows that exist.
fn store4(at: vec4<u32>, real: vec4<bool>, a0: vec4<f32>, a1: vec4<f32>, a2: vec4<f32>, a3: vec4<f32>) {
    if (real.x) {
        y[at.x] = to_y(a0);
    }
    if (real.y) {
        y[at.y] = to_y(a1);
    }
    if (real.z) {
        y[at.z] = to_y(a2);
    }
    if (real.w) {
        y[at.w] = to_y(a3);
    }
}
