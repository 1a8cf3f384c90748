// gemm: a linear layer with its epilogue, Y = act(X·W + b) + R, after a LayerNorm of X's rows if wanted.
//
// Algorithm. Each workgroup computes a tile of TILE_ROWS × TILE_COLS of Y. Two entry points share
// bindings and epilogue:
//   tiled   16×16 invocations. Slices of 4·SLICE columns of X and rows of W pass through workgroup
//           memory; the next slice is loaded into registers while the present one is multiplied. An
//           invocation owns rows ty + 16 i and column vectors tx + 16 j, so that the lanes of a
//           subgroup read neighbouring banks or the same address: no row needs padding.
//   direct  LANES invocations side by side, no workgroup memory, no barrier. An invocation owns
//           DIRECT_ROWS rows × DIRECT_COLS column vectors; X is read at an address that is uniform
//           over the workgroup. For software adapters, whose lanes are the slots of one CPU vector.
//
// LayerNorm (NORM). Every workgroup reads whole rows of X anyway, so it sums up what the LayerNorm
// needs on the way: with r = 1/sqrt(variance + eps), and W with the gain folded in and its columns
// centred, LN(x)·W = r·(x - p)·W for any number p, so that only r has to be known, and not before the
// end. p is the mean of the row's first 16 channels: near enough to the row's mean that neither the
// product nor the variance cancels, whatever the mean.
//
// Splits. Where few rows meet a long inner dimension, each workgroup sums up a part of it, and
// `gemm_merge` adds up the parts.
//
// Bindings (all arrays hold vectors of four; rows are padded with zeros to four elements)
//   0 uniform     Params
//   1 read        x         [rows, inner]
//   2 read        weight    [inner, cols]
//   3 read        bias      [1, cols], or anything when absent
//   4 read        residual  [residual_rows, cols], or anything when absent
//   5 read_write  y         [rows, cols], or [splits, rows, cols] without epilogue
//
// Workgroup bytes: tiled 16·SLICE·(TILE_ROWS + TILE_COLS): 8 KiB at 64×64, 16 KiB at 128×128, with
// slices of 16; direct none.
//
// Numerics: f32 throughout; sums over the inner dimension run in rising order. x, weight and y may be
// stored as halves (a variant's choice); bias and residual are f32.

// #import common/gemm

// Whether rows of x are normalised.
const NORM: u32 = 0u;
// Whether rows, columns and inner dimension are whole tiles and slices, so that no load needs a check.
const ALIGNED: u32 = 0u;
// Rows and column vectors of one invocation (tiled).
const ROWS_EACH: u32 = 4u;
const VECTORS_EACH: u32 = 1u;
// Vectors of x per row of a slice: 4 or 8, that is 16 or 32 columns.
const SLICE: u32 = 4u;
// Loads of one invocation per slice: ROWS_EACH·SLICE/16, at least 1, and VECTORS_EACH·SLICE/4.
const X_LOADS: u32 = 1u;
const WEIGHT_LOADS: u32 = 1u;
// Rows and column vectors of one invocation (direct).
const LANES: u32 = 8u;
const DIRECT_ROWS: u32 = 16u;
const DIRECT_COLS: u32 = 2u;

const TILE_ROWS: u32 = 16u * ROWS_EACH;
const TILE_VECTORS: u32 = 16u * VECTORS_EACH;

alias x4 = vec4<f32>;
alias weight4 = vec4<f32>;
alias y4 = vec4<f32>;
fn from_x(v: x4) -> vec4<f32> { return v; }
fn from_weight(v: weight4) -> vec4<f32> { return v; }
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x4>;
@group(0) @binding(2) var<storage, read> weight: array<weight4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<y4>;
// The first workgroup of the part of a dispatch that is to be computed.
@group(1) @binding(0) var<uniform> first_group: u32;

var<workgroup> x_slice: array<vec4<f32>, TILE_ROWS * SLICE>;
var<workgroup> weight_slice: array<vec4<f32>, 4u * SLICE * TILE_VECTORS>;

fn load_x(row: u32, k: u32) -> vec4<f32> {
    if (ALIGNED == 1u || (row < params.rows && k < params.inner_vectors)) {
        return from_x(x[row * params.inner_vectors + k]);
    }
    return vec4<f32>(0.0);
}

fn load_weight(k: u32, column: u32) -> vec4<f32> {
    if (ALIGNED == 1u || (k < 4u * params.inner_vectors && column < params.col_vectors)) {
        return from_weight(weight[k * params.col_vectors + column]);
    }
    return vec4<f32>(0.0);
}

@compute @workgroup_size(256)
fn tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = first_group + group.y * params.groups_x + group.x;
    let split = tile / params.col_tiles / max(params.row_tiles, 1u);
    if (split >= params.splits) {
        return;
    }
    let first_row = tile / params.col_tiles % params.row_tiles * TILE_ROWS;
    let first_vector = split * params.split_vectors;
    let end_vector = min(first_vector + params.split_vectors, params.inner_vectors);
    let first_column = (tile % params.col_tiles) * TILE_VECTORS;
    let tx = local % 16u;
    let ty = local / 16u;
    // What this invocation loads of a slice.
    let x_row = first_row + local / SLICE;
    let x_vector = local % SLICE;
    let weight_row = local / TILE_VECTORS;
    let weight_column = first_column + local % TILE_VECTORS;

    var sums: array<vec4<f32>, ROWS_EACH * VECTORS_EACH>;
    // #unroll
    for (var i = 0u; i < ROWS_EACH * VECTORS_EACH; i++) {
        sums[i] = vec4<f32>(0.0);
    }
    var next_x: array<vec4<f32>, X_LOADS>;
    var next_weight: array<vec4<f32>, WEIGHT_LOADS>;
    // Pivot of each row that is loaded, and sum and sum of squares around it.
    var pivot: array<f32, X_LOADS>;
    var moments: array<vec2<f32>, X_LOADS>;
    // #unroll
    for (var i = 0u; i < X_LOADS; i++) {
        next_x[i] = load_x(x_row + 256u / SLICE * i, first_vector + x_vector);
        if (NORM == 1u) {
            pivot[i] = pivot_of(x_row + 256u / SLICE * i);
            moments[i] = vec2<f32>(0.0);
        }
    }
    // #unroll
    for (var j = 0u; j < WEIGHT_LOADS; j++) {
        let k = 4u * first_vector + weight_row + 256u / TILE_VECTORS * j;
        next_weight[j] = load_weight(k, weight_column);
    }

    let slices = (end_vector - min(first_vector, end_vector) + SLICE - 1u) / SLICE;
    for (var s = 0u; s < slices; s++) {
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            let at = local + 256u * i;
            var v = next_x[i];
            if (NORM == 1u) {
                v = around(v, s * SLICE + x_vector, pivot[i]);
                moments[i] += vec2<f32>(sum4(v), dot(v, v));
            }
            if (at < TILE_ROWS * SLICE) {
                x_slice[at] = v;
            }
        }
        // #unroll
        for (var j = 0u; j < WEIGHT_LOADS; j++) {
            weight_slice[local + 256u * j] = next_weight[j];
        }
        workgroupBarrier();
        // The last slice is loaded twice rather than checked.
        let next = min(s + 1u, slices - 1u);
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            next_x[i] = load_x(x_row + 256u / SLICE * i, first_vector + next * SLICE + x_vector);
        }
        // #unroll
        for (var j = 0u; j < WEIGHT_LOADS; j++) {
            let k = 4u * (first_vector + next * SLICE) + weight_row + 256u / TILE_VECTORS * j;
            next_weight[j] = load_weight(k, weight_column);
        }
        // #unroll
        for (var k = 0u; k < SLICE; k++) {
            // #unroll
            for (var j = 0u; j < VECTORS_EACH; j++) {
                let at = 4u * k * TILE_VECTORS + tx + 16u * j;
                let w0 = weight_slice[at];
                let w1 = weight_slice[at + TILE_VECTORS];
                let w2 = weight_slice[at + 2u * TILE_VECTORS];
                let w3 = weight_slice[at + 3u * TILE_VECTORS];
                // #unroll
                for (var i = 0u; i < ROWS_EACH; i++) {
                    let v = x_slice[(ty + 16u * i) * SLICE + k];
                    sums[i * VECTORS_EACH + j] += v.x * w0 + v.y * w1 + v.z * w2 + v.w * w3;
                }
            }
        }
        workgroupBarrier();
    }
    if (NORM == 1u) {
        // The moments of a row, from the invocations that loaded it.
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            let at = local + 256u * i;
            if (at < TILE_ROWS * SLICE) {
                x_slice[at] = vec4<f32>(moments[i], 0.0, 0.0);
            }
        }
        workgroupBarrier();
    }
    // #unroll
    for (var i = 0u; i < ROWS_EACH; i++) {
        let row = first_row + ty + 16u * i;
        var scale = 1.0;
        if (NORM == 1u) {
            var total = vec2<f32>(0.0);
            // #unroll
            for (var k = 0u; k < SLICE; k++) {
                total += x_slice[(ty + 16u * i) * SLICE + k].xy;
            }
            scale = scale_of(total);
        }
        // #unroll
        for (var j = 0u; j < VECTORS_EACH; j++) {
            let column = first_column + tx + 16u * j;
            if (ALIGNED == 1u || (row < params.rows && column < params.col_vectors)) {
                store(split * params.rows + row, column, sums[i * VECTORS_EACH + j] * scale);
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn direct(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = first_group + group.y * params.groups_x + group.x;
    let split = tile / params.col_tiles / max(params.row_tiles, 1u);
    if (split >= params.splits) {
        return;
    }
    let first_row = tile / params.col_tiles % params.row_tiles * DIRECT_ROWS;
    let first_vector = split * params.split_vectors;
    let end_vector = min(first_vector + params.split_vectors, params.inner_vectors);
    let first_column = (tile % params.col_tiles) * (LANES * DIRECT_COLS) + local;
    let last_row = params.rows - 1u;
    let last_column = params.col_vectors - 1u;

    var sums: array<vec4<f32>, DIRECT_ROWS * DIRECT_COLS>;
    // #unroll
    for (var i = 0u; i < DIRECT_ROWS * DIRECT_COLS; i++) {
        sums[i] = vec4<f32>(0.0);
    }
    var pivot: array<f32, DIRECT_ROWS>;
    var moments: array<vec2<f32>, DIRECT_ROWS>;
    if (NORM == 1u) {
        // #unroll
        for (var i = 0u; i < DIRECT_ROWS; i++) {
            pivot[i] = pivot_of(first_row + i);
            moments[i] = vec2<f32>(0.0);
        }
    }
    for (var k = first_vector; k < end_vector; k++) {
        var rows: array<vec4<f32>, DIRECT_ROWS>;
        // #unroll
        for (var i = 0u; i < DIRECT_ROWS; i++) {
            rows[i] = from_x(x[min(first_row + i, last_row) * params.inner_vectors + k]);
            if (NORM == 1u) {
                rows[i] = around(rows[i], k, pivot[i]);
                moments[i] += vec2<f32>(sum4(rows[i]), dot(rows[i], rows[i]));
            }
        }
        // #unroll
        for (var j = 0u; j < DIRECT_COLS; j++) {
            let at = 4u * k * params.col_vectors + min(first_column + LANES * j, last_column);
            let w0 = from_weight(weight[at]);
            let w1 = from_weight(weight[at + params.col_vectors]);
            let w2 = from_weight(weight[at + 2u * params.col_vectors]);
            let w3 = from_weight(weight[at + 3u * params.col_vectors]);
            // #unroll
            for (var i = 0u; i < DIRECT_ROWS; i++) {
                let v = rows[i];
                sums[i * DIRECT_COLS + j] += v.x * w0 + v.y * w1 + v.z * w2 + v.w * w3;
            }
        }
    }
    // #unroll
    for (var i = 0u; i < DIRECT_ROWS; i++) {
        var scale = 1.0;
        if (NORM == 1u) {
            scale = scale_of(moments[i]);
        }
        // #unroll
        for (var j = 0u; j < DIRECT_COLS; j++) {
            let row = first_row + i;
            let column = first_column + LANES * j;
            if (row < params.rows && column < params.col_vectors) {
                store(split * params.rows + row, column, sums[i * DIRECT_COLS + j] * scale);
            }
        }
    }
}
