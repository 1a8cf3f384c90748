// factored_attention for content of few channels: each invocation keeps its own keys.
//
// Algorithm. That of `factored_attention/tiled`, but an invocation has all of its keys to itself: it computes their scores and
// their weights and sums up their content, which lies in workgroup memory anyway, in registers; what the invocations of a query
// have is added up at the end. A workgroup computes QUERY_TILE queries of one item and a share of the keys (split). The
// fastest axis is cut into segments of KEY_TILE positions, each of which is followed along all lines of the grid that the split
// covers, so that entries and marginals of the segment stay in registers. Of a grid with two axes four lines are one tile, so
// that what a tile costs by itself is shared by four times as many keys. For each tile:
//   1. scaled content and scales of the keys are put into workgroup memory, and the queries' entries of the slow axes; those of
//      the next tile are on their way in registers from then on;
//   2. scores are relative to a reference from the beginning, since their sums of products begin with it. It is moved only
//      when a maximum passes it by SLACK, which a flag tells after the barrier that there is anyway: moving it means rescaling
//      all sums of the query;
//   3. sums of the exponentials, of weights by position, by line, and of weights times content. The sums by line are the
//      tile's part of the slow marginals: one invocation a query and line adds them up.
// Every element of y has one invocation that reads and writes it; there are no atomics in memory and no storage barriers, and
// results are deterministic.
//
// Bindings: see `factored_attention/common`.
// Workgroup bytes: 16·(CHUNKS·(QUERY_TILE + KEYS) + TY·(SLOW_LINES + (LINES + 1)·TX)) + 4·KEYS + 4: queries, content, entries of
// slow axes, sums by line, maxima, scales, the flag.
// Numerics: f32 throughout. Content sums stay in registers, the other columns of y in y.

// #import factored_attention/sums

// Whether the fourth channel is padding: the scale is there instead. CHUNKS are vectors of content.
const THREE: u32 = 0u;

const KEYS: u32 = KEY_TILE * LINES;
const OWN_SCORES: u32 = KEYS_EACH * LINES;
// Lines whose entries are in workgroup memory: four may begin in the middle of a vector of them.
const SLOW_LINES: u32 = 2u * LINES;
// Vectors of content that an invocation loads for a tile; where there are half as many as invocations, the others load any.
const FEW: u32 = THREADS / KEYS / CHUNKS / 2u;
const LOADS: u32 = KEYS * CHUNKS / THREADS + FEW;

const_assert 2u * KEYS * CHUNKS % THREADS == 0u && GROUPS == 1u && TX == 2u * ROWS;

// Channel by channel: vectors of the queries, and of the tile's keys.
var<workgroup> of_queries: array<vec4<f32>, CHUNKS * QUERY_TILE>;
var<workgroup> of_keys: array<vec4<f32>, CHUNKS * KEYS>;
// Entries of the slow axes for each line and ty, the components of which are its queries. Of each invocation: sums of the
// weights of each line, and maxima, query by query.
var<workgroup> slow_entries: array<vec4<f32>, SLOW_LINES * TY>;
var<workgroup> line_sums: array<f32, LINES * ROWS * THREADS>;
var<workgroup> exchanged: array<f32, ROWS * THREADS>;
// #if THREE == 0
var<workgroup> key_scales: array<f32, KEYS>;
// #endif
// Whether a maximum has passed its reference by SLACK.
var<workgroup> risen: atomic<u32>;

fn load_query(row: u32, vector: u32) -> vec4<f32> {
    let at = (row * params.columns + params.first_column) / 4u + min(vector, params.content - 1u);
    return from_queries(queries[select(0u, at, params.content > 0u)]);
}

// Beyond the content it is the last vector, which is neither multiplied nor stored.
fn load_content(row: u32, vector: u32) -> vec4<f32> {
    // #if THREE == 1
    return from_content(content[select(0u, row, params.content > 0u)]);
    // #else
    let at = row * params.content + min(vector, params.content - 1u);
    return from_content(content[select(0u, at, params.content > 0u)]);
    // #endif
}

fn scale_of(key: u32) -> f32 {
    // #if THREE == 1
    return of_keys[key].w;
    // #else
    return key_scales[key];
    // #endif
}

// What an invocation loads of a tile before it is put into workgroup memory.
struct Next {
    values: array<vec4<f32>, LOADS>,
    scales: array<f32, LOADS>,
    slow: vec4<f32>,
}

// Of the tile that begins at this position. Beyond the split it is any key of it.
fn load_keys(share: Share, lines: Lines, begin: u32, local: u32, next: ptr<function, Next>) {
    // #unroll
    for (var i = 0u; i < LOADS; i++) {
        let own = (local + THREADS * i) / CHUNKS;
        let position = begin + own / KEY_TILE * lines.length + own % KEY_TILE;
        let key = clamp(position, lines.from_position, lines.to_position - 1u) - params.first_key;
        (*next).scales[i] = scale[share.item * params.mask_row + key];
        (*next).values[i] = load_content(share.item * params.keys + key, local % CHUNKS);
    }
}

// #if LINES == 4
// A query's entries of the four lines of a vector.
fn load_slow(query: u32, vector: u32) -> vec4<f32> {
    let at = (query * params.columns + params.column_a) / 4u + min(vector, (params.axis_a - 1u) / 4u);
    return from_queries(queries[at]) * LOG2_E;
}

fn store_slow(vector: u32, local: u32, values: vec4<f32>) {
    // #unroll
    for (var l = 0u; l < 4u; l++) {
        slow_entries[TY * (vector % 2u * 4u + l) + local / ROWS][local % ROWS] = values[l];
    }
}
// #else
fn load_slow(query: u32, line: u32) -> vec4<f32> {
    let slow_at = slow_of(line);
    var value = query_element(query, params.column_a + slow_at.x);
    if (params.dimensions > 2u) {
        value += query_element(query, params.column_b + slow_at.y);
    }
    return vec4<f32>(select(0.0, value * LOG2_E, params.dimensions > 1u));
}

fn store_slow(line: u32, local: u32, values: vec4<f32>) {
    slow_entries[TY * (line % SLOW_LINES) + local / ROWS][local % ROWS] = values.x;
}
// #endif

fn exchange(local: u32, values: vec4<f32>) {
    // #unroll
    for (var r = 0u; r < ROWS; r++) {
        exchanged[THREADS * r + local] = values[r];
    }
}

fn exchanged_by(local: u32) -> vec4<f32> {
    return vec4<f32>(
        exchanged[local],
        exchanged[THREADS + local],
        exchanged[2u * THREADS + local],
        exchanged[3u * THREADS + local],
    );
}

// The sum of what all tx of a ty have, in a fixed order.
fn sum_of_lanes(local: u32, values: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    exchange(local, values);
    workgroupBarrier();
    var all = vec4<f32>(0.0);
    for (var j = 0u; j < min(TX, TX * params.queries); j++) {
        all += exchanged_by(local / TX * TX + j);
    }
    return all;
}

// The sum of a line and row of a ty, of all tx in a fixed order.
fn line_sum(line: u32, ty: u32, row: u32) -> f32 {
    var sum = 0.0;
    // #unroll
    for (var j = 0u; j < TX; j++) {
        sum += line_sums[(ROWS * line + row) * THREADS + ty * TX + j];
    }
    return sum;
}

@compute @workgroup_size(THREADS)
fn own(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = first_group + workgroup.y * params.groups_x + workgroup.x;
    if (group >= params.groups) {
        return;
    }
    let share = share_of(group);
    let tx = local % TX;
    let ty = local / TX;
    let first_query = QUERY_TILE * share.query_tile;
    let last_query = params.queries - 1u;
    let first_item_key = share.item * params.keys;
    let first_item_scale = share.item * params.mask_row;
    let lines = lines_of(share.split, KEY_TILE);
    // The first row of y of this ty, and elements to the next of its rows.
    let first_out = ((share.split * params.batch + share.item) * params.queries + first_query + ty) * params.columns;
    let next_out = TY * params.columns;
    let real_rows = (params.queries - min(first_query + ty, params.queries) + TY - 1u) / TY;

    var query_row: array<u32, ROWS>;
    // Maxima before the reference was moved, and since then, relative to what scores begin with: the reference, but for rows of
    // which no key was there or unmasked.
    var maximum = vec4<f32>(LOWEST);
    var highest = vec4<f32>(LOWEST);
    // Sums of tx's own keys: of exponentials, and of weights.
    var sum = vec4<f32>(0.0);
    var total = vec4<f32>(0.0);
    var acc: array<vec4<f32>, ROWS * CHUNKS>;
    // #unroll
    for (var r = 0u; r < ROWS; r++) {
        let query = min(first_query + ty + TY * r, last_query);
        query_row[r] = query;
        let in_row = share.item * params.queries + query;
        let in_at = in_row * params.columns;
        if (share.carried) {
            maximum[r] = to_power(carry_stats[in_row].x);
            sum[r] = select(0.0, carry_stats[in_row].y, tx == 0u);
            total[r] = select(0.0, carry_element(in_at + params.constant_column), tx == 0u);
        }
        // #unroll
        for (var c = 0u; c < CHUNKS; c++) {
            acc[ROWS * c + r] = vec4<f32>(0.0);
            if (share.carried && c < params.content && tx == 0u) {
                acc[ROWS * c + r] = from_carry(carry[(in_at + params.first_column) / 4u + c]);
            }
        }
    }
    start_sums(share, lines, tx, first_query + ty, real_rows, first_out, next_out);
    let first_maximum = maximum;
    var shift = maximum;
    var base = select(vec4<f32>(0.0), shift, shift > vec4<f32>(MASKED));

    // Queries stay, as powers of two.
    for (var u = local; u < CHUNKS * QUERY_TILE; u += THREADS) {
        let query = min(first_query + u % QUERY_TILE, last_query);
        of_queries[u] = load_query(query, u / QUERY_TILE) * LOG2_E;
    }
    // The constants of its own.
    var constant: vec4<f32>;
    // #unroll
    for (var r = 0u; r < ROWS; r++) {
        constant[r] = query_element(query_row[r], params.constant_column) * LOG2_E;
    }
    // As one that loads: the query whose entries of slow axes it has.
    let slow_query = min(first_query + local / ROWS + TY * (local % ROWS), last_query);
    // As one that owns sums of lines: the row, where the columns of the first axis begin, the end of the lines that it has.
    let row = tx % ROWS;
    let out = first_out + next_out * row + params.column_a;
    let lines_end = select(lines.end, min(lines.end, params.axis_a), params.dimensions == 2u);
    let end_line = select(0u, lines_end, row < real_rows && params.dimensions > 1u);
    let idle = idle_element(share);
    var first_tile = true;
    for (var segment = lines.first_segment; segment < lines.end_segment; segment++) {
        let fast = KEY_TILE * segment;
        // Entries and marginals of the fastest axis.
        var entry: array<vec4<f32>, KEYS_EACH>;
        var marginal: array<vec4<f32>, KEYS_EACH>;
        // #unroll
        for (var j = 0u; j < KEYS_EACH; j++) {
            let column = lines.fast_column + min(fast + tx + TX * j, lines.length - 1u);
            // #unroll
            for (var r = 0u; r < ROWS; r++) {
                let value = query_element(query_row[r], select(params.constant_column, column, params.dimensions > 0u));
                entry[j][r] = constant[r] + select(0.0, value * LOG2_E, params.dimensions > 0u);
            }
            marginal[j] = vec4<f32>(0.0);
        }
        // The first lines may end before the split begins.
        var line = lines.first;
        let skipped = (line + LINES - 1u) * lines.length + fast + KEY_TILE <= lines.from_position;
        line += select(0u, LINES, skipped);
        var next: Next;
        load_keys(share, lines, line * lines.length + fast, local, &next);
        // #if LINES == 4
        // A tile needs one vector of entries more, since the one before has left it the first where it begins within one.
        let more = select(0u, 1u, line % 4u != 0u);
        next.slow = load_slow(slow_query, line / 4u + more);
        if (more == 1u && local < QUERY_TILE) {
            store_slow(line / 4u, local, load_slow(slow_query, line / 4u));
        }
        // #else
        next.slow = load_slow(slow_query, line);
        // #endif
        for (; line < lines.end && line * lines.length + fast < lines.to_position; line += LINES) {
            // The position that the tile begins with.
            let begin = line * lines.length + fast;
            let end = begin + (LINES - 1u) * lines.length + KEY_TILE;
            let whole = begin >= lines.from_position && end <= lines.to_position && fast + KEY_TILE <= lines.length;

            // 1. keys
            // #unroll
            for (var i = 0u; i < LOADS; i++) {
                let u = local + THREADS * i;
                if (FEW == 0u || u < KEYS * CHUNKS) {
                    let value = next.values[i] * next.scales[i];
                    // #if THREE == 1
                    of_keys[u / CHUNKS] = vec4<f32>(value.xyz, next.scales[i]);
                    // #else
                    of_keys[KEYS * (local % CHUNKS) + u / CHUNKS] = value;
                    key_scales[u / CHUNKS] = next.scales[i];
                    // #endif
                }
            }
            if (local < QUERY_TILE) {
                // #if LINES == 4
                store_slow(line / 4u + more, local, next.slow);
                // #else
                store_slow(line, local, next.slow);
                // #endif
            }
            if (local == 0u) {
                atomicStore(&risen, 0u);
            }
            workgroupBarrier();
            load_keys(share, lines, begin + LINES * lines.length, local, &next);
            // #if LINES == 4
            next.slow = load_slow(slow_query, line / 4u + more + 1u);
            // #else
            next.slow = load_slow(slow_query, line + 1u);
            // #endif
            // Sums of the lines so far, by the invocations that own them; others load what no invocation stores meanwhile.
            // #if LINES == 4
            let odd = (line + tx / ROWS) % 2u;
            var so_far: array<f32, 2>;
            // #unroll
            for (var k = 0u; k < 2u; k++) {
                so_far[k] = y[select(idle, out + line + odd + 2u * k, line + odd + 2u * k < end_line)];
            }
            // #else
            let slow_at = slow_of(line);
            let at = out + select(slow_at.x, params.column_b - params.column_a + slow_at.y, tx >= ROWS);
            let mine = line < end_line && tx / ROWS + 1u < params.dimensions;
            var so_far = y[select(idle, at, mine)];
            // #endif

            // 2. scores
            var score: array<vec4<f32>, OWN_SCORES>;
            // #unroll
            for (var l = 0u; l < LINES; l++) {
                let slow = slow_entries[TY * ((line + l) % SLOW_LINES) + ty];
                // #unroll
                for (var j = 0u; j < KEYS_EACH; j++) {
                    let of_key = vec4<f32>(scale_of(KEY_TILE * l + TX * j + tx));
                    score[KEYS_EACH * l + j] = fma(slow, of_key, fma(entry[j], of_key, -base));
                }
            }
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                if (c < params.content || THREE == 1u) {
                    let q0 = of_queries[QUERY_TILE * c + ty];
                    let q1 = of_queries[QUERY_TILE * c + ty + TY];
                    let q2 = of_queries[QUERY_TILE * c + ty + 2u * TY];
                    let q3 = of_queries[QUERY_TILE * c + ty + 3u * TY];
                    // #unroll
                    for (var i = 0u; i < OWN_SCORES; i++) {
                        let key = of_keys[KEYS * c + i / KEYS_EACH * KEY_TILE + i % KEYS_EACH * TX + tx];
                        // #if THREE == 1
                        let s = fma(vec4<f32>(q0.x, q1.x, q2.x, q3.x), key.xxxx, score[i]);
                        let t = fma(vec4<f32>(q0.y, q1.y, q2.y, q3.y), key.yyyy, s);
                        score[i] = fma(vec4<f32>(q0.z, q1.z, q2.z, q3.z), key.zzzz, t);
                        // #else
                        score[i] = add_dots(q0, q1, q2, q3, key, score[i]);
                        // #endif
                    }
                }
            }
            if (share.masked || !whole) {
                // #unroll
                for (var i = 0u; i < OWN_SCORES; i++) {
                    let in_line = i % KEYS_EACH * TX + tx;
                    let position = begin + i / KEYS_EACH * lines.length + in_line;
                    if (share.masked) {
                        let key = clamp(position, lines.from_position, lines.to_position - 1u) - params.first_key;
                        score[i] = select(vec4<f32>(MASKED), score[i], mask[first_item_scale + key] != 0.0);
                    }
                    let inside = position >= lines.from_position && position < lines.to_position && fast + in_line < lines.length;
                    score[i] = select(vec4<f32>(LOWEST), score[i], inside);
                }
                // Exponentials of masked keys end with the first that is not.
                if (any(shift <= vec4<f32>(MASKED))) {
                    atomicStore(&risen, 1u);
                }
            }
            // #unroll
            for (var i = 0u; i < OWN_SCORES; i++) {
                highest = max(highest, score[i]);
            }
            exchange(local, highest);
            if (max(max(highest.x, highest.y), max(highest.z, highest.w)) > SLACK) {
                atomicStore(&risen, 1u);
            }
            workgroupBarrier();
            if (first_tile || atomicLoad(&risen) != 0u) {
                // #unroll
                for (var j = 0u; j < TX; j++) {
                    maximum = max(maximum, exchanged_by(ty * TX + j) + base);
                }
                let moved = maximum > shift + SLACK;
                let reference = select(shift, maximum, moved);
                let factor = exp2(shift - reference);
                // Before the first key there is nothing to rescale.
                let filled = moved & (shift > vec4<f32>(LOWEST));
                let next = select(vec4<f32>(0.0), reference, reference > vec4<f32>(MASKED));
                sum *= factor;
                total *= factor;
                // #unroll
                for (var j = 0u; j < KEYS_EACH; j++) {
                    marginal[j] *= factor;
                }
                // #unroll
                for (var i = 0u; i < OWN_SCORES; i++) {
                    score[i] += base - next;
                }
                // #unroll
                for (var r = 0u; r < ROWS; r++) {
                    // #unroll
                    for (var c = 0u; c < CHUNKS; c++) {
                        acc[ROWS * c + r] *= factor[r];
                    }
                    if (filled[r] && r < real_rows) {
                        scale_sums(lines, tx, first_out + next_out * r, r, factor[r]);
                    }
                }
                // #if LINES == 4
                so_far[0] *= factor[row];
                so_far[1] *= factor[row];
                // #else
                so_far *= factor[row];
                // #endif
                shift = reference;
                base = next;
                highest = vec4<f32>(LOWEST);
            }
            first_tile = false;
            if (share.masked) {
                // #unroll
                for (var i = 0u; i < OWN_SCORES; i++) {
                    let alone = (score[i] == vec4<f32>(MASKED)) & (shift == vec4<f32>(MASKED));
                    score[i] = select(score[i], vec4<f32>(0.0), alone);
                }
            }

            // 3. sums
            // #unroll
            for (var l = 0u; l < LINES; l++) {
                var of_line = vec4<f32>(0.0);
                // #unroll
                for (var j = 0u; j < KEYS_EACH; j++) {
                    let p = exp2(score[KEYS_EACH * l + j]);
                    let of_key = vec4<f32>(scale_of(KEY_TILE * l + TX * j + tx));
                    score[KEYS_EACH * l + j] = p;
                    sum += p;
                    marginal[j] = fma(p, of_key, marginal[j]);
                    of_line = fma(p, of_key, of_line);
                }
                // #unroll
                for (var r = 0u; r < ROWS; r++) {
                    line_sums[(ROWS * l + r) * THREADS + local] = of_line[r];
                }
            }
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                if (c < params.content || THREE == 1u) {
                    // #unroll
                    for (var i = 0u; i < OWN_SCORES; i++) {
                        let value = of_keys[KEYS * c + i / KEYS_EACH * KEY_TILE + i % KEYS_EACH * TX + tx];
                        // #unroll
                        for (var r = 0u; r < ROWS; r++) {
                            let sums = acc[ROWS * c + r];
                            // #if THREE == 1
                            acc[r] = vec4<f32>(fma(vec3<f32>(score[i][r]), value.xyz, sums.xyz), sums.w);
                            // #else
                            acc[ROWS * c + r] = fma(vec4<f32>(score[i][r]), value, sums);
                            // #endif
                        }
                    }
                }
            }
            workgroupBarrier();
            // #if LINES == 4
            // #unroll
            for (var k = 0u; k < 2u; k++) {
                if (line + odd + 2u * k < end_line) {
                    y[out + line + odd + 2u * k] = so_far[k] + line_sum(odd + 2u * k, ty, row);
                }
            }
            // #else
            if (mine) {
                y[at] = so_far + line_sum(0u, ty, row);
            }
            // #endif
        }
        // #unroll
        for (var j = 0u; j < KEYS_EACH; j++) {
            total += marginal[j];
        }
        add_marginals(lines, fast + tx, real_rows, first_out, next_out, idle, &marginal);
    }

    // Sums of all tx, and their maxima.
    // #unroll
    for (var i = 0u; i < ROWS * CHUNKS; i++) {
        acc[i] = sum_of_lanes(local, acc[i]);
    }
    let all = sum_of_lanes(local, sum);
    let all_weights = sum_of_lanes(local, total);
    workgroupBarrier();
    exchange(local, max(maximum, highest + base));
    workgroupBarrier();
    for (var j = 0u; j < min(TX, TX * params.queries); j++) {
        maximum = max(maximum, exchanged_by(ty * TX + j));
    }
    var factor = exp2(clamp(shift - maximum, vec4<f32>(-120.0), vec4<f32>(120.0)));
    if (share.store_result) {
        factor = select(vec4<f32>(1.0), 1.0 / all, all > vec4<f32>(0.0));
    }
    // What has been carried in other columns is relative to the maximum then.
    let others = exp2(first_maximum - shift) * factor;
    // #unroll
    for (var r = 0u; r < ROWS; r++) {
        let out = first_out + next_out * r;
        if (r < real_rows) {
            scale_sums(lines, tx, out, r, factor[r]);
            // #unroll
            for (var c = 0u; c < CHUNKS; c++) {
                if (c < params.content && tx == c % TX) {
                    store_content(out, c, acc[ROWS * c + r] * factor[r]);
                }
            }
            let weights = all_weights[r] * factor[r];
            end_row(share, query_row[r], out, tx, maximum[r], all[r] * factor[r], weights, others[r]);
        }
    }
}
