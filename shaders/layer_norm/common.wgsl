// What all of layer_norm's shaders share: bindings, and sums of vectors. Without the mean taken off it is RMSNorm.
//
// Bindings (arrays of vectors of four, rows padded with zeros)
//   0 uniform     Params
//   1 read        x     [rows, cols], or heads of `width` channels, each padded to `stride`
//   2 read        gain  [1, cols]
//   3 read        bias  [1, cols]
//   4 read_write  y     [rows, cols]
// Numerics: f32. Padding columns are left out of the variance and written as zero: gain and bias are zero there. x
// and y may be stored as f16 (a variant's choice).

struct Params {
    rows: u32,
    cols: u32,
    vectors: u32,
    // workgroups per grid row
    groups_x: u32,
    // channels of a head and columns from one head to the next
    width: u32,
    stride: u32,
    // 1 where the mean is taken off
    centred: u32,
    eps: f32,
}

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
    return select(vec4<f32>(0.0), vec4<f32>(1.0), column % params.stride < vec4<u32>(params.width));
}

// What is taken off a row whose numbers have this sum.
fn mean_of(sum: f32) -> f32 {
    return select(0.0, sum / f32(params.cols), params.centred == 1u);
}

// What a row is multiplied with whose squares have this sum.
fn scale_of(squares: f32) -> f32 {
    return 1.0 / sqrt(squares / f32(params.cols) + params.eps);
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
