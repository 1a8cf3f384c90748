// What all products share: bindings, the LayerNorm on the way, the epilogue.
//
// LayerNorm (NORM). Every workgroup reads whole rows of X anyway, so it sums up what the LayerNorm needs on the way:
// with r = 1/sqrt(variance + eps), and W with the gain folded in and its columns centred, LN(x)·W = r·(x - p)·W for
// any number p, so that only r has to be known, and not before the end. p is the mean of the row's first 16 channels:
// near enough to the row's mean that neither the product nor the variance cancels, whatever the mean.
//
// Splits. Where few rows meet a long inner dimension, each workgroup sums up a part of it, and `gemm_merge` adds up
// the parts.
//
// Bindings (all arrays hold vectors of four; rows are padded with zeros to four elements)
//   0 uniform     Params
//   1 read        x         [rows, inner]
//   2 read        weight    [inner, cols]
//   3 read        bias      [1, cols], or anything when absent
//   4 read        residual  [residual_rows, cols], or anything when absent
//   5 read_write  y         [rows, cols], or [splits, rows, cols] without epilogue

// #import common/activation

// Whether rows of x are normalised.
const NORM: u32 = 0u;

struct Params {
    rows: u32,
    // vectors of four per row of x
    inner_vectors: u32,
    // vectors of four per row of weight and y
    col_vectors: u32,
    residual_rows: u32,
    activation: u32,
    has_bias: u32,
    // workgroups per grid row: the tile index is y * groups_x + x
    groups_x: u32,
    col_tiles: u32,
    // columns of x without padding
    inner: u32,
    // vectors of four of the inner dimension that each split has, and tiles of rows of each
    split_vectors: u32,
    row_tiles: u32,
    splits: u32,
}

alias x4 = vec4<f32>;
alias weight4 = vec4<f32>;
alias y4 = vec4<f32>;
fn from_x(v: x4) -> vec4<f32> { return v; }
fn from_weight(v: weight4) -> vec4<f32> { return v; }
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x4>;
@group(0) @binding(2) var<storage, read> weight: array<weight4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<y4>;
// The first workgroup of the part of a dispatch that is to be computed.
@group(1) @binding(0) var<uniform> first_group: u32;

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// Mean of a row's first channels.
fn pivot_of(row: u32) -> f32 {
    let first = min(row, params.rows - 1u) * params.inner_vectors;
    var sum = vec4<f32>(0.0);
    for (var k = 0u; k < min(4u, params.inner_vectors); k++) {
        sum += from_x(x[first + k]);
    }
    return sum4(sum) / f32(clamp(params.inner, 1u, 16u));
}

// A vector of a row around the pivot, zero in padding.
fn around(v: vec4<f32>, k: u32, pivot: f32) -> vec4<f32> {
    let column = 4u * k + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(0.0), v - pivot, column < vec4<u32>(params.inner));
}

// Scale of a row from sum and sum of squares around its pivot.
fn scale_of(sums: vec2<f32>) -> f32 {
    let count = f32(max(params.inner, 1u));
    let mean = sums.x / count;
    return 1.0 / sqrt(max(sums.y / count - mean * mean, 0.0) + 1e-5);
}

fn store(row: u32, column: u32, sum: vec4<f32>) {
    var v = sum;
    if (params.has_bias != 0u) {
        v += bias[column];
    }
    v = activate(v, params.activation);
    if (params.residual_rows != 0u) {
        v += residual[(row % params.residual_rows) * params.col_vectors + column];
    }
    y[row * params.col_vectors + column] = to_y(v);
}
