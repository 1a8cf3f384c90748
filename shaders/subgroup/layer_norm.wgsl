// subgroup/layer_norm: Y = (X − μ)/√(σ² + eps) ⊙ g + b over the channels of each row, biased variance.
//
// Algorithm. As `layer_norm`, two passes over the row and a third that writes, but a subgroup owns a row:
// its sums need neither workgroup memory nor barriers. Any subgroup size is right: a workgroup of 256 has
// as many subgroups as it has, and they share its eight rows out.
//
// Bindings (arrays of vectors of four, rows padded with zeros)
//   0 uniform     Params
//   1 read        x     [rows, cols]
//   2 read        gain  [1, cols]
//   3 read        bias  [1, cols]
//   4 read_write  y     [rows, cols]
//
// Workgroup bytes: none.
//
// Numerics: f32; the order of the sums depends on the subgroup size of the device, not on the run. Padding
// columns are left out of the variance and written as zero. x and y may be stored as halves.

struct Params {
    rows: u32,
    cols: u32,
    vectors: u32,
    // workgroups per grid row
    groups_x: u32,
}

const ROWS: u32 = 8u;
const EPS: f32 = 1e-5;

alias x4 = vec4<f32>;
alias y4 = vec4<f32>;
fn from_x(v: x4) -> vec4<f32> { return v; }
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x4>;
@group(0) @binding(2) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<y4>;
// The first workgroup of the part of a dispatch that is to be computed.
@group(1) @binding(0) var<uniform> first_group: u32;

// 1 in real columns of a vector, 0 in padding.
fn real(vector: u32) -> vec4<f32> {
    let column = 4u * vector + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(0.0), vec4<f32>(1.0), column < vec4<u32>(params.cols));
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(256)
fn subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let first_row = (first_group + group.y * params.groups_x + group.x) * ROWS;
    let end = min(first_row + ROWS, params.rows);
    for (var row = first_row + subgroup; row < end; row += subgroups) {
        let first = row * params.vectors;
        var sum = vec4<f32>(0.0);
        for (var v = lane; v < params.vectors; v += size) {
            sum += from_x(x[first + v]);
        }
        let mean = subgroupAdd(sum4(sum)) / f32(params.cols);
        var squares = vec4<f32>(0.0);
        for (var v = lane; v < params.vectors; v += size) {
            let d = (from_x(x[first + v]) - mean) * real(v);
            squares += d * d;
        }
        let inverse = 1.0 / sqrt(subgroupAdd(sum4(squares)) / f32(params.cols) + EPS);
        for (var v = lane; v < params.vectors; v += size) {
            y[first + v] = to_y((from_x(x[first + v]) - mean) * inverse * gain[v] + bias[v]);
        }
    }
}
