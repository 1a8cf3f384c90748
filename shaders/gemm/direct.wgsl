// gemm, for software adapters: Y = act(X·W + b) + R, after a LayerNorm of X's rows if wanted.
//
// Algorithm. LANES invocations side by side, which are the slots of one CPU vector, compute ROWS rows × LANES·COLS
// column vectors of Y without workgroup memory or barriers. An invocation computes all of the rows for COLS column
// vectors. With BROADCAST, where a workgroup is one subgroup, each lane loads the vector of one row and all lanes
// receive it from there; otherwise every lane loads it from the same address. Loops and loads: see `attention/direct`.
//
// LayerNorm, splits and bindings: see `gemm/common`. Workgroup bytes: none.
// Numerics: f32; sums over the inner dimension run in rising order. x, weight and y may be stored as f16 (a variant's
// choice).

// #import gemm/common

const LANES: u32 = 8u;
// Rows and column vectors of one invocation.
const ROWS: u32 = 8u;
const COLS: u32 = 1u;
// Whether rows pass from lane to lane. A workgroup is one subgroup then.
const BROADCAST: u32 = 0u;
// Rows that a lane loads, and rows between them.
// #if BROADCAST == 1
const HELD: u32 = ROWS / LANES;
const STEP: u32 = LANES;
// #else
const HELD: u32 = ROWS;
const STEP: u32 = 1u;
// #endif

@compute @workgroup_size(LANES)
fn direct(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let tile = first_group + group.y * params.groups_x + group.x;
    let split = tile / params.col_tiles / max(params.row_tiles, 1u);
    if (split >= params.splits) {
        return;
    }
    let first_row = tile / params.col_tiles % params.row_tiles * ROWS;
    let own_row = first_row + select(0u, local, BROADCAST == 1u);
    let first_vector = split * params.split_vectors;
    let end_vector = min(first_vector + params.split_vectors, params.inner_vectors);
    let first_column = (tile % params.col_tiles) * (LANES * COLS) + local;
    let last_row = params.rows - 1u;
    let last_column = params.col_vectors - 1u;

    var sums: array<vec4<f32>, ROWS * COLS>;
    // #unroll
    for (var i = 0u; i < ROWS * COLS; i++) {
        sums[i] = vec4<f32>(0.0);
    }
    // Rows that this lane loads, and what their LayerNorm needs.
    var held: array<vec4<f32>, HELD>;
    var held_at: array<u32, HELD>;
    var pivot: array<f32, HELD>;
    var moments: array<vec2<f32>, HELD>;
    // #unroll
    for (var i = 0u; i < HELD; i++) {
        held_at[i] = min(own_row + STEP * i, last_row) * params.inner_vectors;
        pivot[i] = 0.0;
        moments[i] = vec2<f32>(0.0);
    }
    if (NORM == 1u) {
        for (var i = 0u; i < HELD; i++) {
            let p = pivot_of(own_row + STEP * i);
            // #unroll
            for (var h = 0u; h < HELD; h++) {
                pivot[h] = select(pivot[h], p, h == i);
            }
        }
    }
    for (var k = first_vector; k < end_vector; k++) {
        // #unroll
        for (var i = 0u; i < HELD; i++) {
            held[i] = from_x(x[held_at[i] + k]);
            if (NORM == 1u) {
                held[i] = around(held[i], k, pivot[i]);
                moments[i] += vec2<f32>(sum4(held[i]), dot(held[i], held[i]));
            }
        }
        var w: array<vec4<f32>, 4u * COLS>;
        // #unroll
        for (var j = 0u; j < COLS; j++) {
            let at = 4u * k * params.col_vectors + min(first_column + LANES * j, last_column);
            // #unroll
            for (var e = 0u; e < 4u; e++) {
                w[4u * j + e] = from_weight(weight[at + e * params.col_vectors]);
            }
        }
        // #unroll
        for (var i = 0u; i < ROWS; i++) {
            // #if BROADCAST == 1
            let v = subgroupBroadcast(held[i / LANES], i % LANES);
            // #else
            let v = held[i];
            // #endif
            // #unroll
            for (var j = 0u; j < COLS; j++) {
                sums[i * COLS + j] += v.x * w[4u * j] + v.y * w[4u * j + 1u]
                    + v.z * w[4u * j + 2u] + v.w * w[4u * j + 3u];
            }
        }
    }
    if (NORM == 1u) {
        var scale: array<f32, HELD>;
        // #unroll
        for (var i = 0u; i < HELD; i++) {
            scale[i] = scale_of(moments[i]);
        }
        // #unroll
        for (var i = 0u; i < ROWS; i++) {
            // #if BROADCAST == 1
            let of_row = subgroupBroadcast(scale[i / LANES], i % LANES);
            // #else
            let of_row = scale[i];
            // #endif
            // #unroll
            for (var j = 0u; j < COLS; j++) {
                sums[i * COLS + j] *= of_row;
            }
        }
    }
    let rows = min(ROWS, params.rows - first_row);
    for (var r = 0u; r < rows; r++) {
        // #unroll
        for (var j = 0u; j < COLS; j++) {
            var sum = sums[j];
            // #unroll
            for (var i = 0u; i < ROWS; i++) {
                sum = select(sum, sums[i * COLS + j], r == i);
            }
            let column = first_column + LANES * j;
            if (column < params.col_vectors) {
                store(split * params.rows + first_row + r, column, sum);
            }
        }
    }
}
