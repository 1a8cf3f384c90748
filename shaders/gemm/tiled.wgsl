// gemm: a linear layer with its epilogue, Y = act(X·W + b) + R, after a LayerNorm of X's rows if wanted.
//
// Algorithm. TX × TY invocations compute a tile of TILE_ROWS × 4·TILE_VECTORS elements of Y. Slices of 4·SLICE columns
// of X and rows of W pass through workgroup memory; the next slice is loaded into registers while the present one is
// multiplied. An invocation computes rows ty + TY·i and column vectors tx + TX·j, so that the lanes of a subgroup read
// neighbouring banks or the same address: no row needs padding. For every 16·ROWS_EACH·VECTORS_EACH multiply-adds it
// loads ROWS_EACH + 4·VECTORS_EACH vectors.
//
// LayerNorm, splits and bindings: see `gemm/common`.
// Workgroup bytes: 16·SLICE·(TILE_ROWS + 4·TILE_VECTORS), at most 16 KiB.
// Numerics: f32 throughout; sums over the inner dimension run in rising order. x, weight and y may be stored as f16
// (a variant's choice); bias and residual are f32.

// #import gemm/common

const TX: u32 = 16u;
const TY: u32 = 8u;
// Rows and column vectors of one invocation.
const ROWS_EACH: u32 = 8u;
const VECTORS_EACH: u32 = 1u;
// Vectors of x per row of a slice.
const SLICE: u32 = 4u;
// Vectors of x that are multiplied without a loop.
const DEPTH: u32 = 2u;
const THREADS: u32 = TX * TY;
const TILE_ROWS: u32 = TY * ROWS_EACH;
const TILE_VECTORS: u32 = TX * VECTORS_EACH;
// Loads of one invocation per slice, and rows between them.
const X_LOADS: u32 = TILE_ROWS * SLICE / THREADS;
const WEIGHT_LOADS: u32 = 4u * SLICE * TILE_VECTORS / THREADS;
const X_STEP: u32 = THREADS / SLICE;
const WEIGHT_STEP: u32 = THREADS / TILE_VECTORS;

var<workgroup> x_slice: array<vec4<f32>, TILE_ROWS * SLICE>;
var<workgroup> weight_slice: array<vec4<f32>, 4u * SLICE * TILE_VECTORS>;

// Indices beyond the end are clamped, since AMD's compiler waits for each load that is in a branch with zeros on its other
// side. What is read beyond a row's end is cut in x, and what belongs to no row or column is not stored.
fn load_x(at: u32) -> vec4<f32> {
    return from_x(x[min(at, max(params.rows * params.inner_vectors, 1u) - 1u)]);
}

fn load_weight(at: u32) -> vec4<f32> {
    return from_weight(weight[min(at, max(4u * params.inner_vectors * params.col_vectors, 1u) - 1u)]);
}

// Puts what an invocation has loaded of a slice, of x the vector `k` of rows, into workgroup memory.
fn stage(
    local: u32,
    k: u32,
    next_x: ptr<function, array<vec4<f32>, X_LOADS>>,
    next_weight: ptr<function, array<vec4<f32>, WEIGHT_LOADS>>,
    pivot: ptr<function, array<f32, X_LOADS>>,
    moments: ptr<function, array<vec2<f32>, X_LOADS>>,
) {
    // #unroll
    for (var i = 0u; i < X_LOADS; i++) {
        var v = (*next_x)[i];
        if (NORM == 1u) {
            v = around(v, k, (*pivot)[i]);
            (*moments)[i] += vec2<f32>(sum4(v), dot(v, v));
        } else {
            v = select(vec4<f32>(0.0), v, k < params.inner_vectors);
        }
        x_slice[local + THREADS * i] = v;
    }
    // #unroll
    for (var j = 0u; j < WEIGHT_LOADS; j++) {
        weight_slice[local + THREADS * j] = (*next_weight)[j];
    }
}

@compute @workgroup_size(THREADS)
fn tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let tile = first_group + group.y * params.groups_x + group.x;
    let split = tile / params.col_tiles / max(params.row_tiles, 1u);
    if (split >= params.splits) {
        return;
    }
    let first_row = tile / params.col_tiles % params.row_tiles * TILE_ROWS;
    let first_vector = split * params.split_vectors;
    let end_vector = min(first_vector + params.split_vectors, params.inner_vectors);
    let first_column = (tile % params.col_tiles) * TILE_VECTORS;
    let tx = local % TX;
    let ty = local / TX;
    // What this invocation loads of a slice.
    let x_row = first_row + local / SLICE;
    let x_vector = local % SLICE;
    let x_at = x_row * params.inner_vectors + first_vector + x_vector;
    let weight_at = (4u * first_vector + local / TILE_VECTORS) * params.col_vectors + first_column + local % TILE_VECTORS;

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
        next_x[i] = load_x(x_at + X_STEP * i * params.inner_vectors);
        if (NORM == 1u) {
            pivot[i] = pivot_of(x_row + X_STEP * i);
            moments[i] = vec2<f32>(0.0);
        }
    }
    // #unroll
    for (var j = 0u; j < WEIGHT_LOADS; j++) {
        next_weight[j] = load_weight(weight_at + WEIGHT_STEP * j * params.col_vectors);
    }

    let slices = (end_vector - min(first_vector, end_vector) + SLICE - 1u) / SLICE;
    if (slices > 0u) {
        stage(local, first_vector + x_vector, &next_x, &next_weight, &pivot, &moments);
    }
    workgroupBarrier();
    for (var s = 0u; s < slices; s++) {
        // The last slice is loaded and stored twice rather than checked.
        let next = min(s + 1u, slices - 1u);
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            next_x[i] = load_x(x_at + (X_STEP * i * params.inner_vectors + next * SLICE));
        }
        // #unroll
        for (var j = 0u; j < WEIGHT_LOADS; j++) {
            next_weight[j] = load_weight(weight_at + (WEIGHT_STEP * j + 4u * next * SLICE) * params.col_vectors);
        }
        for (var first_k = 0u; first_k < SLICE; first_k += DEPTH) {
            // #unroll
            for (var u = 0u; u < DEPTH; u++) {
                let k = first_k + u;
                var rows: array<vec4<f32>, ROWS_EACH>;
                // #unroll
                for (var i = 0u; i < ROWS_EACH; i++) {
                    rows[i] = x_slice[(ty + TY * i) * SLICE + k];
                }
                // #unroll
                for (var j = 0u; j < VECTORS_EACH; j++) {
                    let at = 4u * k * TILE_VECTORS + tx + TX * j;
                    let w0 = weight_slice[at];
                    let w1 = weight_slice[at + TILE_VECTORS];
                    let w2 = weight_slice[at + 2u * TILE_VECTORS];
                    let w3 = weight_slice[at + 3u * TILE_VECTORS];
                    // #unroll
                    for (var i = 0u; i < ROWS_EACH; i++) {
                        let v = rows[i];
                        // A sum of products would be a multiplication, three multiply-adds and an addition.
                        let sum = fma(v.yyyy, w1, fma(v.xxxx, w0, sums[i * VECTORS_EACH + j]));
                        sums[i * VECTORS_EACH + j] = fma(v.wwww, w3, fma(v.zzzz, w2, sum));
                    }
                }
            }
        }
        workgroupBarrier();
        // What has been loaded goes into workgroup memory in the same turn, so that no register need be handed on.
        stage(local, first_vector + (s + 1u) * SLICE + x_vector, &next_x, &next_weight, &pivot, &moments);
        workgroupBarrier();
    }
    if (NORM == 1u) {
        // The moments of a row, from the invocations that loaded it.
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            x_slice[local + THREADS * i] = vec4<f32>(moments[i], 0.0, 0.0);
        }
        workgroupBarrier();
    }
    // #unroll
    for (var r = 0u; r < ROWS_EACH; r++) {
        let row = first_row + ty + TY * r;
        var scale = 1.0;
        if (NORM == 1u) {
            var total = vec2<f32>(0.0);
            for (var k = 0u; k < SLICE; k++) {
                total += x_slice[(ty + TY * r) * SLICE + k].xy;
            }
            scale = scale_of(total);
        }
        // #unroll
        for (var j = 0u; j < VECTORS_EACH; j++) {
            let column = first_column + tx + TX * j;
            if (row < params.rows && column < params.col_vectors) {
                store(split * params.rows + row, column, sums[r * VECTORS_EACH + j] * scale);
            }
        }
    }
}
