// convolution: Y[p] = max(0, sum over the window of X·W + b), zeros outside the picture.
//
// Work split: one invocation per pixel and vector of four channels of Y; invocations of a workgroup share the window
// of a few pixels, which stays in the cache.
//
// Bindings (arrays of vectors of four unless stated, rows padded with zeros)
//   0 uniform     Params
//   1 read        x       [batch, height·width, inner] as f32
//   2 read        weight  [side·side·inner, cols]
//   3 read        bias    [1, cols]
//   4 read_write  y       [batch, out_height·out_width, cols]
// Workgroup bytes: none. Numerics: f32 sums in window order.

// #import common/elementwise

struct Params {
    height: u32,
    width: u32,
    inner: u32,
    x_row: u32,
    out_height: u32,
    out_width: u32,
    side: u32,
    stride: u32,
    padding: u32,
    vectors: u32,
    total: u32,
    row_invocations: u32,
    relu: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn direct(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let vector = at % params.vectors;
    let pixel = at / params.vectors;
    let pixels = params.out_height * params.out_width;
    let item = pixel / pixels;
    let top = i32((pixel % pixels) / params.out_width * params.stride) - i32(params.padding);
    let left = i32(pixel % params.out_width * params.stride) - i32(params.padding);
    var sum = bias[vector];
    for (var dy = 0u; dy < params.side; dy++) {
        let row = top + i32(dy);
        if (row < 0 || row >= i32(params.height)) {
            continue;
        }
        for (var dx = 0u; dx < params.side; dx++) {
            let column = left + i32(dx);
            if (column < 0 || column >= i32(params.width)) {
                continue;
            }
            let pixel_x = (item * params.height + u32(row)) * params.width + u32(column);
            let weights = (dy * params.side + dx) * params.inner;
            for (var c = 0u; c < params.inner; c++) {
                sum += x[pixel_x * params.x_row + c] * weight[(weights + c) * params.vectors + vector];
            }
        }
    }
    if (params.relu == 1u) {
        sum = max(sum, vec4<f32>(0.0));
    }
    y[at] = sum;
}
