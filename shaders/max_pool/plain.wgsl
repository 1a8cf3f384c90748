// max_pool: Y[p] = largest X of each channel in a square window, no padding.
//
// Work split: one invocation per pixel and vector of four channels of Y.
//
// Bindings (arrays of vectors of four, rows padded with zeros)
//   0 uniform     Params
//   1 read        x  [batch, height·width, cols]
//   2 read_write  y  [batch, out_height·out_width, cols]
// Workgroup bytes: none. Numerics: exact. The first value of a window is the start of its maximum.

// #import common/elementwise

struct Params {
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    side: u32,
    stride: u32,
    vectors: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn windows(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let vector = at % params.vectors;
    let pixel = at / params.vectors;
    let pixels = params.out_height * params.out_width;
    let item = pixel / pixels;
    let top = (pixel % pixels) / params.out_width * params.stride;
    let left = pixel % params.out_width * params.stride;
    let first = (item * params.height + top) * params.width + left;
    var largest = x[first * params.vectors + vector];
    for (var dy = 0u; dy < params.side; dy++) {
        for (var dx = 0u; dx < params.side; dx++) {
            largest = max(largest, x[(first + dy * params.width + dx) * params.vectors + vector]);
        }
    }
    y[at] = largest;
}
