// attention: softmax attention with online softmax; the score matrix exists only as one tile.
//
// Algorithm (flash attention with a spread accumulator), two entry points.
//   tiled   256 invocations. A workgroup owns 32 queries of one batch item
// and head, a share of the keys (split) and up to 64·CHUNKS value columns. For each tile of 32 keys:
//   1. scores: the head's channels pass through workgroup memory 32 at a time, as in a GEMM; an
//      invocation owns queries ty, ty + 16 and keys tx, tx + 16;
//   2. the row maximum is exchanged, the scores become probabilities in workgroup memory, the
//      accumulators are rescaled;
//   3. context: 64 value columns at a time; an invocation owns its two queries × one vector per
//      64 columns, so that the 32 × d_v accumulator is spread over the registers of the workgroup.
//   direct  LANES invocations, no workgroup memory, no barrier, for software adapters, whose lanes are
//           the slots of one CPU vector. A lane owns QUERY_VECTORS times four neighbouring
//           queries, as the components of its vectors. Keys and values are read at addresses that are uniform
//           over the workgroup, KEY_TILE rows at a time; no maximum or sum ever crosses lanes. The
//           accumulators live in y.
// Factored queries (decoders whose queries are content, table rows of a grid position and a constant):
// scores get one table entry per axis and key, the row's scale and a number per key.
// Head widths need not be powers of two: rows are padded with zeros to four, channels beyond are
// loaded as zeros.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        q            [batch or 1, queries, ..] as vectors of four
//   2 read        k            [batch, keys, ..] as vectors of four
//   3 read        v            [batch, keys, ..] as vectors of four
//   4 read        mask         [batch, 1, keys] as f32, non-zero keeps; or anything when absent;
//                              factored queries: their row scales [batch, 1, queries]
//   5 read        carry        accumulators so far [batch, queries, heads·pad(d_v)] as vectors of four;
//                              factored queries: tables [batch, table_rows, keys]
//   6 read        carry_stats  [batch, queries, 2·heads] as f32; factored queries: points [queries, 1]
//   7 read_write  y            [splits·batch, queries, heads·pad(d_v)] as vectors of four
//   8 read_write  y_stats      [splits·batch, queries, 2·heads] as f32, written unless result is stored
//
// Workgroup bytes: tiled 8 KiB (query and key slices, or value slice) + 4 KiB probabilities + 2 KiB
// maxima; direct none.
//
// Numerics: f32. q, k, v and the result may be stored as halves (a variant's choice), states never.
// The accumulators of `direct` live in y, so there y is f32. Masked keys get the finite score -1e30, the running maximum starts at -3e38; no
// infinity or NaN is relied on. Keys beyond the end have weight exactly zero. Sums of a tile are made
// before they join the sums so far: 182,528 keys one by one would cost 50 times the rounding error.

// #import common/attention

// Accumulator vectors of an invocation per query: value columns of a workgroup / 64.
const CHUNKS: u32 = 1u;
// Keys per tile, and vectors of four queries of one lane (direct).
const KEY_TILE: u32 = 8u;
const QUERY_VECTORS: u32 = 1u;

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

// Queries 0..256 and keys 256..512 while scores are made, values 0..512 after.
var<workgroup> slice: array<vec4<f32>, 512>;
// Probabilities, 32 keys per query.
var<workgroup> probability: array<f32, 1024>;
// One value per query and tx.
var<workgroup> exchange: array<f32, 512>;

@compute @workgroup_size(256)
fn tiled(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let head = share.head;
    let item = share.item;
    let split = share.split;

    let tx = local % 16u;
    let ty = local / 16u;
    let first_query = 32u * share.query_tile;
    let last_query = params.queries - 1u;
    let first_key = split * params.split_keys;
    let end_key = min(first_key + params.split_keys, params.keys);
    let shared_queries = (params.flags & 1u) != 0u;
    let masked = (params.flags & 2u) != 0u;
    let carried = (params.flags & 4u) != 0u && split == 0u;
    let store_result = (params.flags & 8u) != 0u;

    let q_item = select(item, 0u, shared_queries) * params.queries;
    let q_head = params.q_column + head * params.qk_vectors;
    let k_head = params.k_column + head * params.qk_vectors;
    let v_head = params.v_column + head * params.v_vectors;
    let first_vector = share.column_group * 16u * CHUNKS;

    // State of queries ty and ty + 16. The sums are partial: each tx has its own keys.
    var maximum = vec2<f32>(LOWEST);
    var sum = vec2<f32>(0.0);
    var acc: array<vec4<f32>, 2u * CHUNKS>;
    // #unroll
    for (var c = 0u; c < 2u * CHUNKS; c++) {
        acc[c] = vec4<f32>(0.0);
    }
    let row_a = item * params.queries + min(first_query + ty, last_query);
    let row_b = item * params.queries + min(first_query + ty + 16u, last_query);
    if (carried) {
        let a = row_a * params.stats_row + 2u * head;
        let b = row_b * params.stats_row + 2u * head;
        maximum = vec2<f32>(carry_stats[a], carry_stats[b]);
        if (tx == 0u) {
            sum = vec2<f32>(carry_stats[a + 1u], carry_stats[b + 1u]);
        }
        // #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            let vector = first_vector + 16u * c + tx;
            if (vector < params.v_vectors) {
                acc[2u * c] = carry[row_a * params.y_row + head * params.v_vectors + vector];
                acc[2u * c + 1u] = carry[row_b * params.y_row + head * params.v_vectors + vector];
            }
        }
    }

    let factored = (params.flags & 16u) != 0u;
    var tables_a = vec3<u32>(0u);
    var tables_b = vec3<u32>(0u);
    var scales = vec2<f32>(params.scale);
    if (factored) {
        let a = min(first_query + ty, last_query);
        let b = min(first_query + ty + 16u, last_query);
        tables_a = table_rows(a);
        tables_b = table_rows(b);
        let scale_item = select(item, 0u, shared_queries) * params.scale_row;
        scales = vec2<f32>(mask[scale_item + a], mask[scale_item + b]);
    }

    let load_row = local / 8u;
    let load_vector = local % 8u;
    let q_from = (q_item + min(first_query + load_row, last_query)) * params.q_row + q_head;

    for (var key = first_key; key < end_key; key += 32u) {
        // 1. scores
        let k_from = (item * params.keys + min(key + load_row, params.keys - 1u)) * params.k_row + k_head;
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
            // #unroll
            for (var e = 0u; e < 8u; e++) {
                let qa = slice[ty * 8u + (e + ty) % 8u];
                let qb = slice[(ty + 16u) * 8u + (e + ty) % 8u];
                let ka = slice[256u + tx * 8u + (e + tx) % 8u];
                let kb = slice[256u + (tx + 16u) * 8u + (e + tx) % 8u];
                s00 += dot(qa, ka);
                s01 += dot(qa, kb);
                s10 += dot(qb, ka);
                s11 += dot(qb, kb);
            }
            workgroupBarrier();
        }
        // 2. softmax
        let key_a = key + tx;
        let key_b = key + tx + 16u;
        var score_a = vec2<f32>(s00, s10);
        var score_b = vec2<f32>(s01, s11);
        if (factored) {
            let a = min(key_a, params.keys - 1u);
            let b = min(key_b, params.keys - 1u);
            score_a += vec2<f32>(table_score(item, tables_a, a), table_score(item, tables_b, a));
            score_b += vec2<f32>(table_score(item, tables_a, b), table_score(item, tables_b, b));
            score_a = score_a * scales + table(item, params.constant_row + 1u, a);
            score_b = score_b * scales + table(item, params.constant_row + 1u, b);
        } else {
            score_a *= params.scale;
            score_b *= params.scale;
        }
        if (masked) {
            let m = item * params.mask_row;
            if (mask[m + min(key_a, params.keys - 1u)] == 0.0) {
                score_a = vec2<f32>(MASKED);
            }
            if (mask[m + min(key_b, params.keys - 1u)] == 0.0) {
                score_b = vec2<f32>(MASKED);
            }
        }
        let inside_a = key_a < end_key;
        let inside_b = key_b < end_key;
        let own = max(
            select(vec2<f32>(LOWEST), score_a, inside_a),
            select(vec2<f32>(LOWEST), score_b, inside_b),
        );
        exchange[ty * 16u + tx] = own.x;
        exchange[(ty + 16u) * 16u + tx] = own.y;
        workgroupBarrier();
        var new_maximum = maximum;
        for (var i = 0u; i < 16u; i++) {
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
        // #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            // 512 vectors, two loads each: keys ty and ty + 16, vector tx.
            let vector = first_vector + 16u * c + tx;
            var va = vec4<f32>(0.0);
            var vb = vec4<f32>(0.0);
            if (vector < params.v_vectors) {
                let base = item * params.keys;
                va = from_v(v[(base + min(key + ty, params.keys - 1u)) * params.v_row + v_head + vector]);
                vb = from_v(v[(base + min(key + ty + 16u, params.keys - 1u)) * params.v_row + v_head + vector]);
            }
            slice[ty * 16u + tx] = va;
            slice[(ty + 16u) * 16u + tx] = vb;
            workgroupBarrier();
            var a = vec4<f32>(0.0);
            var b = vec4<f32>(0.0);
            for (var j = 0u; j < 32u; j += 4u) {
                // #unroll
                for (var i = 0u; i < 4u; i++) {
                    let value = slice[(j + i) * 16u + tx];
                    a += probability[ty * 32u + j + i] * value;
                    b += probability[(ty + 16u) * 32u + j + i] * value;
                }
            }
            acc[2u * c] = acc[2u * c] * factor.x + a;
            acc[2u * c + 1u] = acc[2u * c + 1u] * factor.y + b;
            workgroupBarrier();
        }
    }

    // The sums of all tx, in a fixed order.
    exchange[ty * 16u + tx] = sum.x;
    exchange[(ty + 16u) * 16u + tx] = sum.y;
    workgroupBarrier();
    var total = vec2<f32>(0.0);
    for (var i = 0u; i < 16u; i++) {
        total += vec2<f32>(exchange[ty * 16u + i], exchange[(ty + 16u) * 16u + i]);
    }
    var inverse = vec2<f32>(1.0);
    if (store_result) {
        inverse = select(vec2<f32>(0.0), 1.0 / total, total > vec2<f32>(0.0));
    }
    let out_item = (split * params.batch + item) * params.queries;
    // #unroll
    for (var r = 0u; r < 2u; r++) {
        let query = first_query + ty + 16u * r;
        if (query < params.queries) {
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                let vector = first_vector + 16u * c + tx;
                if (vector < params.v_vectors) {
                    y[(out_item + query) * params.y_row + head * params.v_vectors + vector] =
                        to_y(acc[2u * c + r] * inverse[r]);
                }
            }
            if (!store_result && tx == 0u && share.column_group == 0u) {
                store_statistics(out_item + query, head, maximum[r], total[r]);
            }
        }
    }
}

@compute @workgroup_size(8)
fn direct(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let head = share.head;
    let item = share.item;
    let split = share.split;

    let first_query = 32u * QUERY_VECTORS * share.query_tile + 4u * local;
    let last_query = params.queries - 1u;
    let first_key = split * params.split_keys;
    let end_key = min(first_key + params.split_keys, params.keys);
    let last_key = params.keys - 1u;
    let masked = (params.flags & 2u) != 0u;
    let carried = (params.flags & 4u) != 0u && split == 0u;
    let store_result = (params.flags & 8u) != 0u;

    let q_item = select(item, 0u, (params.flags & 1u) != 0u) * params.queries;
    let q_head = params.q_column + head * params.qk_vectors;
    let y_head = head * params.v_vectors;
    // Rows of Q, of the carried state and of y.
    var q_at: array<vec4<u32>, QUERY_VECTORS>;
    var in_row: array<vec4<u32>, QUERY_VECTORS>;
    var out_row: array<vec4<u32>, QUERY_VECTORS>;
    // Which of the queries exist.
    var real: array<vec4<bool>, QUERY_VECTORS>;
    var maximum: array<vec4<f32>, QUERY_VECTORS>;
    var factor: array<vec4<f32>, QUERY_VECTORS>;
    var sum: array<vec4<f32>, QUERY_VECTORS>;
    var tile_sum: array<vec4<f32>, QUERY_VECTORS>;
    let factored = (params.flags & 16u) != 0u;
    // First elements of the tables' rows, and scales, of the queries.
    var table_a: array<vec4<u32>, QUERY_VECTORS>;
    var table_b: array<vec4<u32>, QUERY_VECTORS>;
    var table_c: array<vec4<u32>, QUERY_VECTORS>;
    var scales: array<vec4<f32>, QUERY_VECTORS>;
    // #unroll
    for (var i = 0u; i < QUERY_VECTORS; i++) {
        let wanted = first_query + 32u * i + vec4<u32>(0u, 1u, 2u, 3u);
        let query = min(wanted, vec4<u32>(last_query));
        real[i] = wanted < vec4<u32>(params.queries);
        scales[i] = vec4<f32>(params.scale);
        if (factored) {
            let x = table_rows(query.x);
            let y = table_rows(query.y);
            let z = table_rows(query.z);
            let w = table_rows(query.w);
            let first = vec4<u32>(item * params.table_rows);
            table_a[i] = (first + vec4<u32>(x.x, y.x, z.x, w.x)) * params.mask_row;
            table_b[i] = (first + vec4<u32>(x.y, y.y, z.y, w.y)) * params.mask_row;
            table_c[i] = (first + vec4<u32>(x.z, y.z, z.z, w.z)) * params.mask_row;
            let s = vec4<u32>(select(item, 0u, (params.flags & 1u) != 0u) * params.scale_row) + query;
            scales[i] = vec4<f32>(mask[s.x], mask[s.y], mask[s.z], mask[s.w]);
        }
        q_at[i] = (q_item + query) * params.q_row + q_head;
        in_row[i] = item * params.queries + query;
        out_row[i] = (split * params.batch + item) * params.queries + query;
        maximum[i] = vec4<f32>(LOWEST);
        sum[i] = vec4<f32>(0.0);
        if (carried) {
            let at = in_row[i] * params.stats_row + 2u * head;
            maximum[i] = vec4<f32>(
                carry_stats[at.x], carry_stats[at.y], carry_stats[at.z], carry_stats[at.w],
            );
            sum[i] = vec4<f32>(
                carry_stats[at.x + 1u], carry_stats[at.y + 1u],
                carry_stats[at.z + 1u], carry_stats[at.w + 1u],
            );
        }
        let carry_at = in_row[i] * params.y_row + y_head;
        let at = out_row[i] * params.y_row + y_head;
        for (var c = 0u; c < params.v_vectors; c++) {
            if (carried) {
                store4(
                    at + c, real[i],
                    carry[carry_at.x + c], carry[carry_at.y + c], carry[carry_at.z + c], carry[carry_at.w + c],
                );
            } else {
                store4(
                    at + c, real[i],
                    vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0),
                );
            }
        }
    }

    // Scores, then probabilities: components are queries.
    var s: array<vec4<f32>, KEY_TILE * QUERY_VECTORS>;
    for (var key = first_key; key < end_key; key += KEY_TILE) {
        // 1. scores
        let k_from = (item * params.keys + key) * params.k_row + params.k_column + head * params.qk_vectors;
        // #unroll
        for (var j = 0u; j < KEY_TILE * QUERY_VECTORS; j++) {
            s[j] = vec4<f32>(0.0);
        }
        for (var d = 0u; d < params.qk_vectors; d++) {
            // Query columns d, d + 1, ..: the transpose costs nothing where components are registers.
            var columns: array<vec4<f32>, 4u * QUERY_VECTORS>;
            // #unroll
            for (var i = 0u; i < QUERY_VECTORS; i++) {
                let a = from_q(q[q_at[i].x + d]);
                let b = from_q(q[q_at[i].y + d]);
                let c = from_q(q[q_at[i].z + d]);
                let e = from_q(q[q_at[i].w + d]);
                columns[4u * i] = vec4<f32>(a.x, b.x, c.x, e.x);
                columns[4u * i + 1u] = vec4<f32>(a.y, b.y, c.y, e.y);
                columns[4u * i + 2u] = vec4<f32>(a.z, b.z, c.z, e.z);
                columns[4u * i + 3u] = vec4<f32>(a.w, b.w, c.w, e.w);
            }
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                let row = from_k(k[k_from + min(j, last_key - key) * params.k_row + d]);
                // #unroll
                for (var i = 0u; i < QUERY_VECTORS; i++) {
                    s[j * QUERY_VECTORS + i] += row.x * columns[4u * i] + row.y * columns[4u * i + 1u]
                        + row.z * columns[4u * i + 2u] + row.w * columns[4u * i + 3u];
                }
            }
        }
        // 2. softmax
        // #unroll
        for (var i = 0u; i < QUERY_VECTORS; i++) {
            factor[i] = maximum[i];
        }
        // #unroll
        for (var j = 0u; j < KEY_TILE; j++) {
            var keep = true;
            if (masked) {
                keep = mask[item * params.mask_row + min(key + j, last_key)] != 0.0;
            }
            var constant = 0.0;
            var key_score = 0.0;
            if (factored) {
                constant = table(item, params.constant_row, min(key + j, last_key));
                key_score = table(item, params.constant_row + 1u, min(key + j, last_key));
            }
            // #unroll
            for (var i = 0u; i < QUERY_VECTORS; i++) {
                var sum_of_parts = s[j * QUERY_VECTORS + i] + constant;
                if (params.dimensions > 0u) {
                    sum_of_parts += gather(table_a[i] + min(key + j, last_key));
                }
                if (params.dimensions > 1u) {
                    sum_of_parts += gather(table_b[i] + min(key + j, last_key));
                }
                if (params.dimensions > 2u) {
                    sum_of_parts += gather(table_c[i] + min(key + j, last_key));
                }
                let complete = sum_of_parts * scales[i] + key_score;
                let score = select(vec4<f32>(MASKED), complete, keep);
                s[j * QUERY_VECTORS + i] = score;
                maximum[i] = select(maximum[i], max(maximum[i], score), key + j < end_key);
            }
        }
        // #unroll
        for (var i = 0u; i < QUERY_VECTORS; i++) {
            factor[i] = exp(factor[i] - maximum[i]);
            tile_sum[i] = vec4<f32>(0.0);
        }
        // #unroll
        for (var j = 0u; j < KEY_TILE; j++) {
            // #unroll
            for (var i = 0u; i < QUERY_VECTORS; i++) {
                let p = exp(s[j * QUERY_VECTORS + i] - maximum[i]);
                s[j * QUERY_VECTORS + i] = select(vec4<f32>(0.0), p, key + j < end_key);
                tile_sum[i] += s[j * QUERY_VECTORS + i];
            }
        }
        // #unroll
        for (var i = 0u; i < QUERY_VECTORS; i++) {
            sum[i] = sum[i] * factor[i] + tile_sum[i];
        }
        // 3. context: one vector of queries per value column
        let v_from = (item * params.keys + key) * params.v_row + params.v_column + head * params.v_vectors;
        for (var c = 0u; c < params.v_vectors; c++) {
            var o: array<vec4<f32>, 4u * QUERY_VECTORS>;
            // #unroll
            for (var i = 0u; i < 4u * QUERY_VECTORS; i++) {
                o[i] = vec4<f32>(0.0);
            }
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                let row = from_v(v[v_from + min(j, last_key - key) * params.v_row + c]);
                // #unroll
                for (var i = 0u; i < QUERY_VECTORS; i++) {
                    let p = s[j * QUERY_VECTORS + i];
                    o[4u * i] += row.x * p;
                    o[4u * i + 1u] += row.y * p;
                    o[4u * i + 2u] += row.z * p;
                    o[4u * i + 3u] += row.w * p;
                }
            }
            // #unroll
            for (var i = 0u; i < QUERY_VECTORS; i++) {
                let at = out_row[i] * params.y_row + y_head + c;
                let o0 = o[4u * i];
                let o1 = o[4u * i + 1u];
                let o2 = o[4u * i + 2u];
                let o3 = o[4u * i + 3u];
                store4(
                    at, real[i],
                    from_y(y[at.x]) * factor[i].x + vec4<f32>(o0.x, o1.x, o2.x, o3.x),
                    from_y(y[at.y]) * factor[i].y + vec4<f32>(o0.y, o1.y, o2.y, o3.y),
                    from_y(y[at.z]) * factor[i].z + vec4<f32>(o0.z, o1.z, o2.z, o3.z),
                    from_y(y[at.w]) * factor[i].w + vec4<f32>(o0.w, o1.w, o2.w, o3.w),
                );
            }
        }
    }

    // #unroll
    for (var i = 0u; i < QUERY_VECTORS; i++) {
        if (store_result) {
            let inverse = select(vec4<f32>(0.0), 1.0 / sum[i], sum[i] > vec4<f32>(0.0));
            let at = out_row[i] * params.y_row + y_head;
            for (var c = 0u; c < params.v_vectors; c++) {
                store4(
                    at + c, real[i],
                    from_y(y[at.x + c]) * inverse.x,
                    from_y(y[at.y + c]) * inverse.y,
                    from_y(y[at.z + c]) * inverse.z,
                    from_y(y[at.w + c]) * inverse.w,
                );
            }
        } else {
            // #unroll
            for (var e = 0u; e < 4u; e++) {
                if (real[i][e]) {
                    store_statistics(out_row[i][e], head, maximum[i][e], sum[i][e]);
                }
            }
        }
    }
}

// Four elements of the tables.
fn gather(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(
        carry[at.x / 4u][at.x % 4u],
        carry[at.y / 4u][at.y % 4u],
        carry[at.z / 4u][at.z % 4u],
        carry[at.w / 4u][at.w % 4u],
    );
}

// Stores one vector of each of four rows that exist.
fn store4(
    at: vec4<u32>,
    real: vec4<bool>,
    a0: vec4<f32>,
    a1: vec4<f32>,
    a2: vec4<f32>,
    a3: vec4<f32>,
) {
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
