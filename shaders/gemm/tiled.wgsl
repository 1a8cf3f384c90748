// gemm: a linear layer with its epilogue, Y = act(X·W + b) + R, after a LayerNorm of X's rows if wanted.
//
// Algorithm. 16×16 invocations compute a tile of TILE_ROWS × 4·TILE_VECTORS elements of Y. Slices of 4·SLICE columns
// of X and rows of W pass through workgroup memory; the next slice is loaded into registers while the present one is
// multiplied. An invocation computes rows ty + 16 i and column vectors tx + 16 j, so that the lanes of a subgroup
// read neighbouring banks or the same address: no row needs padding. The products of a slice and the epilogue are
// loops, as some compilers need time that grows faster than the number of loads in the text.
//
// LayerNorm, splits and bindings: see `gemm/common`.
// Workgroup bytes: 16·SLICE·(TILE_ROWS + 4·TILE_VECTORS): 8 KiB at 64×64, 16 KiB at 128×128, with slices of 16.
// Numerics: f32 throughout; sums over the inner dimension run in rising order. x, weight and y may be stored as f16
// (a variant's choice); bias and residual are f32.

// #import gemm/common

// Whether rows, columns and inner dimension are whole tiles and slices, so that no load needs a check.
const ALIGNED: u32 = 0u;
// Rows and column vectors of one invocation (tiled).
const ROWS_EACH: u32 = 4u;
const VECTORS_EACH: u32 = 1u;
// Vectors of x per row of a slice: 4 or 8, that is 16 or 32 columns.
const SLICE: u32 = 4u;
// Vectors of x that are multiplied without a loop.
const DEPTH: u32 = 4u;
// Loads of one invocation per slice: ROWS_EACH·SLICE/16, at least 1, and VECTORS_EACH·SLICE/4.
const X_LOADS: u32 = 1u;
const WEIGHT_LOADS: u32 = 1u;
const TILE_ROWS: u32 = 16u * ROWS_EACH;
const TILE_VECTORS: u32 = 16u * VECTORS_EACH;

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
        // Only vectors that there are: compilers do not know how many, so they do not write the loop out.
        let real = min(SLICE, end_vector - first_vector - s * SLICE);
        for (var first_k = 0u; first_k < real; first_k += DEPTH) {
            // #unroll
            for (var u = 0u; u < DEPTH; u++) {
                let k = first_k + u;
                var rows: array<vec4<f32>, ROWS_EACH>;
                // #unroll
                for (var i = 0u; i < ROWS_EACH; i++) {
                    rows[i] = x_slice[(ty + 16u * i) * SLICE + k];
                }
                // #unroll
                for (var j = 0u; j < VECTORS_EACH; j++) {
                    let at = 4u * k * TILE_VECTORS + tx + 16u * j;
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
    let rows = min(ROWS_EACH, (params.rows - first_row + 15u) / 16u);
    for (var r = 0u; r < rows; r++) {
        let row = first_row + ty + 16u * r;
        var scale = 1.0;
        if (NORM == 1u) {
            var total = vec2<f32>(0.0);
            // #unroll
            for (var k = 0u; k < SLICE; k++) {
                total += x_slice[(ty + 16u * r) * SLICE + k].xy;
            }
            scale = scale_of(total);
        }
        // #unroll
        for (var j = 0u; j < VECTORS_EACH; j++) {
            var sum = sums[j];
            // #unroll
            for (var i = 0u; i < ROWS_EACH; i++) {
                sum = select(sum, sums[i * VECTORS_EACH + j], r == i);
            }
            let column = first_column + tx + 16u * j;
            if (ALIGNED == 1u || (row < params.rows && column < params.col_vectors)) {
                store(split * params.rows + row, column, sum * scale);
            }
        }
    }
}
