// from_texels: rows of neighbourhoods of pixels from lines of texels.
//
// Work split: one invocation per vector of four results.
//
// Bindings (rows padded with zeros to four elements)
//   0 uniform     Params
//   1 read        texels  [planes, height, line] as words of one f32 (TYPE 0), two f16 (TYPE 1) or four bytes (TYPE 2)
//   2 read        map     TYPE 2: [channels, 256], what each byte means; else [2, channels], scales and offsets
//   3 read_write  y       [rows, planes * side * side * channels] as vectors of four
// Workgroup bytes: none. Numerics: bytes exact, by the table; floats scaled by one fused multiply-add.

// #import common/elementwise

const TYPE: u32 = 2u;

struct Params {
    height: u32,
    width: u32,
    // elements from one pixel to the next, and from one line to the next
    pixel: u32,
    line: u32,
    channels: u32,
    swapped: u32,
    side: u32,
    first: u32,
    cols: u32,
    map_row: u32,
    mapped: u32,
    // vectors of four in a row of y
    vectors: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> texels: array<u32>;
@group(0) @binding(2) var<storage, read> map: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

fn mapped(element: u32, channel: u32) -> f32 {
    if (TYPE == 2u) {
        let byte = (texels[element / 4u] >> (8u * (element % 4u))) & 255u;
        return map[channel * params.map_row + byte];
    }
    var value = 0.0;
    if (TYPE == 1u) {
        value = unpack2x16float(texels[element / 2u])[element % 2u];
    } else {
        value = bitcast<f32>(texels[element]);
    }
    if (params.mapped == 0u) {
        return value;
    }
    return fma(value, map[channel], map[params.map_row + channel]);
}

@compute @workgroup_size(WORKGROUP)
fn vectors(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = params.first + at / params.vectors;
    let vector = at % params.vectors;
    let x = row % params.width;
    let line = row / params.width;
    let area = params.side * params.side;
    var result = vec4<f32>(0.0);
    // #unroll
    for (var i = 0u; i < 4u; i++) {
        let column = 4u * vector + i;
        if (column < params.cols) {
            let channel = column % params.channels;
            let rest = column / params.channels;
            let neighbour = rest % area;
            let plane = rest / area;
            // What is left of, or above, the picture wraps around to beyond its end.
            let from_x = x + neighbour % params.side - params.side / 2u;
            let from_y = line + neighbour / params.side - params.side / 2u;
            if (from_x < params.width && from_y < params.height) {
                let place = select(channel, 2u - channel, params.swapped != 0u && channel < 3u);
                let element = (plane * params.height + from_y) * params.line + from_x * params.pixel + place;
                result[i] = mapped(element, channel);
            }
        }
    }
    y[at] = result;
}
