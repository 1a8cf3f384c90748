// factored_attention: softmax attention over input rows given as content, axis tables and a constant.
//
// Algorithm. 128 invocations compute 16 queries of one item and a part of the keys (split). For each tile of up to 64
// keys, which lie in one run of the fastest axis:
//   1. scores: content and queries pass through workgroup memory 32 channels at a time; an invocation computes four
//      queries and keys tx, tx + 32; then the tables' entries, the constant and the row's scale;
//   2. the maximum is exchanged. Exponentials are relative to a reference that is moved only when the maximum passes
//      it by 40, since moving it means rescaling all sums of the query;
//   3. the weights p·r are added to the marginal of the fastest axis, entry by entry, and their sum to the marginals
//      of the slow axes and to the constant;
//   4. content sums: an invocation computes one vector of content and two queries.
// The sums are in y, where no other workgroup writes them; there are no atomics, so results are deterministic.
//
// Bindings: see `factored_attention/common`.
// Workgroup bytes: 8 KiB content (then exchanged maxima and sums) + 2 KiB queries + 4 KiB weights.
// Numerics: f32. A masked key gets the finite score -1e30, the maximum starts at -3e38. The state is stored relative
// to the true maximum. content may be stored as f16 (a variant's choice).

// #import common/dot
// #import factored_attention/common

// Content of 64 keys, eight vectors each; afterwards one value per query and tx in x and y.
var<workgroup> slice: array<vec4<f32>, 512>;
var<workgroup> query_slice: array<vec4<f32>, 128>;
// Weights of 64 keys per query.
var<workgroup> weight: array<f32, 1024>;

@compute @workgroup_size(128)
fn tiled(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let tx = local % 32u;
    let ty = local / 32u;
    let first_query = 16u * share.query_tile;
    let last_query = params.queries - 1u;
    let first_key = share.split * params.split_keys;
    let end_key = min(first_key + params.split_keys, params.keys);
    let lines = lines_of(share.split, 64u);

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
        out_row[i] = ((share.split * params.batch + share.item) * params.queries + query) * params.columns;
        real[i] = wanted < params.queries;
        maximum[i] = LOWEST;
        sum[i] = 0.0;
        let in_row = share.item * params.queries + query;
        if (share.carried) {
            maximum[i] = carry_stats[in_row].x;
            if (tx == 0u) {
                sum[i] = carry_stats[in_row].y;
            }
        }
        shift[i] = maximum[i];
        if (real[i]) {
            for (var c = tx; c < params.columns; c += 32u) {
                var start = 0.0;
                if (share.carried) {
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
        var slow_at = vec2<u32>(0u);
        if (params.dimensions > 0u) {
            fast = position % lines.length;
            count = min(count, lines.length - fast);
            slow_at = slow_of(position / lines.length);
        }
        let last = count - 1u;
        let key_row = share.item * params.keys + key;

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
            let vectors = min(8u, params.content - d);
            for (var e = 0u; e < vectors; e++) {
                let a = slice[tx * 8u + (e + tx) % 8u];
                let b = slice[(tx + 32u) * 8u + (e + tx) % 8u];
                // #unroll
                for (var i = 0u; i < 4u; i++) {
                    let g = query_slice[(4u * ty + i) * 8u + e];
                    s0[i] = add_dot(g, a, s0[i]);
                    s1[i] = add_dot(g, b, s1[i]);
                }
            }
            workgroupBarrier();
        }
        let key_a = min(tx, last);
        let key_b = min(tx + 32u, last);
        let scale_row = share.item * params.mask_row + key;
        let scale_a = scale[scale_row + key_a];
        let scale_b = scale[scale_row + key_b];
        var keep_a = true;
        var keep_b = true;
        if (share.masked) {
            keep_a = mask[scale_row + key_a] != 0.0;
            keep_b = mask[scale_row + key_b] != 0.0;
        }
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            var slow = query_element(query_row[i], params.constant_column);
            if (params.dimensions > 1u) {
                slow += query_element(query_row[i], params.column_a + slow_at.x);
            }
            if (params.dimensions > 2u) {
                slow += query_element(query_row[i], params.column_b + slow_at.y);
            }
            var table_a = 0.0;
            var table_b = 0.0;
            if (params.dimensions > 0u) {
                table_a = query_element(query_row[i], lines.fast_column + fast + key_a);
                table_b = query_element(query_row[i], lines.fast_column + fast + key_b);
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
            for (var j = 0u; j < min(32u, count); j++) {
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
                let at = out_row[i] + lines.fast_column + fast;
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
            for (var j = 0u; j < min(32u, count); j++) {
                total += slice[(4u * ty + tx) * 32u + j].y;
            }
            let at = ((share.split * params.batch + share.item) * params.queries + query) * params.columns;
            y[at + params.constant_column] += total;
            if (params.dimensions > 1u) {
                y[at + params.column_a + slow_at.x] += total;
            }
            if (params.dimensions > 2u) {
                y[at + params.column_b + slow_at.y] += total;
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
            let at = ((share.split * params.batch + share.item) * params.queries + query) * params.columns
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
        for (var j = 0u; j < min(32u, 32u * params.queries); j++) {
            total += slice[(4u * ty + i) * 32u + j].x;
        }
        var factor = exp(clamp(shift[i] - maximum[i], -80.0, 80.0));
        if (share.store_result) {
            factor = select(1.0, 1.0 / total, total > 0.0);
        }
        if (real[i]) {
            for (var c = tx; c < params.columns; c += 32u) {
                y[out_row[i] + c] *= factor;
            }
            if (!share.store_result && tx == 0u) {
                let row = (share.split * params.batch + share.item) * params.queries + query_row[i];
                y_stats[row] = vec4<f32>(maximum[i], total * factor, 0.0, 0.0);
            }
        }
    }
}
