// attention on cooperative matrices of f16: both products of softmax attention.
//
// Algorithm. That of `attention/tiled`, with tiles of 32 queries × 64 keys and eight subgroups:
//   1. scores: 32 channels of queries and keys at a time pass through workgroup memory as f16; each subgroup
//      multiplies a part of the tile and stores it as f32;
//   2. softmax: eight invocations a query; probabilities become f16, and it is those that are summed up, so that
//      their rounding cancels in the quotient;
//   3. context: 64 value columns at a time, the product of the tile alone; the accumulators, which have to be
//      rescaled element by element, stay in the registers of the invocations: rows ty and ty + 16, vector tx.
//
// Bindings: see `attention/common`; arrays of f16 are native ones here.
// Workgroup bytes: 9 KiB slices + 8 KiB scores + 4.5 KiB probabilities + 1.1 KiB maxima. Rows of slices are padded so
// that eight rows of a fragment begin in different banks.
// Numerics: products of f16 numbers are exact in f32; scores, statistics and accumulators are f32.
//
// Needs subgroups of exactly 32. Control flow around cooperative operations is uniform.

// #import common/coop
// #import attention/common

// Fragments of a subgroup, side by side, and subgroups side by side.
const FRAGMENTS: u32 = 256u / FRAGMENT / FRAGMENT;
const SUBGROUP_COLS: u32 = FRAGMENT / 4u;
// Fragments along 32 channels, and along 64 keys.
const CHANNEL_STEPS: u32 = 32u / FRAGMENT;
const KEY_STEPS: u32 = 64u / FRAGMENT;
// Accumulator vectors of an invocation per query: value columns of a workgroup / 64.
const CHUNKS: u32 = 1u;
// Vectors from one row to the next: of queries and keys, of probabilities and values.
const NARROW_ROW: u32 = 10u;
const WIDE_ROW: u32 = 18u;

// 32 queries, then 64 keys; or 64 rows of values.
var<workgroup> slice: array<Unit, UNITS * 64u * WIDE_ROW>;
var<workgroup> probability: array<Unit, UNITS * 32u * WIDE_ROW>;
// Scores of 32 queries × 64 keys, or their context in 64 columns.
var<workgroup> scores: array<f32, 2048>;
// One value per query and invocation of it, and one per query.
var<workgroup> exchange: array<f32, 256>;
var<workgroup> of_query: array<f32, 32>;

// #if FRAGMENT == 8
fn put(at: u32, v: vec4<f16>) {
    slice[4u * at] = v.x;
    slice[4u * at + 1u] = v.y;
    slice[4u * at + 2u] = v.z;
    slice[4u * at + 3u] = v.w;
}

fn put_probability(at: u32, v: vec4<f16>) {
    probability[4u * at] = v.x;
    probability[4u * at + 1u] = v.y;
    probability[4u * at + 2u] = v.z;
    probability[4u * at + 3u] = v.w;
}
// #else
fn put(at: u32, v: vec4<f16>) { slice[at] = v; }
fn put_probability(at: u32, v: vec4<f16>) { probability[at] = v; }
// #endif

@compute @workgroup_size(256)
fn coop(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    // As the owner of accumulators.
    let tx = local % 16u;
    let ty = local / 16u;
    // As one of the eight of a query, and as a loader.
    let own_row = local / 8u;
    let own_part = local % 8u;
    let first_query = 32u * share.query_tile;
    let last_query = params.queries - 1u;
    let last_key = params.keys - 1u;

    let own_query = min(first_query + own_row, last_query);
    let q_from = (share.q_item * params.queries + own_query) * params.q_row
        + params.q_column + share.head * params.qk_vectors;
    let k_head = params.k_column + share.head * params.qk_vectors;
    let v_head = params.v_column + share.head * params.v_vectors;
    let first_vector = share.column_group * 16u * CHUNKS;

    var maximum = LOWEST;
    var sum = 0.0;
    var acc: array<vec4<f32>, 2u * CHUNKS>;
    // #unroll
    for (var c = 0u; c < 2u * CHUNKS; c++) {
        acc[c] = vec4<f32>(0.0);
    }
    if (share.carried) {
        let at = (share.item * params.queries + own_query) * params.stats_row + 2u * share.head;
        maximum = carry_stats[at];
        if (own_part == 0u) {
            sum = carry_stats[at + 1u];
        }
        // #unroll
        for (var r = 0u; r < 2u; r++) {
            let row = share.item * params.queries + min(first_query + ty + 16u * r, last_query);
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                let vector = first_vector + 16u * c + tx;
                if (vector < params.v_vectors) {
                    acc[2u * c + r] = carry[row * params.y_row + share.head * params.v_vectors + vector];
                }
            }
        }
    }
    var tables = vec3<u32>(0u);
    var scale = params.scale;
    if (FACTORED == 1u) {
        tables = table_rows(own_query);
        scale = scale_of_row(share.q_item, own_query);
    }

    // Where this subgroup's fragments are.
    let fragment_row = subgroup / SUBGROUP_COLS * FRAGMENT;
    let fragment_column = subgroup % SUBGROUP_COLS * (FRAGMENTS * FRAGMENT);

    let tiles = (share.end_key - min(share.first_key, share.end_key) + 63u) / 64u;
    for (var tile = 0u; tile < tiles; tile++) {
        let key = share.first_key + 64u * tile;
        // 1. scores
        var products: array<Sums, FRAGMENTS>;
        // #unroll
        for (var f = 0u; f < FRAGMENTS; f++) {
            products[f] = Sums();
        }
        for (var d = 0u; d < params.qk_vectors; d += 8u) {
            let inside = d + own_part < params.qk_vectors;
            var value = vec4<f32>(0.0);
            if (inside) {
                value = from_q(q[q_from + d + own_part]);
            }
            put(own_row * NARROW_ROW + own_part, to_f16(value));
            // #unroll
            for (var i = 0u; i < 2u; i++) {
                var key_value = vec4<f32>(0.0);
                if (inside) {
                    let row = share.item * params.keys + min(key + own_row + 32u * i, last_key);
                    key_value = from_k(k[row * params.k_row + k_head + d + own_part]);
                }
                put((32u + own_row + 32u * i) * NARROW_ROW + own_part, to_f16(key_value));
            }
            workgroupBarrier();
            // #unroll
            for (var e = 0u; e < CHANNEL_STEPS; e++) {
                let left_at = UNITS * (fragment_row * NARROW_ROW + FRAGMENT_VECTORS * e);
                let left = coopLoadT<Left>(&slice[left_at], UNITS * NARROW_ROW);
                // #unroll
                for (var f = 0u; f < FRAGMENTS; f++) {
                    let right_row = 32u + fragment_column + FRAGMENT * f;
                    let right_at = UNITS * (right_row * NARROW_ROW + FRAGMENT_VECTORS * e);
                    // Keys are rows, so this is their transpose.
                    let right = coopLoad<Right>(&slice[right_at], UNITS * NARROW_ROW);
                    products[f] = coopMultiplyAdd(left, right, products[f]);
                }
            }
            workgroupBarrier();
        }
        let score_row = 64u;
        // #unroll
        for (var f = 0u; f < FRAGMENTS; f++) {
            let product = products[f];
            let pointer = &scores[fragment_row * 64u + fragment_column + FRAGMENT * f];
            coopStoreT(product, pointer, score_row);
        }
        workgroupBarrier();
        // 2. softmax: eight keys of one query
        var s: array<f32, 8>;
        var own_maximum = LOWEST;
        // #unroll
        for (var e = 0u; e < 8u; e++) {
            let wanted = key + 8u * own_part + e;
            let real_key = min(wanted, last_key);
            var score = scores[own_row * 64u + 8u * own_part + e];
            if (FACTORED == 1u) {
                score = (score + table_score(share.item, tables, real_key)) * scale
                    + table(share.item, params.constant_row + 1u, real_key);
            } else {
                score *= scale;
            }
            if (share.masked) {
                score = select(score, MASKED, mask[share.item * params.mask_row + real_key] == 0.0);
            }
            s[e] = score;
            own_maximum = select(own_maximum, max(own_maximum, score), wanted < share.end_key);
        }
        exchange[local] = own_maximum;
        workgroupBarrier();
        var new_maximum = maximum;
        // #unroll
        for (var e = 0u; e < 8u; e++) {
            new_maximum = max(new_maximum, exchange[8u * own_row + e]);
        }
        let factor = exp(maximum - new_maximum);
        maximum = new_maximum;
        if (own_part == 0u) {
            of_query[own_row] = factor;
        }
        sum *= factor;
        // #unroll
        for (var h = 0u; h < 2u; h++) {
            var p = vec4<f32>(0.0);
            // #unroll
            for (var e = 0u; e < 4u; e++) {
                let inside = key + 8u * own_part + 4u * h + e < share.end_key;
                p[e] = select(0.0, exp(s[4u * h + e] - maximum), inside);
            }
            let rounded = vec4<f16>(p);
            let summed = vec4<f32>(rounded);
            sum += (summed.x + summed.y) + (summed.z + summed.w);
            put_probability(own_row * WIDE_ROW + 2u * own_part + h, rounded);
        }
        // 3. context
        // #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            // #unroll
            for (var i = 0u; i < 4u; i++) {
                let vector = first_vector + 16u * c + tx;
                var value = vec4<f32>(0.0);
                if (vector < params.v_vectors) {
                    let row = share.item * params.keys + min(key + ty + 16u * i, last_key);
                    value = from_v(v[row * params.v_row + v_head + vector]);
                }
                put((ty + 16u * i) * WIDE_ROW + tx, to_f16(value));
            }
            workgroupBarrier();
            var parts: array<Sums, FRAGMENTS>;
            // #unroll
            for (var f = 0u; f < FRAGMENTS; f++) {
                parts[f] = Sums();
            }
            // #unroll
            for (var e = 0u; e < KEY_STEPS; e++) {
                let left_at = UNITS * (fragment_row * WIDE_ROW + FRAGMENT_VECTORS * e);
                let left = coopLoadT<Left>(&probability[left_at], UNITS * WIDE_ROW);
                // #unroll
                for (var f = 0u; f < FRAGMENTS; f++) {
                    let right_vector = (fragment_column + FRAGMENT * f) / 4u;
                    let right_at = UNITS * (FRAGMENT * e * WIDE_ROW + right_vector);
                    let right = coopLoadT<Right>(&slice[right_at], UNITS * WIDE_ROW);
                    parts[f] = coopMultiplyAdd(left, right, parts[f]);
                }
            }
            // #unroll
            for (var f = 0u; f < FRAGMENTS; f++) {
                let part = parts[f];
                let pointer = &scores[fragment_row * 64u + fragment_column + FRAGMENT * f];
                coopStoreT(part, pointer, score_row);
            }
            workgroupBarrier();
            // #unroll
            for (var r = 0u; r < 2u; r++) {
                let at = (ty + 16u * r) * 64u + 4u * tx;
                let part = vec4<f32>(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);
                acc[2u * c + r] = acc[2u * c + r] * of_query[ty + 16u * r] + part;
            }
        }
        // What was read is written again only after everyone has read it.
        workgroupBarrier();
    }

    // The sums of all eight, in a fixed order.
    exchange[local] = sum;
    if (own_part == 0u) {
        of_query[own_row] = maximum;
    }
    workgroupBarrier();
    let out_item = (share.split * params.batch + share.item) * params.queries;
    // #unroll
    for (var r = 0u; r < 2u; r++) {
        let row = ty + 16u * r;
        let query = first_query + row;
        var total = 0.0;
        // #unroll
        for (var e = 0u; e < 8u; e++) {
            total += exchange[8u * row + e];
        }
        var inverse = 1.0;
        if (share.store_result) {
            inverse = select(0.0, 1.0 / total, total > 0.0);
        }
        if (query < params.queries) {
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                let vector = first_vector + 16u * c + tx;
                if (vector < params.v_vectors) {
                    y[(out_item + query) * params.y_row + share.head * params.v_vectors + vector] =
                        to_y(acc[2u * c + r] * inverse);
                }
            }
            if (!share.store_result && tx == 0u && share.column_group == 0u) {
                store_statistics(out_item + query, share.head, of_query[row], total);
            }
        }
    }
}
