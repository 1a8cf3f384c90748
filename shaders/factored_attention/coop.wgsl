// factored_attention on cooperative matrices of f16: the products with the content.
//
// Algorithm. That of `attention/coop` with the content as keys and as values, over lines and segments as in
// `factored_attention/tiled`: 64 positions of the fastest axis at a time are followed along all lines of the grid that the
// split covers. For each tile:
//   1. scores: products of content and queries, onto fragments of the entries of the segment's positions. Folded queries are
//      large and cancel, so each is the sum of two numbers of f16, whose products are added up in the same fragments;
//   2. softmax, LANES_EACH lanes a query: entries of slow axes, the row's scale, probabilities relative to a maximum that
//      lags behind. A lane has the marginals of its positions of the segment in registers; a tile's sum is its part of the slow
//      marginals, which are added up in y;
//   3. sums of probabilities times scaled content, as f16. Content of few channels has waited in registers since it was keys.
// Every vector of a query's tables in y has one lane that reads and writes it. The carried state joins at the end.
//
// Bindings: see `factored_attention/common`; content of f16 is native f16 here.
// Workgroup bytes: queries twice, 64 keys or a chunk of content, scores, probabilities, scales: 32 KiB at 32 queries.
// Numerics: products of f16 numbers are exact in f32; scores, statistics, marginals and sums are f32. Probabilities and
// scaled content are rounded to f16; marginals and sums are those of the rounded probabilities.
//
// Needs subgroups of exactly LANES; others write nothing, which the check before first use finds.

// #import common/coop_attention
// #import factored_attention/common

@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

// Scales of the tile's keys.
var<workgroup> scales: array<f32, 64>;

// Vectors of content that an invocation loads of a slice; whether they are few enough to wait in registers until they are
// values.
const KEY_VECTORS: u32 = 64u * SLICE / WORKGROUP;
const WAITING: u32 = 4u / KEY_VECTORS / CHUNKS;

const_assert WORKGROUP >= 64u && (CHUNKS > 1u || COLS == SLICE);

// For workgroup memory; content of f16 needs no conversion.
fn stage_content(v: content4) -> vec4<f16> { return to_f16(v); }

fn scale_vector(at: u32) -> vec4<f32> {
    return vec4<f32>(scales[at], scales[at + 1u], scales[at + 2u], scales[at + 3u]);
}

// The content of a tile: where its first position would be, which may wrap around below 0, and its first and last vector.
// What lies beyond, before or after is any of the tile's: it meets zeros in queries or probabilities, or is not stored.
struct Rows {
    at: u32,
    first: u32,
    last: u32,
}

fn rows_of(first_item_key: u32, tile: Tile) -> Rows {
    let key = first_item_key + tile.key;
    return Rows(
        key * params.content,
        (key + tile.first) * params.content,
        (key + tile.last + 1u) * params.content - 1u,
    );
}

fn content_of(rows: Rows, at: u32) -> content4 {
    return content[clamp(rows.at + at, rows.first, rows.last)];
}

// A slice of the queries, as powers of two.
fn stage_queries(local: u32, first_query: u32, slice: u32) {
    let vector = SLICE * slice + local % SLICE;
    let first = params.first_column / 4u + min(vector, params.content - 1u);
    for (var row = local / SLICE; row < ROWS; row += WORKGROUP / SLICE) {
        let query = min(first_query + row, params.queries - 1u);
        let whole = from_queries(queries[query * params.columns / 4u + first]) * LOG2_E;
        let value = select(vec4<f32>(0.0), whole, vector < params.content);
        let most = to_f16(value);
        put(row * CHANNELS_ROW + local % SLICE, most);
        put((ROWS + row) * CHANNELS_ROW + local % SLICE, to_f16(value - vec4<f32>(most)));
    }
}

// #if WAITING == 0
// A chunk of the content, scaled and transposed. Eight lanes have four keys each, so that what they store lies side by side.
fn stage_values(local: u32, rows: Rows, first_vector: u32) {
    for (var i = 0u; i < (16u * COLS + WORKGROUP - 1u) / WORKGROUP; i++) {
        let u = local + WORKGROUP * i;
        if (u < 16u * COLS) {
            let quad = u % 8u + u / (8u * COLS) * 8u;
            let column = u / 8u % COLS;
            let at = 4u * quad * params.content + first_vector + column;
            let of_keys = scale_vector(4u * quad);
            var values: array<vec4<f16>, 4>;
            // #unroll
            for (var r = 0u; r < 4u; r++) {
                values[r] = to_f16(from_content(content_of(rows, at + r * params.content)) * of_keys[r]);
            }
            put_values(column, quad, values);
        }
    }
}
// #endif

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
    let place = place_of(subgroup);
    let first_query = ROWS * share.query_tile;
    let first_item_key = share.item * params.keys;
    let first_item_scale = share.item * params.mask_row;
    let lines = lines_of(share.split, 64u);
    // Of softmax. In vectors of a row: tables, their end, those of the fastest axis. The lane that owns one is that of its
    // distance from the fastest axis, so that each of them begins with this vector.
    let own_row = local / LANES_EACH;
    let own_part = local % LANES_EACH;
    let real = first_query + own_row < params.queries;
    let own_query = min(first_query + own_row, params.queries - 1u);
    let query_at = own_query * params.columns / 4u;
    let in_row = share.item * params.queries + own_query;
    let out_row = (share.split * params.batch + share.item) * params.queries + own_query;
    let in_at = in_row * params.columns / 4u;
    let out_at = out_row * params.columns / 4u;
    let constant_vector = params.constant_column / 4u;
    let table_vector = params.first_column / 4u + params.content;
    let fast_vector = lines.fast_column / 4u;
    let own_vector = table_vector + (own_part + fast_vector - min(table_vector, fast_vector)) % LANES_EACH;
    if (real) {
        for (var c = own_vector; c < constant_vector; c += LANES_EACH) {
            y[out_at + c] = vec4<f32>(0.0);
        }
    }

    // The maximum so far, and the power that exponentials are relative to, which lags behind it by COOP_SLACK at most; sums of
    // the lane's own keys: of exponentials, and of them times scales.
    var highest = LOWEST;
    var shift = LOWEST;
    // What scores begin with: the power, but for rows of which no key was there or unmasked.
    var base = 0.0;
    var sum = 0.0;
    var total = 0.0;
    var acc: array<Sums, RESULTS>;
    // #unroll
    for (var f = 0u; f < RESULTS; f++) {
        acc[f] = Sums();
    }
    // With one chunk, all channels are one slice, and queries stay.
    if (CHUNKS == 1u) {
        stage_queries(local, first_query, 0u);
    }
    // #if WAITING == 0
    let slices = select((params.content + SLICE - 1u) / SLICE, 1u, CHUNKS == 1u);
    // #else
    // Keys and the vector of them that the lane loads: what eight lanes store as values lies side by side.
    let own_key = KEY_VECTORS * (local % 8u + local / (8u * SLICE) * 8u);
    let own_content = local / 8u % SLICE;
    // #endif
    for (var segment = lines.first_segment; segment < lines.end_segment; segment++) {
        let fast = 64u * segment;
        // Entries and marginals of the fastest axis.
        var marginal: array<vec4<f32>, VECTORS_EACH>;
        // #unroll
        for (var e = 0u; e < VECTORS_EACH; e++) {
            let in_tile = 4u * (LANES_EACH * e + own_part);
            var of_keys = vec4<f32>(query_element(own_query, params.constant_column));
            if (params.dimensions > 0u) {
                of_keys += from_queries(queries[query_at + min(fast_vector + (fast + in_tile) / 4u, constant_vector)]);
            }
            // #unroll
            for (var i = 0u; i < 4u; i++) {
                scores[own_row * SCORES_ROW + in_tile + i] = of_keys[i] * LOG2_E;
            }
            marginal[e] = vec4<f32>(0.0);
        }
        workgroupBarrier();
        var entries: array<Sums, PRODUCTS>;
        load_scores(place, &entries);
        for (var line = lines.first; line < lines.end; line++) {
            let tile = tile_of(lines, line, fast, 64u);
            // Of the first and the last line, parts may be missing.
            if (i32(tile.last) < i32(tile.first)) {
                continue;
            }
            let slow_at = slow_of(line);
            let column_a = params.column_a + slow_at.x;
            let column_b = params.column_b + slow_at.y;
            let rows = rows_of(first_item_key, tile);

            // 1. scores
            var slow = 0.0;
            if (params.dimensions > 1u) {
                slow = query_element(own_query, column_a);
            }
            if (params.dimensions > 2u) {
                slow += query_element(own_query, column_b);
            }
            slow *= LOG2_E;
            if (local < 64u) {
                scales[local] = scale[first_item_scale + (tile.key + clamp(local, tile.first, tile.last))];
            }
            if (local == 0u) {
                atomicStore(&risen, 0u);
            }
            var products: array<Sums, PRODUCTS>;
            // #unroll
            for (var f = 0u; f < PRODUCTS; f++) {
                products[f] = entries[f];
            }
            // #if WAITING == 0
            let first_content = local / SLICE * params.content + local % SLICE;
            for (var s = 0u; s < slices; s++) {
                if (s > 0u) {
                    workgroupBarrier();
                }
                if (CHUNKS > 1u) {
                    stage_queries(local, first_query, s);
                }
                for (var i = 0u; i < KEY_VECTORS; i++) {
                    let key = content_of(rows, first_content + SLICE * s + WORKGROUP / SLICE * i * params.content);
                    put(SLICE_AT + (local / SLICE + WORKGROUP / SLICE * i) * CHANNELS_ROW + local % SLICE, stage_content(key));
                }
                workgroupBarrier();
                add_scores(place, &products);
            }
            // #else
            var waiting: array<content4, KEY_VECTORS>;
            // #unroll
            for (var i = 0u; i < KEY_VECTORS; i++) {
                waiting[i] = content_of(rows, (own_key + i) * params.content + own_content);
                put(SLICE_AT + (own_key + i) * CHANNELS_ROW + own_content, stage_content(waiting[i]));
            }
            workgroupBarrier();
            add_scores(place, &products);
            // #endif
            store_scores(place, &products);
            workgroupBarrier();
            // #if WAITING == 0
            stage_values(local, rows, 0u);
            // #else
            var values: array<vec4<f16>, 4>;
            // #unroll
            for (var i = 0u; i < KEY_VECTORS; i++) {
                values[i] = to_f16(from_content(waiting[i]) * scales[own_key + i]);
            }
            // #if KEY_VECTORS == 4
            put_values(own_content, own_key / 4u, values);
            // #else
            // #unroll
            for (var c = 0u; c < 4u; c++) {
                let row = SLICE_AT + (4u * own_content + c) * ROW;
                // #unroll
                for (var i = 0u; i < KEY_VECTORS; i++) {
                    let key = own_key + i;
                    // #if FRAGMENT == 8
                    staged[4u * row + key] = values[i][c];
                    // #else
                    staged[row + key / 4u][key % 4u] = values[i][c];
                    // #endif
                }
            }
            // #endif
            // #endif

            // 2. softmax
            var score: array<vec4<f32>, VECTORS_EACH>;
            // #unroll
            for (var e = 0u; e < VECTORS_EACH; e++) {
                let in_tile = 4u * (LANES_EACH * e + own_part);
                let w = scale_vector(in_tile);
                let start = fma(w, vec4<f32>(slow), vec4<f32>(-base));
                score[e] = fma(w, score_vector(own_row * SCORES_ROW + in_tile), start);
            }
            if (share.masked || tile.last - tile.first + 1u < 64u) {
                // #unroll
                for (var e = 0u; e < VECTORS_EACH; e++) {
                    // #unroll
                    for (var i = 0u; i < 4u; i++) {
                        let in_tile = 4u * (LANES_EACH * e + own_part) + i;
                        if (share.masked) {
                            let key = first_item_scale + (tile.key + clamp(in_tile, tile.first, tile.last));
                            score[e][i] = select(MASKED, score[e][i], mask[key] != 0.0);
                        }
                        let inside = in_tile >= tile.first && in_tile <= tile.last;
                        score[e][i] = select(LOWEST, score[e][i], inside);
                    }
                }
            }
            var maxima = score[0];
            // #unroll
            for (var e = 0u; e < VECTORS_EACH; e++) {
                maxima = max(maxima, score[e]);
            }
            let maximum = maximum_of_lanes(max(max(maxima.x, maxima.y), max(maxima.z, maxima.w))) + base;
            highest = max(highest, maximum);
            var factor = 1.0;
            if (maximum > shift + COOP_SLACK) {
                // Before the first keys there is nothing to rescale.
                if (shift > LOWEST) {
                    factor = exp2(shift - maximum);
                    atomicStore(&risen, 1u);
                    sum *= factor;
                    total *= factor;
                    // #unroll
                    for (var e = 0u; e < VECTORS_EACH; e++) {
                        marginal[e] *= factor;
                    }
                    for (var c = own_vector; c < select(0u, constant_vector, real); c += LANES_EACH) {
                        y[out_at + c] *= factor;
                    }
                }
                shift = maximum;
                let next = select(0.0, shift, shift > MASKED);
                // #unroll
                for (var e = 0u; e < VECTORS_EACH; e++) {
                    score[e] += base - next;
                }
                base = next;
            }
            if (share.masked) {
                // #unroll
                for (var e = 0u; e < VECTORS_EACH; e++) {
                    let alone = (score[e] == vec4<f32>(MASKED)) & vec4<bool>(shift == MASKED);
                    score[e] = select(score[e], vec4<f32>(0.0), alone);
                }
            }
            if (own_part == 0u) {
                factors[own_row] = factor;
            }
            var exponentials = vec4<f32>(0.0);
            var weights = vec4<f32>(0.0);
            // #unroll
            for (var e = 0u; e < VECTORS_EACH; e++) {
                let rounded = vec4<f16>(exp2(score[e]));
                let p = vec4<f32>(rounded);
                let w = scale_vector(4u * (LANES_EACH * e + own_part));
                put(PROBABILITIES_AT + own_row * ROW + LANES_EACH * e + own_part, rounded);
                exponentials += p;
                weights = fma(p, w, weights);
                marginal[e] = fma(p, w, marginal[e]);
            }
            sum += (exponentials.x + exponentials.y) + (exponentials.z + exponentials.w);
            let of_tile = (weights.x + weights.y) + (weights.z + weights.w);
            total += of_tile;
            let of_line = sum_of_lanes(of_tile);
            // Distances wrap around, which leaves them what they are modulo LANES_EACH.
            let own_a = real && params.dimensions > 1u && own_part == (column_a / 4u - fast_vector) % LANES_EACH;
            let own_b = real && params.dimensions > 2u && own_part == (column_b / 4u - fast_vector) % LANES_EACH;
            if (own_a) {
                y[out_at + column_a / 4u][column_a % 4u] += of_line;
            }
            if (own_b) {
                y[out_at + column_b / 4u][column_b % 4u] += of_line;
            }
            workgroupBarrier();

            // 3. content
            if (atomicLoad(&risen) != 0u) {
                rescale(local, place, &acc);
            }
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                // #if WAITING == 0
                if (c > 0u) {
                    workgroupBarrier();
                    stage_values(local, rows, COLS * c);
                    workgroupBarrier();
                }
                // #endif
                add_context(place, c, &acc);
            }
            // What was read is written again only after everyone has read it.
            workgroupBarrier();
        }
        // #unroll
        for (var e = 0u; e < VECTORS_EACH; e++) {
            let position = fast + 4u * (LANES_EACH * e + own_part);
            if (real && params.dimensions > 0u && position < lines.length) {
                y[out_at + fast_vector + position / 4u] += marginal[e];
            }
        }
    }

    // The state of a query, with the carried one, from all its lanes.
    sum = sum_of_lanes(sum);
    total = sum_of_lanes(total);
    var carried = vec2<f32>(LOWEST, 0.0);
    if (share.carried) {
        carried = vec2<f32>(to_power(carry_stats[in_row].x), carry_stats[in_row].y);
    }
    let most = max(highest, carried.x);
    var of_own = exp2(shift - most);
    var of_carried = exp2(carried.x - most);
    let all = sum * of_own + carried.y * of_carried;
    if (share.store_result) {
        let inverse = select(1.0, 1.0 / all, all > 0.0);
        of_own *= inverse;
        of_carried *= inverse;
    }
    if (own_part == 0u) {
        factors[own_row] = of_own;
        carried_factors[own_row] = of_carried;
        if (real && !share.store_result) {
            y_stats[out_row] = vec4<f32>(from_power(most), all, 0.0, 0.0);
        }
    }
    if (real) {
        for (var c = own_vector; c < constant_vector; c += LANES_EACH) {
            y[out_at + c] = y[out_at + c] * of_own + carried_vector(share.carried, in_at + c) * of_carried;
        }
        // The constant, and columns of others, of which this is none.
        for (var c = own_part; c < params.columns / 4u; c += LANES_EACH) {
            let constant = select(0.0, total * of_own, c == constant_vector);
            if (c < params.first_column / 4u || c >= constant_vector) {
                let value = carried_vector(share.carried, in_at + c) * of_carried;
                y[out_at + c] = value + vec4<f32>(constant, 0.0, 0.0, 0.0);
            }
        }
    }
    // #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        workgroupBarrier();
        store_chunk(place, c, &acc);
        workgroupBarrier();
        for (var u = local; u < ROWS * COLS; u += WORKGROUP) {
            let row = u / COLS;
            let vector = COLS * c + u % COLS;
            if (first_query + row < params.queries && vector < params.content) {
                let at = first_query + row;
                let columns = params.columns / 4u;
                let in_place = (share.item * params.queries + at) * columns + params.first_column / 4u + vector;
                let out_place = ((share.split * params.batch + share.item) * params.queries + at) * columns
                    + params.first_column / 4u + vector;
                y[out_place] = score_vector(row * SCORES_ROW + u % COLS * 4u) * factors[row]
                    + carried_vector(share.carried, in_place) * carried_factors[row];
            }
        }
    }
}

fn carried_vector(there: bool, at: u32) -> vec4<f32> {
    if (there) {
        return from_carry(carry[at]);
    }
    return vec4<f32>(0.0);
}
