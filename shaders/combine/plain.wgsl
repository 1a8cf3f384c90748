// combine: Y[r, c] = f(A[r mod rows of A, c]) · B[r mod rows of B, c], or the sum of both, or f(A) alone; f is an
// activation.
//
// Work split: one invocation per vector of four results; neighbouring invocations have neighbouring vectors of a row.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        a  [a_rows, ..] as vectors of four
//   2 read        b  [b_rows, ..] as vectors of four, if there is one
//   3 read_write  y  [rows, cols] as vectors of four
// Workgroup bytes: none. Numerics: those of the activation; a, b and y may be stored as f16 (a variant's choice).

// #import common/elementwise
// #import common/activation

struct Params {
    // vectors of four in a row of y
    vectors: u32,
    total: u32,
    row_invocations: u32,
    activation: u32,
    // rows, vectors of four in a row, and before the first column
    a_rows: u32,
    a_row: u32,
    a_column: u32,
    // 0 a alone, 1 sum, 2 product
    mode: u32,
    b_rows: u32,
    b_row: u32,
    b_column: u32,
    cols: u32,
}

alias a4 = vec4<f32>;
alias b4 = vec4<f32>;
alias y4 = vec4<f32>;
fn from_a(v: a4) -> vec4<f32> { return v; }
fn from_b(v: b4) -> vec4<f32> { return v; }
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<a4>;
@group(0) @binding(2) var<storage, read> b: array<b4>;
@group(0) @binding(3) var<storage, read_write> y: array<y4>;

@compute @workgroup_size(WORKGROUP)
fn vectors(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = at / params.vectors;
    let vector = at % params.vectors;
    var result = from_a(a[row % params.a_rows * params.a_row + params.a_column + vector]);
    result = activate(result, params.activation);
    if (params.mode != 0u) {
        let other = from_b(b[row % params.b_rows * params.b_row + params.b_column + vector]);
        if (params.mode == 2u) {
            result *= other;
        } else {
            result += other;
        }
    }
    // Operands may have other columns where the result is padded.
    let column = 4u * vector + vec4<u32>(0u, 1u, 2u, 3u);
    y[at] = to_y(select(vec4<f32>(0.0), result, column < vec4<u32>(params.cols)));
}
