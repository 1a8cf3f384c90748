// factored_attention in larger blocks, for devices with 32 KiB of workgroup memory.
//
// Algorithm. What `factored_attention/tiled` computes, arranged so that nothing but slow marginals is added up in
// memory. 256 invocations compute 64 queries of one item and a share of the keys (split); invocation (tx, ty)
// computes queries ty + 16 i as the components of its vectors, keys tx + 16 j of a tile of 32, and content vectors tx
// + 16 c. The fastest axis is cut into segments of 32 positions, and each segment is followed along all lines of the
// grid that the split covers, so that the segment's table entries and marginals stay in registers. For each tile:
//   1. scores: 64 channels of the content and of the queries are in workgroup memory; 4 × 2 products of vectors for
//      every six loads; then the tables' entries, the constant and the row's scale;
//   2. the maximum is exchanged; the reference of the exponentials is moved only when the maximum passes it by 40,
//      since moving it means rescaling all sums of the query;
//   3. sums of weights times content: four queries × one vector per load of both; the sum of the weights themselves,
//      which all sixteen tx have then, is the tile's part of the slow marginals.
// With content of up to 64 channels (CHUNKS 1) the queries stay in workgroup memory throughout and the content is
// loaded once per tile for both products; with more, once for each. Every element of y has one invocation that reads
// and writes it; there are no atomics and no storage barriers, and results are deterministic.
//
// Bindings: see `factored_attention/common`.
// Workgroup bytes: 16 KiB queries + 8 KiB content + 8 KiB weights (before: exchanged maxima). Rows of the first two
// are permuted so that neighbouring rows begin in other banks.
// Numerics: those of `factored_attention/tiled`; the content of a tile is summed up before it joins the sums. Content
// sums stay in registers, the other columns of y in y.

// #import common/dot
// #import factored_attention/common

// Content vectors of an invocation: 64 channels of a workgroup each.
const CHUNKS: u32 = 1u;

// Sixteen vectors each of 64 queries, of 32 keys.
var<workgroup> query_slice: array<vec4<f32>, 1024>;
var<workgroup> slice: array<vec4<f32>, 512>;
// Weights of a ty's four queries, by key.
var<workgroup> weight: array<vec4<f32>, 512>;

// Where a slice keeps a vector of a row.
fn place(row: u32, vector: u32) -> u32 {
    return 16u * row + (vector ^ (row & 7u));
}

fn load_queries(local: u32, first_query: u32, chunk: u32) {
    let vector = 16u * chunk + local % 16u;
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        let row = local / 16u + 16u * i;
        var value = vec4<f32>(0.0);
        if (vector < params.content) {
            let query = min(first_query + row, params.queries - 1u);
            value = queries[(query * params.columns + params.first_column) / 4u + vector];
        }
        query_slice[place(row, local % 16u)] = value;
    }
}

// Rows of the tile that do not exist repeat others: their weights are zero.
fn load_content(local: u32, tile_row: u32, first: u32, last: u32, chunk: u32) {
    let vector = 16u * chunk + local % 16u;
    // #unroll
    for (var j = 0u; j < 2u; j++) {
        let row = local / 16u + 16u * j;
        var value = vec4<f32>(0.0);
        if (vector < params.content) {
            value = from_content(content[(tile_row + clamp(row, first, last)) * params.content + vector]);
        }
        slice[place(row, local % 16u)] = value;
    }
}

@compute @workgroup_size(256)
fn blocked(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let tx = local % 16u;
    let ty = local / 16u;
    let first_query = 64u * share.query_tile;
    let last_query = params.queries - 1u;
    let lines = lines_of(share.split, 32u);
    // Columns of all axes. The invocation that owns one is the tx of its distance from the fastest axis,
    // so that each of them begins with this column of them.
    let table_column = params.first_column + 4u * params.content;
    let table_columns = params.constant_column - table_column;
    let own_column = (tx + lines.fast_column - min(table_column, lines.fast_column)) % 16u;

    // Of queries ty + 16 i.
    var query_row: vec4<u32>;
    var out_row: vec4<u32>;
    var real: vec4<bool>;
    var maximum = vec4<f32>(LOWEST);
    // Sums of tx's own keys.
    var sum = vec4<f32>(0.0);
    // Sum of all weights: the same for all tx.
    var total = vec4<f32>(0.0);
    var acc: array<vec4<f32>, 4u * CHUNKS>;
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        let wanted = first_query + ty + 16u * i;
        let query = min(wanted, last_query);
        query_row[i] = query;
        out_row[i] = ((share.split * params.batch + share.item) * params.queries + query) * params.columns;
        real[i] = wanted < params.queries;
        let in_row = share.item * params.queries + query;
        let in_at = in_row * params.columns;
        if (share.carried) {
            maximum[i] = carry_stats[in_row].x;
            sum[i] = select(0.0, carry_stats[in_row].y, tx == 0u);
            total[i] = carry[in_at + params.constant_column];
        }
        // #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            acc[4u * c + i] = vec4<f32>(0.0);
            let at = in_at + params.first_column + 4u * (16u * c + tx);
            if (share.carried && 16u * c + tx < params.content) {
                acc[4u * c + i] = vec4<f32>(carry[at], carry[at + 1u], carry[at + 2u], carry[at + 3u]);
            }
        }
    }
    for (var c = own_column; c < table_columns; c += 16u) {
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            var start = 0.0;
            if (share.carried) {
                start = carry[(share.item * params.queries + query_row[i]) * params.columns + table_column + c];
            }
            if (real[i]) {
                y[out_row[i] + table_column + c] = start;
            }
        }
    }
    let first_maximum = maximum;
    var shift = maximum;
    if (CHUNKS == 1u) {
        load_queries(local, first_query, 0u);
    }

    let chunks = (params.content + 15u) / 16u;
    for (var segment = lines.first_segment; segment < lines.end_segment; segment++) {
        let fast = 32u * segment;
        // Entries and marginals of the fastest axis at keys tx, tx + 16.
        var entry_a = vec4<f32>(0.0);
        var entry_b = vec4<f32>(0.0);
        var marginal_a = vec4<f32>(0.0);
        var marginal_b = vec4<f32>(0.0);
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            let constant = query_element(query_row[i], params.constant_column);
            entry_a[i] = constant;
            entry_b[i] = constant;
            if (params.dimensions > 0u) {
                entry_a[i] += query_element(query_row[i], lines.fast_column + min(fast + tx, lines.length - 1u));
                entry_b[i] += query_element(query_row[i], lines.fast_column + min(fast + tx + 16u, lines.length - 1u));
            }
        }
        for (var line = lines.first; line < lines.end; line++) {
            // The tile's first position; its rows first ..= last are keys of the split.
            let tile_position = line * lines.length + fast;
            let begin = max(tile_position, lines.from_position);
            let end = min(min(tile_position + 32u, (line + 1u) * lines.length), lines.to_position);
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
            var score_a = vec4<f32>(0.0);
            var score_b = vec4<f32>(0.0);
            for (var chunk = 0u; chunk < chunks; chunk++) {
                if (CHUNKS > 1u) {
                    load_queries(local, first_query, chunk);
                }
                load_content(local, tile_row, first, last, chunk);
                workgroupBarrier();
                let vectors = min(16u, params.content - 16u * chunk);
                for (var e = 0u; e < vectors; e += 4u) {
                    // #unroll
                    for (var u = 0u; u < 4u; u++) {
                        let a = slice[place(tx, e + u)];
                        let b = slice[place(tx + 16u, e + u)];
                        let q0 = query_slice[place(ty, e + u)];
                        let q1 = query_slice[place(ty + 16u, e + u)];
                        let q2 = query_slice[place(ty + 32u, e + u)];
                        let q3 = query_slice[place(ty + 48u, e + u)];
                        score_a = add_dots(q0, q1, q2, q3, a, score_a);
                        score_b = add_dots(q0, q1, q2, q3, b, score_b);
                    }
                }
                if (CHUNKS > 1u) {
                    workgroupBarrier();
                }
            }
            var slow = vec4<f32>(0.0);
            if (params.dimensions > 1u) {
                // #unroll
                for (var i = 0u; i < 4u; i++) {
                    slow[i] = query_element(query_row[i], params.column_a + slow_at.x);
                    if (params.dimensions > 2u) {
                        slow[i] += query_element(query_row[i], params.column_b + slow_at.y);
                    }
                }
            }
            let scale_row = share.item * params.mask_row + tile_key;
            let key_a = scale_row + clamp(tx, first, last);
            let key_b = scale_row + clamp(tx + 16u, first, last);
            let scale_a = scale[key_a];
            let scale_b = scale[key_b];
            score_a = (score_a + (entry_a + slow)) * scale_a;
            score_b = (score_b + (entry_b + slow)) * scale_b;
            if (share.masked) {
                score_a = select(vec4<f32>(MASKED), score_a, mask[key_a] != 0.0);
                score_b = select(vec4<f32>(MASKED), score_b, mask[key_b] != 0.0);
            }
            let inside_a = tx >= first && tx <= last;
            let inside_b = tx + 16u >= first && tx + 16u <= last;

            // 2. maxima
            weight[32u * ty + tx] = max(
                select(vec4<f32>(LOWEST), score_a, inside_a),
                select(vec4<f32>(LOWEST), score_b, inside_b),
            );
            workgroupBarrier();
            for (var j = 0u; j < min(16u, last + 1u); j++) {
                maximum = max(maximum, weight[32u * ty + j]);
            }
            workgroupBarrier();
            let moved = maximum > shift + SLACK;
            if (any(moved)) {
                let reference = select(shift, maximum, moved);
                let factor = exp(shift - reference);
                let filled = shift > vec4<f32>(LOWEST);
                shift = reference;
                sum *= factor;
                total *= factor;
                marginal_a *= factor;
                marginal_b *= factor;
                // #unroll
                for (var i = 0u; i < 4u; i++) {
                    // #unroll
                    for (var c = 0u; c < CHUNKS; c++) {
                        acc[4u * c + i] *= factor[i];
                    }
                }
                // Before the first key there is nothing to rescale.
                scale_sums(out_row + table_column, own_column, table_columns, factor, moved & filled & real);
            }
            let p_a = select(vec4<f32>(0.0), exp(score_a - shift), inside_a);
            let p_b = select(vec4<f32>(0.0), exp(score_b - shift), inside_b);
            sum += p_a + p_b;
            let w_a = p_a * scale_a;
            let w_b = p_b * scale_b;
            marginal_a += w_a;
            marginal_b += w_b;
            weight[32u * ty + tx] = w_a;
            weight[32u * ty + tx + 16u] = w_b;

            // 3. content
            var line_total = vec4<f32>(0.0);
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                if (CHUNKS > 1u) {
                    load_content(local, tile_row, first, last, c);
                }
                workgroupBarrier();
                var a0 = vec4<f32>(0.0);
                var a1 = vec4<f32>(0.0);
                var a2 = vec4<f32>(0.0);
                var a3 = vec4<f32>(0.0);
                var weights = vec4<f32>(0.0);
                for (var k = 0u; k <= last; k += 4u) {
                    // #unroll
                    for (var u = 0u; u < 4u; u++) {
                        let w = weight[32u * ty + k + u];
                        let value = slice[place(k + u, tx)];
                        a0 += w.x * value;
                        a1 += w.y * value;
                        a2 += w.z * value;
                        a3 += w.w * value;
                        weights += w;
                    }
                }
                acc[4u * c] += a0;
                acc[4u * c + 1u] += a1;
                acc[4u * c + 2u] += a2;
                acc[4u * c + 3u] += a3;
                line_total = weights;
                workgroupBarrier();
            }
            total += line_total;
            if (params.dimensions > 1u) {
                // Distances wrap around, which leaves them what they are modulo 16.
                let column_a = params.column_a + slow_at.x;
                let column_b = params.column_b + slow_at.y;
                let own_a = tx == (column_a - lines.fast_column) % 16u;
                let own_b = params.dimensions > 2u && tx == (column_b - lines.fast_column) % 16u;
                // #unroll
                for (var i = 0u; i < 4u; i++) {
                    if (real[i] && own_a) {
                        y[out_row[i] + column_a] += line_total[i];
                    }
                    if (real[i] && own_b) {
                        y[out_row[i] + column_b] += line_total[i];
                    }
                }
            }
        }
        if (params.dimensions > 0u) {
            // #unroll
            for (var i = 0u; i < 4u; i++) {
                let at = out_row[i] + lines.fast_column + fast + tx;
                if (real[i] && fast + tx < lines.length) {
                    y[at] += marginal_a[i];
                }
                if (real[i] && fast + tx + 16u < lines.length) {
                    y[at + 16u] += marginal_b[i];
                }
            }
        }
    }

    // The sums of all tx, in a fixed order.
    weight[32u * ty + tx] = sum;
    workgroupBarrier();
    var all = vec4<f32>(0.0);
    for (var j = 0u; j < min(16u, 16u * params.queries); j++) {
        all += weight[32u * ty + j];
    }
    var factor = exp(clamp(shift - maximum, vec4<f32>(-80.0), vec4<f32>(80.0)));
    if (share.store_result) {
        factor = select(vec4<f32>(1.0), 1.0 / all, all > vec4<f32>(0.0));
    }
    // What has been carried in other columns is relative to the maximum then.
    let others = exp(first_maximum - shift) * factor;
    scale_sums(out_row + table_column, own_column, table_columns, factor, real);
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        if (real[i]) {
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                if (16u * c + tx < params.content) {
                    let at = out_row[i] + params.first_column + 4u * (16u * c + tx);
                    let value = acc[4u * c + i] * factor[i];
                    y[at] = value.x;
                    y[at + 1u] = value.y;
                    y[at + 2u] = value.z;
                    y[at + 3u] = value.w;
                }
            }
            if (tx == 0u) {
                y[out_row[i] + params.constant_column] = total[i] * factor[i];
            }
            for (var c = tx; c < params.columns; c += 16u) {
                if (c < params.first_column || c > params.constant_column) {
                    var value = 0.0;
                    if (share.carried) {
                        value = carry[(share.item * params.queries + query_row[i]) * params.columns + c] * others[i];
                    }
                    y[out_row[i] + c] = value;
                }
            }
            if (!share.store_result && tx == 0u) {
                let row = (share.split * params.batch + share.item) * params.queries + query_row[i];
                y_stats[row] = vec4<f32>(maximum[i], all[i] * factor[i], 0.0, 0.0);
            }
        }
    }
}

// Multiplies the sums from these places on that are this invocation's.
fn scale_sums(row: vec4<u32>, own_column: u32, table_columns: u32, factor: vec4<f32>, wanted: vec4<bool>) {
    for (var c = own_column; c < table_columns; c += 16u) {
        // #unroll
        for (var i = 0u; i < 4u; i++) {
            if (wanted[i]) {
                y[row[i] + c] *= factor[i];
            }
        }
    }
}
