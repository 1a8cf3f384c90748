// Tiles of attentions: what TX × TY invocations hold of QUERY_TILE queries, KEY_TILE keys and CHUNKS chunks of CHUNK
// column vectors, and the two products. Invocation (tx, ty) has queries ty + TY·r, four of them as the components of a
// vector, keys tx + TX·j, and column vectors tx + TX·n of a chunk.

// #import common/dot

const TX: u32 = 8u;
const TY: u32 = 8u;
// Queries by four, keys and column vectors of an invocation.
const GROUPS: u32 = 1u;
const KEYS_EACH: u32 = 4u;
const COLUMNS_EACH: u32 = 2u;
const CHUNKS: u32 = 1u;
// Rows of values that are in workgroup memory at a time.
const VALUE_TILE: u32 = 32u;

const THREADS: u32 = TX * TY;
const ROWS: u32 = 4u * GROUPS;
const QUERY_TILE: u32 = ROWS * TY;
const KEY_TILE: u32 = TX * KEYS_EACH;
const CHUNK: u32 = TX * COLUMNS_EACH;
const COLUMNS: u32 = COLUMNS_EACH * CHUNKS;
const PARTS: u32 = KEY_TILE / VALUE_TILE;
// Rows of values that an invocation loads of its columns: ty + TY·r of each part.
const VALUE_ROWS: u32 = VALUE_TILE / TY;
const SCORES: u32 = GROUPS * KEYS_EACH;
const SUMS: u32 = ROWS * COLUMNS;
// Vectors from one channel of the slices to the next, and where keys begin.
const QUERY_ROW: u32 = QUERY_TILE + 2u;
const KEY_ROW: u32 = KEY_TILE + 2u;
const KEYS_AT: u32 = 4u * QUERY_ROW;
const SLICE_VECTORS = max(KEYS_AT + 4u * KEY_ROW, VALUE_TILE * CHUNK);
// Loads of an invocation for each slice, and rows between them. With 32 lanes side by side and one group, half of the
// invocations have no queries to load.
const HALF: u32 = TX / 32u / GROUPS;
const Q_LOADS: u32 = 4u * QUERY_TILE / THREADS + HALF;
const K_LOADS: u32 = 4u * KEY_TILE / THREADS;
const V_LOADS: u32 = VALUE_ROWS * COLUMNS_EACH;
const LOAD_STEP: u32 = THREADS / 4u;

// Four vectors of queries and of keys, channel by channel in rows that are padded by two vectors, so that neither the
// stores nor the loads of eight neighbouring invocations meet in a bank; or VALUE_TILE rows of a chunk of values.
var<workgroup> slice: array<vec4<f32>, SLICE_VECTORS>;
// Weights (before: maxima) of the queries of a ty, by key.
const WEIGHT_ROW: u32 = TX * KEYS_EACH;
var<workgroup> weight: array<vec4<f32>, GROUPS * TY * WEIGHT_ROW>;

// Puts what an invocation has loaded of queries and keys into the slice.
fn stage_rows(
    local: u32,
    next_q: ptr<function, array<vec4<f32>, Q_LOADS>>,
    next_k: ptr<function, array<vec4<f32>, K_LOADS>>,
) {
    let row = local / 4u;
    let vector = local % 4u;
    // #unroll
    for (var i = 0u; i < Q_LOADS; i++) {
        // #if HALF == 1
        if (row < QUERY_TILE) {
            slice[vector * QUERY_ROW + row] = (*next_q)[i];
        }
        // #else
        slice[vector * QUERY_ROW + row + LOAD_STEP * i] = (*next_q)[i];
        // #endif
    }
    stage_keys(local, next_k);
}

fn stage_keys(local: u32, next_k: ptr<function, array<vec4<f32>, K_LOADS>>) {
    let row = local / 4u;
    let vector = local % 4u;
    // #unroll
    for (var i = 0u; i < K_LOADS; i++) {
        slice[KEYS_AT + vector * KEY_ROW + row + LOAD_STEP * i] = (*next_k)[i];
    }
}

// Puts what an invocation has loaded of values into the slice.
fn stage_values(tx: u32, ty: u32, next_v: ptr<function, array<vec4<f32>, V_LOADS>>) {
    // #unroll
    for (var r = 0u; r < VALUE_ROWS; r++) {
        // #unroll
        for (var n = 0u; n < COLUMNS_EACH; n++) {
            slice[(ty + TY * r) * CHUNK + tx + TX * n] = (*next_v)[COLUMNS_EACH * r + n];
        }
    }
}

// Adds the products of some vectors of queries and keys that are in the slice to the scores.
fn add_scores(tx: u32, ty: u32, vectors: u32, score: ptr<function, array<vec4<f32>, SCORES>>) {
    for (var e = 0u; e < vectors; e++) {
        var of_key: array<vec4<f32>, KEYS_EACH>;
        // #unroll
        for (var j = 0u; j < KEYS_EACH; j++) {
            of_key[j] = slice[KEYS_AT + e * KEY_ROW + tx + TX * j];
        }
        // #unroll
        for (var g = 0u; g < GROUPS; g++) {
            let at = e * QUERY_ROW + ty + TY * 4u * g;
            let q0 = slice[at];
            let q1 = slice[at + TY];
            let q2 = slice[at + TY * 2u];
            let q3 = slice[at + TY * 3u];
            // #unroll
            for (var j = 0u; j < KEYS_EACH; j++) {
                (*score)[GROUPS * j + g] = add_dots(q0, q1, q2, q3, of_key[j], (*score)[GROUPS * j + g]);
            }
        }
    }
}

// Makes the largest scores of an invocation's own keys known to its row.
fn store_maxima(tx: u32, ty: u32, score: ptr<function, array<vec4<f32>, SCORES>>) {
    // #unroll
    for (var g = 0u; g < GROUPS; g++) {
        var most = (*score)[g];
        // #unroll
        for (var j = 0u; j < KEYS_EACH; j++) {
            most = max(most, (*score)[GROUPS * j + g]);
        }
        weight[(TY * g + ty) * WEIGHT_ROW + tx] = most;
    }
}

// The largest of a row's maxima and of what it has been.
fn row_maximum(row: u32, before: vec4<f32>) -> vec4<f32> {
    var most = before;
    for (var j = 0u; j < TX; j++) {
        most = max(most, weight[row * WEIGHT_ROW + j]);
    }
    return most;
}

// Adds the products of one part of the weights and of the values that are in the slice to the sums of chunk c.
fn add_context(tx: u32, ty: u32, part: u32, c: u32, sums: ptr<function, array<vec4<f32>, SUMS>>) {
    for (var j = 0u; j < VALUE_TILE; j += 4u) {
        // #unroll
        for (var u = 0u; u < 4u; u++) {
            var value: array<vec4<f32>, COLUMNS_EACH>;
            // #unroll
            for (var n = 0u; n < COLUMNS_EACH; n++) {
                value[n] = slice[(j + u) * CHUNK + tx + TX * n];
            }
            // #unroll
            for (var g = 0u; g < GROUPS; g++) {
                let w = weight[(TY * g + ty) * WEIGHT_ROW + part * VALUE_TILE + j + u];
                // #unroll
                for (var n = 0u; n < COLUMNS_EACH; n++) {
                    let at = ROWS * (COLUMNS_EACH * c + n) + 4u * g;
                    (*sums)[at] = fma(w.xxxx, value[n], (*sums)[at]);
                    (*sums)[at + 1u] = fma(w.yyyy, value[n], (*sums)[at + 1u]);
                    (*sums)[at + 2u] = fma(w.zzzz, value[n], (*sums)[at + 2u]);
                    (*sums)[at + 3u] = fma(w.wwww, value[n], (*sums)[at + 3u]);
                }
            }
        }
    }
}
