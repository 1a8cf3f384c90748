// factored_attention, for software adapters: softmax attention over input rows given as content, axis tables and a
// constant, without workgroup memory or barriers.
//
// Algorithm. The lanes of a workgroup are the slots of one CPU vector. A lane computes four neighbouring queries, as
// the components of its vectors; the workgroup computes 32 queries of one item and a part of the keys (split). The
// fastest axis is cut into segments of KEY_TILE positions, and each is followed along all lines of the grid that the
// split covers, so that its table entries and marginals are variables of the lane; the other sums are in y, where
// every element belongs to one lane. Software adapters load element by element and lane by lane, and what their
// compilers need grows faster than the number of loads in the text. So with BROADCAST, where a workgroup is one
// subgroup, each lane loads the content of one key and all lanes receive it from there; otherwise every lane loads it
// from the same address. Loops whose body has loads and whose index selects a variable are kept as loops for the same
// reason.
//
// Bindings: see `factored_attention/common`. Workgroup bytes: none.
// Numerics: those of `factored_attention/tiled`.

// #import common/lanes
// #import factored_attention/common

// The same column of four rows of the queries.
fn elements(row: vec4<u32>, column: u32) -> vec4<f32> {
    return vec4<f32>(
        query_element(row.x, column),
        query_element(row.y, column),
        query_element(row.z, column),
        query_element(row.w, column),
    );
}

// Four neighbouring columns of the queries.
fn query_vector(row: u32, column: u32) -> vec4<f32> {
    return queries[(row * params.columns + column) / 4u];
}

@compute @workgroup_size(8)
fn direct(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let last_query = params.queries - 1u;
    let lines = lines_of(share.split, KEY_TILE);
    // Four, KEY_TILE and GROUPS, as there are queries; compilers do not know that, so they do not write
    // the loops out.
    let four = min(4u, 4u * params.queries);
    let tile = min(KEY_TILE, KEY_TILE * params.queries);
    let groups = min(GROUPS, GROUPS * params.queries);

    // Components are queries.
    let wanted = 32u * share.query_tile + 4u * local + vec4<u32>(0u, 1u, 2u, 3u);
    let query_row = min(wanted, vec4<u32>(last_query));
    let real = wanted < vec4<u32>(params.queries);
    let out_row = ((share.split * params.batch + share.item) * params.queries + query_row) * params.columns;
    let in_row = share.item * params.queries + query_row;
    let in_at = in_row * params.columns;
    var maximum = vec4<f32>(LOWEST);
    var sum = vec4<f32>(0.0);
    var total = vec4<f32>(0.0);
    if (share.carried) {
        let a = carry_stats[in_row.x];
        let b = carry_stats[in_row.y];
        let c = carry_stats[in_row.z];
        let e = carry_stats[in_row.w];
        maximum = vec4<f32>(a.x, b.x, c.x, e.x);
        sum = vec4<f32>(a.y, b.y, c.y, e.y);
    }
    var shift = maximum;
    for (var c = 0u; c < params.columns; c++) {
        var start = vec4<f32>(0.0);
        if (share.carried) {
            start = vec4<f32>(carry[in_at.x + c], carry[in_at.y + c], carry[in_at.z + c], carry[in_at.w + c]);
        }
        // #unroll
        for (var e = 0u; e < 4u; e++) {
            if (real[e]) {
                y[out_row[e] + c] = start[e];
            }
        }
    }
    let constant = elements(query_row, params.constant_column);

    // Entries and marginals of the fastest axis, scores, then probabilities, then weights.
    var entry: array<vec4<f32>, KEY_TILE>;
    var marginal: array<vec4<f32>, KEY_TILE>;
    var s: array<vec4<f32>, KEY_TILE>;
    for (var segment = lines.first_segment; segment < lines.end_segment; segment++) {
        let fast = KEY_TILE * segment;
        // #unroll
        for (var j = 0u; j < KEY_TILE; j++) {
            entry[j] = constant;
            marginal[j] = vec4<f32>(0.0);
        }
        if (params.dimensions > 0u) {
            for (var i = 0u; i < tile; i++) {
                let part = elements(query_row, lines.fast_column + min(fast + i, lines.length - 1u));
                // #unroll
                for (var j = 0u; j < KEY_TILE; j++) {
                    entry[j] += select(vec4<f32>(0.0), part, i == j);
                }
            }
        }
        for (var line = lines.first; line < lines.end; line++) {
            let tile_position = line * lines.length + fast;
            let begin = max(tile_position, lines.from_position);
            let end = min(min(tile_position + KEY_TILE, (line + 1u) * lines.length), lines.to_position);
            if (begin >= end) {
                continue;
            }
            let first = begin - tile_position;
            let last = end - tile_position - 1u;
            // May wrap around below key 0, and back where a row is added.
            let tile_key = tile_position - params.first_key;
            let tile_row = share.item * params.keys + tile_key;
            let slow_at = slow_of(line);

            // 1. scores
            var slow = vec4<f32>(0.0);
            if (params.dimensions > 1u) {
                slow = elements(query_row, params.column_a + slow_at.x);
                if (params.dimensions > 2u) {
                    slow += elements(query_row, params.column_b + slow_at.y);
                }
            }
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                s[j] = entry[j] + slow;
            }
            for (var d = 0u; d < params.content; d++) {
                // Query columns 4 d, 4 d + 1, ..: the transpose costs nothing where components are registers.
                let qa = query_vector(query_row.x, params.first_column + 4u * d);
                let qb = query_vector(query_row.y, params.first_column + 4u * d);
                let qc = query_vector(query_row.z, params.first_column + 4u * d);
                let qd = query_vector(query_row.w, params.first_column + 4u * d);
                let c0 = vec4<f32>(qa.x, qb.x, qc.x, qd.x);
                let c1 = vec4<f32>(qa.y, qb.y, qc.y, qd.y);
                let c2 = vec4<f32>(qa.z, qb.z, qc.z, qd.z);
                let c3 = vec4<f32>(qa.w, qb.w, qc.w, qd.w);
                // #unroll
                for (var h = 0u; h < GROUPS; h++) {
                    // #if BROADCAST == 1
                    let own = load_content(tile_row + clamp(8u * h + local, first, last), d);
                    // #endif
                    // #unroll
                    for (var j = 0u; j < 8u; j++) {
                        // #if BROADCAST == 1
                        let row = subgroupBroadcast(own, j);
                        // #else
                        let row = load_content(tile_row + clamp(8u * h + j, first, last), d);
                        // #endif
                        s[8u * h + j] += row.x * c0 + row.y * c1 + row.z * c2 + row.w * c3;
                    }
                }
            }
            // 2. softmax
            let scale_row = share.item * params.mask_row + tile_key;
            for (var g = 0u; g < groups; g++) {
                // #unroll
                for (var j = 0u; j < 8u; j++) {
                    let at = 8u * g + j;
                    let key = scale_row + clamp(at, first, last);
                    var keep = true;
                    if (share.masked) {
                        keep = mask[key] != 0.0;
                    }
                    var score = s[j];
                    // #unroll
                    for (var h = 0u; h < GROUPS; h++) {
                        score = select(score, s[8u * h + j], g == h);
                    }
                    score = select(vec4<f32>(MASKED), score * scale[key], keep);
                    maximum = select(maximum, max(maximum, score), at >= first && at <= last);
                    // #unroll
                    for (var h = 0u; h < GROUPS; h++) {
                        s[8u * h + j] = select(s[8u * h + j], score, g == h);
                    }
                }
            }
            let moved = maximum > shift + SLACK;
            if (any(moved)) {
                let reference = select(shift, maximum, moved);
                let factor = exp(shift - reference);
                // Before the first key there is nothing to rescale.
                let filled = shift > vec4<f32>(LOWEST);
                shift = reference;
                sum *= factor;
                total *= factor;
                // #unroll
                for (var j = 0u; j < KEY_TILE; j++) {
                    marginal[j] *= factor;
                }
                let stored = moved & filled & real;
                if (any(stored)) {
                    scale_rows(out_row, factor, stored);
                }
            }
            var tile_sum = vec4<f32>(0.0);
            var tile_total = vec4<f32>(0.0);
            for (var g = 0u; g < groups; g++) {
                // #unroll
                for (var j = 0u; j < 8u; j++) {
                    let at = 8u * g + j;
                    var score = s[j];
                    // #unroll
                    for (var h = 0u; h < GROUPS; h++) {
                        score = select(score, s[8u * h + j], g == h);
                    }
                    let p = select(vec4<f32>(0.0), exp(score - shift), at >= first && at <= last);
                    let w = p * scale[scale_row + clamp(at, first, last)];
                    tile_sum += p;
                    tile_total += w;
                    // #unroll
                    for (var h = 0u; h < GROUPS; h++) {
                        s[8u * h + j] = select(s[8u * h + j], w, g == h);
                    }
                }
            }
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                marginal[j] += s[j];
            }
            sum += tile_sum;
            total += tile_total;
            for (var axis = 1u; axis < params.dimensions; axis++) {
                let column = select(params.column_b + slow_at.y, params.column_a + slow_at.x, axis == 1u);
                add(out_row + column, real, tile_total);
            }
            // 3. content
            for (var d = 0u; d < params.content; d++) {
                var o0 = vec4<f32>(0.0);
                var o1 = vec4<f32>(0.0);
                var o2 = vec4<f32>(0.0);
                var o3 = vec4<f32>(0.0);
                // #unroll
                for (var h = 0u; h < GROUPS; h++) {
                    // #if BROADCAST == 1
                    let own = load_content(tile_row + clamp(8u * h + local, first, last), d);
                    // #endif
                    // #unroll
                    for (var j = 0u; j < 8u; j++) {
                        // #if BROADCAST == 1
                        let row = subgroupBroadcast(own, j);
                        // #else
                        let row = load_content(tile_row + clamp(8u * h + j, first, last), d);
                        // #endif
                        let w = s[8u * h + j];
                        o0 += row.x * w;
                        o1 += row.y * w;
                        o2 += row.z * w;
                        o3 += row.w * w;
                    }
                }
                for (var n = 0u; n < four; n++) {
                    let o = select(select(o0, o1, n == 1u), select(o2, o3, n == 3u), n >= 2u);
                    add(out_row + params.first_column + 4u * d + n, real, o);
                }
            }
        }
        // The constant's column, and those of the fastest axis: beyond the end of the line, nothing is
        // added to its last position.
        for (var i = select(tile, 0u, params.dimensions > 0u); i <= tile; i++) {
            var column = lines.fast_column + min(fast + i, lines.length - 1u);
            var value = marginal[0];
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                value = select(value, marginal[j], i == j);
            }
            if (i == tile) {
                column = params.constant_column;
                value = total;
            }
            add(out_row + column, real, value);
        }
        total = vec4<f32>(0.0);
    }

    var factor = exp(clamp(shift - maximum, vec4<f32>(-80.0), vec4<f32>(80.0)));
    if (share.store_result) {
        factor = select(vec4<f32>(1.0), 1.0 / sum, sum > vec4<f32>(0.0));
    }
    if (!share.store_result) {
        let row = (share.split * params.batch + share.item) * params.queries + query_row;
        let scaled = sum * factor;
        for (var e = 0u; e < four; e++) {
            if (real[e]) {
                y_stats[row[e]] = vec4<f32>(maximum[e], scaled[e], 0.0, 0.0);
            }
        }
    }
    scale_rows(out_row, factor, real);
}

fn load_content(row: u32, vector: u32) -> vec4<f32> {
    return from_content(content[row * params.content + vector]);
}

// Adds to an element of each of four rows that exist.
fn add(at: vec4<u32>, real: vec4<bool>, value: vec4<f32>) {
    // #unroll
    for (var e = 0u; e < 4u; e++) {
        if (real[e]) {
            y[at[e]] += value[e];
        }
    }
}

// Multiplies these rows of y.
fn scale_rows(row: vec4<u32>, factor: vec4<f32>, wanted: vec4<bool>) {
    for (var c = 0u; c < params.columns; c++) {
        // #unroll
        for (var e = 0u; e < 4u; e++) {
            if (wanted[e]) {
                y[row[e] + c] *= factor[e];
            }
        }
    }
}
