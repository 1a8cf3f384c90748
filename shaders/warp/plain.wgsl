// warp: a picture brought back by a flow: at each pixel what lies where its vector leads, between four pixels.
//
// Work split: one invocation per pixel of a line of the result, which has four channels.
//
// Bindings (rows padded with zeros to four elements)
//   0 uniform     Params
//   1 read        x       [rows, cols], vectors to the right and down in the first two columns
//   2 read        scale   [1, 2], what turns them into pixels
//   3 read        frame   [planes, height, line] as words of one f32 (TYPE 0), two f16 (TYPE 1) or four bytes (TYPE 2)
//   4 read_write  texels  [lines, line], of the same type
// Workgroup bytes: none. Numerics: places are whole steps of 1/4096 pixel, the product of vector and scale rounded to the
// nearest, ties to even. Nothing is added before that, so no compiler can fuse it. Bytes are mixed in whole
// numbers and rounded, halves up, the same on every device; floats by three fused multiply-adds.

// #import common/elementwise
// #import common/texels

const STEPS: i32 = 4096;
// Steps beyond the border that count as rounding, about a thousandth of a pixel.
const HAIR: i32 = 4;
// No picture is wider or higher, so that places are whole numbers.
const FARTHEST: f32 = 131072.0;

struct Params {
    width: u32,
    height: u32,
    first: u32,
    rows: u32,
    // vectors of four in a row of x, and in a line of the result
    x_vectors: u32,
    line_vectors: u32,
    into_swapped: u32,
    // the picture: its first line, elements from one pixel to the next and from one line to the next
    top: u32,
    pixel: u32,
    line: u32,
    swapped: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> frame: array<u32>;

// Where a point has gone along one side, in steps; negative if it has left the picture. Whatever the vector is, NaN
// under compilers that know none, a place that is not negative lies within.
fn place(at: u32, pixels: f32, side: u32) -> i32 {
    if (!(abs(pixels) <= FARTHEST)) {
        return -1;
    }
    let steps = i32(at) * STEPS + i32(round(pixels * f32(STEPS)));
    let last = i32(side - 1u) * STEPS;
    if (steps < -HAIR || steps > last + HAIR) {
        return -1;
    }
    return clamp(steps, 0, last);
}

// The first element of a pixel.
fn element(column: u32, row: u32) -> u32 {
    return (params.top + row) * params.line + column * params.pixel;
}

fn byte(at: u32) -> u32 {
    return (frame[at / 4u] >> (8u * (at % 4u))) & 255u;
}

fn number(at: u32) -> f32 {
    if (TYPE == 1u) {
        return unpack2x16float(frame[at / 2u])[at % 2u];
    }
    return bitcast<f32>(frame[at]);
}

// A colour between four pixels, of which `corners` has the first elements; bytes as numbers from 0 to 255.
fn mixed(corners: vec4<u32>, channel: u32, part: vec2<u32>) -> f32 {
    let at = corners + select(channel, 2u - channel, params.swapped != 0u);
    if (TYPE == 2u) {
        let rest = vec2<u32>(u32(STEPS)) - part;
        let above = byte(at.x) * rest.x + byte(at.y) * part.x;
        let below = byte(at.z) * rest.x + byte(at.w) * part.x;
        // 255 × 2²⁴ and a half fit in 32 bits.
        return f32((above * rest.y + below * part.y + 0x800000u) >> 24u);
    }
    let share = vec2<f32>(part) / f32(STEPS);
    let above = fma(share.x, number(at.y) - number(at.x), number(at.x));
    let below = fma(share.x, number(at.w) - number(at.z), number(at.z));
    return fma(share.y, below - above, above);
}

@compute @workgroup_size(WORKGROUP)
fn pixels(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let line = at / params.line_vectors + params.first / params.width;
    let across = at % params.line_vectors;
    // Pixels before the first wrap around to beyond the last.
    let row = line * params.width + across - params.first;
    var four = vec4<f32>(0.0);
    if (across < params.width && row < params.rows) {
        let vector = 4u * params.x_vectors * row;
        let to_x = place(across, x[vector] * scale[0], params.width);
        let to_y = place(line, x[vector + 1u] * scale[1], params.height);
        if (to_x >= 0 && to_y >= 0) {
            let to = vec2<u32>(u32(to_x), u32(to_y));
            let near = to / u32(STEPS);
            let far = min(near + 1u, vec2<u32>(params.width, params.height) - 1u);
            let part = to % u32(STEPS);
            let corners = vec4<u32>(
                element(near.x, near.y),
                element(far.x, near.y),
                element(near.x, far.y),
                element(far.x, far.y),
            );
            // #unroll
            for (var channel = 0u; channel < 3u; channel++) {
                four[channel] = mixed(corners, channel, part);
            }
            four[3] = select(1.0, 255.0, TYPE == 2u);
            if (params.into_swapped != 0u) {
                four = four.zyxw;
            }
        }
    }
    put(at, four);
}
