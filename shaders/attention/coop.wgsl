// attention on cooperative matrices of f16: both products of softmax attention.
//
// Algorithm. A workgroup of SUBGROUP_ROWS × SUBGROUP_COLS subgroups computes ROWS queries and CHUNKS chunks of value
// columns of one head of one item, 64 keys at a time:
//   1. scores: 64 channels of queries and keys at a time pass through workgroup memory as f16; each subgroup multiplies
//      FRAGMENT_ROWS fragments of queries with its share of the keys and stores the scores as f32;
//   2. softmax: LANES_EACH lanes of one subgroup a query; probabilities, powers of two, become f16, and it is those that
//      are summed up, so that their rounding cancels in the quotient;
//   3. context: a chunk of value columns at a time, transposed on its way into workgroup memory, so that both operands
//      are rows of memory. Accumulators stay fragments. Their elements cannot be touched, so they are rescaled through
//      workgroup memory, and only when a maximum has risen by more than COOP_SLACK: powers are at most 2^COOP_SLACK.
// The carried state joins at the end, as another part of the keys.
//
// Bindings: see `attention/common`; arrays of f16 are native ones here.
// Workgroup bytes: queries, 64 keys or a chunk of values, scores and probabilities: 27 KiB at 32 queries, 45 KiB at 64.
// Numerics: products of f16 numbers are exact in f32; scores, statistics and accumulators are f32.
//
// Needs subgroups of exactly LANES; others write nothing, which the check before first use finds.

// #import common/coop_attention
// #import attention/common

// Values are shared out evenly.
const_assert 16u * COLS % WORKGROUP == 0u;

// For workgroup memory; arrays of f16 need no conversion.
fn stage_q(v: q4) -> vec4<f16> { return to_f16(v); }
fn stage_k(v: k4) -> vec4<f16> { return to_f16(v); }
fn stage_v(v: v4) -> vec4<f16> { return to_f16(v); }

// Values of 64 keys in a chunk of columns, transposed; the rows of the first and of the last key, and the first column.
// Eight lanes have four keys each, so that what they store lies side by side.
fn stage_values(local: u32, first_row: u32, last_row: u32, first_vector: u32) {
    for (var i = 0u; i < 16u * COLS / WORKGROUP; i++) {
        let u = local + WORKGROUP * i;
        let quad = u % 8u + u / (8u * COLS) * 8u;
        let column = u / 8u % COLS;
        let clamped = min(first_vector + column, max(params.v_vectors, 1u) - 1u);
        let at = first_row + 4u * quad * params.v_row + clamped;
        var rows: array<vec4<f16>, 4>;
        // #unroll
        for (var r = 0u; r < 4u; r++) {
            rows[r] = stage_v(v[min(at + r * params.v_row, last_row + clamped)]);
        }
        put_values(column, quad, rows);
    }
}

@compute @workgroup_size(WORKGROUP)
fn coop(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    subgroup_lanes = lanes;
    if (workgroupUniformLoad(&subgroup_lanes) != LANES) {
        return;
    }
    let share = share_of(group);
    let local = subgroup * LANES + lane;
    let first_query = ROWS * share.query_tile;
    let last_query = params.queries - 1u;
    let last_key = params.keys - 1u;
    let first_vector = share.column_group * COLS * CHUNKS;
    // The first and the last row of queries, keys and values.
    let q_head = share.q_item * params.queries * params.q_row + params.q_column + share.head * params.qk_vectors;
    let q_from = q_head + first_query * params.q_row;
    let q_last = q_head + last_query * params.q_row;
    let k_head = share.item * params.keys * params.k_row + params.k_column + share.head * params.qk_vectors;
    let k_from = k_head + share.first_key * params.k_row;
    let k_last = k_head + last_key * params.k_row;
    let v_head = share.item * params.keys * params.v_row + params.v_column + share.head * params.v_vectors;
    let v_last = v_head + last_key * params.v_row;
    // Of softmax.
    let own_row = local / LANES_EACH;
    let own_part = local % LANES_EACH;
    let own_query = min(first_query + own_row, last_query);
    let own_scores = own_row * SCORES_ROW + 4u * own_part;
    let place = place_of(subgroup);

    var tables = vec3<u32>(0u);
    var scale = 1.0;
    if (FACTORED == 1u) {
        tables = table_rows(own_query);
        scale = scale_of_row(share.q_item, own_query);
    }
    // Powers of two are scores times this.
    let unit = unit_of_scores();
    let power = unit * LOG2_E;
    // The maximum so far, and the power that exponentials are relative to, which lags behind it by COOP_SLACK at most.
    var highest = LOWEST_RAW;
    var shift = LOWEST;
    var sum = 0.0;
    var acc: array<Sums, RESULTS>;
    // #unroll
    for (var f = 0u; f < RESULTS; f++) {
        acc[f] = Sums();
    }

    // With one chunk, channels of queries and keys are one slice: the driver needs no loop, and no zeros to begin with.
    let slices = select((params.qk_vectors + SLICE - 1u) / SLICE, 1u, CHUNKS == 1u);
    let tiles = (share.end_key - min(share.first_key, share.end_key) + 63u) / 64u;
    for (var tile = 0u; tile < tiles; tile++) {
        let key = share.first_key + 64u * tile;
        // 1. scores
        var products: array<Sums, PRODUCTS>;
        // #unroll
        for (var f = 0u; f < PRODUCTS; f++) {
            products[f] = Sums();
        }
        for (var s = 0u; s < slices; s++) {
            if (s > 0u) {
                workgroupBarrier();
            }
            // Addresses are clamped to the last row's and channel's; of queries, channels beyond the last are zeros.
            let vector = SLICE * s + local % SLICE;
            let clamped = min(vector, params.qk_vectors - 1u);
            let row = local / SLICE;
            if (tile == 0u || slices > 1u) {
                let first = q_from + row * params.q_row + clamped;
                for (var i = 0u; i < ROWS * SLICE / WORKGROUP; i++) {
                    let at = min(first + WORKGROUP / SLICE * i * params.q_row, q_last + clamped);
                    let value = select(vec4<f16>(), stage_q(q[at]), vector < params.qk_vectors);
                    put((row + WORKGROUP / SLICE * i) * CHANNELS_ROW + local % SLICE, value);
                }
            }
            let first = k_from + (64u * tile + row) * params.k_row + clamped;
            for (var i = 0u; i < 64u * SLICE / WORKGROUP; i++) {
                let at = min(first + WORKGROUP / SLICE * i * params.k_row, k_last + clamped);
                put(SLICE_AT + (row + WORKGROUP / SLICE * i) * CHANNELS_ROW + local % SLICE, stage_k(k[at]));
            }
            workgroupBarrier();
            add_scores(place, &products);
        }
        store_scores(place, &products);
        if (local == 0u) {
            atomicStore(&risen, 0u);
        }
        workgroupBarrier();
        stage_values(local, v_head + key * params.v_row, v_last, first_vector);
        // 2. softmax
        var s: array<vec4<f32>, VECTORS_EACH>;
        var maxima = vec4<f32>(LOWEST);
        // #unroll
        for (var e = 0u; e < VECTORS_EACH; e++) {
            s[e] = score_vector(own_scores + 4u * LANES_EACH * e);
        }
        if (FACTORED == 1u || share.masked || share.causal || key + 64u > share.end_key) {
            // #unroll
            for (var e = 0u; e < VECTORS_EACH; e++) {
                // #unroll
                for (var i = 0u; i < 4u; i++) {
                    let wanted = key + 4u * (LANES_EACH * e + own_part) + i;
                    let real_key = min(wanted, last_key);
                    if (FACTORED == 1u) {
                        s[e][i] = (s[e][i] + table_score(share.item, tables, real_key)) * scale
                            + table(share.item, params.constant_row + 1u, real_key);
                    }
                    if (share.masked) {
                        s[e][i] = select(s[e][i], MASKED_RAW, mask[share.item * params.mask_row + real_key] == 0.0);
                    }
                    if (share.causal) {
                        s[e][i] = select(MASKED_RAW, s[e][i], real_key <= own_query);
                    }
                    s[e][i] = select(LOWEST_RAW, s[e][i], wanted < share.end_key);
                }
            }
        }
        // #unroll
        for (var e = 0u; e < VECTORS_EACH; e++) {
            maxima = max(maxima, s[e]);
        }
        let maximum = maximum_of_lanes(max(max(maxima.x, maxima.y), max(maxima.z, maxima.w)));
        highest = max(highest, maximum);
        let top = maximum * power;
        var factor = 1.0;
        if (top > shift + COOP_SLACK) {
            factor = exp2(shift - top);
            shift = top;
            // Before the first keys there is nothing to rescale.
            if (tile > 0u) {
                atomicStore(&risen, 1u);
            }
        }
        if (own_part == 0u) {
            factors[own_row] = factor;
        }
        var partial = vec4<f32>(0.0);
        // #unroll
        for (var e = 0u; e < VECTORS_EACH; e++) {
            let rounded = vec4<f16>(exp2(fma(s[e], vec4<f32>(power), vec4<f32>(-shift))));
            partial += vec4<f32>(rounded);
            put(PROBABILITIES_AT + own_row * ROW + LANES_EACH * e + own_part, rounded);
        }
        sum = sum * factor + (partial.x + partial.y) + (partial.z + partial.w);
        workgroupBarrier();
        // 3. context
        if (atomicLoad(&risen) != 0u) {
            rescale(local, place, &acc);
        }
        // #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            if (c > 0u) {
                workgroupBarrier();
                stage_values(local, v_head + key * params.v_row, v_last, first_vector + COLS * c);
                workgroupBarrier();
            }
            add_context(place, c, &acc);
        }
        // What was read is written again only after everyone has read it.
        workgroupBarrier();
    }

    // The state of a query, with the carried one, from all its lanes.
    sum = sum_of_lanes(sum);
    let out_item = (share.split * params.batch + share.item) * params.queries;
    var carried = vec2<f32>(LOWEST, 0.0);
    if (share.carried) {
        let at = (out_item + own_query) * params.stats_row + 2u * share.head;
        carried = vec2<f32>(carry_stats[at], carry_stats[at + 1u]);
    }
    let own = score_of_raw(highest, unit);
    let most = max(own, carried.x);
    let of_own = exp2(shift - highest * power + (own - most) * LOG2_E);
    let total = sum * of_own + carried.y * exp(carried.x - most);
    var inverse = 1.0;
    if (share.store_result) {
        inverse = select(0.0, 1.0 / total, total > 0.0);
    }
    if (own_part == 0u) {
        factors[own_row] = of_own * inverse;
        carried_factors[own_row] = exp(carried.x - most) * inverse;
        if (!share.store_result && share.column_group == 0u && first_query + own_row < params.queries) {
            store_statistics(out_item + own_query, share.head, most, total);
        }
    }
    // #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        workgroupBarrier();
        store_chunk(place, c, &acc);
        workgroupBarrier();
        for (var u = local; u < ROWS * COLS; u += WORKGROUP) {
            let row = u / COLS;
            let vector = first_vector + COLS * c + u % COLS;
            if (first_query + row < params.queries && vector < params.v_vectors) {
                let at = (out_item + first_query + row) * params.y_row + share.head * params.v_vectors + vector;
                var value = score_vector(row * SCORES_ROW + u % COLS * 4u) * factors[row];
                if (share.carried) {
                    value += carry[at] * carried_factors[row];
                }
                y[at] = to_y(value);
            }
        }
    }
}
