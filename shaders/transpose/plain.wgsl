// transpose: Y[b, c, r] = X[b, r, c].
//
// Work split: one invocation per vector of four rows of X in one row of Y; neighbouring invocations read neighbouring
// columns.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        x  [batch, rows, cols] as f32
//   2 read_write  y  [batch, cols, rows] as vectors of four
// Workgroup bytes: none. Numerics: exact.

// #import common/elementwise

struct Params {
    rows: u32,
    cols: u32,
    x_row: u32,
    // vectors of four in a row of y
    vectors: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn vectors(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let column = at % params.cols;
    let rest = at / params.cols;
    let vector = rest % params.vectors;
    let item = rest / params.vectors;
    var result = vec4<f32>(0.0);
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        let row = 4u * vector + i;
        if (row < params.rows) {
            result[i] = x[(item * params.rows + row) * params.x_row + column];
        }
    }
    y[(item * params.cols + column) * params.vectors + vector] = result;
}
