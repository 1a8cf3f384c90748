// to_texels: lines of texels from rows of an output, scaled, or as colours of the wheel of optical flow.
//
// Work split: one invocation per four elements of a line, which are one word of bytes, two of f16 or four of f32.
//
// Bindings (rows padded with zeros to four elements)
//   0 uniform     Params
//   1 read        x       [rows, cols]
//   2 read        map     [2, channels], scales and offsets
//   3 read        wheel   with WHEEL: [55, 3], from 0 to 1
//   4 read_write  texels  [lines, line] as words of one f32 (TYPE 0), two f16 (TYPE 1) or four bytes (TYPE 2)
// Workgroup bytes: none. Numerics: one fused multiply-add, rounded to the type; colours are rounded down.

// #import common/elementwise
// #import common/texels

const WHEEL: u32 = 0u;
const HUES: u32 = 55u;
const UNKNOWN: f32 = 1e9;

struct Params {
    width: u32,
    first: u32,
    rows: u32,
    cols: u32,
    // vectors of four in a row of x, and in a line
    x_vectors: u32,
    line_vectors: u32,
    channels: u32,
    map_row: u32,
    swapped: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> map: array<f32>;
@group(0) @binding(3) var<storage, read> wheel: array<f32>;

fn scaled(row: u32, channel: u32) -> f32 {
    var value = 0.0;
    if (channel < params.cols) {
        value = x[4u * params.x_vectors * row + channel];
    }
    return fma(value, map[channel], map[params.map_row + channel]);
}

// The colour of a vector, where length 1 has full colour.
fn colour(row: u32, channel: u32) -> f32 {
    let at = 4u * params.x_vectors * row;
    if (!(abs(x[at]) <= UNKNOWN && abs(x[at + 1u]) <= UNKNOWN)) {
        return 0.0;
    }
    let v = vec2<f32>(scaled(row, 0u), scaled(row, 1u));
    let size = length(v);
    // atan2 knows no answer for the zero vector, whose colour is white whatever the hue.
    let angle = select(0.0, atan2(-v.y, -v.x), size > 0.0);
    let place = (angle / 3.14159265358979 + 1.0) * 0.5 * f32(HUES - 1u);
    let hue = u32(place) % HUES;
    let part = fract(place);
    let full = (1.0 - part) * wheel[4u * hue + channel] + part * wheel[4u * ((hue + 1u) % HUES) + channel];
    let value = select(full * 0.75, 1.0 - size * (1.0 - full), size <= 1.0);
    return clamp(floor(255.0 * value), 0.0, 255.0);
}

fn element(line: u32, at: u32) -> f32 {
    let across = at / params.channels;
    let place = at % params.channels;
    // Pixels before the first wrap around to beyond the last.
    let row = (params.first / params.width + line) * params.width + across - params.first;
    if (across >= params.width || row >= params.rows) {
        return 0.0;
    }
    let channel = select(place, 2u - place, params.swapped != 0u && place < 3u);
    if (WHEEL == 1u && channel < 3u) {
        return colour(row, channel);
    }
    let value = scaled(row, channel);
    if (TYPE == 2u) {
        return floor(clamp(value, 0.0, 1.0) * 255.0 + 0.5);
    }
    return value;
}

@compute @workgroup_size(WORKGROUP)
fn elements(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let line = at / params.line_vectors;
    let first = 4u * (at % params.line_vectors);
    var four = vec4<f32>(0.0);
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        four[i] = element(line, first + i);
    }
    put(at, four);
}
