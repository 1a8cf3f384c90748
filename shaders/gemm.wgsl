// gemm: a linear layer with its epilogue, Y = act(X·W + b) + R.
//
// Algorithm. Each workgroup computes a tile of TILE_ROWS × TILE_COLS of Y. Two entry points share
// bindings and epilogue:
//   tiled   16×16 invocations. Slices of TILE_INNER columns of X and rows of W pass through workgroup
//           memory; the next slice is loaded into registers while the present one is multiplied. An
//           invocation owns rows ty + 16 i and column vectors tx + 16 j, so that the lanes of a
//           subgroup read neighbouring banks or the same address.
//   direct  LANES invocations side by side, no workgroup memory, no barrier. An invocation owns
//           DIRECT_ROWS rows × DIRECT_COLS column vectors; X is read at an address that is uniform
//           over the workgroup. For software adapters, whose lanes are the slots of one CPU vector.
//
// Bindings (all arrays hold vectors of four; rows are padded with zeros to four elements)
//   0 uniform     Params
//   1 read        x         [rows, inner]
//   2 read        weight    [inner, cols]
//   3 read        bias      [1, cols], or anything when absent
//   4 read        residual  [residual_rows, cols], or anything when absent
//   5 read_write  y         [rows, cols]
//
// Workgroup bytes: tiled 16·4·(TILE_ROWS + TILE_COLS): 8 KiB at 64×64, 16 KiB at 128×128. direct: none.
//
// Numerics: f32 throughout; sums over the inner dimension run in rising order.

// #import common/gelu

struct Params {
    rows: u32,
    // vectors of four per row of x
    inner_vectors: u32,
    // vectors of four per row of weight and y
    col_vectors: u32,
    residual_rows: u32,
    // 0 none, 1 erf GELU, 2 tanh GELU
    activation: u32,
    has_bias: u32,
    // workgroups per grid row: the tile index is y * groups_x + x
    groups_x: u32,
    col_tiles: u32,
}

// Rows and column vectors of one invocation (tiled).
const ROWS_EACH: u32 = 4u;
const VECTORS_EACH: u32 = 1u;
// Loads of one invocation per slice of x: ROWS_EACH / 4, at least 1.
const X_LOADS: u32 = 1u;
// Rows and column vectors of one invocation (direct).
const LANES: u32 = 8u;
const DIRECT_ROWS: u32 = 16u;
const DIRECT_COLS: u32 = 2u;

const TILE_ROWS: u32 = 16u * ROWS_EACH;
const TILE_VECTORS: u32 = 16u * VECTORS_EACH;
// Vectors of x per row of a slice: 16 columns.
const SLICE: u32 = 4u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
// The first workgroup of the part of a dispatch that is to be computed.
@group(1) @binding(0) var<uniform> first_group: u32;

var<workgroup> x_slice: array<vec4<f32>, TILE_ROWS * SLICE>;
var<workgroup> weight_slice: array<vec4<f32>, 16u * TILE_VECTORS>;

fn store(row: u32, column: u32, sum: vec4<f32>) {
    var v = sum;
    if (params.has_bias != 0u) {
        v += bias[column];
    }
    if (params.activation == 1u) {
        v = gelu_erf(v);
    } else if (params.activation == 2u) {
        v = gelu_tanh(v);
    }
    if (params.residual_rows != 0u) {
        v += residual[(row % params.residual_rows) * params.col_vectors + column];
    }
    y[row * params.col_vectors + column] = v;
}

fn load_x(row: u32, k: u32) -> vec4<f32> {
    if (row < params.rows && k < params.inner_vectors) {
        return x[row * params.inner_vectors + k];
    }
    return vec4<f32>(0.0);
}

fn load_weight(k: u32, column: u32) -> vec4<f32> {
    if (k < 4u * params.inner_vectors && column < params.col_vectors) {
        return weight[k * params.col_vectors + column];
    }
    return vec4<f32>(0.0);
}

@compute @workgroup_size(256)
fn tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = first_group + group.y * params.groups_x + group.x;
    let row_tile = tile / params.col_tiles;
    let first_row = row_tile * TILE_ROWS;
    if (first_row >= params.rows) {
        return;
    }
    let first_column = (tile % params.col_tiles) * TILE_VECTORS;
    let tx = local % 16u;
    let ty = local / 16u;

    var sums: array<vec4<f32>, ROWS_EACH * VECTORS_EACH>;
    // #unroll
    for (var i = 0u; i < ROWS_EACH * VECTORS_EACH; i++) {
        sums[i] = vec4<f32>(0.0);
    }
    var next_x: array<vec4<f32>, X_LOADS>;
    var next_weight: array<vec4<f32>, VECTORS_EACH>;
    // #unroll
    for (var i = 0u; i < X_LOADS; i++) {
        next_x[i] = load_x(first_row + local / 4u + 64u * i, local % 4u);
    }
    // #unroll
    for (var j = 0u; j < VECTORS_EACH; j++) {
        next_weight[j] = load_weight(ty, first_column + tx + 16u * j);
    }

    let slices = (params.inner_vectors + SLICE - 1u) / SLICE;
    for (var s = 0u; s < slices; s++) {
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            let at = local + 256u * i;
            if (at < TILE_ROWS * SLICE) {
                x_slice[at] = next_x[i];
            }
        }
        // #unroll
        for (var j = 0u; j < VECTORS_EACH; j++) {
            weight_slice[ty * TILE_VECTORS + tx + 16u * j] = next_weight[j];
        }
        workgroupBarrier();
        let next = s + 1u;
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            next_x[i] = load_x(first_row + local / 4u + 64u * i, next * SLICE + local % 4u);
        }
        // #unroll
        for (var j = 0u; j < VECTORS_EACH; j++) {
            next_weight[j] = load_weight(next * 16u + ty, first_column + tx + 16u * j);
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
    // #unroll
    for (var i = 0u; i < ROWS_EACH; i++) {
        let row = first_row + ty + 16u * i;
        // #unroll
        for (var j = 0u; j < VECTORS_EACH; j++) {
            let column = first_column + tx + 16u * j;
            if (row < params.rows && column < params.col_vectors) {
                store(row, column, sums[i * VECTORS_EACH + j]);
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
    let first_row = tile / params.col_tiles * DIRECT_ROWS;
    if (first_row >= params.rows) {
        return;
    }
    let first_column = (tile % params.col_tiles) * (LANES * DIRECT_COLS) + local;
    let last_row = params.rows - 1u;
    let last_column = params.col_vectors - 1u;

    var sums: array<vec4<f32>, DIRECT_ROWS * DIRECT_COLS>;
    // #unroll
    for (var i = 0u; i < DIRECT_ROWS * DIRECT_COLS; i++) {
        sums[i] = vec4<f32>(0.0);
    }
    for (var k = 0u; k < params.inner_vectors; k++) {
        // #unroll
        for (var j = 0u; j < DIRECT_COLS; j++) {
            let at = 4u * k * params.col_vectors + min(first_column + LANES * j, last_column);
            let w0 = weight[at];
            let w1 = weight[at + params.col_vectors];
            let w2 = weight[at + 2u * params.col_vectors];
            let w3 = weight[at + 3u * params.col_vectors];
            // #unroll
            for (var i = 0u; i < DIRECT_ROWS; i++) {
                let v = x[min(first_row + i, last_row) * params.inner_vectors + k];
                sums[i * DIRECT_COLS + j] += v.x * w0 + v.y * w1 + v.z * w2 + v.w * w3;
            }
        }
    }
    // #unroll
    for (var i = 0u; i < DIRECT_ROWS; i++) {
        // #unroll
        for (var j = 0u; j < DIRECT_COLS; j++) {
            let row = first_row + i;
            let column = first_column + LANES * j;
            if (row < params.rows && column < params.col_vectors) {
                store(row, column, sums[i * DIRECT_COLS + j]);
            }
        }
    }
}
