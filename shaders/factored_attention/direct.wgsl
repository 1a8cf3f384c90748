// factored_attention, for software adapters: softmax attention over input rows given as content, axis tables and a
// constant, without workgroup memory or barriers.
//
// Algorithm. The lanes of a workgroup are the slots of one CPU vector, or half of them. A lane computes two neighbouring
// queries, as the components of its vectors; the workgroup computes 2·LANES queries of one item and a part of the keys
// (split). The fastest axis is cut into segments of KEY_TILE positions, and each is followed along all lines of the grid
// that the split covers, so that its table entries and marginals are variables of the lane; the other sums are in y,
// where every element belongs to one lane. The carried state joins at the end, as another part of the keys would. Each
// lane loads the content of one key and all lanes receive it from there; without BROADCAST all load all. Loops and loads: see
// `attention/direct`.
//
// Bindings: see `factored_attention/common`. Workgroup bytes: none.
// Numerics: those of `factored_attention/tiled`.

// #import common/lanes
// #import factored_attention/common

alias y4 = vec4<f32>;
fn from_y(v: y4) -> vec4<f32> { return v; }
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(7) var<storage, read_write> y: array<y4>;

// The same column of two rows of the queries.
fn elements(row: vec2<u32>, column: u32) -> vec2<f32> {
    return vec2<f32>(query_element(row.x, column), query_element(row.y, column));
}

// Four neighbouring columns of the queries.
fn query_vector(row: u32, column: u32) -> vec4<f32> {
    return from_queries(queries[(row * params.columns + column) / 4u]);
}

@compute @workgroup_size(LANES)
fn direct(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let last_query = params.queries - 1u;
    let lines = lines_of(share.split, KEY_TILE);

    // Components are queries.
    let wanted = 2u * (LANES * share.query_tile + local) + vec2<u32>(0u, 1u);
    let query_row = min(wanted, vec2<u32>(last_query));
    let real = wanted < vec2<u32>(params.queries);
    let out_row = (share.split * params.batch + share.item) * params.queries + query_row;
    let out_at = out_row * params.columns;
    var maximum = vec2<f32>(LOWEST);
    var sum = vec2<f32>(0.0);
    var total = vec2<f32>(0.0);
    var shift = maximum;
    for (var c = 0u; c < params.columns / 4u; c++) {
        for (var e = 0u; e < 2u; e++) {
            if (real[e]) {
                y[out_at[e] / 4u + c] = to_y(vec4<f32>(0.0));
            }
        }
    }

    // Entries and marginals of the fastest axis, scores, then weights.
    var entry: array<vec2<f32>, KEY_TILE>;
    var marginal: array<vec2<f32>, KEY_TILE>;
    var s: array<vec2<f32>, KEY_TILE>;
    var scale_of: array<f32, KEY_TILE>;
    for (var segment = lines.first_segment; segment < lines.end_segment; segment++) {
        let fast = KEY_TILE * segment;
        // #unroll
        for (var j = 0u; j < KEY_TILE; j++) {
            entry[j] = vec2<f32>(0.0);
            marginal[j] = vec2<f32>(0.0);
        }
        if (params.dimensions > 0u) {
            for (var i = 0u; i < KEY_TILE; i++) {
                let part = elements(query_row, lines.fast_column + min(fast + i, lines.length - 1u));
                // #unroll
                for (var j = 0u; j < KEY_TILE; j++) {
                    entry[j] = select(entry[j], part, i == j);
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
            var slow = vec2<f32>(0.0);
            for (var axis = 0u; axis < max(params.dimensions, 1u); axis++) {
                slow += elements(query_row, select(slow_column(slow_at, axis), params.constant_column, axis == 0u));
            }
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                s[j] = entry[j] + slow;
            }
            for (var d = 0u; d < params.content; d++) {
                // Query columns 4 d, 4 d + 1, ..: the transpose costs nothing where components are registers.
                let qa = query_vector(query_row.x, params.first_column + 4u * d);
                let qb = query_vector(query_row.y, params.first_column + 4u * d);
                let c0 = vec2<f32>(qa.x, qb.x);
                let c1 = vec2<f32>(qa.y, qb.y);
                let c2 = vec2<f32>(qa.z, qb.z);
                let c3 = vec2<f32>(qa.w, qb.w);
                // #unroll
                for (var h = 0u; h < GROUPS; h++) {
                    // #if BROADCAST == 1
                    let own = load_content(tile_row + clamp(LANES * h + local, first, last), d);
                    // #endif
                    // #unroll
                    for (var j = 0u; j < LANES; j++) {
                        // #if BROADCAST == 1
                        let row = subgroupBroadcast(own, j);
                        // #else
                        let row = load_content(tile_row + clamp(LANES * h + j, first, last), d);
                        // #endif
                        s[LANES * h + j] += row.x * c0 + row.y * c1 + row.z * c2 + row.w * c3;
                    }
                }
            }
            // 2. softmax
            let scale_row = share.item * params.mask_row + tile_key;
            // #unroll
            for (var h = 0u; h < GROUPS; h++) {
                // #if BROADCAST == 1
                let own = scale_and_mask(share.masked, scale_row + clamp(LANES * h + local, first, last));
                // #endif
                // #unroll
                for (var j = 0u; j < LANES; j++) {
                    let at = LANES * h + j;
                    // #if BROADCAST == 1
                    let of_key = subgroupBroadcast(own, j);
                    // #else
                    let of_key = scale_and_mask(share.masked, scale_row + clamp(LANES * h + j, first, last));
                    // #endif
                    scale_of[at] = of_key.x;
                    s[at] = select(vec2<f32>(MASKED), s[at] * of_key.x, of_key.y != 0.0);
                    maximum = select(maximum, max(maximum, s[at]), at >= first && at <= last);
                }
            }
            let moved = maximum > shift + SLACK;
            let factor = select(vec2<f32>(1.0), exp(shift - maximum), moved);
            // Before the first key there is nothing to rescale.
            let stored = moved & real & (shift > vec2<f32>(LOWEST));
            shift = select(shift, maximum, moved);
            sum *= factor;
            total *= factor;
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                marginal[j] *= factor;
            }
            if (any(stored)) {
                scale_rows(out_at, factor, stored);
            }
            var tile_sum = vec2<f32>(0.0);
            var tile_total = vec2<f32>(0.0);
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                let p = select(vec2<f32>(0.0), exp(s[j] - shift), j >= first && j <= last);
                s[j] = p * scale_of[j];
                tile_sum += p;
                tile_total += s[j];
                marginal[j] += s[j];
            }
            sum += tile_sum;
            total += tile_total;
            for (var axis = 1u; axis < params.dimensions; axis++) {
                add(out_at + slow_column(slow_at, axis), real, tile_total);
            }
            // 3. content
            for (var d = 0u; d < params.content; d++) {
                var o0 = vec2<f32>(0.0);
                var o1 = vec2<f32>(0.0);
                var o2 = vec2<f32>(0.0);
                var o3 = vec2<f32>(0.0);
                // #unroll
                for (var h = 0u; h < GROUPS; h++) {
                    // #if BROADCAST == 1
                    let own = load_content(tile_row + clamp(LANES * h + local, first, last), d);
                    // #endif
                    // #unroll
                    for (var j = 0u; j < LANES; j++) {
                        // #if BROADCAST == 1
                        let row = subgroupBroadcast(own, j);
                        // #else
                        let row = load_content(tile_row + clamp(LANES * h + j, first, last), d);
                        // #endif
                        let w = s[LANES * h + j];
                        o0 += row.x * w;
                        o1 += row.y * w;
                        o2 += row.z * w;
                        o3 += row.w * w;
                    }
                }
                for (var e = 0u; e < 2u; e++) {
                    if (real[e]) {
                        let at = out_at[e] + params.first_column + 4u * d;
                        y[at / 4u] = to_y(from_y(y[at / 4u]) + vec4<f32>(o0[e], o1[e], o2[e], o3[e]));
                    }
                }
            }
        }
        // The constant's column, and those of the fastest axis: beyond the end of the line, nothing is
        // added to its last position.
        for (var i = select(KEY_TILE, 0u, params.dimensions > 0u); i <= KEY_TILE; i++) {
            var column = lines.fast_column + min(fast + i, lines.length - 1u);
            var value = marginal[0];
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                value = select(value, marginal[j], i == j);
            }
            if (i == KEY_TILE) {
                column = params.constant_column;
                value = total;
            }
            add(out_at + column, real, value);
        }
        total = vec2<f32>(0.0);
    }

    // The carried state, and the end.
    for (var e = 0u; e < 2u; e++) {
        let in_row = share.item * params.queries + query_row[e];
        var other = vec2<f32>(LOWEST, 0.0);
        if (share.carried) {
            other = carry_stats[in_row].xy;
        }
        let most = max(maximum[e], other.x);
        let factor = exp(max(vec2<f32>(shift[e], other.x) - most, vec2<f32>(-80.0)));
        let all = dot(factor, vec2<f32>(sum[e], other.y));
        if (real[e]) {
            let end = select(1.0, select(0.0, 1.0 / all, all > 0.0), share.store_result);
            for (var c = 0u; c < params.columns / 4u; c++) {
                let at = out_at[e] / 4u + c;
                var value = from_y(y[at]) * factor.x;
                if (share.carried) {
                    value += from_carry(carry[in_row * params.columns / 4u + c]) * factor.y;
                }
                y[at] = to_y(value * end);
            }
            if (!share.store_result) {
                y_stats[out_row[e]] = vec4<f32>(most, all, 0.0, 0.0);
            }
        }
    }
}

// Scale of a key, and whether it counts.
fn scale_and_mask(masked: bool, key: u32) -> vec2<f32> {
    var keep = 1.0;
    if (masked) {
        keep = mask[key];
    }
    return vec2<f32>(scale[key], keep);
}

// Column of the position on the first or second slow axis.
fn slow_column(slow: vec2<u32>, axis: u32) -> u32 {
    return select(params.column_b + slow.y, params.column_a + slow.x, axis == 1u);
}

fn load_content(row: u32, vector: u32) -> vec4<f32> {
    return from_content(content[row * params.content + vector]);
}

// Adds to an element of each of two rows that exist.
fn add(at: vec2<u32>, real: vec2<bool>, value: vec2<f32>) {
    for (var e = 0u; e < 2u; e++) {
        if (real[e]) {
            let here = vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(at[e] % 4u);
            y[at[e] / 4u] = to_y(from_y(y[at[e] / 4u]) + select(vec4<f32>(0.0), vec4<f32>(value[e]), here));
        }
    }
}

// Multiplies these rows of y.
fn scale_rows(at: vec2<u32>, factor: vec2<f32>, wanted: vec2<bool>) {
    for (var e = 0u; e < 2u; e++) {
        if (wanted[e]) {
            for (var c = 0u; c < params.columns / 4u; c++) {
                y[at[e] / 4u + c] = to_y(from_y(y[at[e] / 4u + c]) * factor[e]);
            }
        }
    }
}
