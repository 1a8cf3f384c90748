// rotary: pairs of channels of every head, turned by an angle of their row; channels in no pair stay.
//
// Work split: one invocation per vector of four results; neighbouring invocations have neighbouring vectors of a row.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        x       [rows, heads·stride] as vectors of four
//   2 read        angles  [angle_rows, 2·pairs] as f32: sines, then cosines
//   3 read_write  y       as x
// Workgroup bytes: none. Numerics: f32; x and y may be stored as f16 (a variant's choice). Padding of heads is in no pair.

// #import common/elementwise

struct Params {
    // vectors of four in a row
    vectors: u32,
    // columns of a head
    stride: u32,
    pairs: u32,
    // 1 where pairs are neighbours; else the two halves of what is turned
    neighbours: u32,
    // 1 where it turns back
    back: u32,
    angle_rows: u32,
    // elements from one row of angles to the next
    angle_row: u32,
    total: u32,
    row_invocations: u32,
}

alias x4 = vec4<f32>;
alias y4 = vec4<f32>;
fn from_x(v: x4) -> vec4<f32> { return v; }
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x4>;
@group(0) @binding(2) var<storage, read> angles: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<y4>;

@compute @workgroup_size(WORKGROUP)
fn vectors(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = at / params.vectors;
    let column = 4u * (at % params.vectors);
    let first = column - column % params.stride;
    let first_vector = row * params.vectors;
    let angle = row % params.angle_rows * params.angle_row;
    var own = from_x(x[at]);
    var result = own;
    for (var i = 0u; i < 4u; i++) {
        let channel = (column + i) % params.stride;
        if (channel < 2u * params.pairs) {
            var pair = channel / 2u;
            var other = channel ^ 1u;
            var leads = channel % 2u == 0u;
            if (params.neighbours == 0u) {
                leads = channel < params.pairs;
                pair = select(channel - params.pairs, channel, leads);
                other = select(pair, pair + params.pairs, leads);
            }
            let place = first + other;
            var there = from_x(x[first_vector + place / 4u]);
            let turned = there[place % 4u] * angles[angle + pair];
            let kept = own[i] * angles[angle + params.pairs + pair];
            result[i] = select(kept - turned, kept + turned, leads == (params.back == 1u));
        }
    }
    y[at] = to_y(result);
}
