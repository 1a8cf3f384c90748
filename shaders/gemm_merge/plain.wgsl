// gemm_merge: Y = act(sum of parts + b) + R, the parts being those of a product whose inner dimension was divided.
//
// Work split: one invocation per vector of four columns of Y.
//
// Bindings (arrays of vectors of four, rows padded with zeros)
//   0 uniform     Params
//   1 read        parts     [parts, rows, cols]
//   2 read        bias      [1, cols], or anything when absent
//   3 read        residual  [residual_rows, cols], or anything when absent
//   4 read_write  y         [rows, cols]
// Workgroup bytes: none. Numerics: f32; parts are added in rising order, so the bits are fixed. y may be stored as
// f16 (a variant's choice).

// #import common/elementwise
// #import common/activation

struct Params {
    parts: u32,
    // vectors of four of one part, and of one row
    part_vectors: u32,
    col_vectors: u32,
    residual_rows: u32,
    activation: u32,
    has_bias: u32,
    total: u32,
    row_invocations: u32,
}

alias y4 = vec4<f32>;
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<y4>;

@compute @workgroup_size(WORKGROUP)
fn vectors(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = at / params.col_vectors;
    let column = at % params.col_vectors;
    var v = vec4<f32>(0.0);
    for (var p = 0u; p < params.parts; p++) {
        v += parts[p * params.part_vectors + at];
    }
    if (params.has_bias != 0u) {
        v += bias[column];
    }
    v = activate(v, params.activation);
    if (params.residual_rows != 0u) {
        v += residual[(row % params.residual_rows) * params.col_vectors + column];
    }
    y[at] = to_y(v);
}
