// attention: softmax attention with online softmax; the score matrix exists only as one tile.
//
// Algorithm (flash attention with a spread accumulator). 256 invocations compute 32 queries of one head of one item,
// up to 64·CHUNKS value columns and a part of the keys (split). For each tile of 32 keys:
//   1. scores: the head's channels pass through workgroup memory 32 at a time, as in a GEMM; an invocation computes
//      queries ty, ty + 16 and keys tx, tx + 16;
//   2. the row maximum is exchanged, the scores become probabilities in workgroup memory, the accumulators are
//      rescaled;
//   3. context: 64 value columns at a time; an invocation computes its two queries × one vector per 64 columns, so
//      that the 32 × d_v accumulator is spread over the registers of the workgroup.
// Loops around loads of workgroup memory stay loops, as some compilers need time that grows faster than the number of
// loads in the text.
//
// Bindings and factored queries: see `attention/common`.
// Workgroup bytes: 8 KiB (query and key slices, or value slice) + 4 KiB probabilities + 2 KiB maxima.
// Numerics: f32. q, k, v and the result may be stored as f16 (a variant's choice), states never. Masked keys get the
// finite score -1e30, the running maximum starts at -3e38; no infinity or NaN is relied on. Keys beyond the end have
// weight exactly zero. Sums of a tile are made before they join the sums so far: 182,528 keys one by one would cost
// 50 times the rounding error.

// #import common/dot
// #import attention/common

// Accumulator vectors of an invocation per query: value columns of a workgroup / 64.
const CHUNKS: u32 = 1u;
// Vectors of channels that are multiplied without a loop.
const DEPTH: u32 = 2u;

// Queries 0..256 and keys 256..512 while scores are made, values 0..512 after.
var<workgroup> slice: array<vec4<f32>, 512>;
// Probabilities, 32 keys per query.
var<workgroup> probability: array<f32, 1024>;
// One value per query and tx.
var<workgroup> exchange: array<f32, 512>;

@compute @workgroup_size(256)
fn tiled(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let tx = local % 16u;
    let ty = local / 16u;
    let first_query = 32u * share.query_tile;
    let last_query = params.queries - 1u;

    let q_head = params.q_column + share.head * params.qk_vectors;
    let k_head = params.k_column + share.head * params.qk_vectors;
    let v_head = params.v_column + share.head * params.v_vectors;
    let first_vector = share.column_group * 16u * CHUNKS;
    // Chunks that there are: compilers do not know how many, so they do not write loops over them out.
    let chunks = min(CHUNKS, (params.v_vectors - first_vector + 15u) / 16u);

    // State of queries ty and ty + 16. The sums are partial: each tx has its own keys.
    var maximum = vec2<f32>(LOWEST);
    var sum = vec2<f32>(0.0);
    var acc: array<vec4<f32>, 2u * CHUNKS>;
    // #unroll
    for (var c = 0u; c < 2u * CHUNKS; c++) {
        acc[c] = vec4<f32>(0.0);
    }
    let row_a = share.item * params.queries + min(first_query + ty, last_query);
    let row_b = share.item * params.queries + min(first_query + ty + 16u, last_query);
    if (share.carried) {
        let a = row_a * params.stats_row + 2u * share.head;
        let b = row_b * params.stats_row + 2u * share.head;
        maximum = vec2<f32>(carry_stats[a], carry_stats[b]);
        if (tx == 0u) {
            sum = vec2<f32>(carry_stats[a + 1u], carry_stats[b + 1u]);
        }
        for (var c = 0u; c < chunks; c++) {
            let vector = first_vector + 16u * c + tx;
            if (vector < params.v_vectors) {
                let a = carry[row_a * params.y_row + share.head * params.v_vectors + vector];
                let b = carry[row_b * params.y_row + share.head * params.v_vectors + vector];
                // #unroll
                for (var n = 0u; n < CHUNKS; n++) {
                    if (c == n) {
                        acc[2u * n] = a;
                        acc[2u * n + 1u] = b;
                    }
                }
            }
        }
    }

    var tables_a = vec3<u32>(0u);
    var tables_b = vec3<u32>(0u);
    var scales = vec2<f32>(params.scale);
    if (FACTORED == 1u) {
        let a = min(first_query + ty, last_query);
        let b = min(first_query + ty + 16u, last_query);
        tables_a = table_rows(a);
        tables_b = table_rows(b);
        scales = vec2<f32>(scale_of_row(share.q_item, a), scale_of_row(share.q_item, b));
    }

    let load_row = local / 8u;
    let load_vector = local % 8u;
    let q_row = share.q_item * params.queries + min(first_query + load_row, last_query);
    let q_from = q_row * params.q_row + q_head;

    for (var key = share.first_key; key < share.end_key; key += 32u) {
        // Keys of this tile: compilers do not know how many, so they do not write loops over them out.
        let keys = min(32u, share.end_key - key);
        // 1. scores
        let k_from = (share.item * params.keys + min(key + load_row, params.keys - 1u)) * params.k_row + k_head;
        var s00 = 0.0;
        var s01 = 0.0;
        var s10 = 0.0;
        var s11 = 0.0;
        for (var d = 0u; d < params.qk_vectors; d += 8u) {
            var qv = vec4<f32>(0.0);
            var kv = vec4<f32>(0.0);
            if (d + load_vector < params.qk_vectors) {
                qv = from_q(q[q_from + d + load_vector]);
                kv = from_k(k[k_from + d + load_vector]);
            }
            // Rows of eight vectors, rotated so that neighbouring rows begin in other banks.
            let at = load_row * 8u + (load_vector + load_row) % 8u;
            slice[at] = qv;
            slice[256u + at] = kv;
            workgroupBarrier();
            let vectors = min(8u, params.qk_vectors - d);
            for (var first_e = 0u; first_e < vectors; first_e += DEPTH) {
                // #unroll
                for (var u = 0u; u < DEPTH; u++) {
                    let e = first_e + u;
                    let qa = slice[ty * 8u + (e + ty) % 8u];
                    let qb = slice[(ty + 16u) * 8u + (e + ty) % 8u];
                    let ka = slice[256u + tx * 8u + (e + tx) % 8u];
                    let kb = slice[256u + (tx + 16u) * 8u + (e + tx) % 8u];
                    s00 = add_dot(qa, ka, s00);
                    s01 = add_dot(qa, kb, s01);
                    s10 = add_dot(qb, ka, s10);
                    s11 = add_dot(qb, kb, s11);
                }
            }
            workgroupBarrier();
        }
        // 2. softmax
        let key_a = key + tx;
        let key_b = key + tx + 16u;
        var score_a = vec2<f32>(s00, s10);
        var score_b = vec2<f32>(s01, s11);
        if (FACTORED == 1u) {
            let a = min(key_a, params.keys - 1u);
            let b = min(key_b, params.keys - 1u);
            score_a += vec2<f32>(table_score(share.item, tables_a, a), table_score(share.item, tables_b, a));
            score_b += vec2<f32>(table_score(share.item, tables_a, b), table_score(share.item, tables_b, b));
            score_a = score_a * scales + table(share.item, params.constant_row + 1u, a);
            score_b = score_b * scales + table(share.item, params.constant_row + 1u, b);
        } else {
            score_a *= params.scale;
            score_b *= params.scale;
        }
        if (share.masked) {
            let m = share.item * params.mask_row;
            if (mask[m + min(key_a, params.keys - 1u)] == 0.0) {
                score_a = vec2<f32>(MASKED);
            }
            if (mask[m + min(key_b, params.keys - 1u)] == 0.0) {
                score_b = vec2<f32>(MASKED);
            }
        }
        let inside_a = key_a < share.end_key;
        let inside_b = key_b < share.end_key;
        let own = max(select(vec2<f32>(LOWEST), score_a, inside_a), select(vec2<f32>(LOWEST), score_b, inside_b));
        exchange[ty * 16u + tx] = own.x;
        exchange[(ty + 16u) * 16u + tx] = own.y;
        workgroupBarrier();
        var new_maximum = maximum;
        for (var i = 0u; i < min(16u, keys); i++) {
            new_maximum.x = max(new_maximum.x, exchange[ty * 16u + i]);
            new_maximum.y = max(new_maximum.y, exchange[(ty + 16u) * 16u + i]);
        }
        let factor = exp(maximum - new_maximum);
        maximum = new_maximum;
        let p_a = select(vec2<f32>(0.0), exp(score_a - maximum), inside_a);
        let p_b = select(vec2<f32>(0.0), exp(score_b - maximum), inside_b);
        sum = sum * factor + (p_a + p_b);
        probability[ty * 32u + tx] = p_a.x;
        probability[ty * 32u + tx + 16u] = p_b.x;
        probability[(ty + 16u) * 32u + tx] = p_a.y;
        probability[(ty + 16u) * 32u + tx + 16u] = p_b.y;
        // 3. context
        for (var c = 0u; c < chunks; c++) {
            // 512 vectors, two loads each: keys ty and ty + 16, vector tx.
            let vector = first_vector + 16u * c + tx;
            var va = vec4<f32>(0.0);
            var vb = vec4<f32>(0.0);
            if (vector < params.v_vectors) {
                let base = share.item * params.keys;
                va = from_v(v[(base + min(key + ty, params.keys - 1u)) * params.v_row + v_head + vector]);
                vb = from_v(v[(base + min(key + ty + 16u, params.keys - 1u)) * params.v_row + v_head + vector]);
            }
            slice[ty * 16u + tx] = va;
            slice[(ty + 16u) * 16u + tx] = vb;
            workgroupBarrier();
            var a = vec4<f32>(0.0);
            var b = vec4<f32>(0.0);
            for (var j = 0u; j < keys; j += 4u) {
                // #unroll
                for (var i = 0u; i < 4u; i++) {
                    let value = slice[(j + i) * 16u + tx];
                    a += probability[ty * 32u + j + i] * value;
                    b += probability[(ty + 16u) * 32u + j + i] * value;
                }
            }
            // #unroll
            for (var n = 0u; n < CHUNKS; n++) {
                if (c == n) {
                    acc[2u * n] = acc[2u * n] * factor.x + a;
                    acc[2u * n + 1u] = acc[2u * n + 1u] * factor.y + b;
                }
            }
            workgroupBarrier();
        }
    }

    // The sums of all tx, in a fixed order.
    exchange[ty * 16u + tx] = sum.x;
    exchange[(ty + 16u) * 16u + tx] = sum.y;
    workgroupBarrier();
    var total = vec2<f32>(0.0);
    for (var i = 0u; i < min(16u, 16u * params.queries); i++) {
        total += vec2<f32>(exchange[ty * 16u + i], exchange[(ty + 16u) * 16u + i]);
    }
    var inverse = vec2<f32>(1.0);
    if (share.store_result) {
        inverse = select(vec2<f32>(0.0), 1.0 / total, total > vec2<f32>(0.0));
    }
    let out_item = (share.split * params.batch + share.item) * params.queries;
    for (var r = 0u; r < min(2u, 2u * params.queries); r++) {
        let query = first_query + ty + 16u * r;
        let scale = select(inverse.x, inverse.y, r == 1u);
        if (query < params.queries) {
            for (var c = 0u; c < chunks; c++) {
                var sums = vec4<f32>(0.0);
                // #unroll
                for (var n = 0u; n < CHUNKS; n++) {
                    if (c == n) {
                        sums = select(acc[2u * n], acc[2u * n + 1u], r == 1u);
                    }
                }
                let vector = first_vector + 16u * c + tx;
                if (vector < params.v_vectors) {
                    y[(out_item + query) * params.y_row + share.head * params.v_vectors + vector] = to_y(sums * scale);
                }
            }
            if (!share.store_result && tx == 0u && share.column_group == 0u) {
                store_statistics(
                    out_item + query, share.head, select(maximum.x, maximum.y, r == 1u), select(total.x, total.y, r == 1u),
                );
            }
        }
    }
}
