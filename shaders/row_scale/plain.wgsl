// row_scale: 1/sqrt(variance + 1e-5) of rows that are given as content, table rows and a constant.
//
// Work split: one invocation per row, and per element of padding, which becomes zero.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        content  [batch, rows, content] as vectors of four, or anything when content is 0
//   2 read        sums     [sum of axes + 1, 2] as vectors of four: sum and sum of squares of each table
//                          row, then of the constant
//   3 read        points   [rows, 1] as f32, grid positions, or anything when not indexed
//   4 read_write  y        [batch, 1, rows] as f32
// Workgroup bytes: none. Numerics: f32; squares are taken around the mean, as the difference of large sums would lose
// digits. content may be stored as f16 (a variant's choice).

// #import common/elementwise

struct Params {
    rows: u32,
    // elements of a row of y
    y_row: u32,
    first_row: u32,
    // vectors of four, and channels, of the content
    vectors: u32,
    content: u32,
    dimensions: u32,
    features: u32,
    constants: u32,
    axis_a: u32,
    axis_b: u32,
    axis_c: u32,
    channels: u32,
    total: u32,
    row_invocations: u32,
    indexed: u32,
}

alias content4 = vec4<f32>;
fn from_content(v: content4) -> vec4<f32> { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> content: array<content4>;
@group(0) @binding(2) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> points: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// Sum of squares around the mean of `count` elements with this sum and sum of squares.
fn around(entry: vec4<f32>, count: u32, mean: f32) -> f32 {
    return entry.y - mean * (2.0 * entry.x - f32(count) * mean);
}

@compute @workgroup_size(WORKGROUP)
fn rows(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = at % params.y_row;
    let item = at / params.y_row;
    if (row >= params.rows) {
        y[at] = 0.0;
        return;
    }
    var position = params.first_row + row;
    if (params.indexed == 1u) {
        position = u32(max(points[4u * row], 0.0));
    }
    var a = vec4<f32>(0.0);
    var b = vec4<f32>(0.0);
    var c = vec4<f32>(0.0);
    var offset = 0u;
    if (params.dimensions == 1u) {
        a = sums[position % params.axis_a];
        offset = params.axis_a;
    }
    if (params.dimensions == 2u) {
        a = sums[position / params.axis_b % params.axis_a];
        b = sums[params.axis_a + position % params.axis_b];
        offset = params.axis_a + params.axis_b;
    }
    if (params.dimensions == 3u) {
        a = sums[position / (params.axis_b * params.axis_c) % params.axis_a];
        b = sums[params.axis_a + position / params.axis_c % params.axis_b];
        c = sums[params.axis_a + params.axis_b + position % params.axis_c];
        offset = params.axis_a + params.axis_b + params.axis_c;
    }
    let constant = sums[offset];
    let first = (item * params.rows + row) * params.vectors;
    var total = vec4<f32>(0.0);
    for (var d = 0u; d < params.vectors; d++) {
        total += from_content(content[first + d]);
    }
    let sum = total.x + total.y + total.z + total.w + a.x + b.x + c.x + constant.x;
    let mean = sum / f32(params.channels);
    var squares = vec4<f32>(0.0);
    for (var d = 0u; d < params.vectors; d++) {
        let column = 4u * d + vec4<u32>(0u, 1u, 2u, 3u);
        let difference = from_content(content[first + d]) - mean;
        let real = column < vec4<u32>(params.content);
        squares += select(vec4<f32>(0.0), difference * difference, real);
    }
    var variance = squares.x + squares.y + squares.z + squares.w;
    variance += around(constant, params.constants, mean);
    if (params.dimensions > 0u) {
        variance += around(a, params.features, mean);
    }
    if (params.dimensions > 1u) {
        variance += around(b, params.features, mean);
    }
    if (params.dimensions > 2u) {
        variance += around(c, params.features, mean);
    }
    y[at] = 1.0 / sqrt(variance / f32(params.channels) + 1e-5);
}
