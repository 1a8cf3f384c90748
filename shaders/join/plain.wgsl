// join: Y[r, :] = [A[r, :], B[r, :]] + R[r, :], the residual R optional.
//
// Work split: one invocation per vector of four results; neighbouring invocations have neighbouring vectors of a row.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        a  [rows, left] as vectors of four; left is a multiple of four
//   2 read        b  [rows, right] as vectors of four
//   3 read        r  [rows, left + right] as vectors of four, if there is a residual
//   4 read_write  y  [rows, left + right] as vectors of four
// Workgroup bytes: none. Numerics: one addition, or exact.

// #import common/elementwise

struct Params {
    // vectors of four in a row of a, of b and of y
    left: u32,
    right: u32,
    vectors: u32,
    residual: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> r: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn vectors(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = at / params.vectors;
    let vector = at % params.vectors;
    var result: vec4<f32>;
    if (vector < params.left) {
        result = a[row * params.left + vector];
    } else {
        result = b[row * params.right + vector - params.left];
    }
    if (params.residual != 0u) {
        result += r[at];
    }
    y[at] = result;
}
