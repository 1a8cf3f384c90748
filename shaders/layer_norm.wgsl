// layer_norm: Y = (X − μ)/√(σ² + eps) ⊙ g + b over the channels of each row, biased variance.
//
// Algorithm. Two passes over the row (mean, then squared differences), so that nothing cancels, and
// a third that writes.
//   group  one workgroup of 64 per row; partial sums meet in workgroup memory in a fixed order.
//   lane   one invocation per row, no workgroup memory. For software adapters.
//
// Bindings (arrays of vectors of four, rows padded with zeros)
//   0 uniform     Params
//   1 read        x     [rows, cols]
//   2 read        gain  [1, cols]
//   3 read        bias  [1, cols]
//   4 read_write  y     [rows, cols]
//
// Workgroup bytes: group 256, lane none.
//
// Numerics: f32. Padding columns are left out of the variance and written as zero: gain and bias are
// zero there. x and y may be stored as halves (a variant's choice).

struct Params {
    rows: u32,
    cols: u32,
    vectors: u32,
    // workgroups per grid row
    groups_x: u32,
}

const LANES: u32 = 8u;
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

var<workgroup> partial: array<f32, 64>;

// 1 in real columns of a vector, 0 in padding.
fn real(vector: u32) -> vec4<f32> {
    let column = 4u * vector + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(0.0), vec4<f32>(1.0), column < vec4<u32>(params.cols));
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// Sum over the workgroup, the same for every invocation.
fn group_sum(value: f32, local: u32) -> f32 {
    partial[local] = value;
    workgroupBarrier();
    for (var step = 32u; step > 0u; step >>= 1u) {
        if (local < step) {
            partial[local] += partial[local + step];
        }
        workgroupBarrier();
    }
    let total = partial[0];
    workgroupBarrier();
    return total;
}

@compute @workgroup_size(64)
fn group(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = first_group + group.y * params.groups_x + group.x;
    if (row >= params.rows) {
        return;
    }
    let first = row * params.vectors;
    var sum = 0.0;
    for (var v = local; v < params.vectors; v += 64u) {
        sum += sum4(from_x(x[first + v]));
    }
    let mean = group_sum(sum, local) / f32(params.cols);
    var squares = 0.0;
    for (var v = local; v < params.vectors; v += 64u) {
        let d = (from_x(x[first + v]) - mean) * real(v);
        squares += dot(d, d);
    }
    let inverse = 1.0 / sqrt(group_sum(squares, local) / f32(params.cols) + EPS);
    for (var v = local; v < params.vectors; v += 64u) {
        y[first + v] = to_y((from_x(x[first + v]) - mean) * inverse * gain[v] + bias[v]);
    }
}

@compute @workgroup_size(LANES)
fn lane(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (first_group + group.y * params.groups_x + group.x) * LANES + local;
    if (row >= params.rows) {
        return;
    }
    let first = row * params.vectors;
    var sum = vec4<f32>(0.0);
    for (var v = 0u; v < params.vectors; v++) {
        sum += from_x(x[first + v]);
    }
    let mean = sum4(sum) / f32(params.cols);
    var squares = vec4<f32>(0.0);
    for (var v = 0u; v < params.vectors; v++) {
        let d = (from_x(x[first + v]) - mean) * real(v);
        squares += d * d;
    }
    let inverse = 1.0 / sqrt(sum4(squares) / f32(params.cols) + EPS);
    for (var v = 0u; v < params.vectors; v++) {
        y[first + v] = to_y((from_x(x[first + v]) - mean) * inverse * gain[v] + bias[v]);
    }
}
