// factored_attention: softmax attention over input rows given as content, axis tables and a constant.
//
// Algorithm, two entry points.
//   tiled   128 invocations. A workgroup owns 16 queries of one item and a share of the keys (split). For each tile of up to 64
// keys, which lie in one run of the fastest axis:
//   1. scores: content and queries pass through workgroup memory 32 channels at a time; an invocation
//      owns four queries and keys tx, tx + 32; then the tables' entries, the constant and the row's scale;
//   2. the maximum is exchanged. Exponentials are relative to a reference that is moved only when the
//      maximum passes it by 40, since moving it means rescaling all sums of the query;
//   3. the weights p·r are added to the marginal of the fastest axis, entry by entry, and their sum to
//      the marginals of the slow axes and to the constant;
//   4. content sums: an invocation owns one vector of content and two queries.
// The sums live in y, which the workgroup owns; there are no atomics, so results are deterministic.
//   direct  LANES invocations, no workgroup memory, no barrier, for software adapters, whose lanes are
//           the slots of one CPU vector. A lane owns QUERY_VECTORS times four neighbouring queries, as the
//           components of its vectors. The fastest axis is cut into segments of KEY_TILE positions, and
//           each is followed along all lines of the grid that the split covers, so that its table entries
//           and marginals are variables of the lane; the other sums live in y.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        content      [batch, keys, content] as vectors of four, or anything when content is 0
//   2 read        queries      [queries, columns] as vectors of four
//   3 read        scale        [batch, 1, keys] as f32
//   4 read        mask         [batch, 1, keys] as f32, non-zero keeps; or anything when absent
//   5 read        carry        sums so far [batch, queries, columns] as f32
//   6 read        carry_stats  [batch, queries, 2] as vectors of four
//   7 read_write  y            [splits·batch, queries, columns] as f32
//   8 read_write  y_stats      [splits·batch, queries, 2] as vectors of four, unless result is stored
//
// Workgroup bytes: tiled 8 KiB content (then exchanged maxima and sums) + 2 KiB queries + 4 KiB weights;
// direct none.
//
// Numerics: f32. A masked key gets the finite score -1e30, the maximum starts at -3e38. The state is
// stored relative to the true maximum. content may be stored as halves (a variant's choice).

// #import common/factored_attention

// Vectors of four queries of one lane, and keys per tile (direct).
const QUERY_VECTORS: u32 = 1u;
const KEY_TILE: u32 = 16u;

alias content4 = vec4<f32>;
fn from_content(v: content4) -> vec4<f32> { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> content: array<content4>;
@group(0) @binding(2) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> mask: array<f32>;
@group(0) @binding(5) var<storage, read> carry: array<f32>;
@group(0) @binding(6) var<storage, read> carry_stats: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;
@group(0) @binding(8) var<storage, read_write> y_stats: array<vec4<f32>>;
// The first workgroup of the part of a dispatch that is to be computed.
@group(1) @binding(0) var<uniform> first_group: u32;

// Content of 64 keys, eight vectors each; afterwards one value per query and tx in x and y.
var<workgroup> slice: array<vec4<f32>, 512>;
var<workgroup> query_slice: array<vec4<f32>, 128>;
// Weights of 64 keys per query.
var<workgroup> weight: array<f32, 1024>;

fn query_element(row: u32, column: u32) -> f32 {
    let at = row * params.columns + column;
    return queries[at / 4u][at % 4u];
}

@compute @workgroup_size(128)
fn tiled(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let item = share.item;
    let split = share.split;

    let tx = local % 32u;
    let ty = local / 32u;
    let first_query = 16u * share.query_tile;
    let last_query = params.queries - 1u;
    let first_key = split * params.split_keys;
    let end_key = min(first_key + params.split_keys, params.keys);
    let masked = (params.flags & 1u) != 0u;
    let carried = (params.flags & 2u) != 0u && split == 0u;
    let store_result = (params.flags & 4u) != 0u;
    let fast_length = select(
        select(params.axis_b, params.axis_c, params.dimensions == 3u),
        params.axis_a,
        params.dimensions == 1u,
    );
    let fast_column = select(
        select(params.column_b, params.column_c, params.dimensions == 3u),
        params.column_a,
        params.dimensions == 1u,
    );

    // Rows of the four queries that this invocation scores; rows beyond the end are not stored.
    var query_row: array<u32, 4>;
    var out_row: array<u32, 4>;
    var real: array<bool, 4>;
    var maximum: array<f32, 4>;
    var shift: array<f32, 4>;
    var sum: array<f32, 4>;
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        let wanted = first_query + 4u * ty + i;
        let query = min(wanted, last_query);
        query_row[i] = query;
        out_row[i] = ((split * params.batch + item) * params.queries + query) * params.columns;
        real[i] = wanted < params.queries;
        maximum[i] = LOWEST;
        sum[i] = 0.0;
        let in_row = item * params.queries + query;
        if (carried) {
            maximum[i] = carry_stats[in_row].x;
            if (tx == 0u) {
                sum[i] = carry_stats[in_row].y;
            }
        }
        shift[i] = maximum[i];
        if (real[i]) {
            for (var c = tx; c < params.columns; c += 32u) {
                var start = 0.0;
                if (carried) {
                    start = carry[in_row * params.columns + c];
                }
                y[out_row[i] + c] = start;
            }
        }
    }

    var key = first_key;
    while (key < end_key) {
        // The run of the fastest axis that this tile lies in.
        let position = params.first_key + key;
        var count = min(64u, end_key - key);
        var fast = 0u;
        var slow_a = 0u;
        var slow_b = 0u;
        if (params.dimensions > 0u) {
            fast = position % fast_length;
            count = min(count, fast_length - fast);
            let line = position / fast_length;
            if (params.dimensions == 2u) {
                slow_a = line % params.axis_a;
            }
            if (params.dimensions == 3u) {
                slow_b = line % params.axis_b;
                slow_a = line / params.axis_b % params.axis_a;
            }
        }
        let last = count - 1u;
        let key_row = item * params.keys + key;

        // 1. scores
        var s0: array<f32, 4>;
        var s1: array<f32, 4>;
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            s0[i] = 0.0;
            s1[i] = 0.0;
        }
        for (var d = 0u; d < params.content; d += 8u) {
            let vector = d + local % 8u;
            let inside = vector < params.content;
            // #unroll
            for (var i = 0u; i < 4u; i++) {
                let row = local / 8u + 16u * i;
                var value = vec4<f32>(0.0);
                if (inside) {
                    value = from_content(content[(key_row + min(row, last)) * params.content + vector]);
                }
                slice[row * 8u + (local + row) % 8u] = value;
            }
            var value = vec4<f32>(0.0);
            if (inside) {
                let row = min(first_query + local / 8u, last_query);
                value = queries[(row * params.columns + params.first_column) / 4u + vector];
            }
            query_slice[local] = value;
            workgroupBarrier();
            // #unroll
            for (var e = 0u; e < 8u; e++) {
                let a = slice[tx * 8u + (e + tx) % 8u];
                let b = slice[(tx + 32u) * 8u + (e + tx) % 8u];
                // #unroll
                for (var i = 0u; i < 4u; i++) {
                    let g = query_slice[(4u * ty + i) * 8u + e];
                    s0[i] += dot(g, a);
                    s1[i] += dot(g, b);
                }
            }
            workgroupBarrier();
        }
        let key_a = min(tx, last);
        let key_b = min(tx + 32u, last);
        let scale_row = item * params.mask_row + key;
        let scale_a = scale[scale_row + key_a];
        let scale_b = scale[scale_row + key_b];
        var keep_a = true;
        var keep_b = true;
        if (masked) {
            keep_a = mask[scale_row + key_a] != 0.0;
            keep_b = mask[scale_row + key_b] != 0.0;
        }
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            var slow = query_element(query_row[i], params.constant_column);
            if (params.dimensions > 1u) {
                slow += query_element(query_row[i], params.column_a + slow_a);
            }
            if (params.dimensions > 2u) {
                slow += query_element(query_row[i], params.column_b + slow_b);
            }
            var table_a = 0.0;
            var table_b = 0.0;
            if (params.dimensions > 0u) {
                table_a = query_element(query_row[i], fast_column + fast + key_a);
                table_b = query_element(query_row[i], fast_column + fast + key_b);
            }
            s0[i] = select(MASKED, (s0[i] + (table_a + slow)) * scale_a, keep_a);
            s1[i] = select(MASKED, (s1[i] + (table_b + slow)) * scale_b, keep_b);
            // 2. maxima
            slice[(4u * ty + i) * 32u + tx].x = max(
                select(LOWEST, s0[i], tx <= last),
                select(LOWEST, s1[i], tx + 32u <= last),
            );
        }
        workgroupBarrier();
        var own: array<f32, 4>;
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            var largest = maximum[i];
            for (var j = 0u; j < 32u; j++) {
                largest = max(largest, slice[(4u * ty + i) * 32u + j].x);
            }
            maximum[i] = largest;
            if (largest > shift[i] + SLACK) {
                let factor = exp(shift[i] - largest);
                shift[i] = largest;
                sum[i] *= factor;
                if (real[i]) {
                    for (var c = tx; c < params.columns; c += 32u) {
                        y[out_row[i] + c] *= factor;
                    }
                }
            }
            let p_a = select(0.0, exp(s0[i] - shift[i]), tx <= last);
            let p_b = select(0.0, exp(s1[i] - shift[i]), tx + 32u <= last);
            sum[i] += p_a + p_b;
            let w_a = p_a * scale_a;
            let w_b = p_b * scale_b;
            weight[(4u * ty + i) * 64u + tx] = w_a;
            weight[(4u * ty + i) * 64u + tx + 32u] = w_b;
            own[i] = w_a + w_b;
        }
        storageBarrier();
        workgroupBarrier();
        // 3. marginals
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            slice[(4u * ty + i) * 32u + tx].y = own[i];
            if (params.dimensions > 0u && real[i]) {
                let at = out_row[i] + fast_column + fast;
                if (tx <= last) {
                    y[at + tx] += weight[(4u * ty + i) * 64u + tx];
                }
                if (tx + 32u <= last) {
                    y[at + tx + 32u] += weight[(4u * ty + i) * 64u + tx + 32u];
                }
            }
        }
        workgroupBarrier();
        if (tx < 4u && first_query + 4u * ty + tx < params.queries) {
            let query = first_query + 4u * ty + tx;
            var total = 0.0;
            for (var j = 0u; j < 32u; j++) {
                total += slice[(4u * ty + tx) * 32u + j].y;
            }
            let at = ((split * params.batch + item) * params.queries + query) * params.columns;
            y[at + params.constant_column] += total;
            if (params.dimensions > 1u) {
                y[at + params.column_a + slow_a] += total;
            }
            if (params.dimensions > 2u) {
                y[at + params.column_b + slow_b] += total;
            }
        }
        // 4. content
        for (var unit = local; unit < 8u * params.content; unit += 128u) {
            let vector = unit % params.content;
            let pair = 2u * (unit / params.content);
            var a = vec4<f32>(0.0);
            var b = vec4<f32>(0.0);
            for (var j = 0u; j < count; j++) {
                let value = from_content(content[(key_row + j) * params.content + vector]);
                a += weight[pair * 64u + j] * value;
                b += weight[(pair + 1u) * 64u + j] * value;
            }
            let query = first_query + pair;
            let at = ((split * params.batch + item) * params.queries + query) * params.columns
                + params.first_column + 4u * vector;
            // #unroll
            for (var e = 0u; e < 4u; e++) {
                if (query < params.queries) {
                    y[at + e] += a[e];
                }
                if (query + 1u < params.queries) {
                    y[at + params.columns + e] += b[e];
                }
            }
        }
        storageBarrier();
        workgroupBarrier();
        key += count;
    }

    // The sums of all tx, in a fixed order.
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        slice[(4u * ty + i) * 32u + tx].x = sum[i];
    }
    workgroupBarrier();
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        var total = 0.0;
        for (var j = 0u; j < 32u; j++) {
            total += slice[(4u * ty + i) * 32u + j].x;
        }
        var factor = exp(clamp(shift[i] - maximum[i], -80.0, 80.0));
        if (store_result) {
            factor = select(1.0, 1.0 / total, total > 0.0);
        }
        if (real[i]) {
            for (var c = tx; c < params.columns; c += 32u) {
                y[out_row[i] + c] *= factor;
            }
            if (!store_result && tx == 0u) {
                let row = (split * params.batch + item) * params.queries + query_row[i];
                y_stats[row] = vec4<f32>(maximum[i], total * factor, 0.0, 0.0);
            }
        }
    }
}

// Four neighbouring columns of the queries.
fn query_vector(row: u32, column: u32) -> vec4<f32> {
    return queries[(row * params.columns + column) / 4u];
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
    let item = share.item;
    let split = share.split;

    let last_query = params.queries - 1u;
    let masked = (params.flags & 1u) != 0u;
    let carried = (params.flags & 2u) != 0u && split == 0u;
    let store_result = (params.flags & 4u) != 0u;
    let lines = lines_of(split, KEY_TILE);

    // Components are queries.
    var query_row: array<vec4<u32>, QUERY_VECTORS>;
    var out_row: array<vec4<u32>, QUERY_VECTORS>;
    var real: array<vec4<bool>, QUERY_VECTORS>;
    var maximum: array<vec4<f32>, QUERY_VECTORS>;
    var shift: array<vec4<f32>, QUERY_VECTORS>;
    var sum: array<vec4<f32>, QUERY_VECTORS>;
    var total: array<vec4<f32>, QUERY_VECTORS>;
    // #unroll
    for (var i = 0u; i < QUERY_VECTORS; i++) {
        let wanted = 32u * (QUERY_VECTORS * share.query_tile + i) + 4u * local + vec4<u32>(0u, 1u, 2u, 3u);
        query_row[i] = min(wanted, vec4<u32>(last_query));
        real[i] = wanted < vec4<u32>(params.queries);
        out_row[i] = ((split * params.batch + item) * params.queries + query_row[i]) * params.columns;
        maximum[i] = vec4<f32>(LOWEST);
        sum[i] = vec4<f32>(0.0);
        total[i] = vec4<f32>(0.0);
        let in_row = item * params.queries + query_row[i];
        if (carried) {
            let a = carry_stats[in_row.x];
            let b = carry_stats[in_row.y];
            let c = carry_stats[in_row.z];
            let e = carry_stats[in_row.w];
            maximum[i] = vec4<f32>(a.x, b.x, c.x, e.x);
            sum[i] = vec4<f32>(a.y, b.y, c.y, e.y);
        }
        shift[i] = maximum[i];
        let in_at = in_row * params.columns;
        for (var c = 0u; c < params.columns; c++) {
            // #unroll
            for (var e = 0u; e < 4u; e++) {
                var start = 0.0;
                if (carried) {
                    start = carry[in_at[e] + c];
                }
                if (real[i][e]) {
                    y[out_row[i][e] + c] = start;
                }
            }
        }
    }

    // Entries and marginals of the fastest axis, scores, then probabilities, then weights.
    var entry: array<vec4<f32>, KEY_TILE * QUERY_VECTORS>;
    var marginal: array<vec4<f32>, KEY_TILE * QUERY_VECTORS>;
    var s: array<vec4<f32>, KEY_TILE * QUERY_VECTORS>;
    for (var segment = lines.first_segment; segment < lines.end_segment; segment++) {
        let fast = KEY_TILE * segment;
        // #unroll
        for (var i = 0u; i < QUERY_VECTORS; i++) {
            let constant = vec4<f32>(
                query_element(query_row[i].x, params.constant_column),
                query_element(query_row[i].y, params.constant_column),
                query_element(query_row[i].z, params.constant_column),
                query_element(query_row[i].w, params.constant_column),
            );
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                entry[j * QUERY_VECTORS + i] = constant;
                marginal[j * QUERY_VECTORS + i] = vec4<f32>(0.0);
            }
            if (params.dimensions > 0u) {
                // #unroll
                for (var j = 0u; j < KEY_TILE; j++) {
                    let column = lines.fast_column + min(fast + j, lines.length - 1u);
                    let a = query_vector(query_row[i].x, column)[column % 4u];
                    let b = query_vector(query_row[i].y, column)[column % 4u];
                    let c = query_vector(query_row[i].z, column)[column % 4u];
                    let e = query_vector(query_row[i].w, column)[column % 4u];
                    entry[j * QUERY_VECTORS + i] += vec4<f32>(a, b, c, e);
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
            let tile_row = item * params.keys + tile_key;
            let slow_at = slow_of(line);

            // 1. scores
            // #unroll
            for (var i = 0u; i < QUERY_VECTORS; i++) {
                var slow = vec4<f32>(0.0);
                if (params.dimensions > 1u) {
                    // #unroll
                    for (var e = 0u; e < 4u; e++) {
                        slow[e] = query_element(query_row[i][e], params.column_a + slow_at.x);
                        if (params.dimensions > 2u) {
                            slow[e] += query_element(query_row[i][e], params.column_b + slow_at.y);
                        }
                    }
                }
                // #unroll
                for (var j = 0u; j < KEY_TILE; j++) {
                    s[j * QUERY_VECTORS + i] = entry[j * QUERY_VECTORS + i] + slow;
                }
            }
            for (var d = 0u; d < params.content; d++) {
                // Query columns 4 d, 4 d + 1, ..: the transpose costs nothing where components are registers.
                var columns: array<vec4<f32>, 4u * QUERY_VECTORS>;
                // #unroll
                for (var i = 0u; i < QUERY_VECTORS; i++) {
                    let a = query_vector(query_row[i].x, params.first_column + 4u * d);
                    let b = query_vector(query_row[i].y, params.first_column + 4u * d);
                    let c = query_vector(query_row[i].z, params.first_column + 4u * d);
                    let e = query_vector(query_row[i].w, params.first_column + 4u * d);
                    columns[4u * i] = vec4<f32>(a.x, b.x, c.x, e.x);
                    columns[4u * i + 1u] = vec4<f32>(a.y, b.y, c.y, e.y);
                    columns[4u * i + 2u] = vec4<f32>(a.z, b.z, c.z, e.z);
                    columns[4u * i + 3u] = vec4<f32>(a.w, b.w, c.w, e.w);
                }
                // #unroll
                for (var j = 0u; j < KEY_TILE; j++) {
                    let row = from_content(content[(tile_row + clamp(j, first, last)) * params.content + d]);
                    // #unroll
                    for (var i = 0u; i < QUERY_VECTORS; i++) {
                        s[j * QUERY_VECTORS + i] += row.x * columns[4u * i] + row.y * columns[4u * i + 1u]
                            + row.z * columns[4u * i + 2u] + row.w * columns[4u * i + 3u];
                    }
                }
            }
            // 2. softmax
            let scale_row = item * params.mask_row + tile_key;
            var scales: array<f32, KEY_TILE>;
            // #unroll
            for (var j = 0u; j < KEY_TILE; j++) {
                scales[j] = scale[scale_row + clamp(j, first, last)];
                var keep = true;
                if (masked) {
                    keep = mask[scale_row + clamp(j, first, last)] != 0.0;
                }
                let inside = j >= first && j <= last;
                // #unroll
                for (var i = 0u; i < QUERY_VECTORS; i++) {
                    let score = select(vec4<f32>(MASKED), s[j * QUERY_VECTORS + i] * scales[j], keep);
                    s[j * QUERY_VECTORS + i] = score;
                    maximum[i] = select(maximum[i], max(maximum[i], score), inside);
                }
            }
            var tile_total: array<vec4<f32>, QUERY_VECTORS>;
            // #unroll
            for (var i = 0u; i < QUERY_VECTORS; i++) {
                let moved = maximum[i] > shift[i] + SLACK;
                if (any(moved)) {
                    let reference = select(shift[i], maximum[i], moved);
                    let factor = exp(shift[i] - reference);
                    // Before the first key there is nothing to rescale.
                    let filled = shift[i] > vec4<f32>(LOWEST);
                    shift[i] = reference;
                    sum[i] *= factor;
                    total[i] *= factor;
                    // #unroll
                    for (var j = 0u; j < KEY_TILE; j++) {
                        marginal[j * QUERY_VECTORS + i] *= factor;
                    }
                    let wanted = moved & filled & real[i];
                    if (any(wanted)) {
                        scale_rows(out_row[i], factor, wanted);
                    }
                }
                var tile_sum = vec4<f32>(0.0);
                tile_total[i] = vec4<f32>(0.0);
                // #unroll
                for (var j = 0u; j < KEY_TILE; j++) {
                    let inside = j >= first && j <= last;
                    let p = select(vec4<f32>(0.0), exp(s[j * QUERY_VECTORS + i] - shift[i]), inside);
                    let w = p * scales[j];
                    tile_sum += p;
                    tile_total[i] += w;
                    marginal[j * QUERY_VECTORS + i] += w;
                    s[j * QUERY_VECTORS + i] = w;
                }
                sum[i] += tile_sum;
                total[i] += tile_total[i];
                if (params.dimensions > 1u) {
                    // #unroll
                    for (var e = 0u; e < 4u; e++) {
                        if (real[i][e]) {
                            y[out_row[i][e] + params.column_a + slow_at.x] += tile_total[i][e];
                            if (params.dimensions > 2u) {
                                y[out_row[i][e] + params.column_b + slow_at.y] += tile_total[i][e];
                            }
                        }
                    }
                }
            }
            // 3. content
            for (var d = 0u; d < params.content; d++) {
                var o: array<vec4<f32>, 4u * QUERY_VECTORS>;
                // #unroll
                for (var i = 0u; i < 4u * QUERY_VECTORS; i++) {
                    o[i] = vec4<f32>(0.0);
                }
                // #unroll
                for (var j = 0u; j < KEY_TILE; j++) {
                    let row = from_content(content[(tile_row + clamp(j, first, last)) * params.content + d]);
                    // #unroll
                    for (var i = 0u; i < QUERY_VECTORS; i++) {
                        let w = s[j * QUERY_VECTORS + i];
                        o[4u * i] += row.x * w;
                        o[4u * i + 1u] += row.y * w;
                        o[4u * i + 2u] += row.z * w;
                        o[4u * i + 3u] += row.w * w;
                    }
                }
                // #unroll
                for (var i = 0u; i < QUERY_VECTORS; i++) {
                    // #unroll
                    for (var e = 0u; e < 4u; e++) {
                        if (real[i][e]) {
                            let at = out_row[i][e] + params.first_column + 4u * d;
                            y[at] += o[4u * i][e];
                            y[at + 1u] += o[4u * i + 1u][e];
                            y[at + 2u] += o[4u * i + 2u][e];
                            y[at + 3u] += o[4u * i + 3u][e];
                        }
                    }
                }
            }
        }
        if (params.dimensions > 0u) {
            // Beyond the end of the line, nothing is added to its last position.
            // #unroll
            for (var i = 0u; i < QUERY_VECTORS; i++) {
                // #unroll
                for (var e = 0u; e < 4u; e++) {
                    if (real[i][e]) {
                        // #unroll
                        for (var j = 0u; j < KEY_TILE; j++) {
                            let column = lines.fast_column + min(fast + j, lines.length - 1u);
                            y[out_row[i][e] + column] += marginal[j * QUERY_VECTORS + i][e];
                        }
                    }
                }
            }
        }
    }

    // #unroll
    for (var i = 0u; i < QUERY_VECTORS; i++) {
        var factor = exp(clamp(shift[i] - maximum[i], vec4<f32>(-80.0), vec4<f32>(80.0)));
        if (store_result) {
            factor = select(vec4<f32>(1.0), 1.0 / sum[i], sum[i] > vec4<f32>(0.0));
        }
        // #unroll
        for (var e = 0u; e < 4u; e++) {
            if (real[i][e]) {
                y[out_row[i][e] + params.constant_column] += total[i][e];
                if (!store_result) {
                    let row = (split * params.batch + item) * params.queries + query_row[i][e];
                    y_stats[row] = vec4<f32>(maximum[i][e], sum[i][e] * factor[e], 0.0, 0.0);
                }
            }
        }
        scale_rows(out_row[i], factor, real[i]);
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
